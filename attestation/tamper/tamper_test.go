// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tamper_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakegpu"
	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/attestation/tamper"
)

var root = sync.OnceValues(attestationtest.GenerateRoot)

// good is a case on the platform that verifies, with all that a node can show.
func good(t testing.TB, p attestation.Platform) tamper.Case {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	r, err := root()
	must(err)
	weights := sha256.Sum256([]byte("SIMULATED weights"))
	config, err := attestationtest.Config("toy", weights).Append(nil)
	must(err)
	n, err := attestationtest.NewNode(r, attestationtest.NodeSpec{
		Name: "node", Config: config, Platform: p, IMA: true, GPU: &fakegpu.Spec{NoTokens: true, Short: true},
	})
	must(err)
	c := tamper.Case{Policy: attestationtest.PolicyOn(r, p), Now: time.Now()}
	c.Policy.AllowNoGPU, c.Policy.GPU = false, attestationtest.GPUPolicy(1)
	c.Policy.AllowNoIMA, c.Policy.Images[0].IMA = false, attestationtest.IMARules(n.IMA)
	early := attestation.Checkpoint{Hash: sha256.Sum256([]byte("checkpoint 40")), Time: c.Now.Add(-time.Hour)}
	late := attestation.Checkpoint{Hash: sha256.Sum256([]byte("checkpoint now")), Time: c.Now.Add(-time.Minute)}
	c.Evidence.Epoch, err = n.Epoch(41, early.Hash)
	must(err)
	c.References = n.References(c.Evidence.Epoch, 41, early, late)
	c.References.Model, c.References.WeightsDigest, c.References.Payment = "toy", weights, evidence.PaymentNone
	c.Evidence.Freshness, err = n.Freshness(c.References.EvidenceDigest, late.Hash)
	must(err)
	_, err = c.Verify()
	must(err)
	return c
}

// wants says, for each mode, at which step and with which code it ends. "vcek"
// depends on whose signature makes the hardware genuine.
func wants(mode string, p attestation.Platform) (step string, code attestation.Code) {
	switch mode {
	case "nonce":
		return "freshness", "att.nonce"
	case "pcr":
		return "tpm.quote", "att.pcr.value"
	case "ima":
		return "runtime", "att.ima.format"
	case "gpu":
		return "keys.statement", "att.gpu.binding"
	case "expiry":
		return "evidence.age", "att.stale"
	case "rek":
		return "keys.statement", "att.rek.name"
	case "eventlog":
		return "keys.statement", "att.log.replay"
	}
	switch p {
	case attestation.TDX, attestation.GoogleTDX, attestation.AzureTDX:
		return "tdx.genuine", "att.chain"
	case attestation.NitroTPM:
		return "nitro.genuine", "att.signature"
	case attestation.TPM:
		return "tpm.akcert", "att.ak.cert"
	}
	return "snp.genuine", "att.chain"
}

// TestModes: on every platform every mode is refused at its own step with its own
// code, with two values beside each other that differ, and changes nothing of
// what it was given.
func TestModes(t *testing.T) {
	for _, p := range attestation.Platforms() {
		t.Run(string(p), func(t *testing.T) {
			c := good(t, p)
			before := print(c)
			for _, m := range tamper.Modes() {
				t.Run(m.Name, func(t *testing.T) {
					bad, did, err := m.Apply(c)
					if err != nil || did == "" {
						t.Fatalf("%q %v", did, err)
					}
					_, err = bad.Verify()
					var r *attestation.RefusalError
					if !errors.As(err, &r) {
						t.Fatalf("accepted: %v", err)
					}
					last := r.Report.Steps[len(r.Report.Steps)-1]
					step, code := wants(m.Name, p)
					if r.Code != code || last.ID != step || !slices.Contains(m.Codes, r.Code) {
						t.Errorf("%s at %s, want %s at %s, one of %v", r.Code, last.ID, code, step, m.Codes)
					}
					if last.Expected == "" || last.Got == "" || last.Expected == last.Got || last.Got == r.Detail {
						t.Errorf("no two values to compare: %q, %q", last.Expected, last.Got)
					}
				})
			}
			if print(c) != before {
				t.Error("the case that was given has changed")
			}
			if _, err := c.Verify(); err != nil {
				t.Errorf("the case that was given: %v", err)
			}
		})
	}
}

