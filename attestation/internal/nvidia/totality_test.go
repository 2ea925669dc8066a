// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package nvidia_test

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sotto-project/sotto/attestation/attestationtest/fakegpu"
	"github.com/sotto-project/sotto/attestation/internal/nvidia"
)

// meaningless is the short written list of bits that may flip without a refusal.
// It is empty: keep it so, or write here and in docs/spec/attestation.md why a bit
// proves nothing.
var meaningless = map[string][]int{}

// flips flips every stride-th bit of b, every 61st with -short, and expects what
// verify makes of each to be a refusal. A verify function is made for each
// worker: what one has found good stays known to it, and is not verified again.
//
// A stride above 1 is for bytes of a kind of which another test flips every bit;
// SOTTO_EVERY_BIT=1 flips all of those too.
func flips(t *testing.T, name string, b []byte, stride int, worker func() func(mutant []byte) error) {
	t.Helper()
	if testing.Short() {
		stride = 61
	} else if os.Getenv("SOTTO_EVERY_BIT") != "" {
		stride = 1
	}
	if err := worker()(b); err != nil {
		t.Fatalf("%s: the original is refused: %v", name, err)
	}
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		wg.Go(func() {
			verify, m := worker(), bytes.Clone(b)
			_ = verify(m) // to know what is good
			for bit := w * stride; bit < 8*len(m); bit += workers * stride {
				m[bit/8] ^= 1 << (bit % 8)
				if verify(m) == nil && !slices.Contains(meaningless[name], bit) {
					t.Errorf("%s: accepted with bit %d of byte %d flipped", name, bit%8, bit/8)
				}
				m[bit/8] ^= 1 << (bit % 8)
			}
		})
	}
	wg.Wait()
}

// small is evidence with as few bytes as the formats allow: a P-384 signature is
// verified for almost every bit.
func small(t *testing.T) *nvidia.Evidence {
	b := mint(t, fakegpu.Spec{
		Report: func(_ int, r *nvidia.Report) { r.Blocks = r.Blocks[:2] },
		RIM: func(_, xml string) string {
			lines := strings.SplitAfter(xml, "\n")
			var out []string
			for i, line := range lines { // one entry that is compared
				if !strings.Contains(line, "<ns0:Resource") || strings.Contains(line, `"True"`) && !strings.Contains(lines[i-1], `"True"`) {
					out = append(out, line)
				}
			}
			return strings.Join(out, "")
		},
		Claims: func(_ nvidia.Kind, _ int, c map[string]any) {
			for name := range c { // the others Check looks at, and Verify does not
				if !slices.Contains([]string{"iss", "iat", "exp", "eat_nonce", "ueid", "submods"}, name) {
					delete(c, name)
				}
			}
		},
	})
	e, err := nvidia.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func session() nvidia.Session {
	return nvidia.NewSession(simulated(maker()), now, options(maker()))
}

func TestTotality(t *testing.T) {
	e := small(t)
	var ders [][]byte
	for _, c := range e.Certificates {
		ders = append(ders, c.DER)
	}
	chain, err := session().Chain(ders)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("AT-66 report", func(t *testing.T) {
		t.Parallel()
		flips(t, "report", e.Devices[0].Report, 1, func() func([]byte) error {
			return func(m []byte) error {
				if r, err := nvidia.ParseReport(m); err != nil || r.Nonce != nonce || !nvidia.Signed(m, chain) {
					return os.ErrInvalid
				}
				return nil
			}
		})
	})
	for i, der := range ders {
		stride := map[int]int{2: 61, 3: 61}[i] // of the same shape as 1
		t.Run(fmt.Sprintf("AT-66 certificate %d", i), func(t *testing.T) {
			t.Parallel()
			flips(t, "certificate", der, max(stride, 1), func() func([]byte) error {
				s := session()
				return func(m []byte) error {
					all := append([][]byte(nil), ders...)
					all[i] = m
					_, err := s.Chain(all)
					return err
				}
			})
		})
	}
	flipAnswers(t, chain)
	flipManifest(t, e.Manifests[0])
	for i, token := range [][]byte{e.Tokens[0].Overall, e.Tokens[0].Devices[0]} {
		t.Run(fmt.Sprintf("AT-66 token %d", i), func(t *testing.T) {
			t.Parallel()
			// The overall token lists the device's by digest, which is what refuses
			// those mutants, after a signature that is verified each time.
			flips(t, "token", token, 1+6*i, func() func([]byte) error { return tokenJudge(t, e, chain, i) })
		})
	}
}

func flipAnswers(t *testing.T, chain []*x509.Certificate) {
	for name, change := range map[string]func(a *fakegpu.Answer){
		"AT-66 answer of the issuer":  func(a *fakegpu.Answer) { a.Responder, a.Key = nil, a.Issuer },
		"AT-66 answer of a responder": func(*fakegpu.Answer) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var own *nvidia.Evidence
			mint(t, fakegpu.Spec{NoTokens: true, NoManifests: true, OCSP: func(_ string, a *fakegpu.Answer) { change(a) },
				Final: func(e *nvidia.Evidence) { own = e }})
			stride := 1
			if strings.HasSuffix(name, "responder") { // a certificate, and what the other test flips
				stride = 7
			}
			flips(t, "answer", own.Certificates[1].OCSP, stride, func() func([]byte) error {
				s := session()
				return func(m []byte) error { return s.Answer(m, chain[1], chain[2]) }
			})
		})
	}
}

