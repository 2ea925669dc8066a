// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package transparency_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"github.com/sotto-project/sotto/transparency"
)

func pqSeed(name string) []byte {
	seed := sha256.Sum256([]byte("test ml-dsa key " + name))
	return seed[:]
}

func hybrid(t testing.TB, name string) *transparency.Signer {
	t.Helper()
	s, err := transparency.NewHybridSigner(origin, key(name), pqSeed(name))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func pqTrust(t testing.TB) *transparency.Trust {
	tr := trust(t)
	tr.LogKeyPQ = hybrid(t, origin).VKeyPQ()
	return tr
}

func root(t testing.TB, n int) [32]byte {
	t.Helper()
	r, err := tree(t, n).Root(uint64(n))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// cosigned is a note with the witnesses' lines of [good].
func cosigned(t testing.TB, note []byte) []byte {
	return cosign(t, cosign(t, note, "w1.example", noon), "w2.example", noon.Add(5*time.Second))
}

func TestBothLogKeysSign(t *testing.T) {
	s := hybrid(t, origin)
	n := s.Sign(7, root(t, 7))
	if !bytes.Equal(n, s.Sign(7, root(t, 7))) {
		t.Error("signing again gives another note")
	}
	lines := strings.Split(strings.TrimSuffix(string(n), "\n"), "\n")
	if len(lines) != 6 || len(lines[4]) > 150 || len(lines[5]) < 3000 {
		t.Errorf("want Ed25519 first, then ML-DSA-44; got %d lines", len(lines))
	}
	if c, err := pqTrust(t).ParseCheckpoint(cosigned(t, n)); err != nil || c.Size != 7 {
		t.Errorf("both keys trusted: %v", err)
	}
	if _, err := trust(t).ParseCheckpoint(cosigned(t, n)); err != nil {
		t.Errorf("only the Ed25519 key trusted: %v", err)
	}
	if trust(t).PostQuantum() || !pqTrust(t).PostQuantum() {
		t.Error("a trust does not say what it asks for")
	}
	// Independent readers of C2SP notes agree about both lines.
	mldsa, err := fnote.NewMLDSAVerifier(s.VKeyPQ())
	if err != nil {
		t.Fatal(err)
	}
	ed, err := note.NewVerifier(s.VKey())
	if err != nil {
		t.Fatal(err)
	}
	if opened, err := note.Open(n, note.VerifierList(ed, mldsa)); err != nil || len(opened.Sigs) != 2 {
		t.Errorf("opened: %v", err)
	}
	if c, err := s.Verify(cosigned(t, n)); err != nil || c.Size != 7 {
		t.Errorf("the log does not know its own word: %v", err)
	}
}

// Each key missing, doubled and wrong (attack AT-46 and its kin).
func TestLogKeysEachCount(t *testing.T) {
	n := hybrid(t, origin).Sign(7, root(t, 7))
	head, sigs, _ := strings.Cut(string(n), "\n\n")
	ed, pq, _ := strings.Cut(sigs, "\n")
	ed, head = ed+"\n", head+"\n\n"
	foreign := string(hybrid(t, "impostor").Sign(7, root(t, 7)))
	other := string(hybrid(t, origin).Sign(6, root(t, 6)))
	otherLines := strings.SplitAfter(other, "\n")
	edOnly, err := transparency.NewHybridSigner(origin, key(origin), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, note := range map[string]string{
		"no Ed25519":                      head + pq,
		"no ML-DSA-44":                    head + ed,
		"signed with one key":             string(edOnly.Sign(7, root(t, 7))),
		"Ed25519 twice":                   head + ed + ed + pq,
		"ML-DSA-44 twice":                 head + ed + pq + pq,
		"both of another's":               foreign,
		"Ed25519 of another tree":         head + otherLines[4] + pq,
		"ML-DSA-44 of another tree":       head + ed + otherLines[5],
		"both of another tree":            head + otherLines[4] + otherLines[5],
		"ML-DSA-44 with another's at end": head + ed + strings.SplitAfter(foreign, "\n")[5],
		"ML-DSA-44 by a witness's clock":  head + ed + timedLine(t),
	} {
		t.Run("AT-46 "+name, func(t *testing.T) {
			_, err := pqTrust(t).ParseCheckpoint(cosigned(t, []byte(note)))
			wantCode(t, err, transparency.CodeSignature)
			_, err = hybrid(t, origin).Verify([]byte(note))
			wantCode(t, err, transparency.CodeSignature)
		})
	}
	// The order of lines says nothing.
	if _, err := pqTrust(t).ParseCheckpoint(cosigned(t, []byte(head+pq+ed))); err != nil {
		t.Error(err)
	}
}

// timedLine is the log's ML-DSA-44 key signing as a cosigner would, with a
// time: a good signature over the tree in a second spelling.
func timedLine(t testing.TB) string {
	skey := "PRIVATE+KEY+" + strings.SplitN(hybrid(t, origin).VKeyPQ(), "+", 3)[0] + "+" + strings.SplitN(hybrid(t, origin).VKeyPQ(), "+", 3)[1] + "+" + b64(append([]byte{6}, pqSeed(origin)...))
	s, err := fnote.NewMLDSASigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	n := hybrid(t, origin).Sign(7, root(t, 7))
	text, _, _ := strings.Cut(string(n), "\n\n")
	signed, err := note.Sign(&note.Note{Text: text + "\n"}, s)
	if err != nil {
		t.Fatal(err)
	}
	return strings.SplitAfter(string(signed), "\n")[4]
}

func TestPQTrustRefused(t *testing.T) {
	for name, edit := range map[string]func(*transparency.Trust){
		"not a key":           func(tr *transparency.Trust) { tr.LogKeyPQ = "x" },
		"the Ed25519 key":     func(tr *transparency.Trust) { tr.LogKeyPQ = tr.LogKey },
		"another name":        func(tr *transparency.Trust) { tr.LogKeyPQ = "x" + tr.LogKeyPQ },
		"cut short":           func(tr *transparency.Trust) { tr.LogKeyPQ = tr.LogKeyPQ[:len(tr.LogKeyPQ)-4] },
		"also a witness":      func(tr *transparency.Trust) { tr.Witnesses[0] = tr.LogKeyPQ },
		"in place of log_key": func(tr *transparency.Trust) { tr.LogKey = tr.LogKeyPQ },
	} {
		tr := pqTrust(t)
		edit(tr)
		t.Run(name, func(t *testing.T) { wantCode(t, tr.Validate(), transparency.CodeTrust) })
	}
}

func TestHybridSignerRefuses(t *testing.T) {
	for name, make := range map[string]func() (*transparency.Signer, error){
		"no key": func() (*transparency.Signer, error) { return transparency.NewHybridSigner(origin, nil, nil) },
		"short seed": func() (*transparency.Signer, error) {
			return transparency.NewHybridSigner(origin, nil, make([]byte, 31))
		},
		"long seed": func() (*transparency.Signer, error) {
			return transparency.NewHybridSigner(origin, nil, make([]byte, 33))
		},
		"short key":      func() (*transparency.Signer, error) { return transparency.NewHybridSigner(origin, key("a")[:32], nil) },
		"no Ed25519 key": func() (*transparency.Signer, error) { return transparency.NewSigner(origin, nil) },
	} {
		if _, err := make(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	s, err := transparency.NewHybridSigner(origin, nil, pqSeed(origin))
	if err != nil || s.VKey() != "" || s.VKeyPQ() == "" {
		t.Errorf("one key, ML-DSA-44: %v", err)
	}
	if _, err := s.Verify(s.Sign(3, root(t, 3))); err != nil {
		t.Error(err)
	}
}

// Every bit of the log's ML-DSA-44 line counts.
func TestPQBitFlips(t *testing.T) {
	tr, n := pqTrust(t), cosigned(t, hybrid(t, origin).Sign(3, root(t, 3)))
	start := bytes.Index(n, []byte("\n\n"))
	for i := start; i < len(n); i++ {
		bit := i % 8
		m := bytes.Clone(n)
		m[i] ^= 1 << bit
		if _, err := tr.ParseCheckpoint(m); err == nil {
			t.Errorf("bit %d of byte %d is not covered", bit, i)
		}
	}
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
