// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tdx_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	tdxtesting "github.com/google/go-tdx-guest/testing"
	"github.com/google/go-tdx-guest/testing/testdata"
	libverify "github.com/google/go-tdx-guest/verify"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/roots"
	"github.com/sotto-project/sotto/attestation/internal/tdx"
)

func intel() roots.Set { return roots.New(false).With(roots.Intel, tdx.Roots()...) }

func intelPool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(tdx.Roots()[0])
	return pool
}

func TestRoots(t *testing.T) {
	all := tdx.Roots()
	if len(all) != 1 {
		t.Fatalf("%d roots", len(all))
	}
	sum := sha256.Sum256(all[0].Raw)
	if got := hex.EncodeToString(sum[:]); got != "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3" {
		t.Errorf("fingerprint %s", got)
	}
	if got := all[0].NotAfter.Format(time.DateTime); got != "2049-12-31 23:59:59" {
		t.Errorf("expires %s", got)
	}
	if all[0].Subject.CommonName != "Intel SGX Root CA" {
		t.Errorf("%v", all[0].Subject)
	}
}

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

// issuers returns a chain as the service's header had it, unescaped.
func issuers(t *testing.T, header map[string][]string) []byte {
	t.Helper()
	for _, v := range header {
		s, err := url.QueryUnescape(v[0])
		if err != nil {
			t.Fatal(err)
		}
		return []byte(s)
	}
	return nil
}

// sapphireRapids returns the quote of go-tdx-guest, without the text that its
// authors appended for a test of theirs, and the collateral of that time.
func sapphireRapids(t *testing.T) ([]byte, tdx.Collateral) {
	t.Helper()
	quote, ok := bytes.CutSuffix(testdata.RawQuote, []byte("\nextra bytes(only for testing purpose)\n"))
	if !ok {
		t.Fatal("the library's quote is another one now")
	}
	return quote, tdx.Collateral{
		TCBInfo: testdata.TcbInfoBody, TCBIssuers: issuers(t, tdxtesting.TcbInfoHeader),
		QEIdentity: testdata.QeIdentityBody, QEIssuers: issuers(t, tdxtesting.QeIdentityHeader),
		PCKCRL: testdata.PckCrlBody, PCKCRLIssuers: issuers(t, tdxtesting.PckCrlHeader), RootCRL: testdata.RootCrlBody,
	}
}

// TestRecordedSapphireRapids has a quote, its collateral and its time: all of
// Verify runs on what Intel signed. The platform is older than the oldest level
// of that collateral, hence genuine and not acceptable, as the library says too.
func TestRecordedSapphireRapids(t *testing.T) {
	quote, c := sapphireRapids(t)
	now := time.Date(2023, 7, 1, 0, 0, 0, 0, time.UTC)
	g, err := tdx.Verify(quote, c, intel(), now, 0)
	if err != nil {
		t.Fatal(err)
	}
	if g.Status != tdx.NotSupported || g.QEStatus != tdx.UpToDate || g.ModuleStatus != tdx.UpToDate || g.Evaluation != 15 ||
		g.PCK.FMSPC != [6]byte{0x50, 0x80, 0x6f} || g.PCK.SVN != [16]byte{3, 3, 2, 2, 2, 1, 0, 2} || g.PCK.PCESVN != 11 ||
		g.NextUpdate.Format(time.DateTime) != "2023-07-08 07:24:59" {
		t.Errorf("%+v", g)
	}
	limits := tdx.Limits{MinEvaluation: 15, AllowAnyChip: true, AllowAnyModule: true, Data: g.Data, Waive: tdx.Waivers{SeptVE: true},
		Graces: []tdx.Grace{{Status: tdx.NotSupported, Until: now.AddDate(1, 0, 0)}}}
	if err := g.Check(&limits); code(err) != refuse.TDXStatus {
		t.Errorf("%v, want %s", err, refuse.TDXStatus)
	}
	g.Status = tdx.UpToDate // everything else about it is in order
	if err := g.Check(&limits); err != nil {
		t.Error(err)
	}

	err = libverify.RawTdxQuote(quote, &libverify.Options{CheckRevocations: true, GetCollateral: true, Getter: tdxtesting.TestGetter,
		Now: now, TrustedRoots: intelPool()})
	if err == nil || !bytes.Contains([]byte(err.Error()), []byte("no matching TCB level found")) {
		t.Errorf("the library: %v", err)
	}

	for name, v := range map[string]struct {
		quote   []byte
		now     time.Time
		grace   time.Duration
		trusted roots.Set
		want    refuse.Code
	}{
		"text after the quote":     {testdata.RawQuote, now, 0, intel(), refuse.Format},
		"before the TCB info":      {quote, time.Date(2023, 6, 18, 8, 42, 57, 0, time.UTC), 0, intel(), refuse.TDXCollateral},
		"when it is issued":        {quote, time.Date(2023, 6, 18, 8, 42, 58, 0, time.UTC), 0, intel(), ""},
		"last second":              {quote, time.Date(2023, 7, 8, 7, 24, 59, 0, time.UTC), 0, intel(), ""},
		"QE identity expired":      {quote, time.Date(2023, 7, 8, 7, 25, 0, 0, time.UTC), 0, intel(), refuse.TDXCollateral},
		"in a grace":               {quote, time.Date(2023, 7, 8, 7, 25, 0, 0, time.UTC), time.Second, intel(), ""},
		"PCK CRL expired":          {quote, time.Date(2023, 7, 8, 7, 27, 53, 0, time.UTC), 0, intel(), refuse.CRL},
		"PCK expired":              {quote, time.Date(2029, 9, 21, 0, 0, 0, 0, time.UTC), 1e6 * time.Hour, intel(), refuse.Chain},
		"signer expired":           {quote, time.Date(2025, 5, 22, 0, 0, 0, 0, time.UTC), 1e6 * time.Hour, intel(), refuse.TDXCollateral},
		"no roots":                 {quote, now, 0, roots.New(false), refuse.Chain},
		"roots of simulated Intel": {quote, now, 0, newFixture(t).trusted, refuse.Simulated},
	} {
		if _, err := tdx.Verify(v.quote, c, v.trusted, v.now, v.grace); code(err) != v.want {
			t.Errorf("%s: %v, want %q", name, err, v.want)
		}
	}
}

