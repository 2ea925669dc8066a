// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package svsm

import (
	"bytes"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/sotto-project/sotto/attestation/attestationtest/fakecloud"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/tpm"
)

func code(err error) refuse.Code {
	var e *refuse.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

type machine struct {
	key   *fakecloud.RSAKey
	ak    *tpm.AK
	ek    *fakecloud.EK
	nonce [64]byte
}

func newMachine(t testing.TB) *machine {
	t.Helper()
	m := &machine{nonce: [64]byte{1, 2, 3}}
	var err error
	if m.key, err = fakecloud.NewRSAKey(nil); err != nil {
		t.Fatal(err)
	}
	if m.ak, err = tpm.CheckAK(m.key.Public()); err != nil {
		t.Fatal(err)
	}
	if m.ek, err = fakecloud.NewEK(); err != nil {
		t.Fatal(err)
	}
	return m
}

// table is the manifest of a module with two services.
func (m *machine) table(public []byte) []byte {
	return fakecloud.Manifest(fakecloud.Service{GUID: GUID{9}, Data: []byte("another service")}, fakecloud.Service{GUID: VTPM, Data: public})
}

// check is what a verifier does, given what an SNP report from VMPL 0 is over.
func (m *machine) check(manifest []byte, reported [64]byte) (Binding, error) {
	if ReportData(m.nonce, manifest) != reported {
		return 0, refuse.As(refuse.Binding, "REPORT_DATA")
	}
	p, err := Parse(manifest)
	if err != nil {
		return 0, err
	}
	return p.Check(m.ak)
}

func TestGUIDs(t *testing.T) {
	for text, g := range map[string]GUID{"63849ebb3d924670a1ff58f9c94b87bb": Services, "c476f1eb012345a59641b4e7dde5bfe3": VTPM} {
		le := binary.LittleEndian
		be := binary.BigEndian.AppendUint32(nil, le.Uint32(g[:]))
		be = binary.BigEndian.AppendUint16(be, le.Uint16(g[4:]))
		be = binary.BigEndian.AppendUint16(be, le.Uint16(g[6:]))
		if got := slices.Concat(be, g[8:]); !bytes.Equal(got, unhex(text)) {
			t.Errorf("%x, want %s", got, text)
		}
	}
}

func unhex(s string) []byte {
	var b []byte
	for i := 0; i < len(s); i += 2 {
		v := func(c byte) byte { return byte(bytes.IndexByte([]byte("0123456789abcdef"), c)) }
		b = append(b, v(s[i])<<4|v(s[i+1]))
	}
	return b
}

func TestBindings(t *testing.T) {
	m := newMachine(t)
	ecc, err := fakecloud.NewECCEK()
	if err != nil {
		t.Fatal(err)
	}
	other := newMachine(t)
	for _, c := range []struct {
		id, name string
		manifest []byte
		want     Binding
		code     refuse.Code
	}{
		{"binds", "AK alone", m.key.Public(), BindsAK, ""},
		{"binds", "AK in a table", m.table(m.key.Public()), BindsAK, ""},
		{"binds", "RSA EK alone", m.ek.Public(), BindsEK, ""},
		{"binds", "ECC EK in a table", m.table(ecc.Public()), BindsEK, ""},
		{"AT-06", "AK of another machine", other.key.Public(), 0, refuse.Binding},
		{"AT-06", "AK of another machine in a table", m.table(other.key.Public()), 0, refuse.Binding},
		{"format", "nothing", nil, 0, refuse.Format},
		{"format", "a byte more", append(m.key.Public(), 0), 0, refuse.Format},
		{"format", "no vTPM", fakecloud.Manifest(fakecloud.Service{GUID: GUID{1}, Data: m.key.Public()}), 0, refuse.Format},
		{"format", "no services", fakecloud.Manifest(), 0, refuse.Format},
		{"format", "two vTPMs", fakecloud.Manifest(fakecloud.Service{GUID: VTPM, Data: m.key.Public()}, fakecloud.Service{GUID: VTPM, Data: other.key.Public()}), 0, refuse.Format},
		{"AT-62", "large", make([]byte, MaxSize+1), 0, refuse.Format},
		{"AT-62", "many services", fakecloud.Manifest(make([]fakecloud.Service, 17)...), 0, refuse.Format},
	} {
		t.Run(c.id+"/"+c.name, func(t *testing.T) {
			got, err := m.check(c.manifest, ReportData(m.nonce, c.manifest))
			if got != c.want || code(err) != c.code {
				t.Errorf("%v, %v, want %v %s", got, err, c.want, c.code)
			}
		})
	}
	t.Run("AT-06/manifest of another machine under our report", func(t *testing.T) {
		if _, err := m.check(other.key.Public(), ReportData(m.nonce, m.key.Public())); code(err) != refuse.Binding {
			t.Error(err)
		}
	})
	t.Run("AT-22/nonce itself in REPORT_DATA", func(t *testing.T) {
		if _, err := m.check(m.key.Public(), m.nonce); code(err) != refuse.Binding {
			t.Error(err)
		}
	})
	if ReportData(m.nonce, []byte("x")) != sha512.Sum512(append(m.nonce[:], 'x')) || ReportData(m.nonce, []byte("x")) != fakecloud.SVSMReportData(m.nonce, []byte("x")) {
		t.Error("report data is not SHA-512(nonce || manifest)")
	}
	if BindsAK.String() == BindsEK.String() || Binding(0).String() != "none" {
		t.Error("bindings are not told apart")
	}
}

// TestTables: offsets, sizes and counts that lie.
func TestTables(t *testing.T) {
	m := newMachine(t)
	good := m.table(m.key.Public())
	for name, change := range map[string]func([]byte) []byte{
		"size":            func(b []byte) []byte { b[16]++; return b },
		"count":           func(b []byte) []byte { b[20] = 1; return b },
		"count of 2^32-1": func(b []byte) []byte { binary.LittleEndian.PutUint32(b[20:], 1<<32-1); return b },
		"offset":          func(b []byte) []byte { b[40]++; return b },
		"offset of 2^32":  func(b []byte) []byte { binary.LittleEndian.PutUint32(b[40:], 1<<32-1); return b },
		"length":          func(b []byte) []byte { b[44]++; return b },
		"length of 2^32":  func(b []byte) []byte { binary.LittleEndian.PutUint32(b[68:], 1<<32-1); return b },
		"cut":             func(b []byte) []byte { return b[:len(b)-1] },
		"longer":          func(b []byte) []byte { return append(b, 0) },
		"header alone":    func(b []byte) []byte { return b[:20] },
	} {
		if p, err := Parse(change(bytes.Clone(good))); code(err) != refuse.Format {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	for n := range good {
		if _, err := Parse(good[:n]); code(err) != refuse.Format {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// TestTotality is AT-66: no bit of a manifest or of REPORT_DATA may flip.
func TestTotality(t *testing.T) {
	t.Run("AT-66", func(t *testing.T) {
		m := newMachine(t)
		for _, manifest := range [][]byte{m.key.Public(), m.ek.Public(), m.table(m.key.Public())} {
			reported := ReportData(m.nonce, manifest)
			for bit := range 8 * len(manifest) {
				manifest[bit/8] ^= 1 << (bit % 8)
				if _, err := m.check(manifest, reported); err == nil {
					t.Errorf("accepted with bit %d flipped", bit)
				}
				manifest[bit/8] ^= 1 << (bit % 8)
			}
			for bit := range 8 * len(reported) {
				mutant := reported
				mutant[bit/8] ^= 1 << (bit % 8)
				if _, err := m.check(manifest, mutant); err == nil {
					t.Errorf("accepted with bit %d of REPORT_DATA flipped", bit)
				}
			}
		}
	})
}

func FuzzParse(f *testing.F) {
	m := newMachine(f)
	f.Add(m.key.Public())
	f.Add(m.ek.Public())
	f.Add(m.table(m.key.Public()))
	f.Fuzz(func(t *testing.T, in []byte) {
		p, err := Parse(in)
		if (p == nil) == (err == nil) || err != nil && code(err) != refuse.Format {
			t.Fatalf("%+v, %v", p, err)
		}
		if err == nil {
			if !p.Table && !bytes.Equal(p.Public.Bytes(), in) {
				t.Fatal("the public area is not the manifest")
			}
			if _, err := p.Check(m.ak); err != nil && code(err) != refuse.Binding {
				t.Fatal(err)
			}
		}
	})
}
