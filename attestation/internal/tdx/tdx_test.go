// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tdx_test

import (
	"bytes"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation/attestationtest/faketdx"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/roots"
	"github.com/sotto-project/sotto/attestation/internal/tdx"
)

// A fixture is one simulated platform with a quote and collateral that pass.
type fixture struct {
	t        testing.TB
	root     *faketdx.Root
	platform *faketdx.Platform
	trusted  roots.Set
	quote    []byte
	c        tdx.Collateral
	now      time.Time
	grace    time.Duration
	limits   tdx.Limits
}

var data = sha512.Sum512([]byte("what the quote is over"))

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{t: t, now: time.Now().Truncate(time.Second)}
	var err error
	if f.root, err = faketdx.Generate(); err != nil {
		t.Fatal(err)
	}
	f.trusted = roots.New(true).With(roots.Intel, f.root.Certs()...)
	f.platform = f.newPlatform(faketdx.PlatformSpec{Name: "a"})
	f.quote = f.newQuote(faketdx.QuoteSpec{})
	f.c = f.collateral(faketdx.CollateralSpec{})
	f.limits = tdx.Limits{MinEvaluation: faketdx.Evaluation, Modules: [][48]byte{faketdx.LabMRSEAM}, Data: data}
	g, err := f.verify()
	if err != nil {
		t.Fatal(err)
	}
	f.limits.Chips = [][64]byte{g.PCK.ID()}
	return f
}

func (f *fixture) newPlatform(s faketdx.PlatformSpec) *faketdx.Platform {
	f.t.Helper()
	p, err := f.root.NewPlatform(s)
	if err != nil {
		f.t.Fatal(err)
	}
	return p
}

func (f *fixture) newQuote(s faketdx.QuoteSpec) []byte {
	f.t.Helper()
	if s.Data == [64]byte{} {
		s.Data = data
	}
	b, err := f.platform.Quote(s)
	if err != nil {
		f.t.Fatal(err)
	}
	return b
}

// collateral mints pieces issued an hour before now, to the second.
func (f *fixture) collateral(s faketdx.CollateralSpec) tdx.Collateral {
	f.t.Helper()
	if s.Issued.IsZero() {
		s.Issued = f.now.Add(-time.Hour)
	}
	c, err := f.platform.Collateral(s)
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

func (f *fixture) verify() (*tdx.Genuine, error) {
	return tdx.Verify(f.quote, f.c, f.trusted, f.now, f.grace)
}

// judge verifies and checks.
func (f *fixture) judge() error {
	g, err := f.verify()
	if err != nil {
		return err
	}
	return g.Check(&f.limits)
}

// want fails unless the fixture is refused with a code; empty: accepted.
func (f *fixture) want(t *testing.T, want refuse.Code) {
	t.Helper()
	if err := f.judge(); code(err) != want {
		t.Errorf("got %v, want %q", err, want)
	}
}

func code(err error) refuse.Code {
	var e *refuse.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return e.Code
	}
	return "untyped"
}

// with copies a fixture for one change; key and certificates are shared.
func (f *fixture) with(t testing.TB, change func(*fixture)) *fixture {
	c := *f
	c.t = t
	change(&c)
	return &c
}

func TestGenuine(t *testing.T) {
	f := newFixture(t)
	for name, s := range map[string]faketdx.QuoteSpec{
		"version 4":                          {},
		"version 4, padded":                  {Padding: 3065},
		"version 5, TDX 1.0":                 {Version: 5},
		"version 5, TDX 1.5":                 {Version: 5, TDX15: true},
		"module without identity of its own": {TEESVN: [16]byte{4, 0, 7}},
	} {
		t.Run(name, func(t *testing.T) {
			f := f.with(t, func(f *fixture) { f.quote = f.newQuote(s) })
			f.want(t, "")
			g, err := f.verify()
			if err != nil {
				t.Fatal(err)
			}
			if g.Status != tdx.UpToDate || len(g.Advisories) != 0 || g.Evaluation != faketdx.Evaluation || g.PCK.FMSPC != faketdx.LabFMSPC ||
				g.PCK.PCESVN != 11 || !g.PCK.HasPIID || g.PCK.SMT == nil || !*g.PCK.SMT || g.PCK.CachedKeys == nil || *g.PCK.CachedKeys {
				t.Errorf("%+v", g)
			}
			if g.TCBInfoAge != time.Hour || g.QEIdentityAge != time.Hour || g.PCKCRLAge != time.Hour || g.RootCRLAge != time.Hour {
				t.Errorf("ages %v %v %v %v", g.TCBInfoAge, g.QEIdentityAge, g.PCKCRLAge, g.RootCRLAge)
			}
			if want := f.now.Add(-time.Hour).Add(30 * 24 * time.Hour); !g.NextUpdate.Equal(want) {
				t.Errorf("next update %v, want %v", g.NextUpdate, want)
			}
			if _, ok := g.Grace(&f.limits); ok {
				t.Error("an up-to-date platform used a grace")
			}
		})
	}
}

