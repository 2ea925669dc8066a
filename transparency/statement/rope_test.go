// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package statement_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/statement"
)

// twoPacks are those of two epochs that share most of what they hold.
func twoPacks() (old, p *statement.Pack, evidence []byte) {
	chain, list := bytes.Repeat([]byte("chain"), 100), bytes.Repeat([]byte("list"), 100)
	old = &statement.Pack{Epoch: 2, Checkpoint: []byte("first note")}
	old.AddCut(join([]byte("quote 2"), chain, []byte("report 2"), list), []int{7, 507, 515})
	p = &statement.Pack{Epoch: 3, Checkpoint: []byte("second note")}
	evidence = join([]byte("quote 3"), chain, []byte("report 3"), list)
	p.AddCut(evidence, []int{7, 507, 515})
	p.Add([]byte("a record"))
	return old, p, evidence
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestRope(t *testing.T) {
	_, p, evidence := twoPacks()
	for range 2 { // as made, and as parsed
		if b, ok := p.Object(statement.Digest(evidence)); !ok || !bytes.Equal(b, evidence) {
			t.Errorf("%q, %t", b, ok)
		}
		b, err := p.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		q, err := statement.ParsePack(b)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := q.Append(nil); err != nil || !bytes.Equal(again, b) {
			t.Errorf("printed differently: %v", err)
		}
		p = q
	}
	for _, cuts := range [][]int{nil, {0}, {3, 3}, {4, 3}, {8}, {9}, {-1}, make([]int, 300)} {
		q := new(statement.Pack)
		h := q.AddCut([]byte("eight by"), cuts)
		if b, ok := q.Object(h); !ok || string(b) != "eight by" {
			t.Errorf("cut at %v: %q, %t", cuts, b, ok)
		}
	}
}

// TestHostileRopes: what a pack says an object is made of is a claim.
func TestHostileRopes(t *testing.T) {
	head := append([]byte{1}, make([]byte, 8+2)...) // version, epoch 0, no checkpoint
	data := func(b string) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b))), b...)
	}
	rope := func(h [32]byte, parts ...[32]byte) []byte {
		b := append(append([]byte{1}, h[:]...), byte(len(parts)))
		for _, p := range parts {
			b = append(b, p[:]...)
		}
		return b
	}
	a := statement.Digest([]byte("a"))
	low, high := [32]byte{}, [32]byte{0: 0xff, 31: 1} // below and above any digest here
	for name, object := range map[string][]byte{
		"other bytes than its name":  join(data("a"), rope(high, a)),
		"a part that is not there":   rope(high, low),
		"made of itself":             rope(high, high),
		"made of a rope":             join(rope(low, a), data("a"), rope(high, low)),
		"a hundred parts, one wrong": rope(high, make([][32]byte, 100)...),
	} {
		p, err := statement.ParsePack(join(head, object))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if b, ok := p.Object(high); ok {
			t.Errorf("%s: found %q", name, b)
		}
	}
	for name, object := range map[string][]byte{
		"no parts":          rope(high),
		"cut":               rope(high, a)[:40],
		"kept, in a pack":   append([]byte{2}, high[:]...),
		"an unknown kind":   append([]byte{3}, high[:]...),
		"twice":             join(rope(high, a), rope(high, a)),
		"out of order":      join(rope(high, a), rope(low, a)),
		"data and its rope": join(data("a"), rope(a, a)),
		"a kind alone":      {0},
	} {
		_, err := statement.ParsePack(join(head, object))
		if code := transparency.CodeStatement; err == nil {
			t.Errorf("%s: accepted, want %s", name, code)
		} else {
			wantCode(t, err, code)
		}
	}
}

// TestRopesOfGigabytes: a few kilobytes of ropes say that they are gigabytes, each
// within the bound of one object (AT-62).
func TestRopesOfGigabytes(t *testing.T) {
	const most = statement.MaxAssembled
	old := &statement.Pack{}
	for _, piece := range pieces() {
		old.Add(piece)
	}
	for _, row := range []struct {
		size int
		ok   bool
	}{{0, true}, {1, true}, {most - 1, true}, {most, true}, {most + 1, false}, {4 * most, false}} {
		t.Run(fmt.Sprintf("AT-62/%d", row.size), func(t *testing.T) {
			whole, delta := bomb(row.size, false), bomb(row.size, true)
			if row.size <= most && len(delta) > 64<<10 {
				t.Fatalf("%d bytes: no bomb", len(delta))
			}
			p, err := statement.ParsePack(whole)
			q, errDelta := statement.ParseDelta(delta, old)
			if !row.ok {
				wantCode(t, err, transparency.CodeStatement)
				wantCode(t, errDelta, transparency.CodeStatement)
				return
			}
			if err != nil || errDelta != nil {
				t.Fatal(err, errDelta)
			}
			for _, p := range []*statement.Pack{p, q} {
				if b, err := p.Append(nil); err != nil || !bytes.Equal(b, whole) {
					t.Errorf("printed differently: %v", err)
				}
			}
			p.AddCut([]byte("xy"), []int{1})
			if _, err = p.Append(nil); row.size < most-1 && err != nil {
				t.Error(err)
			} else if row.size >= most-1 { // who publishes is told, not who reads
				wantCode(t, err, transparency.CodeStatement)
			}
		})
	}
}

