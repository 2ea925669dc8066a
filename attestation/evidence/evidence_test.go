// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package evidence_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/attestation/evidence"
)

func sample(t testing.TB) (*evidence.Bundle, []byte) {
	b := &evidence.Bundle{Pieces: []evidence.Piece{
		{Kind: evidence.KindConfig, Data: []byte("{}")},
		{Kind: evidence.KindQuote, Data: nil},
		{Kind: evidence.KindFreshPCRs, Data: bytes.Repeat([]byte{1}, 33)},
	}}
	out, err := b.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b, out
}

func TestBundleDigestIsThatOfItsBytes(t *testing.T) {
	b, raw := sample(t)
	if b.Digest() != sha256.Sum256(raw) {
		t.Error("digest differs from SHA-256 of the printed bundle")
	}
	bad := &evidence.Bundle{Pieces: []evidence.Piece{{Kind: 9999}}}
	if bad.Digest() != [32]byte{} {
		t.Error("a bundle that does not print has a digest")
	}
}

func TestParseRefusesMangledBundle(t *testing.T) {
	_, raw := sample(t)
	for n := range raw {
		if _, err := evidence.Parse(raw[:n]); err == nil {
			t.Errorf("accepted the first %d bytes", n)
		}
	}
	if _, err := evidence.Parse(append(bytes.Clone(raw), 0)); err == nil {
		t.Error("accepted a byte more")
	}
	for name, pieces := range map[string][]evidence.Piece{
		"twice":      {{Kind: 1}, {Kind: 1}},
		"descending": {{Kind: 2}, {Kind: 1}},
		"unknown":    {{Kind: 31}},
		"zero":       {{Kind: 0}},
	} {
		b := append([]byte("sotto-evidence\x00\x01"), 0, byte(len(pieces)))
		for _, p := range pieces {
			b = append(binary.BigEndian.AppendUint16(b, uint16(p.Kind)), 0, 0, 0, 0)
		}
		if _, err := evidence.Parse(b); err == nil || errors.Is(err, evidence.ErrSize) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSizeBoundaries(t *testing.T) {
	for _, c := range []struct {
		size int
		want error
	}{{1183, nil}, {1184, nil}, {1185, evidence.ErrSize}} {
		b := &evidence.Bundle{Pieces: []evidence.Piece{{Kind: evidence.KindSNPReport, Data: make([]byte, c.size)}}}
		if err := b.Check(); !errors.Is(err, c.want) {
			t.Errorf("%d bytes: %v", c.size, err)
		}
		raw := append([]byte("sotto-evidence\x00\x01\x00\x01\x00\x0d"), binary.BigEndian.AppendUint32(nil, uint32(c.size))...)
		if _, err := evidence.Parse(append(raw, make([]byte, c.size)...)); !errors.Is(err, c.want) {
			t.Errorf("%d bytes, parsed: %v", c.size, err)
		}
	}
	if _, err := evidence.Parse(make([]byte, evidence.MaxSize+1)); !errors.Is(err, evidence.ErrSize) {
		t.Errorf("%v", err)
	}
	if _, err := evidence.Parse(make([]byte, evidence.MaxSize)); err == nil || errors.Is(err, evidence.ErrSize) {
		t.Errorf("%v", err)
	}
}

func TestKeyStatementRoundTrip(t *testing.T) {
	s := &evidence.KeyStatement{Epoch: 1<<63 + 5, NodeID: [32]byte{1}, NodeKey: [32]byte{2}, ConfigHash: [32]byte{3},
		LogHash: [32]byte{4}, Checkpoint: [32]byte{5}, GPUDigest: [32]byte{6}}
	s.REK[1248] = 7
	b := s.Append(nil)
	if len(b) != evidence.KeyStatementSize {
		t.Fatalf("%d bytes", len(b))
	}
	back, err := evidence.ParseKeyStatement(b)
	if err != nil || *back != *s {
		t.Errorf("%v %+v", err, back)
	}
	for _, bad := range [][]byte{nil, b[:len(b)-1], append(bytes.Clone(b), 0), append([]byte{2}, b[1:]...)} {
		if _, err := evidence.ParseKeyStatement(bad); err == nil {
			t.Errorf("accepted %d bytes", len(bad))
		}
	}
}

func TestConfigHasOneSpelling(t *testing.T) {
	c := &evidence.Config{Version: 1, Payment: "none", Model: "toy", Weights: strings.Repeat("ab", 32), Simulated: true,
		Settings: map[string]string{"engine": "built-in", "a": "<b>"}}
	b, err := c.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := evidence.ParseConfig(b); err != nil {
		t.Fatal(err)
	}
	good := string(b)
	for name, bad := range map[string]string{
		"newline":      good + "\n",
		"space":        strings.Replace(good, ":", ": ", 1),
		"twice":        strings.Replace(good, `"model":"toy"`, `"model":"toy","model":"toy"`, 1),
		"case":         strings.Replace(good, `"model"`, `"Model"`, 1),
		"unknown":      strings.Replace(good, `"model"`, `"debug":true,"model"`, 1),
		"upper hex":    strings.Replace(good, "ab", "AB", 1),
		"order":        strings.Replace(good, `"version":1,"payment":"none"`, `"payment":"none","version":1`, 1),
		"payment":      strings.Replace(good, "none", "free", 1),
		"version":      strings.Replace(good, `"version":1`, `"version":2`, 1),
		"two values":   good + good,
		"no model":     strings.Replace(good, "toy", "", 1),
		"escaped":      strings.Replace(good, "toy", `\u0074oy`, 1),
		"settings nil": strings.Replace(good, `"a":"\u003cb\u003e","engine":"built-in"`, ``, 1),
	} {
		if bad == good {
			t.Fatalf("%s: the test changed nothing", name)
		}
		if _, err := evidence.ParseConfig([]byte(bad)); err == nil {
			t.Errorf("%s: accepted %s", name, bad)
		}
	}
}

// TestVectors computes docs/spec/attestation.md's vectors.
func TestVectors(t *testing.T) {
	raw, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		AKName, AKPublic, Statement, Config                                          string
		NodeID, CreationQualifier, EpochQualifier, FreshQualifier, ReportData, PCR13 string
		Bundle, BundleDigest                                                         string
		Challenge, ChallengeQualifier, GPUNonce                                      string
		EventLog, CCEL, LogHash, LogHashWithCCEL, List                               string
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	un := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil || len(b) == 0 {
			t.Fatalf("vector %q: %v", s, err)
		}
		return b
	}
	check := func(name string, got []byte, want string) {
		t.Helper()
		if hex.EncodeToString(got) != want {
			t.Errorf("%s is %x, want %s", name, got, want)
		}
	}
	s, err := evidence.ParseKeyStatement(un(v.Statement))
	if err != nil {
		t.Fatal(err)
	}
	id := evidence.NodeID(un(v.AKName))
	check("node id", id[:], v.NodeID)
	if s.NodeID != id || s.ConfigHash != sha256.Sum256([]byte(v.Config)) {
		t.Error("statement is of another node or configuration")
	}
	if _, err := evidence.ParseConfig([]byte(v.Config)); err != nil {
		t.Error(err)
	}
	creation, epoch := evidence.CreationQualifier(un(v.Statement)), evidence.EpochQualifier(un(v.Statement), s.GPUDigest)
	check("creation qualifier", creation[:], v.CreationQualifier)
	check("epoch qualifier", epoch[:], v.EpochQualifier)
	data := evidence.ReportData(un(v.AKPublic), epoch)
	check("report data", data[:], v.ReportData)
	pcr := evidence.ConfigPCRValue(s.ConfigHash)
	check("PCR 13", pcr[:], v.PCR13)
	b, err := evidence.Parse(un(v.Bundle))
	if err != nil {
		t.Fatal(err)
	}
	digest := b.Digest()
	check("bundle digest", digest[:], v.BundleDigest)
	fresh := evidence.FreshQualifier(digest, s.Checkpoint)
	check("fresh qualifier", fresh[:], v.FreshQualifier)
	challenge, nonce := evidence.ChallengeQualifier(digest, [32]byte(un(v.Challenge))), evidence.GPUNonce(un(v.Statement))
	check("challenge qualifier", challenge[:], v.ChallengeQualifier)
	check("GPU nonce", nonce[:], v.GPUNonce)
	plain, both := evidence.LogHash(un(v.EventLog), nil), evidence.LogHash(un(v.EventLog), un(v.CCEL))
	check("log hash", plain[:], v.LogHash)
	check("log hash of a TD", both[:], v.LogHashWithCCEL)
	list, err := evidence.ParseList(un(v.List))
	if err != nil || len(list) != 3 || len(list[0]) != 0 || string(list[1]) != "one" || len(list[2]) != 5 {
		t.Errorf("list %q, %v", list, err)
	}
	check("list", list.Append(nil), v.List)
}

func FuzzParse(f *testing.F) {
	_, raw := sample(f)
	f.Add(raw)
	f.Add(raw[:18])
	f.Fuzz(func(t *testing.T, in []byte) {
		b, err := evidence.Parse(in)
		if err != nil {
			return
		}
		out, err := b.Append(nil)
		if err != nil || !bytes.Equal(out, in) {
			t.Errorf("accepted %x, printed %x (%v)", in, out, err)
		}
		if b.Digest() != sha256.Sum256(in) {
			t.Error("digest")
		}
	})
}

func FuzzParsePCRs(f *testing.F) {
	f.Add(evidence.PCRs{0: {1}, 23: {2}}.Append(nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, in []byte) {
		p, err := evidence.ParsePCRs(in)
		if err == nil && !bytes.Equal(p.Append(nil), in) {
			t.Errorf("accepted %x, printed %x", in, p.Append(nil))
		}
	})
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`{"version":1,"payment":"none","model":"m","weights":"` + strings.Repeat("01", 32) + `","simulated":false}`))
	f.Add([]byte(`{"version":1,"payment":"coins","model":"m","weights":"` + strings.Repeat("01", 32) + `","simulated":true,"settings":{"a":"b"}}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		c, err := evidence.ParseConfig(in)
		if err != nil {
			return
		}
		if out, err := c.Append(nil); err != nil || !bytes.Equal(out, in) {
			t.Errorf("accepted %q, printed %q (%v)", in, out, err)
		}
	})
}

func FuzzParseList(f *testing.F) {
	f.Add([]byte{})
	f.Add(evidence.List{nil, []byte("one"), make([]byte, 300)}.Append(nil))
	f.Add(append(evidence.List{[]byte("x")}.Append(nil), 0, 0, 0, 9))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := evidence.ParseList(b)
		if err == nil && !bytes.Equal(l.Append(nil), b) {
			t.Errorf("%x prints as %x", b, l.Append(nil))
		}
	})
}

func TestListBoundaries(t *testing.T) {
	for n, want := range map[int]bool{0: true, 1: true, 63: true, 64: true, 65: false} {
		if _, err := evidence.ParseList(make(evidence.List, n).Append(nil)); (err == nil) != want {
			t.Errorf("%d items: %v", n, err)
		}
	}
	whole := evidence.List{[]byte("abc"), []byte("d")}.Append(nil)
	for n := range whole {
		if l, err := evidence.ParseList(whole[:n]); err == nil && n != 0 && n != 7 {
			t.Errorf("%d bytes: %q", n, l)
		}
	}
}
