// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"bytes"
	"testing"
)

// fingerprint is what a key makes of nothing.
func fingerprint(t *testing.T, k *Key, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return string(k.aead.Seal(nil, k.base[:], nil, nil)) + string(k.base[:])
}

// TestEveryBindingCounts: many of them imply each other, so that no attack shows
// that one is missing; each must be in all the same.
func TestEveryBindingCounts(t *testing.T) {
	seen := map[string]string{}
	for name, edit := range map[string]func(a *Answer){
		"as is":        func(*Answer) {},
		"secret":       func(a *Answer) { a.Secret = []byte{1} },
		"enc":          func(a *Answer) { a.Enc = []byte{1} },
		"nonce":        func(a *Answer) { a.Nonce[31] = 1 },
		"header hash":  func(a *Answer) { a.HeaderHash[0] = 1 },
		"request hash": func(a *Answer) { a.RequestHash[0] = 1 },
		"node id":      func(a *Answer) { a.NodeID[0] = 1 },
		"index":        func(a *Answer) { a.Index = 1 },
	} {
		a := Answer{Secret: make([]byte, 32), Enc: make([]byte, 8)}
		edit(&a)
		k, err := a.Key()
		f := fingerprint(t, k, err)
		if seen[f] != "" {
			t.Errorf("%s and %s make one response key", name, seen[f])
		}
		seen[f] = name
	}

	seen = map[string]string{}
	for name, v := range map[string]struct{ dek, nonce, header byte }{
		"as is": {}, "dek": {1, 0, 0}, "body nonce": {0, 1, 0}, "header hash of the body": {0, 0, 1},
	} {
		s, err := NewSchedule(bytes.Repeat([]byte{v.dek}, 32), [32]byte{v.nonce})
		if err != nil {
			t.Fatal(err)
		}
		k, err := s.Body([32]byte{v.header})
		f := fingerprint(t, k, err)
		if seen[f] != "" {
			t.Errorf("%s and %s make one body key", name, seen[f])
		}
		seen[f] = name
	}

	base := EntryInfo(0, [32]byte{}, [32]byte{})
	for name, other := range map[string][]byte{
		"index":       EntryInfo(1, [32]byte{}, [32]byte{}),
		"node id":     EntryInfo(0, [32]byte{1}, [32]byte{}),
		"common hash": EntryInfo(0, [32]byte{}, [32]byte{1}),
	} {
		if bytes.Equal(base, other) {
			t.Errorf("info does not hold the %s", name)
		}
	}
}

// TestNonces: every frame of a stream has its own.
func TestNonces(t *testing.T) {
	c := counter{key: &Key{base: [nonceSize]byte{0: 0xaa, 11: 0xff}}, limit: 1 << 17}
	seen := map[[nonceSize]byte]bool{}
	for range 1<<16 + 10 {
		if err := c.next(); err != nil {
			t.Fatal(err)
		}
		if seen[c.nonce] {
			t.Fatalf("nonce %x twice", c.nonce)
		}
		seen[c.nonce] = true
	}
	if want := ([nonceSize]byte{0: 0xaa, 9: 1, 10: 0, 11: 0xff ^ 9}); c.nonce != want {
		t.Errorf("nonce %x, want %x", c.nonce, want)
	}
}