// pieces are what bombs are made of.
func pieces() (all [][]byte) {
	for _, size := range []int{1 << 20, 1 << 12, 1 << 6, 1} {
		all = append(all, bytes.Repeat([]byte("!"), size))
	}
	return all
}

// bomb prints a pack of epoch 1, or a delta that has its pieces from the pack
// before, whose ropes are size bytes long, joined; none is longer than an object.
func bomb(size int, delta bool) []byte {
	type object struct{ hash, bytes []byte }
	var objects []object
	for _, piece := range pieces() {
		h := statement.Digest(piece)
		b := append([]byte{2}, h[:]...)
		if !delta {
			b = append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(piece))), piece...)
		}
		objects = append(objects, object{h[:], b})
		for size >= len(piece) {
			name := statement.Digest(binary.BigEndian.AppendUint32(nil, uint32(len(objects)))) // a claim
			parts := min(size/len(piece), statement.MaxObjectSize/len(piece), 255)
			objects = append(objects, object{name[:], append(append(append([]byte{1}, name[:]...), byte(parts)), bytes.Repeat(h[:], parts)...)})
			size -= parts * len(piece)
		}
	}
	slices.SortFunc(objects, func(a, b object) int { return bytes.Compare(a.hash, b.hash) })
	b := []byte{1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0}
	for _, o := range objects {
		b = append(b, o.bytes...)
	}
	return b
}

func TestDelta(t *testing.T) {
	old, p, evidence := twoPacks()
	whole, err := p.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	delta, err := p.AppendDelta(nil, old)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(delta, []byte("chainchain")) || bytes.Contains(delta, []byte("listlist")) || len(delta) >= len(whole) {
		t.Errorf("a delta of %d bytes, the whole has %d", len(delta), len(whole))
	}
	q, err := statement.ParseDelta(delta, old)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := q.Append(nil); err != nil || !bytes.Equal(b, whole) {
		t.Errorf("a delta does not give the whole: %v", err)
	}
	if b, ok := q.Object(statement.Digest(evidence)); !ok || !bytes.Equal(b, evidence) {
		t.Error("the evidence is not in it")
	}
	if _, err := statement.ParsePack(delta); err == nil {
		t.Error("a delta passes for a pack")
	}
	if _, err := statement.ParseDelta(whole, old); err != nil {
		t.Errorf("a whole pack is a delta that keeps nothing: %v", err)
	}
	empty := &statement.Pack{Epoch: 2}
	_, err = statement.ParseDelta(delta, empty)
	wantCode(t, err, transparency.CodePackMissing)
	_, err = statement.ParseDelta(delta, nil)
	wantCode(t, err, transparency.CodeStatement)
	for _, epoch := range []uint64{0, 1, 3, 4} {
		old.Epoch = epoch
		if _, err := p.AppendDelta(nil, old); err == nil {
			t.Errorf("a delta from epoch %d to 3", epoch)
		}
		_, err := statement.ParseDelta(delta, old)
		wantCode(t, err, transparency.CodeStatement)
	}
}

func FuzzDelta(f *testing.F) {
	old, p, _ := twoPacks()
	delta, err := p.AppendDelta(nil, old)
	if err != nil {
		f.Fatal(err)
	}
	whole, err := p.Append(nil)
	if err != nil {
		f.Fatal(err)
	}
	fuzzSeeds(f, delta, whole)
	f.Fuzz(func(t *testing.T, in []byte) {
		p, err := statement.ParseDelta(in, old)
		if err != nil {
			return
		}
		b, err := p.Append(nil)
		if err != nil {
			t.Fatalf("accepted %x, does not print: %v", in, err)
		}
		if q, err := statement.ParsePack(b); err != nil || q.Len() != p.Len() {
			t.Errorf("accepted %x, and the whole is no pack: %v", in, err)
		}
	})
}
