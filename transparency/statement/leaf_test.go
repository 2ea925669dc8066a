// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package statement_test

import (
	"bytes"
	"crypto/sha256"
	"testing"

	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/statement"
)

func TestLeaf(t *testing.T) {
	b := encode(t, full(7))
	raw := statement.LogLeaf(b)
	l, err := statement.ParseLeaf(raw)
	if err != nil || l.Epoch != 7 || l.Statement != sha256.Sum256(b) || !bytes.Equal(l.Append(nil), raw) || len(raw) != statement.LeafSize {
		t.Fatalf("%+v, %v", l, err)
	}
	if st, err := l.Of(b); err != nil || st.Epoch != 7 {
		t.Error(err)
	}
	if statement.LeafHash(b) != sha256.Sum256(raw) {
		t.Error("the beacon is the hash of the leaf")
	}
	for name, other := range map[string][]byte{"another epoch's": encode(t, full(8)), "another of the epoch": encode(t, func() *statement.Statement { s := full(7); s.MintGeneration++; return s }())} {
		t.Run(name, func(t *testing.T) { _, err := l.Of(other); wantCode(t, err, transparency.CodeInclusion) })
	}
	for _, bad := range [][]byte{nil, raw[1:], raw[:40], append(bytes.Clone(raw), 0), append([]byte{2}, raw[1:]...)} {
		_, err := statement.ParseLeaf(bad)
		wantCode(t, err, transparency.CodeStatement)
	}
}

func FuzzParseLeaf(f *testing.F) {
	f.Add(statement.LogLeaf([]byte("0123456789")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := statement.ParseLeaf(b); err == nil && !bytes.Equal(l.Append(nil), b) {
			t.Errorf("accepted %x, printed %x", b, l.Append(nil))
		}
	})
}
