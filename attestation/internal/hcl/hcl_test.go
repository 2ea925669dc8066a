// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package hcl

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-tpm/tpm2"

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

// machine is an Azure machine: the hardware's word is taken as it is, since what
// verifies it is another package.
type machine struct {
	t    testing.TB
	spec fakecloud.HCL
	key  *fakecloud.RSAKey
	body []byte // of the TD quote
}

// sharedKey is the key of every machine here: making one takes longer than a test.
var sharedKey = sync.OnceValues(func() (*fakecloud.RSAKey, error) { return fakecloud.NewRSAKey(nil) })

func newMachine(t testing.TB, tdx bool) *machine {
	t.Helper()
	key, err := sharedKey()
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, key: key}
	m.spec = fakecloud.HCL{AK: m.key.Key(), TDX: tdx, Hardware: func(data [64]byte) ([]byte, error) {
		if tdx {
			m.body = make([]byte, quoteBodySize)
			_, _ = rand.Read(m.body)
			copy(m.body[520:], data[:])
			return m.body, nil
		}
		b := make([]byte, hardwareSize)
		_, _ = rand.Read(b)
		copy(b[0x50:], data[:])
		return b, nil
	}}
	return m
}

func (m *machine) make() []byte {
	m.t.Helper()
	b, err := m.spec.Report()
	if err != nil {
		m.t.Fatal(err)
	}
	return b
}

// check is what a verifier does: hardware is what the hardware's own verifier
// vouches for.
func (m *machine) check(b, hardware []byte) error {
	ak, err := tpm.CheckAK(m.key.Public())
	if err != nil {
		return err
	}
	r, err := Parse(b)
	if err != nil {
		return err
	}
	if r.Kind == SNP {
		if !bytes.Equal(r.Hardware, hardware) {
			return refuse.As(refuse.Signature, "not what the hardware signed")
		}
		if data := r.ReportData(); !bytes.Equal(r.Hardware[0x50:0x90], data[:]) {
			return refuse.As(refuse.Binding, "REPORT_DATA")
		}
	} else {
		if err := r.CheckTD(); err != nil {
			return err
		}
		if err := r.TD.CheckQuoteBody(m.body); err != nil {
			return err
		}
	}
	if err := r.CheckAK(ak); err != nil {
		return err
	}
	return r.Check(Limits{})
}

func TestReports(t *testing.T) {
	for _, tdx := range []bool{false, true} {
		for _, hash := range []uint32{1, 2, 3} {
			for _, version := range []uint32{1, 2} {
				m := newMachine(t, tdx)
				m.spec.Hash, m.spec.Version, m.spec.EK, m.spec.UserData = hash, version, m.key.Key(), [64]byte{5}
				b := m.make()
				if err := m.check(b, b[32:1216]); err != nil {
					t.Fatalf("TDX %t, hash %d, version %d: %v", tdx, hash, version, err)
				}
				r, err := Parse(b[:binary.LittleEndian.Uint32(b[8:])]) // cut to its size
				if err != nil {
					t.Fatal(err)
				}
				if r.Version != version || r.Runtime.EK == nil || r.Runtime.UserData != [64]byte{5} || r.Runtime.VMID == "" ||
					r.Runtime.Configuration["secure-boot"] != "true" || (r.Kind == TDX) != tdx {
					t.Errorf("%+v", r.Runtime)
				}
			}
		}
	}
}

