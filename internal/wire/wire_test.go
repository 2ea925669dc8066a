// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package wire_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/sotto-project/sotto/internal/wire"
)

func id(n byte) (h [32]byte) { return sha256.Sum256([]byte{'i', 'd', n}) }

func nodeKey(n byte) ed25519.PrivateKey {
	seed := id(100 + n)
	return ed25519.NewKeyFromSeed(seed[:])
}

func TestRoutingBlockAtItsBounds(t *testing.T) {
	for _, b := range []wire.RoutingBlock{{}, {Epoch: 1}, {Epoch: 1<<64 - 1, Attempt: 2, Origin: id(1)}} {
		p := b.Append(nil)
		got, err := wire.ParseRoutingBlock(p)
		if err != nil || got != b || len(p) != wire.RoutingBlockSize {
			t.Errorf("%+v: got %+v, %v, %d bytes", b, got, err, len(p))
		}
	}
	good := wire.RoutingBlock{Epoch: 7, Attempt: 1, Origin: id(1)}.Append(nil)
	for _, n := range []int{0, 1, wire.RoutingBlockSize - 1} {
		if _, err := wire.ParseRoutingBlock(good[:n]); err == nil {
			t.Errorf("accepted %d bytes", n)
		}
	}
	if _, err := wire.ParseRoutingBlock(append(slices.Clone(good), 0)); err == nil {
		t.Error("accepted a byte too many")
	}
	// A first attempt has no origin, and every other has one.
	for _, n := range []byte{0, 1} {
		bad := slices.Clone(good)
		if bad[10] = n; n > 0 {
			clear(bad[11:43])
		}
		if _, err := wire.ParseRoutingBlock(bad); err == nil {
			t.Errorf("attempt %d: accepted with the wrong kind of origin", n)
		}
	}
	// Every byte outside epoch and origin has one or three legal values.
	for i := range good {
		if i >= 2 && i < 10 || i >= 11 && i < 43 {
			continue
		}
		bad := slices.Clone(good)
		bad[i] ^= 0x80
		if _, err := wire.ParseRoutingBlock(bad); err == nil {
			t.Errorf("accepted a changed byte %d", i)
		}
	}
	if testing.AllocsPerRun(100, func() { wire.ParseRoutingBlock(good) }) != 0 {
		t.Error("parsing allocates")
	}
}

func signed(n byte, a wire.Ask) wire.BusyReceipt {
	r := a.Receipt(id(n))
	r.Sign(nodeKey(n))
	return r
}

func TestBusyReceiptBindsEveryBit(t *testing.T) {
	r := signed(1, wire.Ask{HeaderHash: id(9), Epoch: 5, Index: 2, Attempt: 1})
	key := nodeKey(1).Public().(ed25519.PublicKey)
	if !r.Verify(key) {
		t.Fatal("a good receipt was refused")
	}
	b := r.Append(nil)
	if len(b) != wire.BusyReceiptSize {
		t.Fatalf("%d bytes", len(b))
	}
	for i := range b {
		for bit := range 8 {
			bad := slices.Clone(b)
			bad[i] ^= 1 << bit
			if p, err := wire.ParseBusyReceipt(bad); err == nil && p.Verify(key) {
				t.Errorf("byte %d bit %d: accepted", i, bit)
			}
		}
	}
	if r.Verify(nodeKey(2).Public().(ed25519.PublicKey)) || r.Verify(nil) {
		t.Error("another key was accepted")
	}
}

func TestAskAtItsBounds(t *testing.T) {
	a := wire.Ask{HeaderHash: id(3), Epoch: 1<<64 - 1, Index: 7, Attempt: 2}
	s := a.String()
	if got, err := wire.ParseAsk(s); err != nil || got != a || len(s) != 56 {
		t.Errorf("got %+v, %v from %q", got, err, s)
	}
	for _, bad := range []string{"", s[:55], s + "A", s + "=", " " + s[1:], s[:20] + "\n" + s[21:],
		wire.Ask{Index: 8}.String(), wire.Ask{Attempt: 3}.String()} {
		if _, err := wire.ParseAsk(bad); err == nil {
			t.Errorf("accepted %q", bad)
		}
	}
}

