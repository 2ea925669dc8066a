// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package steer_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/sotto-project/sotto/audit/steer"
	"github.com/sotto-project/sotto/internal/wire"
)

func key(n int) ed25519.PrivateKey { s := id(n); return ed25519.NewKeyFromSeed(s[:]) }

// proven is a receipt in which the third of the draw answered, and its epoch.
func proven() (*steer.Receipt, *steer.Epoch) {
	e := &steer.Epoch{Beacon: id(90)}
	for i := range 6 {
		e.Nodes = append(e.Nodes, steer.Node{ID: id(i), Key: key(i).Public().(ed25519.PublicKey), Model: i / 4})
	}
	r := &steer.Receipt{Epoch: 7, Outcome: steer.Answered, Position: 2, Proof: &steer.Proof{Origin: id(91)}}
	for place, i := range wire.DrawOrder(id(91), e.Beacon, ids(3)) {
		r.IDs = append(r.IDs, id(i))
		if place < 2 {
			b := wire.Ask{HeaderHash: id(91), Epoch: 7, Index: uint8(i)}.Receipt(id(i))
			b.Sign(key(i))
			r.Proof.Busy = append(r.Proof.Busy, b)
		}
	}
	return r, e
}

func TestReceipts(t *testing.T) {
	r, e := proven()
	o, err := e.Observe(r)
	if err != nil || o.Position != 2 || len(o.Pool) != 4 {
		t.Fatalf("%+v %v", o, err)
	}
	bare := r.Bare()
	b, err := bare.Append(nil)
	if err != nil || bytes.Contains(b, r.Proof.Origin[:]) || bytes.Contains(b, r.Proof.Busy[0].Signature[:]) {
		t.Errorf("a bare receipt names its request: %v", err)
	}
	for name, c := range map[string]struct {
		change func(*steer.Receipt, *steer.Epoch)
		want   error
	}{
		"RT-03/another order":     {func(r *steer.Receipt, _ *steer.Epoch) { r.Proof = &steer.Proof{Origin: id(92)}; r.Position = 0 }, steer.ErrOrder},
		"RT-03/another beacon":    {func(_ *steer.Receipt, e *steer.Epoch) { e.Beacon = id(95) }, steer.ErrOrder},
		"RT-11/a forged receipt":  {func(r *steer.Receipt, _ *steer.Epoch) { r.Proof.Busy[1].Signature[0] ^= 1 }, steer.ErrSignature},
		"RT-11/a receipt missing": {func(r *steer.Receipt, _ *steer.Epoch) { r.Proof.Busy = r.Proof.Busy[:1] }, steer.ErrReceipt},
		"RT-11/of another node":   {func(r *steer.Receipt, _ *steer.Epoch) { slices.Reverse(r.Proof.Busy) }, steer.ErrReceipt},
		"RT-01/not listed":        {func(_ *steer.Receipt, e *steer.Epoch) { e.Nodes = e.Nodes[3:] }, steer.ErrUnlisted},
		"RT-01/of another model":  {func(_ *steer.Receipt, e *steer.Epoch) { e.Nodes[2].Model = 5 }, steer.ErrUnlisted},
	} {
		t.Run(name, func(t *testing.T) {
			r, e := proven()
			c.change(r, e)
			if _, err := e.Observe(r); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// TestVectors computes the published values of docs/spec/choice.md, which were
// made by another implementation.
func TestVectors(t *testing.T) {
	raw, err := os.ReadFile("testdata/choice.json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Epoch        uint64
		IDs          []string
		Observations []struct {
			Order    []int
			Outcome  steer.Outcome
			Position int
		}
		State, Beacon, Origin string
		Bare                  string `json:"receipt_failed_bare"`
		Proof                 string `json:"receipt_answered_proof"`
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	h := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var pool [][32]byte
	e := &steer.Epoch{Beacon: [32]byte(h(v.Beacon))}
	for _, s := range v.IDs {
		pool = append(pool, [32]byte(h(s)))
		e.Nodes = append(e.Nodes, steer.Node{ID: [32]byte(h(s))})
	}
	var m steer.Meter
	for _, o := range v.Observations {
		ob := steer.Observation{Pool: pool, Outcome: o.Outcome, Position: o.Position}
		for _, i := range o.Order {
			ob.Order = append(ob.Order, pool[i])
		}
		if err := m.Observe(v.Epoch, ob); err != nil {
			t.Fatal(err)
		}
	}
	if got := hex.EncodeToString(m.Append(nil)); got != v.State {
		t.Errorf("state %s", got)
	}
	for _, s := range []string{v.Bare, v.Proof} {
		r, err := steer.ParseReceipt(h(s))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Observe(r); err != nil {
			t.Error(err)
		}
		if got, err := r.Append(nil); err != nil || hex.EncodeToString(got) != s {
			t.Errorf("receipt %x, %v", got, err)
		}
		if r.Proof != nil && r.Proof.Origin != [32]byte(h(v.Origin)) {
			t.Error("another origin")
		}
	}
}

func FuzzReceipt(f *testing.F) {
	r, _ := proven()
	for _, r := range []steer.Receipt{*r, r.Bare()} {
		b, err := r.Append(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := steer.ParseReceipt(in)
		if err != nil {
			return
		}
		if b, err := r.Append(nil); err != nil || !bytes.Equal(in, b) {
			t.Errorf("accepted %x, printed %x, %v", in, b, err)
		}
	})
}
