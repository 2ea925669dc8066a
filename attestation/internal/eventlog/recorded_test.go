// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package eventlog

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/google/go-eventlog/register"
	"github.com/google/go-eventlog/tcg"
	"github.com/google/go-eventlog/testdata"
)

// tpmLogs are the TPM logs in go-eventlog, each with what becomes of it here.
var tpmLogs = []struct {
	name       string // of the variable in go-eventlog's package testdata
	log        []byte
	parse      error
	secureBoot error
	on         bool
	why        string // where something is refused
}{
	{name: "ArchLinuxWorkstationEventLog", log: testdata.ArchLinuxWorkstationEventLog, secureBoot: ErrAbsent,
		why: "the SecureBoot variable was measured without a value: this firmware has none"},
	{name: "Cos101AmdSevEventLog", log: testdata.Cos101AmdSevEventLog, on: true},
	{name: "Cos85AmdSevEventLog", log: testdata.Cos85AmdSevEventLog, on: true},
	{name: "Cos93AmdSevEventLog", log: testdata.Cos93AmdSevEventLog, on: true},
	{name: "Debian10EventLog", log: testdata.Debian10EventLog, parse: ErrFormat,
		why: "the format of TPM 1.2: no header, one SHA-1 digest an event"},
	{name: "GlinuxAlexEventLog", log: testdata.GlinuxAlexEventLog},
	{name: "Rhel8EventLog", log: testdata.Rhel8EventLog, on: true},
	{name: "Ubuntu1804AmdSevEventLog", log: testdata.Ubuntu1804AmdSevEventLog},
	{name: "Ubuntu2104NoDbxEventLog", log: testdata.Ubuntu2104NoDbxEventLog},
	{name: "Ubuntu2104NoSecureBootEventLog", log: testdata.Ubuntu2104NoSecureBootEventLog},
	{name: "Ubuntu2404AmdSevSnpEventLog", log: testdata.Ubuntu2404AmdSevSnpEventLog},
}

func TestRecordedTPMLogs(t *testing.T) {
	var values map[string]map[int]string
	if err := json.Unmarshal(readRecorded(t, "pcrs.json"), &values); err != nil {
		t.Fatal(err)
	}
	for _, c := range tpmLogs {
		t.Run(c.name, func(t *testing.T) {
			l, err := Parse(c.log)
			if !errors.Is(err, c.parse) {
				t.Fatalf("%v, want %v", err, c.parse)
			}
			if err != nil {
				return
			}
			replayed := l.Replay()
			if len(values[c.name]) < 8 {
				t.Fatal("no known values")
			}
			for pcr, want := range values[c.name] {
				if got := hex.EncodeToString(replayed[pcr][:]); got != want {
					t.Errorf("PCR %d replays to %s, quoted %s", pcr, got, want)
				}
			}
			if on, err := l.SecureBoot(); on != c.on || !errors.Is(err, c.secureBoot) {
				t.Errorf("Secure Boot %t, %v", on, err)
			}
			if _, err := l.CommandLine(); !errors.Is(err, ErrAbsent) {
				t.Errorf("a command line without systemd-stub: %v", err)
			}
		})
	}
}

// ccLogs are the CC logs in go-eventlog, with the values it knows for two.
var ccLogs = []struct {
	name  string
	rtmrs []string
	acpi  int
	line  string // in the middle of the line; "" where the log has none
	known int    // events of RTMR 2 before the line
	err   error  // of CommandLine
	why   string
}{
	{name: "ccel-intel-direct.bin", acpi: 3, why: "the EFI stub measures the line, and logs a text that says only that"},
	{name: "ccel-intel-qemu.bin", acpi: 4, err: ErrAbsent, why: "nothing is in RTMR 2: this firmware measured the line into RTMR 1"},
	{name: "ccel-cos-113.bin", acpi: 3, known: 19, line: "root=/dev/dm-0", rtmrs: []string{
		"3fa2f61f395b7f5feefb4ec2df61297f109ad8abcd6410c1b7df60f21f37b19297fc35e544039c7e1edece752afd17f6",
		"f62dbc072bd5d3f3438b7b35c39a727f5aea2ffc2473f43723953f530daf62504f0a7944aa62c41a86e8a878c2b122c1",
		"4969684dc87381fc3b3134176c8d8806eaf0a901859f5f70cfae8d17714b46c10a8de219048c9fc09f11f381a6fbe7c1"}},
	{name: "ccel-cos-113-two-separators.bin", acpi: 3, known: 19, line: "root=/dev/dm-0", rtmrs: []string{
		"a4de2df23e9611299123ba4359c42a5e578b0f8488bf1bba8ef5606d9ea5d81c97c064b482a5eac537d166bd0f0f752d",
		"0ee9366c928a77092f55e9e114c7394181fd264699155f0df77d23577618d5f650568a17d379355a07bd846e552f4e20",
		"4969684dc87381fc3b3134176c8d8806eaf0a901859f5f70cfae8d17714b46c10a8de219048c9fc09f11f381a6fbe7c1"}},
}

