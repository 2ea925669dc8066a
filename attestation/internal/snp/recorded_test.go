// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package snp

import (
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-sev-guest/kds"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
)

// recorded reads evidence that was recorded on real hardware and is not part of
// the repository.
func recorded(t *testing.T, name string) []byte {
	t.Helper()
	dir := os.Getenv("SOTTO_RECORDED_EVIDENCE")
	if dir == "" {
		dir = "../../../../shared/evidence"
	}
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Skipf("recorded evidence is not here (SOTTO_RECORDED_EVIDENCE): %v", err)
	}
	return b
}

// genuine runs the steps of Verify but the revocation list, which nobody
// recorded.
func genuine(t *testing.T, report, cert []byte, now time.Time) *Genuine {
	t.Helper()
	if _, err := Verify(report, Collateral{Cert: cert}, AMD(), now, 0); code(err) != refuse.CRL {
		t.Fatalf("without a revocation list: %v, want %s", err, refuse.CRL)
	}
	r, err := ParseReport(report)
	if err != nil {
		t.Fatal(err)
	}
	c, err := parseCert(cert)
	if err != nil {
		t.Fatal(err)
	}
	g := &Genuine{Report: r}
	if err := g.readExtensions(c); err != nil {
		t.Fatal(err)
	}
	line, ok := AMD().Line(g.Product)
	if !ok {
		t.Fatalf("no roots for %q", g.Product)
	}
	if err := g.checkSignatures(cert, c, line, now); err != nil {
		t.Fatal(err)
	}
	return g
}

func code(err error) refuse.Code {
	if e, ok := err.(*refuse.Error); ok {
		return e.Code
	}
	return ""
}

func TestRecordedAzureMilan(t *testing.T) {
	hcl := recorded(t, "azure-snp-milan/hcl-report.bin")
	block, _ := pem.Decode(recorded(t, "azure-snp-milan/vcek.pem"))
	if len(hcl) < 32+1184 || block == nil {
		t.Fatal("recorded evidence is cut")
	}
	now := time.Date(2024, 6, 1, 0, 0, 0, 0, time.UTC)
	g := genuine(t, hcl[32:32+1184], block.Bytes, now)
	if g.Product != "Milan" || g.Version != 2 || g.CSP != "" {
		t.Errorf("%s, version %d, CSP %q", g.Product, g.Version, g.CSP)
	}
	t.Run("AT-16", func(t *testing.T) {
		if err := g.Check(&Limits{Products: []string{"Genoa"}}); code(err) != refuse.Product {
			t.Errorf("%v", err)
		}
	})
	t.Run("version 2 is not acceptable", func(t *testing.T) {
		if err := g.Check(&Limits{Products: []string{"Milan"}}); code(err) != refuse.Format {
			t.Errorf("%v", err)
		}
	})
	t.Run("AT-15 expired", func(t *testing.T) {
		c, err := parseCert(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		line, _ := AMD().Line("Milan")
		if err := g.checkSignatures(block.Bytes, c, line, now.AddDate(20, 0, 0)); code(err) != refuse.Chain {
			t.Errorf("%v", err)
		}
	})
	t.Run("AT-66", func(t *testing.T) {
		c, _ := parseCert(block.Bytes)
		line, _ := AMD().Line("Milan")
		for i := 0; i < 1184; i += 7 {
			b := append([]byte(nil), hcl[32:32+1184]...)
			b[i] ^= 1
			r, err := ParseReport(b)
			if err != nil {
				continue
			}
			m := &Genuine{Report: r}
			if m.readExtensions(c) == nil && m.checkSignatures(block.Bytes, c, line, now) == nil {
				t.Errorf("accepted with byte %#x flipped", i)
			}
		}
	})
}

func TestRecordedVLEK(t *testing.T) {
	report, cert := recorded(t, "snp-vlek/test-vlek-report.bin"), recorded(t, "snp-vlek/test-vlek.der")
	g := genuine(t, report, cert, time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC))
	if g.Product != "Milan" || g.CSP == "" {
		t.Errorf("%s, CSP %q", g.Product, g.CSP)
	}
	t.Run("AT-18", func(t *testing.T) {
		for _, allowed := range [][]string{nil, {"another"}} {
			l := &Limits{Products: []string{"Milan"}, VLEKs: allowed, Floors: map[string]kds.TCBParts{"Milan": {}}}
			if err := g.Check(l); code(err) != refuse.SigningKey {
				t.Errorf("%v", err)
			}
		}
	})
	t.Run("AT-63", func(t *testing.T) {
		// The machine ran newer firmware than it reported; that is another row.
		g.CertTCB, g.Current, g.Committed = g.Reported, g.Reported, g.Reported
		l := &Limits{Products: []string{"Milan"}, VLEKs: []string{g.CSP}, Floors: map[string]kds.TCBParts{"Milan": {}}, VMPL: g.VMPL,
			Chips: [][64]byte{g.ChipID}, Waive: Waivers{true, true, true, true, true, true, true, true, true, true}}
		if err := g.Check(l); code(err) != refuse.Inventory {
			t.Errorf("%v", err)
		}
	})
}

func TestAMDRoots(t *testing.T) {
	s := AMD()
	if s.Simulated() || s.IsZero() {
		t.Error("AMD's roots are not roots")
	}
	for _, product := range []string{"Milan", "Genoa", "Turin"} {
		l, ok := s.Line(product)
		if !ok || l.ARK == nil || l.ASK == nil || l.ASVK == nil {
			t.Fatalf("%s: %+v", product, l)
		}
		if l.ASK.CheckSignatureFrom(l.ARK) != nil || l.ASVK.CheckSignatureFrom(l.ARK) != nil || l.ARK.CheckSignatureFrom(l.ARK) != nil {
			t.Errorf("%s: the line does not chain", product)
		}
	}
}

// FuzzParseReport: what parses prints back to the same bytes.
func FuzzParseReport(f *testing.F) {
	b := make([]byte, 1184)
	b[0], b[0x0a], b[0x34], b[0x2a0], b[0x2a0+72] = 3, 2, 1, 1, 1
	if _, err := ParseReport(b); err != nil {
		f.Fatalf("seed: %v", err)
	}
	f.Add(b)
	f.Add(b[:100])
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := ParseReport(in)
		if (r == nil) == (err == nil) {
			t.Fatal("a report and an error, or neither")
		}
		if err != nil && code(err) != refuse.Format {
			t.Fatalf("%v", err)
		}
	})
}
