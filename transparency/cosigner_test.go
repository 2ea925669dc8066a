// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package transparency_test

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
	"time"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"github.com/sotto-project/sotto/transparency"
)

func pqWitness(t testing.TB, name string) *transparency.Cosigner {
	seed := sha256.Sum256([]byte("test seed " + name))
	c, err := transparency.NewMLDSACosigner(name, seed[:])
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func pqCosign(t testing.TB, note []byte, name string, at time.Time) []byte {
	t.Helper()
	out, err := pqWitness(t, name).Cosign(note, at)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// What our ML-DSA-44 cosigner signs, the library everybody uses verifies, as a
// checkpoint and as the subtree [0, size).
func TestMLDSACosignerInteroperates(t *testing.T) {
	w := pqWitness(t, "pq.example")
	both := pqCosign(t, signed(t, 5), "pq.example", noon)
	v := must(fnote.NewMLDSAVerifier(w.VKey()))
	n, err := note.Open(both, note.VerifierList(v))
	if err != nil || len(n.Sigs) != 1 || n.Sigs[0].Name != "pq.example" {
		t.Fatalf("note.Open: %+v, %v", n, err)
	}
	if when, err := fnote.CoSigV1Timestamp(n.Sigs[0]); err != nil || !when.Equal(noon) {
		t.Errorf("time %v, %v", when, err)
	}
	if again := pqCosign(t, signed(t, 5), "pq.example", noon); !bytes.Equal(again, both) {
		t.Error("two signatures of one message differ")
	}
	tr := &transparency.Trust{Origin: origin, LogKey: trust(t).LogKey, Witnesses: []string{w.VKey()}, Quorum: 1}
	if c, err := tr.ParseCheckpoint(both); err != nil || !c.Time.Equal(noon) {
		t.Errorf("%+v, %v", c, err)
	}
	wantCode(t, second(tr.ParseCheckpoint(retime(t, both))), transparency.CodeWitness)
	// Over another name, root or size it is no signature.
	alias := pqWitness(t, "pq.example")
	other := pqCosign(t, signed(t, 6), "pq.example", noon)
	_, _, err = must(transparency.ParseCosignerKey(alias.VKey())).Pick(both, lastLine(other))
	wantCode(t, err, transparency.CodeWitness)
}

func lastLine(n []byte) []byte {
	i := bytes.LastIndexByte(bytes.TrimSuffix(n, []byte("\n")), '\n')
	return n[i+1:]
}

// A witness answers with its own lines alone, whatever the note carries, and
// as often as it is asked.
func TestLineAlone(t *testing.T) {
	for _, w := range []*transparency.Cosigner{witness(t, "w1.example"), pqWitness(t, "w1.example")} {
		base := signed(t, 5)
		full := must(w.Cosign(base, noon))
		line := must(w.Line(full, noon))
		if !bytes.Equal(append(slices.Clone(base), line...), full) {
			t.Errorf("the line is not what Cosign appends: %q", line)
		}
		wantCode(t, second(w.Cosign(full, noon)), transparency.CodeFormat)
		got, at, err := must(transparency.ParseCosignerKey(w.VKey())).Pick(base, line)
		if err != nil || !bytes.Equal(got, line) || !at.Equal(noon) {
			t.Errorf("%q, %v, %v", got, at, err)
		}
		for _, at := range []time.Time{{}, time.Unix(0, 0), time.Unix(-1, 0), time.Unix(1<<40, 0)} {
			wantCode(t, second(w.Line(base, at)), transparency.CodeWitness)
		}
		for _, at := range []time.Time{time.Unix(1, 0), time.Unix(1<<40-1, 0)} {
			if _, err := w.Line(base, at); err != nil {
				t.Errorf("%v: %v", at, err)
			}
		}
		wantCode(t, second(w.Line([]byte("no note"), noon)), transparency.CodeFormat)
	}
}

func TestNewCosignerRefuses(t *testing.T) {
	for _, name := range []string{"", "a b", "a+b", strings.Repeat("x", 256)} {
		if _, err := transparency.NewMLDSACosigner(name, make([]byte, 32)); err == nil {
			t.Errorf("ML-DSA-44 name %q", name)
		}
		if _, err := transparency.NewCosigner(name, key("x")); err == nil {
			t.Errorf("Ed25519 name %q", name)
		}
	}
	for _, n := range []int{0, 31, 33} {
		if _, err := transparency.NewMLDSACosigner("x", make([]byte, n)); err == nil {
			t.Errorf("seed of %d bytes", n)
		}
	}
}

// Pick believes one line by the one key and ignores those of others.
func TestPick(t *testing.T) {
	base := signed(t, 5)
	k := must(transparency.ParseCosignerKey(witness(t, "w1.example").VKey()))
	mine := must(witness(t, "w1.example").Line(base, noon))
	stranger := must(witness(t, "w2.example").Line(base, noon))
	otherTree := must(witness(t, "w1.example").Line(signed(t, 6), noon))
	timeless := lastLine(handCosign(base, "w1.example", 0))
	if _, _, err := k.Pick(base, append(slices.Clone(stranger), mine...)); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]struct {
		answer []byte
		want   transparency.Code
	}{
		"empty":           {nil, transparency.CodeWitness},
		"only a stranger": {stranger, transparency.CodeWitness},
		"AT-49 doubled":   {append(slices.Clone(mine), mine...), transparency.CodeWitness},
		"AT-49 other log": {otherTree, transparency.CodeWitness},
		"AT-49 time zero": {timeless, transparency.CodeWitness},
		"cut":             {mine[:len(mine)-1], transparency.CodeFormat},
		"empty line":      {append([]byte("\n"), mine...), transparency.CodeFormat},
		"html":            {[]byte("<html>\n"), transparency.CodeFormat},
		"too many":        {bytes.Repeat(stranger, 17), transparency.CodeFormat},
		"too large":       {bytes.Repeat([]byte("x"), transparency.MaxNoteSize+1), transparency.CodeFormat},
	} {
		t.Run(name, func(t *testing.T) {
			line, _, err := k.Pick(base, c.answer)
			wantCode(t, err, c.want)
			if line != nil {
				t.Error("a line beside an error")
			}
		})
	}
	_, err := transparency.ParseCosignerKey(signer(t, origin).VKey())
	wantCode(t, err, transparency.CodeTrust)
}

// AT-49: the trust counts witnesses, not keys.
func TestTwoKeysAreOneWitness(t *testing.T) {
	const name = "w1.example"
	base := signed(t, 5)
	ed, pq := witness(t, name).VKey(), pqWitness(t, name).VKey()
	tr := &transparency.Trust{Origin: origin, LogKey: trust(t).LogKey, Witnesses: []string{ed, pq, witness(t, "w2.example").VKey()}, Quorum: 2}
	own := pqCosign(t, cosign(t, base, name, noon), name, noon)
	edOnly, pqOnly := cosign(t, base, name, noon), pqCosign(t, base, name, noon)
	t.Run("AT-49 one witness with two keys is one vote", func(t *testing.T) {
		wantCode(t, second(tr.ParseCheckpoint(own)), transparency.CodeWitness)
	})
	t.Run("AT-49 half a witness is none", func(t *testing.T) {
		for _, half := range [][]byte{edOnly, pqOnly} {
			wantCode(t, second(tr.ParseCheckpoint(cosign(t, half, "w2.example", noon))), transparency.CodeWitness)
		}
	})
	t.Run("both keys and another witness", func(t *testing.T) {
		c, err := tr.ParseCheckpoint(cosign(t, own, "w2.example", noon))
		if err != nil || len(c.Cosignatures) != 2 || c.Cosignatures[0].Name != name {
			t.Errorf("%+v, %v", c, err)
		}
	})
	t.Run("AT-49 a quorum that only keys could reach", func(t *testing.T) {
		tr := &transparency.Trust{Origin: origin, LogKey: trust(t).LogKey, Witnesses: []string{ed, pq}, Quorum: 2}
		wantCode(t, second(tr.ParseCheckpoint(own)), transparency.CodeTrust)
	})
	t.Run("AT-49 the wrong one of two", func(t *testing.T) {
		wantCode(t, second(tr.ParseCheckpoint(cosign(t, retime(t, own), "w2.example", noon))), transparency.CodeWitness)
	})
	t.Run("the earlier time counts", func(t *testing.T) {
		tr := &transparency.Trust{Origin: origin, LogKey: trust(t).LogKey, Witnesses: []string{ed, pq}, Quorum: 1}
		for _, n := range [][]byte{
			pqCosign(t, cosign(t, base, name, noon), name, noon.Add(time.Hour)),
			pqCosign(t, cosign(t, base, name, noon.Add(time.Hour)), name, noon),
		} {
			c, err := tr.ParseCheckpoint(n)
			if err != nil || !c.Time.Equal(noon) || len(c.Cosignatures) != 1 {
				t.Errorf("%+v, %v", c, err)
			}
		}
	})
}

func TestLogKey(t *testing.T) {
	vkey := signer(t, origin).VKey()
	pqKey := hybrid(t, origin).VKeyPQ()
	plain, both := signed(t, 5), hybrid(t, origin).Sign(5, root(t, 5))
	timed := must(must(transparency.NewMLDSACosigner(origin, pqSeed(origin))).Cosign(plain, noon)) // the same key, as a witness uses one
	ed := must(transparency.NewLogKey(origin, vkey, ""))
	hybrid := must(transparency.NewLogKey(origin, vkey, pqKey))
	for name, c := range map[string]struct {
		k    *transparency.LogKey
		in   []byte
		want transparency.Code
	}{
		"ed":              {ed, plain, ""},
		"ed ignores pq":   {ed, both, ""},
		"hybrid":          {hybrid, both, ""},
		"hybrid, pq gone": {hybrid, plain, transparency.CodeSignature},
		"hybrid, ed gone": {hybrid, append(slices.Clone(plain[:bytes.Index(plain, []byte("\n\n"))+2]), lastLine(both)...), transparency.CodeSignature},
		"doubled":         {ed, append(slices.Clone(plain), lastLine(plain)...), transparency.CodeSignature},
		"pq doubled":      {hybrid, append(slices.Clone(both), lastLine(both)...), transparency.CodeSignature},
		"pq retimed":      {hybrid, retime(t, both), transparency.CodeSignature},
		"AT-49 pq timed":  {hybrid, timed, transparency.CodeSignature},
		"other log":       {ed, must(transparency.NewSigner("other.example", key("o"))).Sign(0, sha256.Sum256(nil)), transparency.CodeOrigin},
		"no note":         {ed, []byte("x"), transparency.CodeFormat},
	} {
		t.Run(name, func(t *testing.T) {
			cp, err := c.k.ParseCheckpoint(c.in)
			if c.want != "" {
				wantCode(t, err, c.want)
				return
			}
			if err != nil || cp.Size != 5 {
				t.Fatalf("%+v, %v", cp, err)
			}
			wantCode(t, cp.CheckAge(noon, time.Hour), transparency.CodeWitness)
			full := cosign(t, c.in, "w1.example", noon)
			stripped := must(c.k.Strip(must(c.k.ParseCheckpoint(full))))
			if name == "ed ignores pq" {
				if !bytes.Equal(stripped, plain) {
					t.Errorf("stripped %q", stripped)
				}
			} else if !bytes.Equal(stripped, c.in) {
				t.Errorf("stripped %q", stripped)
			}
			if u := must(transparency.ReadUnverified(full)); u.Root != cp.Root || u.Size != cp.Size || u.Origin != origin {
				t.Errorf("%+v", u)
			}
		})
	}
	for name, keys := range map[string][3]string{
		"no origin":     {"", vkey, ""},
		"no key":        {origin, "", ""},
		"other name":    {"other.example", vkey, ""},
		"pq as ed":      {origin, pqKey, ""},
		"ed as pq":      {origin, vkey, vkey},
		"pq other name": {origin, vkey, pqWitness(t, "other.example").VKey()},
		"cosigner key":  {origin, witness(t, origin).VKey(), ""},
	} {
		t.Run(name, func(t *testing.T) {
			wantCode(t, second(transparency.NewLogKey(keys[0], keys[1], keys[2])), transparency.CodeTrust)
		})
	}
}
