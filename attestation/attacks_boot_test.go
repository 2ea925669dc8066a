// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/attestation/evidence"
)

// events boots other events than the image's.
func events(change func([]attestationtest.Event) []attestationtest.Event) func(*attestationtest.NodeSpec) {
	return func(s *attestationtest.NodeSpec) { s.Events = change(attestationtest.Events()) }
}

// friendly boots what change says but logs an honest boot's texts over the true
// digests.
func friendly(change func([]attestationtest.Event) []attestationtest.Event) func(*attestationtest.NodeSpec) {
	return func(s *attestationtest.NodeSpec) {
		s.Events = change(attestationtest.Events())
		told := attestationtest.Events()
		for i := range told {
			e := s.Events[i]
			if e.Digest == [32]byte{} {
				e.Digest = sha256.Sum256(e.Data)
			}
			told[i].Digest = e.Digest
		}
		s.EventLog = attestationtest.EventLog(told)
	}
}

func commandLine(line string) func([]attestationtest.Event) []attestationtest.Event {
	return func(all []attestationtest.Event) []attestationtest.Event {
		for i := range all {
			if all[i].PCR == 12 {
				all[i] = attestationtest.CommandLineEvent(line)
			}
		}
		return all
	}
}

func secureBoot(state byte) func([]attestationtest.Event) []attestationtest.Event {
	return func(all []attestationtest.Event) []attestationtest.Event {
		for i := range all {
			if bytes.Contains(all[i].Data, []byte("S\x00e\x00c\x00u\x00r\x00e\x00B")) {
				all[i].Data = attestationtest.Variable("SecureBoot", []byte{state})
			}
		}
		return all
	}
}

func otherCode(pcr int) func(*attestationtest.NodeSpec) {
	return events(func(all []attestationtest.Event) []attestationtest.Event {
		for i := range all {
			if all[i].PCR == pcr && all[i].Digest != [32]byte{} {
				all[i].Digest[0] ^= 1
			}
		}
		return all
	})
}

func config(change func(*evidence.Config)) func(*attestationtest.NodeSpec) {
	return func(s *attestationtest.NodeSpec) {
		c := attestationtest.Config("toy", weights)
		change(c)
		b, err := c.Append(nil)
		if err != nil {
			panic(err)
		}
		s.Config = b
	}
}