func TestRecordedCCLogs(t *testing.T) {
	for _, c := range ccLogs {
		t.Run(c.name, func(t *testing.T) {
			l, err := ParseCC(readRecorded(t, c.name))
			if err != nil {
				t.Fatal(err)
			}
			replayed := l.ReplayRTMRs()
			for i, want := range c.rtmrs {
				if got := hex.EncodeToString(replayed[i][:]); got != want {
					t.Errorf("RTMR %d replays to %s, known is %s", i, got, want)
				}
			}
			if replayed[3] != [48]byte{} {
				t.Error("RTMR 3 was extended")
			}
			if on, err := l.SecureBoot(); on || err != nil {
				t.Errorf("Secure Boot %t, %v", on, err)
			}
			if tables, err := l.ACPI(); len(tables) != c.acpi || err != nil {
				t.Errorf("%d ACPI tables, %v", len(tables), err)
			}
			digests := l.Digests(2)
			line, err := l.CommandLine(digests[:c.known])
			if !errors.Is(err, c.err) || !bytes.Contains([]byte(line.Text), []byte(c.line)) {
				t.Errorf("line %q, %v", line.Text, err)
			}
			if c.line != "" && (!line.IsGRUB(line.Text) || line.Is(line.Text)) {
				t.Error("a line of GRUB's is not itself")
			}
			if c.known > 0 {
				if _, err := l.CommandLine(digests[:c.known-1]); err == nil {
					t.Error("an event of RTMR 2 that nobody knows")
				}
			}
		})
	}
}

// TestAgainstGoEventlog lets another implementation replay what this one read:
// the recorded logs, and mutants of them that still parse here.
func TestAgainstGoEventlog(t *testing.T) {
	rounds := 300
	if testing.Short() {
		rounds = 30
	}
	for _, c := range tpmLogs {
		if c.parse == nil {
			againstGoEventlog(t, c.name, c.log, rounds/5, tpmRegisters)
		}
	}
	for _, c := range ccLogs {
		againstGoEventlog(t, c.name, readRecorded(t, c.name), rounds, ccRegisters)
	}
}

func againstGoEventlog(t *testing.T, name string, log []byte, rounds int, registers func([]byte) []register.MR) {
	random := rand.New(rand.NewPCG(1, 2))
	for i := range rounds {
		b := bytes.Clone(log)
		if i > 0 {
			bit := random.IntN(8 * len(b))
			b[bit/8] ^= 1 << (bit % 8)
		}
		values := registers(b)
		if values == nil {
			if i == 0 {
				t.Fatalf("%s does not parse", name)
			}
			continue
		}
		if _, err := tcg.ParseAndReplay(b, values, tcg.ParseOpts{}); err != nil {
			t.Fatalf("%s, mutant %d: %v", name, i, err)
		}
	}
}

func tpmRegisters(b []byte) (out []register.MR) {
	l, err := Parse(b)
	if err != nil {
		return nil
	}
	for i, v := range l.Replay() {
		if l.Touches(i) {
			out = append(out, register.PCR{Index: i, Digest: bytes.Clone(v[:]), DigestAlg: 5}) // crypto.SHA256
		}
	}
	return out
}

func ccRegisters(b []byte) (out []register.MR) {
	l, err := ParseCC(b)
	if err != nil {
		return nil
	}
	for i, v := range l.ReplayRTMRs() {
		if v != [48]byte{} {
			out = append(out, register.RTMR{Index: i, Digest: bytes.Clone(v[:])})
		}
	}
	return out
}