func TestRouteRecordAtItsBounds(t *testing.T) {
	for n := range wire.MaxCandidates {
		r := wire.RouteRecord{Index: uint8(n)}
		for i := range n {
			r.Skipped = append(r.Skipped, signed(byte(i), wire.Ask{Index: uint8(i)}))
		}
		b := r.Append(nil)
		got, err := wire.ParseRouteRecord(b)
		if err != nil || len(b) != wire.RouteRecordSize || got.Index != r.Index || !slices.Equal(got.Skipped, r.Skipped) {
			t.Fatalf("%d receipts: got %+v, %v, %d bytes", n, got, err, len(b))
		}
		for _, bad := range [][]byte{nil, b[:len(b)-1], append(slices.Clone(b), 0), flip(b, 0), flip(b, len(b)-1)} {
			if _, err := wire.ParseRouteRecord(bad); err == nil {
				t.Errorf("accepted %d malformed bytes", len(bad))
			}
		}
		for i, v := range map[int]byte{1: 8, 2: 8} {
			bad := slices.Clone(b)
			bad[i] = v
			if _, err := wire.ParseRouteRecord(bad); err == nil {
				t.Errorf("accepted byte %d = %d", i, v)
			}
		}
	}
}

func flip(b []byte, i int) []byte {
	b = slices.Clone(b)
	b[i] ^= 0xff
	return b
}

// route builds a request of k candidates and the record of an honest router
// that skipped the first n of the draw.
func route(k, n int) (*wire.Draw, *wire.RouteRecord) {
	d := &wire.Draw{HeaderHash: id(50), Origin: id(52), Beacon: id(51), Epoch: 9, Attempt: 1}
	for i := range k {
		d.IDs = append(d.IDs, id(byte(i)))
		d.Keys = append(d.Keys, nodeKey(byte(i)).Public().(ed25519.PublicKey))
	}
	order := wire.DrawOrder(d.Origin, d.Beacon, d.IDs)
	r := &wire.RouteRecord{Index: uint8(order[n])}
	for _, i := range order[:n] {
		r.Skipped = append(r.Skipped, signed(byte(i), wire.Ask{HeaderHash: d.HeaderHash, Epoch: d.Epoch, Index: uint8(i), Attempt: d.Attempt}))
	}
	return d, r
}

func TestHonestRoutesPass(t *testing.T) {
	for k := 1; k <= wire.MaxCandidates; k++ {
		for n := range k {
			d, r := route(k, n)
			if err := d.Check(r); err != nil {
				t.Errorf("k %d, skipped %d: %v", k, n, err)
			}
		}
	}
}