func TestAttacksOnBoot(t *testing.T) {
	line := attestationtest.CommandLine
	attacks := []attack{
		{id: "AT-32", name: "friendly command line", want: "att.log.digest", spec: friendly(commandLine(line + " init=/bin/sh"))},
		{id: "AT-32", name: "friendly Secure Boot", want: "att.log.digest", spec: friendly(secureBoot(0))},
		{id: "AT-33", name: "no event says so", want: "att.log.derived", spec: events(func(all []attestationtest.Event) []attestationtest.Event {
			return append(all[:2:2], all[3:]...)
		})},
		{id: "AT-33", name: "said after the separator", want: "att.log.derived", spec: events(func(all []attestationtest.Event) []attestationtest.Event {
			out := append(all[:2:2], all[3:]...)
			return append(out, all[2])
		})},
		{id: "AT-33", name: "said after a separator of another type", want: "att.log.derived", spec: events(func(all []attestationtest.Event) []attestationtest.Event {
			// Secure Boot was off; who came after the firmware says otherwise, and
			// the types, which nothing measures, are rewritten to fit.
			on := all[2]
			all[2].Data, all[2].Type = attestationtest.Variable("SecureBoot", []byte{0}), 0x05
			for i := range all {
				if all[i].PCR == 7 && all[i].Type == 0x04 {
					all[i].Type = 0x05
				}
			}
			return append(all, on)
		})},
		{id: "AT-33", name: "said twice", want: "att.log.derived", spec: events(func(all []attestationtest.Event) []attestationtest.Event {
			return append([]attestationtest.Event{all[2]}, all...)
		})},
		{id: "AT-33", name: "said to be off", want: "att.secureboot", spec: events(secureBoot(0))},
		{id: "AT-33", name: "other vendor's variable", want: "att.log.derived", spec: events(func(all []attestationtest.Event) []attestationtest.Event {
			all[2].Data[0] ^= 1
			return all
		})},
		{id: "AT-36", name: "other loader", want: "att.image.kernel", spec: otherCode(4)},
		{id: "AT-36", name: "other initrd", want: "att.image.kernel", spec: otherCode(9)},
		{id: "AT-36", name: "other kernel section", want: "att.image.kernel", spec: otherCode(11)},
		{id: "AT-36", name: "other firmware", want: "att.image", spec: otherCode(0)},
		{id: "AT-37", name: "unknown root", want: "att.image.verity", spec: events(commandLine(strings.Replace(line, "roothash=5", "roothash=6", 1)))},
		{id: "AT-38", name: "credentials in PCR 12", want: "att.log.derived", spec: events(func(all []attestationtest.Event) []attestationtest.Event {
			return append(all, attestationtest.Event{PCR: 12, Type: 0x0d, Data: []byte("io.systemd.credential")})
		})},
		{id: "log", name: "cut", want: "att.log.format", after: func(f *fixture) { relog(f, f.node.EventLog[:len(f.node.EventLog)-1]) }},
		{id: "log", name: "events left out", want: "att.log.replay", after: func(f *fixture) { relog(f, attestationtest.EventLog(attestationtest.Events()[1:])) }},
		{id: "log", name: "events of the running system", want: "att.log.replay", after: func(f *fixture) {
			relog(f, attestationtest.EventLog(append(attestationtest.Events(), attestationtest.Event{PCR: 10, Type: 3 << 8, Data: []byte("ima")})))
		}},
		{id: "log", name: "not the log that the statement names", want: "att.log.replay", after: func(f *fixture) {
			*f.piece(evidence.KindEventLog) = attestationtest.EventLog(attestationtest.Events()[1:])
			f.refresh()
		}},
	}
	tricks := map[string]string{
		"root hash twice": line + " roothash=" + strings.Repeat("0", 64), "verity off": line + " systemd.verity=0", "init": line + " init=/bin/sh",
		"break": line + " rd.break", "quotes": `"` + line + `"`, "double space": strings.Replace(line, " ", "  ", 1), "trailing space": line + " ",
		"NUL": line + "\x00 quiet", "tab": strings.Replace(line, " ", "\t", 1), "upper case": strings.ToUpper(line), "empty": "",
		"long": line + strings.Repeat(" x", 1500),
	}
	for name, trick := range tricks {
		attacks = append(attacks, attack{id: "AT-38", name: name, want: "att.image.cmdline", spec: events(commandLine(trick))})
	}
	attacks = append(attacks, attack{id: "AT-38", name: "very long", want: "att.log.derived", spec: events(commandLine(strings.Repeat("x ", 5000)))})
	runAttacks(t, attacks)
}

// relog has the node make new evidence that names another log.
func relog(f *fixture, log []byte) {
	f.node.EventLog = log
	f.make()
}