// TestZeroLimits holds that no zero field of Limits means "not checked".
func TestZeroLimits(t *testing.T) {
	f := newFixture(t)
	g, err := f.verify()
	if err != nil {
		t.Fatal(err)
	}
	if g.Check(new(tdx.Limits)) == nil {
		t.Error("zero limits accept")
	}
	for name, change := range map[string]func(l *tdx.Limits){
		"evaluation": func(l *tdx.Limits) { l.MinEvaluation = 0 },
		"chips":      func(l *tdx.Limits) { l.Chips = nil },
		"modules":    func(l *tdx.Limits) { l.Modules = nil },
		"data":       func(l *tdx.Limits) { l.Data = [64]byte{} },
	} {
		l := f.limits
		change(&l)
		if g.Check(&l) == nil {
			t.Errorf("accepted without %s", name)
		}
	}
}

// TestLayout writes a quote of version 5 by offsets of Intel's document (Quoting
// Library API, A.3 and A.4) rather than with the code under test.
func TestLayout(t *testing.T) {
	f := newFixture(t)
	q, err := tdx.ParseQuote(f.newQuote(faketdx.QuoteSpec{Version: 5, TDX15: true, Tamper: func(q *tdx.Quote) {
		q.MRConfigID[0], q.MROwner[0], q.MROwnerConfig[0], q.MRServiceTD[0] = 1, 2, 3, 4
		q.RTMR[3][47], q.MRTD[0], q.XFAM, q.SEAMAttributes, q.TEETCBSVN2[15] = 5, 6, 0x0807, 9, 10
	}}))
	if err != nil {
		t.Fatal(err)
	}
	b := q.Print()
	le := binary.LittleEndian
	for name, got := range map[string]bool{
		"version":          le.Uint16(b) == 5,
		"key type":         le.Uint16(b[2:]) == 2,
		"TEE type":         le.Uint32(b[4:]) == 0x81,
		"vendor":           b[12] == 0x93 && b[27] == 7,
		"body type":        le.Uint16(b[48:]) == 3,
		"body size":        le.Uint32(b[50:]) == 648,
		"TEE_TCB_SVN":      b[54] == 4 && b[55] == 1,
		"MRSEAM":           bytes.Equal(b[54+16:54+64], faketdx.LabMRSEAM[:]),
		"SEAMATTRIBUTES":   le.Uint64(b[54+112:]) == 9,
		"TDATTRIBUTES":     le.Uint64(b[54+120:]) == 1<<28,
		"XFAM":             le.Uint64(b[54+128:]) == 0x0807,
		"MRTD":             b[54+136] == 6,
		"MRCONFIGID":       b[54+184] == 1,
		"MROWNER":          b[54+232] == 2,
		"MROWNERCONFIG":    b[54+280] == 3,
		"RTMR3":            b[54+519] == 5,
		"REPORTDATA":       bytes.Equal(b[54+520:54+584], data[:]),
		"TEE_TCB_SVN_2":    b[54+584] == 4 && b[54+599] == 10,
		"MRSERVICETD":      b[54+600] == 4,
		"signature length": int(le.Uint32(b[702:])) == len(b)-706,
		"outer type":       le.Uint16(b[706+128:]) == 6,
		"outer size":       int(le.Uint32(b[706+130:])) == len(b)-706-134,
		"QE SVN":           le.Uint16(b[706+134+258:]) == 8,
		"auth size":        le.Uint16(b[706+134+448:]) == 32,
		"inner type":       le.Uint16(b[706+134+482:]) == 5,
		"inner size":       int(le.Uint32(b[706+134+484:])) == len(b)-706-134-488,
		"chain":            bytes.HasPrefix(b[706+134+488:], []byte("-----BEGIN")),
	} {
		if !got {
			t.Errorf("%s is elsewhere", name)
		}
	}
	// The type of the body has the same effect as its size: neither alone.
	for _, other := range []struct{ kind, size uint32 }{{2, 648}, {3, 584}, {1, 384}, {4, 648}, {3, 649}} {
		m := bytes.Clone(b)
		le.PutUint16(m[48:], uint16(other.kind))
		le.PutUint32(m[50:], other.size)
		if _, err := tdx.ParseQuote(m); code(err) != refuse.Format {
			t.Errorf("body of type %d and size %d: %v", other.kind, other.size, err)
		}
	}
}

func TestRootMarshal(t *testing.T) {
	f := newFixture(t)
	b, err := f.root.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	again, err := faketdx.Unmarshal(b)
	if err != nil {
		t.Fatal(err)
	}
	f.root = again
	f.platform = f.newPlatform(faketdx.PlatformSpec{Name: "a"})
	f.quote, f.c = f.newQuote(faketdx.QuoteSpec{}), f.collateral(faketdx.CollateralSpec{})
	f.want(t, "")
	for _, bad := range [][]byte{nil, b[:len(b)/2], append(bytes.Clone(b), 'x'), bytes.Replace(b, []byte("PRIVATE KEY"), []byte("PUBLIC KEY"), 2)} {
		if _, err := faketdx.Unmarshal(bad); err == nil {
			t.Error("accepted")
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	f := newFixture(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := f.judge(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseQuote(b *testing.B) {
	f := newFixture(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tdx.ParseQuote(f.quote); err != nil {
			b.Fatal(err)
		}
	}
}
