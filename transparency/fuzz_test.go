// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package transparency_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/sotto-project/sotto/transparency"
)

// handCosign appends a valid cosignature with any time at all, written from the
// text of C2SP tlog-cosignature alone.
func handCosign(n []byte, name string, sec uint64) []byte {
	text := n[:bytes.Index(n, []byte("\n\n"))+1]
	k := key(name)
	typed := append([]byte{4}, k.Public().(ed25519.PublicKey)...)
	id := sha256.Sum256(append([]byte(name+"\n"), typed...))
	raw := binary.BigEndian.AppendUint64(id[:4:4], sec)
	raw = append(raw, ed25519.Sign(k, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", sec, text))...)
	return fmt.Appendf(bytes.Clone(n), "— %s %s\n", name, base64.StdEncoding.EncodeToString(raw))
}

// retime moves the last cosignature's time by a second without signing anew.
func retime(t testing.TB, n []byte) []byte {
	lines := strings.Split(strings.TrimSuffix(string(n), "\n"), "\n")
	last := &lines[len(lines)-1]
	i := strings.LastIndex(*last, " ") + 1
	raw, err := base64.StdEncoding.DecodeString((*last)[i:])
	if err != nil {
		t.Fatal(err)
	}
	raw[11]++
	*last = (*last)[:i] + base64.StdEncoding.EncodeToString(raw)
	return []byte(strings.Join(lines, "\n") + "\n")
}

func proofs(t testing.TB) [][]byte {
	p := transparency.Proof{Index: 4, Hashes: [][32]byte{{1}, {2}, {3}}, Checkpoint: good(t, 5)}
	q := transparency.Proof{Checkpoint: signed(t, 1)}
	return [][]byte{p.Append(nil), q.Append(nil)}
}

func TestProofRefuses(t *testing.T) {
	p := string(proofs(t)[0])
	if _, err := transparency.ParseProof([]byte(p)); err != nil {
		t.Fatal(err)
	}
	many := transparency.Proof{Hashes: make([][32]byte, 63), Checkpoint: good(t, 5)}
	if _, err := transparency.ParseProof(many.Append(nil)); err != nil {
		t.Errorf("63 hashes: %v", err)
	}
	many.Hashes = make([][32]byte, 64)
	for name, in := range map[string]string{
		"64 hashes":       string(many.Append(nil)),
		"other version":   strings.Replace(p, "@v1", "@v2", 1),
		"extra line":      strings.Replace(p, "index", "extra AAAA\nindex", 1),
		"zeros in index":  strings.Replace(p, "index 4", "index 04", 1),
		"short hash":      strings.Replace(p, "=\n", "==\n", 1),
		"no empty line":   strings.Replace(p, "\n\n", "\n", 1),
		"two empty lines": strings.Replace(p, "\n\n", "\n\n\n", 1),
		"cut":             p[:len(p)-1],
	} {
		t.Run(name, func(t *testing.T) {
			wantCode(t, second(transparency.ParseProof([]byte(in))), transparency.CodeFormat)
		})
	}
}

// FuzzProof: one spelling, and whatever we accept the library reads alike.
func FuzzProof(f *testing.F) {
	seeds := proofs(f)
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		p, err := transparency.ParseProof(in)
		if err != nil {
			if p != nil {
				t.Error("a value beside an error")
			}
			return
		}
		if out := p.Append(nil); !bytes.Equal(in, out) {
			t.Errorf("accepted %q, printed %q", in, out)
		}
	})
}

// FuzzCheckpoint: what verifies here verifies in golang.org/x/mod, which is
// the more tolerant of the two.
func FuzzCheckpoint(f *testing.F) {
	tr := trust(f)
	v := must(note.NewVerifier(tr.LogKey))
	f.Add(good(f, 5))
	f.Add(signed(f, 1))
	f.Add(cosign(f, good(f, 9), "stranger.example", noon))
	f.Fuzz(func(t *testing.T, in []byte) {
		c, err := tr.ParseCheckpoint(in)
		if err != nil {
			return
		}
		n, err := note.Open(in, note.VerifierList(v))
		if err != nil || len(n.Sigs) != 1 {
			t.Fatalf("note.Open refuses what we accepted: %v", err)
		}
		if !strings.HasPrefix(n.Text, fmt.Sprintf("%s\n%d\n", c.Origin, c.Size)) || !bytes.Equal(c.Note, in) {
			t.Errorf("read %+v out of %q", c, in)
		}
	})
}