func TestAttacksOnConfig(t *testing.T) {
	runAttacks(t, []attack{
		{id: "AT-39", name: "never measured", want: "att.config", before: func(f *fixture) {
			f.node.Config, _ = attestationtest.Config("toy2", weights).Append(nil)
		}},
		{id: "AT-39", name: "something measured after it", want: "att.config", before: func(f *fixture) {
			if err := f.node.TPM.Extend(context.Background(), 13, [32]byte{1}); err != nil {
				f.t.Fatal(err)
			}
		}},
		{id: "AT-39", name: "swapped on the way", want: "att.config", after: func(f *fixture) {
			*f.piece(evidence.KindConfig), _ = attestationtest.Config("toy2", weights).Append(nil)
			f.refresh()
		}},
		{id: "AT-39", name: "another spelling", want: "att.config", spec: func(s *attestationtest.NodeSpec) { s.Config = append(s.Config, '\n') }},
		{id: "AT-39", name: "unknown setting", want: "att.config", spec: func(s *attestationtest.NodeSpec) {
			s.Config = append(bytes.TrimSuffix(s.Config, []byte("}")), []byte(`,"debug":true}`)...)
		}},
		{id: "AT-41", name: "other weights", want: "att.model", spec: config(func(c *evidence.Config) { c.Weights = strings.Repeat("ab", 32) })},
		{id: "AT-41", name: "other model", want: "att.model", spec: config(func(c *evidence.Config) { c.Model = "tiny" })},
		{id: "payment", name: "other mode than stated", want: "att.payment", after: func(f *fixture) { f.refs.Payment = evidence.PaymentCoins }},
		{id: "simulated", name: "not said", want: "att.simulated", spec: config(func(c *evidence.Config) { c.Simulated = false })},
		{id: "simulated", name: "roots of AMD", want: "att.simulated", before: func(f *fixture) { f.policy.Roots = attestation.VendorRoots() }},
		{id: "AT-54", name: "no GPU evidence", want: "att.gpu.absent", before: func(f *fixture) { f.policy.AllowNoGPU = false }},
		{id: "AT-54", name: "GPU evidence named and left out", want: "att.gpu.absent", before: func(f *fixture) {
			f.node.Tamper = func(s *evidence.KeyStatement) { s.GPUDigest[0] = 1 }
		}},
	})
}

func TestAttacksOnSize(t *testing.T) {
	t.Run("AT-62", func(t *testing.T) {
		f := newFixture(t, nil).make()
		good, err := f.ev.Epoch.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		header := good[:18]
		bomb := func(kind evidence.Kind, size uint32) []byte {
			b := binary.BigEndian.AppendUint16(bytes.Clone(header), uint16(kind))
			return append(binary.BigEndian.AppendUint32(b, size), good...)
		}
		for name, in := range map[string][]byte{
			"4 GiB length prefix":  bomb(evidence.KindKeyStatement, 1<<32-1),
			"1 GiB piece":          bomb(evidence.KindEventLog, 1<<30),
			"100 000 certificates": bomb(evidence.KindSNPCert, 100_000*1200),
			"over 32 MiB":          make([]byte, evidence.MaxSize+1),
		} {
			if _, err := attestation.ParseEvidence(in, nil); code(err) != "att.size" {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, k := range epochKinds() {
			f := newFixture(t, nil).make()
			*f.piece(k) = make([]byte, 2<<20)
			_, err := f.verify()
			refused(t, err, "att.size")
		}
		for n := range len(good) {
			if _, err := attestation.ParseEvidence(good[:n], nil); err == nil {
				t.Fatalf("accepted the first %d bytes", n)
			}
		}
		deep := newFixture(t, func(s *attestationtest.NodeSpec) { s.Config = bytes.Repeat([]byte("["), 60_000) })
		deep.make()
		_, err = deep.verify()
		refused(t, err, "att.config")
	})
	for _, k := range append(epochKinds(), freshKinds()...) {
		t.Run("absent "+k.String(), func(t *testing.T) {
			for _, b := range []func(*evidence.Bundle, int){
				func(b *evidence.Bundle, i int) { b.Pieces = append(b.Pieces[:i:i], b.Pieces[i+1:]...) },
				func(b *evidence.Bundle, i int) { b.Pieces[i].Data = nil },
			} {
				f := newFixture(t, nil).make()
				for _, bundle := range []*evidence.Bundle{f.ev.Epoch, f.ev.Freshness} {
					for i, p := range bundle.Pieces {
						if p.Kind == k {
							b(bundle, i)
							break
						}
					}
				}
				_, err := f.verify()
				refused(t, err, "att.absent")
			}
		})
	}
	t.Run("no freshness", func(t *testing.T) {
		f := newFixture(t, nil).make()
		f.ev.Freshness = nil
		_, err := f.verify()
		refused(t, err, "att.absent")
		f.policy.WithoutFreshness = true
		r, err := f.verify()
		if err != nil || !strings.Contains(strings.Join(r.Report.Gaps(), ";"), "freshness") || !r.FreshSince.IsZero() {
			t.Errorf("%v", err)
		}
	})
}