func flipManifest(t *testing.T, m nvidia.Manifest) {
	t.Run("AT-66 manifest", func(t *testing.T) {
		t.Parallel()
		head, tail, _ := bytes.Cut(m.SWID, []byte("<ds:X509Certificate>"))
		for stride, part := range map[int][]byte{1: head, 7: tail} { // certificates after the head
			flips(t, "manifest", part, stride, func() func([]byte) error {
				s := session()
				return func(b []byte) error {
					doc := append(append(bytes.Clone(head), "<ds:X509Certificate>"...), tail...)
					copy(doc[bytes.Index(doc, part):], b)
					return s.Manifest(nvidia.Manifest{SWID: doc, OCSP: m.OCSP})
				}
			})
		}
	})
}

// tokenJudge verifies a mutant of the overall token (0) or of the device's (1).
func tokenJudge(t *testing.T, e *nvidia.Evidence, chain []*x509.Certificate, which int) func([]byte) error {
	b, err := e.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	s := session()
	g, err := s.Verify(b, nonce)
	if err != nil || g.Devices[0].UEID != chain[0].SerialNumber.String() {
		t.Fatal(err)
	}
	return func(m []byte) error {
		token := e.Tokens[0]
		if which == 0 {
			token.Overall = m
		} else {
			token.Devices = [][]byte{m}
		}
		return s.Token(token, g, nonce)
	}
}

// TestContainerTotality flips every bit that the container adds, and a few of
// every component, through the one door.
func TestContainerTotality(t *testing.T) {
	t.Run("AT-66", func(t *testing.T) {
		b, err := small(t).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		e, err := nvidia.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		inside := make([]bool, len(b))
		for _, part := range parts(e) {
			at := bytes.Index(b, part)
			for i := range part {
				inside[at+i] = true
			}
		}
		s, framing := session(), 0
		for i := range b {
			if inside[i] && i%997 != 0 {
				continue
			}
			framing++
			for bit := range 8 {
				b[i] ^= 1 << bit
				if _, err := s.Verify(b, nonce); err == nil {
					t.Errorf("accepted with bit %d of byte %d flipped", bit, i)
				}
				b[i] ^= 1 << bit
			}
		}
		if framing < 60 {
			t.Errorf("only %d bytes of framing", framing)
		}
	})
}

func parts(e *nvidia.Evidence) (out [][]byte) {
	for _, c := range e.Certificates {
		out = append(out, c.DER, c.OCSP)
	}
	for _, m := range e.Manifests {
		out = append(append(out, m.SWID), m.OCSP...)
	}
	for _, d := range e.Devices {
		out = append(out, d.Report)
	}
	for _, k := range e.Tokens {
		out = append(append(out, k.Overall), k.Devices...)
	}
	return out
}

// FuzzParse: what parses prints back to the same bytes.
func FuzzParse(f *testing.F) {
	b := mint(f, fakegpu.Spec{})
	f.Add(b)
	f.Add(b[:200])
	f.Add([]byte("sotto-gpu\x00\x01\x01\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, in []byte) {
		e, err := nvidia.Parse(in)
		if err != nil {
			return
		}
		if out, err := e.Append(nil); err != nil || !bytes.Equal(out, in) {
			t.Fatalf("prints differently: %v", err)
		}
	})
}

// FuzzParseReport: likewise.
func FuzzParseReport(f *testing.F) {
	mint(f, fakegpu.Spec{Sealed: func(_ int, r []byte) []byte { f.Add(bytes.Clone(r)); return r }})
	f.Add(make([]byte, 200))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := nvidia.ParseReport(in)
		if (r == nil) == (err == nil) {
			t.Fatal("a report and an error, or neither")
		}
		if err != nil {
			return
		}
		if !bytes.Equal(r.Append(nil), in) {
			t.Fatal("prints differently")
		}
		_, _, _ = r.Driver(), r.VBIOS(), r.ProtectedPCIE()
		if trimmed, err := nvidia.Trim(append(bytes.Clone(in), 0)); err != nil || !bytes.Equal(trimmed, in) {
			t.Fatalf("trims to another report: %v", err)
		}
	})
}

// FuzzToken: no token without a key is taken, and none panics.
func FuzzToken(f *testing.F) {
	e, err := nvidia.Parse(mint(f, fakegpu.Spec{}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(e.Tokens[0].Overall)
	f.Add(e.Tokens[0].Devices[0])
	f.Add([]byte("e30.e30.AA"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if nvidia.ParseJWS(in) == nil {
			t.Fatal("taken without a key")
		}
	})
}

// FuzzAnswer: no answer but the good one is taken, and none panics.
func FuzzAnswer(f *testing.F) {
	e, err := nvidia.Parse(mint(f, fakegpu.Spec{}))
	if err != nil {
		f.Fatal(err)
	}
	var ders [][]byte
	for _, c := range e.Certificates {
		ders = append(ders, c.DER)
	}
	s := session()
	chain, err := s.Chain(ders)
	if err != nil {
		f.Fatal(err)
	}
	good := e.Certificates[1].OCSP
	f.Add(good)
	f.Add(good[:100])
	f.Fuzz(func(t *testing.T, in []byte) {
		if err := s.Answer(in, chain[1], chain[2]); (err == nil) != bytes.Equal(in, good) {
			t.Fatalf("%v", err)
		}
	})
}