func TestDishonestRoutes(t *testing.T) {
	code := func(t *testing.T, d *wire.Draw, r *wire.RouteRecord, want string) {
		t.Helper()
		var re *wire.RouteError
		if err := d.Check(r); !errors.As(err, &re) || re.Code != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	t.Run("RT-01", func(t *testing.T) {
		d, r := route(3, 0)
		r.Index = 3
		code(t, d, r, "route.candidate")
		r.Index = 7
		code(t, d, r, "route.candidate")
		code(t, &wire.Draw{}, &wire.RouteRecord{}, "route.candidate")
	})
	t.Run("RT-03", func(t *testing.T) { // always the node the attacker owns
		d, _ := route(3, 0)
		first := wire.DrawOrder(d.Origin, d.Beacon, d.IDs)[0]
		for i := range 3 {
			if i != first {
				code(t, d, &wire.RouteRecord{Index: uint8(i)}, "route.skip")
			}
		}
	})
	t.Run("RT-11", func(t *testing.T) {
		d, r := route(3, 2)
		honest := slices.Clone(r.Skipped)
		for name, skipped := range map[string][]wire.BusyReceipt{
			"one missing":       honest[:1],
			"the first missing": honest[1:],
			"swapped":           {honest[1], honest[0]},
			"doubled":           {honest[0], honest[0]},
			"one too many":      {honest[0], honest[1], honest[1]},
			"forged":            {honest[0], {HeaderHash: d.HeaderHash, NodeID: honest[1].NodeID, Epoch: d.Epoch, Index: honest[1].Index, Attempt: 1}},
		} {
			t.Run(name, func(t *testing.T) { code(t, d, &wire.RouteRecord{Index: r.Index, Skipped: skipped}, "route.skip") })
		}
		// A genuine receipt for something else is no receipt.
		for name, change := range map[string]func(*wire.Draw){
			"of another attempt": func(d *wire.Draw) { d.Attempt = 2 },
			"of another epoch":   func(d *wire.Draw) { d.Epoch++ },
			"of another node":    func(d *wire.Draw) { slices.Reverse(d.Keys) },
		} {
			t.Run(name, func(t *testing.T) {
				d, r := route(3, 2)
				change(d)
				code(t, d, r, "route.skip")
			})
		}
		d, r = route(2, 0)
		r.Skipped = honest[:1]
		code(t, d, r, "route.skip")
	})
}

// TestDrawIsUniform is the chi-square side of RT-03: over many headers each of
// the k! orders comes equally often.
func TestDrawIsUniform(t *testing.T) {
	t.Run("RT-03", func(t *testing.T) {
		const k, draws, orders = 4, 24000, 24
		ids := [][32]byte{id(0), id(1), id(2), id(3)}
		count := map[[k]int]int{}
		for n := range draws {
			hash := sha256.Sum256([]byte{byte(n), byte(n >> 8), byte(n >> 16)})
			count[[k]int(wire.DrawOrder(hash, id(51), ids))]++
		}
		var chi float64
		for _, c := range count {
			d := float64(c) - draws/orders
			chi += d * d / (draws / orders)
		}
		// 23 degrees of freedom: above 49.7 by chance once in a thousand
		// runs, and this run is always the same.
		if len(count) != orders || chi > 49.7 {
			t.Errorf("%d orders, chi-square %.1f", len(count), chi)
		}
	})
}

func TestDrawDependsOnEachInput(t *testing.T) {
	ids := make([][32]byte, 8)
	for i := range ids {
		ids[i] = id(byte(i))
	}
	base := wire.DrawOrder(id(50), id(51), ids)
	if slices.Equal(base, wire.DrawOrder(id(52), id(51), ids)) || slices.Equal(base, wire.DrawOrder(id(50), id(52), ids)) {
		t.Error("the order ignores the header or the beacon")
	}
	// The rank belongs to the id, not to its place.
	slices.Reverse(ids)
	for i, n := range wire.DrawOrder(id(50), id(51), ids) {
		if 7-n != base[i] {
			t.Fatal("the order depends on the candidates' places")
		}
	}
}

// TestVectors computes every published value of docs/spec/routing.md.
func TestVectors(t *testing.T) {
	raw, err := os.ReadFile("testdata/routing.json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Source   string
		NodeSeed string `json:"node_seed"`
		Header   string `json:"header_hash"`
		Beacon   string
		IDs      []string
		Order    []int
		Epoch    uint64
		Attempt  uint8
		Origin   string
		Retried  []int  `json:"order_over_header_hash"`
		Block    string `json:"routing_block_sha256"`
		Ask      string
		Receipt  string
		Record   string `json:"route_record_sha256"`
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	d := &wire.Draw{HeaderHash: unhex(t, v.Header), Origin: unhex(t, v.Origin), Beacon: unhex(t, v.Beacon), Epoch: v.Epoch, Attempt: v.Attempt}
	seed := unhex(t, v.NodeSeed)
	key := ed25519.NewKeyFromSeed(seed[:])
	for _, s := range v.IDs {
		d.IDs, d.Keys = append(d.IDs, unhex(t, s)), append(d.Keys, key.Public().(ed25519.PublicKey))
	}
	if first := wire.DrawOrder(d.HeaderHash, d.Beacon, d.IDs); !slices.Equal(first, v.Retried) || slices.Equal(first, v.Order) {
		t.Errorf("order of a first attempt %v", first)
	}
	order := wire.DrawOrder(d.Origin, d.Beacon, d.IDs)
	if !slices.Equal(order, v.Order) || len(order) == 0 {
		t.Errorf("order %v", order)
	}
	block := sha256.Sum256(wire.RoutingBlock{Epoch: v.Epoch, Attempt: v.Attempt, Origin: d.Origin}.Append(nil))
	if got := hex.EncodeToString(block[:]); got != v.Block {
		t.Errorf("routing block %s", got)
	}
	ask := wire.Ask{HeaderHash: d.HeaderHash, Epoch: v.Epoch, Index: uint8(order[0]), Attempt: v.Attempt}
	if ask.String() != v.Ask {
		t.Errorf("ask %s", ask)
	}
	r := ask.Receipt(d.IDs[order[0]])
	r.Sign(key)
	if got := hex.EncodeToString(r.Append(nil)); got != v.Receipt {
		t.Errorf("receipt %s", got)
	}
	rec := &wire.RouteRecord{Index: uint8(order[1]), Skipped: []wire.BusyReceipt{r}}
	sum := sha256.Sum256(rec.Append(nil))
	if got := hex.EncodeToString(sum[:]); got != v.Record {
		t.Errorf("route record %s", got)
	}
	if err := d.Check(rec); err != nil {
		t.Error(err)
	}
}

func unhex(t *testing.T, s string) (h [32]byte) {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 32 {
		t.Fatalf("vector %q: %v", s, err)
	}
	return [32]byte(b)
}

func FuzzRoutingBlock(f *testing.F) {
	f.Add(wire.RoutingBlock{Epoch: 3, Attempt: 2, Origin: id(1)}.Append(nil))
	f.Add(make([]byte, wire.RoutingBlockSize))
	f.Fuzz(func(t *testing.T, in []byte) {
		p, err := wire.ParseRoutingBlock(in)
		if err != nil {
			if p != (wire.RoutingBlock{}) {
				t.Error("a value came with the error")
			}
			return
		}
		if !bytes.Equal(in, p.Append(nil)) {
			t.Errorf("accepted %x, printed another", in)
		}
	})
}

func FuzzBusyReceipt(f *testing.F) {
	r := signed(1, wire.Ask{Index: 7})
	f.Add(r.Append(nil))
	f.Fuzz(func(t *testing.T, in []byte) {
		if p, err := wire.ParseBusyReceipt(in); err == nil && !bytes.Equal(in, p.Append(nil)) {
			t.Errorf("accepted %x, printed another", in)
		}
	})
}

func FuzzAsk(f *testing.F) {
	f.Add(wire.Ask{Epoch: 5, Attempt: 1}.String())
	f.Fuzz(func(t *testing.T, in string) {
		if p, err := wire.ParseAsk(in); err == nil && p.String() != in {
			t.Errorf("accepted %q, printed %q", in, p)
		}
	})
}

func FuzzRouteRecord(f *testing.F) {
	for n := range 3 {
		_, r := route(3, n)
		f.Add(r.Append(nil))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if p, err := wire.ParseRouteRecord(in); err == nil && !bytes.Equal(in, p.Append(nil)) {
			t.Errorf("accepted %x, printed another", in)
		}
	})
}

// TestRetryKeepsTheOrder: an order drawn anew for a retry is not accepted, and
// a draw of a first attempt has no origin.
func TestRetryKeepsTheOrder(t *testing.T) {
	t.Run("RT-03", func(t *testing.T) {
		moved := 0
		for n := range byte(20) {
			d, _ := route(3, 0)
			d.HeaderHash = id(n)
			first, again := wire.DrawOrder(d.Origin, d.Beacon, d.IDs)[0], wire.DrawOrder(d.HeaderHash, d.Beacon, d.IDs)[0]
			if err := d.Check(&wire.RouteRecord{Index: uint8(first)}); err != nil {
				t.Error(err)
			}
			if again != first {
				moved++
				if err := d.Check(&wire.RouteRecord{Index: uint8(again)}); err == nil {
					t.Error("accepted the first of an order drawn anew")
				}
			}
		}
		if moved < 5 {
			t.Errorf("only %d of 20 orders differ", moved)
		}
		d, r := route(3, 0)
		d.Attempt = 0
		if d.Check(r) == nil {
			t.Error("accepted a first attempt with an origin")
		}
	})
}