func print(c tamper.Case) string {
	h := sha256.New()
	for _, b := range []*evidence.Bundle{c.Evidence.Epoch, c.Evidence.Freshness} {
		raw, err := b.Append(nil)
		fmt.Fprintf(h, "%x %v", raw, err)
	}
	policy := c.Policy.Digest()
	fmt.Fprintf(h, "%x %+v %v", policy, c.References, c.Now)
	return hex.EncodeToString(h.Sum(nil))
}

// TestWithoutFreshness: a replay shows against the epoch's checkpoint, too.
func TestWithoutFreshness(t *testing.T) {
	c := good(t, attestation.SNP)
	c.Evidence.Freshness, c.Policy.WithoutFreshness = nil, true
	for _, m := range tamper.Modes() {
		bad, _, err := m.Apply(c)
		if err != nil {
			t.Fatalf("%s: %v", m.Name, err)
		}
		_, err = bad.Verify()
		var r *attestation.RefusalError
		if !errors.As(err, &r) || !slices.Contains(m.Codes, r.Code) {
			t.Errorf("%s: %v", m.Name, err)
		}
	}
}

// TestNothingToChange: a mode that finds nothing says so. It must not end in a
// refusal for another reason that looks like the one asked for, nor in a panic.
func TestNothingToChange(t *testing.T) {
	c := good(t, attestation.SNP)
	full := c.Evidence.Epoch
	without := func(kinds ...evidence.Kind) tamper.Case {
		out := c
		out.Evidence.Epoch = &evidence.Bundle{}
		for _, p := range full.Pieces {
			if !slices.Contains(kinds, p.Kind) {
				out.Evidence.Epoch.Pieces = append(out.Evidence.Epoch.Pieces, p)
			}
		}
		return out
	}
	empty := func(kinds ...evidence.Kind) tamper.Case {
		out := without(kinds...)
		for _, k := range kinds {
			out.Evidence.Epoch.Pieces = append(out.Evidence.Epoch.Pieces, evidence.Piece{Kind: k})
		}
		return out
	}
	for mode, kinds := range map[string][]evidence.Kind{
		"pcr": {evidence.KindPCRs}, "vcek": {evidence.KindSNPCert}, "ima": {evidence.KindIMALog}, "gpu": {evidence.KindGPU}, "eventlog": {evidence.KindEventLog},
	} {
		m, ok := tamper.Find(mode)
		if !ok {
			t.Fatal(mode)
		}
		for name, bad := range map[string]tamper.Case{"absent": without(kinds...), "empty": empty(kinds...)} {
			if _, did, err := m.Apply(bad); err == nil || !strings.HasPrefix(err.Error(), "tamper: ") {
				t.Errorf("%s, %s: %q %v", mode, name, did, err)
			}
		}
	}
	for _, m := range tamper.Modes() {
		for name, bad := range map[string]tamper.Case{"nothing": {}, "no policy": {Evidence: c.Evidence}, "no evidence": {Policy: c.Policy}} {
			if _, _, err := m.Apply(bad); err == nil {
				t.Errorf("%s applied to %s", m.Name, name)
			}
		}
	}
	rek, _ := tamper.Find("rek")
	c.References.REK = nil
	if _, _, err := rek.Apply(c); err == nil {
		t.Error("rek applied to a record without a key")
	}
}

// TestGarbage: pieces come from strangers, and tampering parses some of them.
func TestGarbage(t *testing.T) {
	c := good(t, attestation.SNP)
	for size := range 48 {
		b := &evidence.Bundle{}
		for k := evidence.KindKeyStatement; k <= evidence.KindGPU; k++ {
			data := make([]byte, size)
			for i := range data {
				data[i] = byte(31*i + int(k))
			}
			b.Pieces = append(b.Pieces, evidence.Piece{Kind: k, Data: data})
		}
		bad := c
		bad.Evidence.Epoch = b
		for _, m := range tamper.Modes() {
			if out, _, err := m.Apply(bad); err == nil {
				if _, err := out.Verify(); err == nil {
					t.Errorf("%s on garbage of %d bytes was accepted", m.Name, size)
				}
			}
		}
	}
}

func TestCodes(t *testing.T) {
	if _, ok := tamper.Find("log"); ok {
		t.Error("log is the caller's: the evidence has no part in it")
	}
	for _, c := range tamper.Modes() {
		for _, code := range c.Codes {
			if !slices.Contains(attestation.Codes(), code) {
				t.Errorf("%s: no code %s", c.Name, code)
			}
		}
	}
}