// TestRecordedTotality flips bits of what Intel signed, on the whole of Verify.
func TestRecordedTotality(t *testing.T) {
	t.Run("AT-66", func(t *testing.T) {
		quote, c := sapphireRapids(t)
		verify := func(quote []byte, c tdx.Collateral) error {
			_, err := tdx.Verify(quote, c, intel(), time.Date(2023, 7, 1, 0, 0, 0, 0, time.UTC), 0)
			return err
		}
		flip(t, "quote", quote, 211, func(b []byte) error { return verify(b, c) })
		for name, piece := range parts(&c) {
			flip(t, name, *piece, 211, func(b []byte) error {
				m := c
				*parts(&m)[name] = b
				return verify(quote, m)
			})
		}
	})
}

var withoutCollateral = map[string]struct {
	read    func(t *testing.T) []byte
	padding int
	module  byte
	waive   tdx.Waivers
}{
	"Google Cloud, COS 113": {func(t *testing.T) []byte {
		b, err := os.ReadFile("testdata/cos-113-tdx-quote.dat")
		if err != nil {
			t.Fatal(err)
		}
		return b
	}, 3065, 1, tdx.Waivers{}},
	"Azure": {func(t *testing.T) []byte { return recorded(t, "azure-tdx/td-quote.bin") }, 70, 1, tdx.Waivers{SeptVE: true}},
}

// TestRecordedWithoutCollateral has quotes whose collateral nobody recorded: the
// steps that need none pass, and Verify asks for the rest.
func TestRecordedWithoutCollateral(t *testing.T) {
	now := time.Date(2024, 9, 1, 0, 0, 0, 0, time.UTC)
	for name, v := range withoutCollateral {
		t.Run(name, func(t *testing.T) {
			b := v.read(t)
			q, err := tdx.ParseQuote(b)
			if err != nil {
				t.Fatal(err)
			}
			if q.Padding != v.padding || q.Version != 4 || q.TEETCBSVN[1] != v.module || !bytes.Equal(q.Print(), b) {
				t.Errorf("%+v", q)
			}
			if err := tdx.CheckChain(q.Chain, 3, tdx.Roots(), now); err != nil {
				t.Error(err)
			}
			chain, err := tdx.ParseChain(q.Chain, 3)
			if err != nil {
				t.Fatal(err)
			}
			if err := tdx.CheckSignatures(q, chain[0]); err != nil {
				t.Error(err)
			}
			if _, err := tdx.Verify(b, tdx.Collateral{}, intel(), now, 0); code(err) != refuse.CRL {
				t.Errorf("without collateral: %v, want %s", err, refuse.CRL)
			}
			_, c := sapphireRapids(t)
			if _, err := tdx.Verify(b, c, intel(), time.Date(2023, 7, 1, 0, 0, 0, 0, time.UTC), 0); err == nil {
				t.Error("accepted with another platform's collateral")
			}
			if err := libverify.RawTdxQuote(b, &libverify.Options{Now: now, TrustedRoots: intelPool()}); err != nil {
				t.Errorf("the library: %v", err)
			}
			g := tdx.Genuine{Quote: q, Status: tdx.UpToDate, Evaluation: 1}
			if err := g.Check(&tdx.Limits{MinEvaluation: 1, AllowAnyChip: true, AllowAnyModule: true, Data: q.Data, Waive: v.waive}); err != nil {
				t.Errorf("with up-to-date firmware: %v", err)
			}
			t.Run("AT-66", func(t *testing.T) {
				flip(t, name, b, 37, func(m []byte) error {
					q, err := tdx.ParseQuote(m)
					if err == nil {
						err = tdx.CheckChain(q.Chain, 3, tdx.Roots(), now)
					}
					if err == nil {
						err = tdx.CheckSignatures(q, chain[0])
					}
					return err
				})
			})
		})
	}
}