func TestAttacks(t *testing.T) {
	replace := func(old, new string) func(*machine) {
		return func(m *machine) {
			m.spec.TamperRuntime = func(s string) string {
				if !strings.Contains(s, old) {
					m.t.Fatalf("no %q in the runtime data", old)
				}
				return strings.Replace(s, old, new, 1)
			}
		}
	}
	after := func(change func([]byte) []byte) func(*machine) { return func(m *machine) { m.spec.Tamper = change } }
	put := func(off int, v uint32) func(*machine) {
		return after(func(b []byte) []byte { binary.LittleEndian.PutUint32(b[off:], v); return b })
	}
	otherKey := func(m *machine) {
		k, err := fakecloud.NewRSAKey(nil)
		if err != nil {
			m.t.Fatal(err)
		}
		m.key = k
	}
	for _, c := range []struct {
		id, name string
		tdx      bool
		want     refuse.Code
		change   func(*machine)
	}{
		{"AT-06", "AK of a foreign TPM", false, refuse.Binding, otherKey},
		{"AT-06", "AK of a foreign TPM, TDX", true, refuse.Binding, otherKey},
		{"AT-06", "runtime data exchanged after the report", false, refuse.Binding, after(func(b []byte) []byte { b[bytes.LastIndexByte(b, '"')-1] = '1'; return b })},
		{"AT-06", "AK named HCLEkPub", false, refuse.Format, replace(`"kid":"HCLAkPub"`, `"kid":"HCLEkPub"`)},
		{"AT-06", "AK to encrypt with", false, refuse.Format, replace(`["sign"]`, `["encrypt"]`)},
		{"AT-06", "AK for two operations", false, refuse.Format, replace(`["sign"]`, `["sign","encrypt"]`)},
		{"AT-06", "two AKs", false, refuse.Format, func(m *machine) {
			m.spec.TamperRuntime = func(s string) string {
				i, j := strings.Index(s, `{"kid"`), strings.Index(s, `]`+`,"vm`)
				return s[:j] + "," + s[i:j] + s[j:]
			}
		}},
		{"AT-22", "one bit off", false, refuse.Binding, func(m *machine) {
			m.spec.Hardware = func(data [64]byte) ([]byte, error) {
				b := make([]byte, hardwareSize)
				copy(b[0x50:], data[:])
				b[0x50] ^= 1
				return b, nil
			}
		}},
		{"AT-22", "something after the digest", false, refuse.Binding, func(m *machine) {
			m.spec.Hardware = func(data [64]byte) ([]byte, error) {
				b := make([]byte, hardwareSize)
				copy(b[0x50:], data[:])
				b[0x8f] = 1
				return b, nil
			}
		}},
		{"AT-22", "TDREPORT over something else", true, refuse.Binding, func(m *machine) {
			inner := m.spec.Hardware
			m.spec.Hardware = func(data [64]byte) ([]byte, error) { data[0] ^= 1; return inner(data) }
		}},
		{"AT-23", "quote of another TD", true, refuse.Binding, func(m *machine) {
			inner := m.spec.Hardware
			m.spec.Hardware = func(data [64]byte) ([]byte, error) {
				b, err := inner(data)
				b = bytes.Clone(b)
				b[136] ^= 1 // MRTD
				return b, err
			}
		}},
		{"format", "exponent", false, refuse.Format, replace(`"AQAB"`, `"Aw"`)},
		{"format", "padded base64", false, refuse.Format, replace(`"}],"vm`, `="}],"vm`)},
		{"format", "member twice", false, refuse.Format, replace(`"secure-boot":true`, `"secure-boot":true,"secure-boot":true`)},
		{"format", "keys twice", false, refuse.Format, replace(`{"keys"`, `{"keys":[],"keys"`)},
		{"format", "no keys", false, refuse.Format, replace(`"keys"`, `"Keys"`)},
		{"format", "no configuration", false, refuse.Format, replace(`"vm-configuration"`, `"VM-configuration"`)},
		{"format", "secure boot is text", false, refuse.Format, replace(`"secure-boot":true`, `"secure-boot":"true"`)},
		{"format", "secure boot is missing", false, refuse.Format, replace(`"secure-boot":true,`, ``)},
		{"format", "user data short", false, refuse.Format, replace(`"user-data":"00`, `"user-data":"`)},
		{"format", "not JSON", false, refuse.Format, replace(`{"keys"`, `["keys"`)},
		{"format", "an array", false, refuse.Format, func(m *machine) { m.spec.TamperRuntime = func(s string) string { return "[" + s + "]" } }},
		{"format", "bytes after the object", false, refuse.Format, func(m *machine) { m.spec.TamperRuntime = func(s string) string { return s + "{}" } }},
		{"format", "not UTF-8", false, refuse.Format, func(m *machine) {
			m.spec.TamperRuntime = func(s string) string { return s[:len(s)-1] + `,"` + "\xff" + `":1}` }
		}},
		{"AT-62", "deep", false, refuse.Format, replace(`{"keys"`, `{"x":[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]],"keys"`)},
		{"AT-62", "many values", false, refuse.Format, func(m *machine) {
			m.spec.TamperRuntime = func(s string) string {
				return strings.Replace(s, `{"keys"`, `{"x":[`+strings.Repeat("1,", 300)+`1],"keys"`, 1)
			}
		}},
		{"AT-62", "4 GiB of runtime data", false, refuse.Format, put(1232, 0xffffffff)},
		{"AT-62", "sizes that overflow", false, refuse.Format, put(8, 0xfffffff0)},
		{"format", "signature", false, refuse.Format, put(0, 0)},
		{"format", "version 0", false, refuse.Format, put(4, 0)},
		{"format", "version 3", false, refuse.Format, put(4, 3)},
		{"format", "request type", false, refuse.Format, put(12, 1)},
		{"format", "status", false, refuse.Format, put(16, 1)},
		{"format", "request data version", false, refuse.Format, put(1220, 2)},
		{"format", "VBS", false, refuse.Format, put(1224, 1)},
		{"format", "TVM", false, refuse.Format, put(1224, 3)},
		{"format", "SNP report said to be a TDREPORT", false, refuse.Format, put(1224, 4)},
		{"format", "hash type 0", false, refuse.Format, put(1228, 0)},
		{"format", "hash type 4", false, refuse.Format, put(1228, 4)},
		{"format", "a byte in the padding", false, refuse.Format, after(func(b []byte) []byte { b[len(b)-1] = 1; return b })},
		{"format", "a byte after the TDREPORT", true, refuse.Format, after(func(b []byte) []byte { b[32+1024] = 1; return b })},
		{"AT-33", "secure boot off", false, refuse.SecureBoot, func(m *machine) { m.spec.NoSecureBoot = true }},
		{"platform", "no TPM", false, refuse.Platform, func(m *machine) { m.spec.NoTPM = true }},
		{"platform", "console", false, refuse.Platform, func(m *machine) { m.spec.Console = true }},
		{"platform", "console not mentioned", false, refuse.Platform, replace(`"console-enabled":false,`, ``)},
	} {
		t.Run(c.id+"/"+c.name, func(t *testing.T) {
			m := newMachine(t, c.tdx)
			c.change(m)
			b := m.make()
			if err := m.check(b, b[32:1216]); code(err) != c.want {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
	t.Run("AT-21", func(t *testing.T) {
		m := newMachine(t, false)
		b := m.make()
		size := int(binary.LittleEndian.Uint32(b[8:]))
		for n := range Size + 100 {
			in := slices.Grow(bytes.Clone(b), 100)[:n]
			_, err := Parse(in)
			if want := n == size || n == Size; (err == nil) != want || err != nil && code(err) != refuse.Format {
				t.Errorf("%d bytes: %v", n, err)
			}
		}
	})
}

func TestLimitsAreTyped(t *testing.T) {
	m := newMachine(t, false)
	m.spec.Console, m.spec.NoSecureBoot = true, true
	r, err := Parse(m.make())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		l    Limits
		want refuse.Code
	}{{Limits{}, refuse.SecureBoot}, {Limits{AllowSecureBootOff: true}, refuse.Platform}, {Limits{AllowConsole: true}, refuse.SecureBoot},
		{Limits{AllowConsole: true, AllowSecureBootOff: true}, ""}} {
		if err := r.Check(c.l); code(err) != c.want {
			t.Errorf("%+v: %v, want %q", c.l, err, c.want)
		}
	}
	if err := r.CheckTD(); code(err) != refuse.TEE {
		t.Errorf("an SNP report has a TDREPORT: %v", err)
	}
}

// meaningless is the short written list of bytes that may flip, as half-open
// ranges of the report, with the reason.
var meaningless = map[bool][][2]int{
	false: nil,
	true: {
		{headerSize + 2, headerSize + 3},                             // REPORTTYPE.version: says which members TEE_TCB_INFO has; what is read is the same in both, and in the quote
		{headerSize + offCPUSVN, headerSize + offCPUSVN + 16},        // CPUSVN: the platform's, which the quote's PCK certificate states
		{headerSize + offMAC, headerSize + offMAC + tdReportSize/32}, // MAC: under a key that only the processor has; the quote replaces it
	},
}

// TestTotality is AT-66: any bit that flips is refused.
func TestTotality(t *testing.T) {
	for _, tdx := range []bool{false, true} {
		t.Run(fmt.Sprintf("AT-66/TDX %t", tdx), func(t *testing.T) {
			m := newMachine(t, tdx)
			b := m.make()
			hardware := bytes.Clone(b[32:1216])
			step := 1
			if testing.Short() {
				step = 7
			}
			for bit := 0; bit < 8*len(b); bit += step {
				b[bit/8] ^= 1 << (bit % 8)
				err := m.check(b, hardware)
				b[bit/8] ^= 1 << (bit % 8)
				free := slices.ContainsFunc(meaningless[tdx], func(r [2]int) bool { return bit/8 >= r[0] && bit/8 < r[1] })
				if err == nil && !free {
					t.Errorf("accepted with bit %d of byte %#x flipped", bit%8, bit/8)
				}
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(newMachine(f, false).make())
	f.Add(newMachine(f, true).make())
	f.Add([]byte("HCLA"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := Parse(in)
		if (r == nil) == (err == nil) {
			t.Fatal("a report and an error, or neither")
		}
		if err != nil {
			if code(err) != refuse.Format {
				t.Fatal(err)
			}
			return
		}
		if r.Runtime.AK.N.BitLen() < 2048 || len(in) > Size || r.ReportData() == [64]byte{} {
			t.Fatalf("%+v", r)
		}
		again, err := Parse(bytes.Clone(in[:binary.LittleEndian.Uint32(in[8:])]))
		if err != nil || again.ReportData() != r.ReportData() {
			t.Fatalf("without its padding: %v", err)
		}
	})
}

func FuzzRuntime(f *testing.F) {
	m := newMachine(f, false)
	f.Add([]byte(m.spec.Runtime()))
	f.Add([]byte(`{"keys":[{"kid":"HCLAkPub"}]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		if r, err := parseRuntime(in); (r == nil) == (err == nil) || err != nil && code(err) != refuse.Format {
			t.Fatalf("%+v, %v", r, err)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	in := newMachine(b, false).make()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(in); err != nil {
			b.Fatal(err)
		}
	}
}

// TestAzureTemplate: the AK of the fake has the public area that the recorded
// quotes' qualified names are of; see TestRecorded.
func TestAzureTemplate(t *testing.T) {
	m := newMachine(t, false)
	p, err := tpm2.Unmarshal[tpm2.TPMTPublic](m.key.Public())
	if err != nil || !p.ObjectAttributes.Restricted || !p.ObjectAttributes.NoDA {
		t.Errorf("%+v, %v", p, err)
	}
}
