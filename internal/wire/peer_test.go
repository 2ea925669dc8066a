// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package wire_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/internal/wire"
)

func verdict(verifier, subject byte, code string) wire.PeerVerdict {
	v := wire.PeerVerdict{
		Epoch: 7, Verifier: id(verifier), Subject: id(subject), Evidence: id(50), Freshness: id(51), Policy: id(52),
		Code: code, Time: time.Unix(1_800_000_000, 0).UTC(),
	}
	v.Sign(nodeKey(verifier))
	return v
}

func TestPeerVerdictBindsEveryBit(t *testing.T) {
	key := nodeKey(1).Public().(ed25519.PublicKey)
	for _, code := range []string{"", "att.stale", strings.Repeat("z", 32)} {
		v := verdict(1, 2, code)
		if !v.Verify(key) {
			t.Fatal("a good verdict was refused")
		}
		b := v.Append(nil)
		got, err := wire.ParsePeerVerdict(b)
		if err != nil || got != v || len(b) != wire.PeerVerdictSize {
			t.Fatalf("%q: %+v, %v, %d bytes", code, got, err, len(b))
		}
		for i := range b {
			for bit := range 8 {
				bad := slices.Clone(b)
				bad[i] ^= 1 << bit
				if p, err := wire.ParsePeerVerdict(bad); err == nil && p.Verify(key) {
					t.Errorf("byte %d bit %d may be flipped", i, bit)
				}
			}
		}
		for _, n := range []int{0, 1, len(b) - 1} {
			if _, err := wire.ParsePeerVerdict(b[:n]); err == nil {
				t.Errorf("accepted %d bytes", n)
			}
		}
		if _, err := wire.ParsePeerVerdict(append(b, 0)); err == nil {
			t.Error("accepted a byte too many")
		}
	}
}

// TestPeerVerdictIsNoOtherSignature: a signature over a busy receipt, or by
// another node, is no verdict.
func TestPeerVerdictIsNoOtherSignature(t *testing.T) {
	v := verdict(1, 2, "")
	if v.Verify(nodeKey(2).Public().(ed25519.PublicKey)) {
		t.Error("signed by the node that is judged")
	}
	if v.Verify(nil) {
		t.Error("verified without a key")
	}
	own := verdict(1, 1, "")
	if own.Verify(nodeKey(1).Public().(ed25519.PublicKey)) {
		t.Error("a node vouched for itself")
	}
	unsigned := verdict(1, 2, "")
	unsigned.Signature = [64]byte{}
	if unsigned.Verify(nodeKey(1).Public().(ed25519.PublicKey)) {
		t.Error("unsigned")
	}
}

func TestPeerVerdictsAreOneList(t *testing.T) {
	a, b, c := verdict(1, 2, ""), verdict(1, 3, "att.tcb"), verdict(2, 1, "")
	list := wire.AppendPeerVerdicts(nil, []wire.PeerVerdict{c, a, b, a})
	got, err := wire.ParsePeerVerdicts(list)
	if err != nil || len(got) != 3 {
		t.Fatalf("%d, %v", len(got), err)
	}
	again := wire.AppendPeerVerdicts(nil, slices.Clone(got))
	if !bytes.Equal(again, list) {
		t.Error("printed differently")
	}
	n := wire.PeerVerdictSize
	for name, bad := range map[string][]byte{
		"twice": append(slices.Clone(list[:n]), list[:n]...), "order": append(slices.Clone(list[n:2*n]), list[:n]...), "short": list[:n-1],
	} {
		if _, err := wire.ParsePeerVerdicts(bad); err == nil {
			t.Errorf("%s accepted", name)
		}
	}
	if got, err := wire.ParsePeerVerdicts(nil); err != nil || len(got) != 0 {
		t.Errorf("the empty list: %v", err)
	}
	defer func() {
		if recover() == nil {
			t.Error("printed a verdict on oneself")
		}
	}()
	own := verdict(1, 1, "")
	own.Append(nil)
}

// TestPeerVerdictVectors: computed with a second implementation.
func TestPeerVerdictVectors(t *testing.T) {
	raw, err := os.ReadFile("testdata/peer.json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Seed                                           string `json:"node_seed"`
		Epoch                                          uint64
		Verifier, Subject, Evidence, Freshness, Policy string
		Time                                           int64
		Verdicts                                       []struct{ Code, Verdict string }
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	bin := func(s string) [32]byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return [32]byte(b)
	}
	seed := bin(v.Seed)
	key := ed25519.NewKeyFromSeed(seed[:])
	for _, c := range v.Verdicts {
		p := wire.PeerVerdict{
			Epoch: v.Epoch, Verifier: bin(v.Verifier), Subject: bin(v.Subject), Evidence: bin(v.Evidence), Freshness: bin(v.Freshness),
			Policy: bin(v.Policy), Code: c.Code, Time: time.Unix(v.Time, 0).UTC(),
		}
		p.Sign(key)
		if got := hex.EncodeToString(p.Append(nil)); got != c.Verdict {
			t.Errorf("%q: got %s, want %s", c.Code, got, c.Verdict)
		}
	}
	if len(v.Verdicts) != 2 {
		t.Errorf("%d verdicts", len(v.Verdicts))
	}
}

func FuzzPeerVerdicts(f *testing.F) {
	f.Add([]byte{})
	f.Add(wire.AppendPeerVerdicts(nil, []wire.PeerVerdict{verdict(1, 2, ""), verdict(2, 1, "att.stale")}))
	bad := verdict(1, 2, "att.stale")
	f.Add(append(bad.Append(nil), 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := wire.ParsePeerVerdicts(b)
		if err != nil {
			return
		}
		if again := wire.AppendPeerVerdicts(nil, list); !bytes.Equal(again, b) {
			t.Errorf("printed as %x", again)
		}
	})
}
