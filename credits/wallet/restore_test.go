// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"errors"
	"iter"
	"os"
	"slices"
	"testing"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/internal/redact"
	"github.com/sotto-project/sotto/internal/wire"
)

// small is a search that a test can afford; the real gaps are tested for their
// arithmetic in TestGap.
func small() *search { return &search{seed: testSeed, gap: 16, generations: 8} }

func (m *mint) batches(b *Buy) (list []Batch) {
	elements, proofs := m.issue(b)
	at := map[uint8]*Batch{}
	for i, x := range b.Tokens {
		if at[x.Exponent] == nil {
			at[x.Exponent] = &Batch{Exponent: x.Exponent, Proof: proofs[x.Exponent]}
		}
		y := at[x.Exponent]
		y.Blinded, y.Elements = append(y.Blinded, x.Blinded), append(y.Elements, elements[i])
	}
	for _, b := range at {
		list = append(list, *b)
	}
	return list
}

// TestRestore: all that is left is the seed. What was not spent comes back; what
// was is found out one by one; no blank is sent twice.
func TestRestore(t *testing.T) {
	m := newMint(t, coins1, voucher)
	w := prompt(t)
	sent := map[[32]byte]bool{}
	burn := func(s *wire.Spend) {
		t.Helper()
		for _, b := range s.Blanks {
			if sent[b] {
				t.Fatal("a blank was sent twice")
			}
			sent[b] = true
		}
	}
	b, err := w.Buy(m.sets(), 1, wire.TokenCoin, 0, []uint8{10, 10, 10, 9})
	if err != nil {
		t.Fatal(err)
	}
	batches := m.batches(b)
	elements, proofs := m.issue(b)
	if err := w.Bought(b.Request, 1, elements, proofs); err != nil {
		t.Fatal(err)
	}
	// One settled; one whose change was never fetched; one never held.
	for n, used := range []uint8{37, 20} {
		s := pay(t, w, m, n, 1, 10)
		burn(&s)
		if !m.hold(header(n), 1, &s) {
			t.Fatal("hold")
		}
		c := m.settle(header(n), 1, &s, used)
		if n == 0 {
			if _, err := w.Settle(header(n), c); err != nil {
				t.Fatal(err)
			}
		}
	}
	s := pay(t, w, m, 2, 1, 10)
	burn(&s)
	w.Close()
	lost, err := os.MkdirTemp(t.TempDir(), "lost")
	if err != nil {
		t.Fatal(err)
	}
	var before uint32
	for round := range uint32(3) {
		dir := lost + string(rune('a'+round))
		v, found, err := small().restore(dir, m.sets(), 3, m.sources(batches))
		if err != nil {
			t.Fatal(err)
		}
		if found.Wrong != 0 || round > 0 && found.Generation <= before || found.Tokens < 8 {
			t.Errorf("round %d: %+v", round, found)
		}
		before = found.Generation
		if err := v.SetPolicy(Policy{Window: 24}); err != nil {
			t.Fatal(err)
		}
		codes := swapAll(t, v, m, 3)
		if round == 0 && len(codes) != 2 { // the two that were held are spent
			t.Errorf("refused: %v", codes)
		}
		st := v.Status(3, nil)
		if want := uint64(1<<10+1<<9) + 27<<4 + 44<<4; round == 0 && st.Ready != want || st.Orders != 0 {
			t.Errorf("round %d: %d units of %d, %+v", round, st.Ready, want, st)
		}
		if round == 2 {
			break
		}
		s := pay(t, v, m, 10+int(round), 3, 9)
		burn(&s)
		if !m.hold(header(10+int(round)), 3, &s) {
			t.Fatal("hold")
		}
		m.settle(header(10+int(round)), 3, &s, 1)
		v.Close()
	}
}

func TestRestoreThatIsLiedTo(t *testing.T) {
	m := newMint(t, coins1)
	w := prompt(t)
	b, err := w.Buy(m.sets(), 1, wire.TokenCoin, 0, []uint8{10, 10, 9})
	if err != nil {
		t.Fatal(err)
	}
	batches := m.batches(b)
	elements, proofs := m.issue(b)
	if err := w.Bought(b.Request, 1, elements, proofs); err != nil {
		t.Fatal(err)
	}
	s := pay(t, w, m, 1, 1, 10)
	m.settle(header(1), 1, &s, 37)
	from := func(edit func(m *mint, b []Batch)) (Found, error) {
		c := &mint{t: t, keys: m.keys, table: slices.Clone(m.table)}
		bs := slices.Clone(batches)
		if edit != nil {
			edit(c, bs)
		}
		v, found, err := small().restore(t.TempDir()+"/r", m.sets(), 1, c.sources(bs))
		if err == nil {
			v.Close()
		}
		return found, err
	}
	if f, err := from(nil); err != nil || f.Tokens != 7 || f.Wrong != 0 || f.Units != 2<<10+1<<9+27<<4 {
		t.Fatalf("%+v, %v", f, err)
	}
	t.Run("CT-15", func(t *testing.T) { // a table entry, or a batch, that verifies under no logged key
		f, err := from(func(m *mint, b []Batch) { m.table[0].Minted.Proof[3] ^= 1 })
		if err != nil || f.Wrong != 1 || f.Tokens != 6 {
			t.Errorf("%+v, %v", f, err)
		}
		f, err = from(func(m *mint, b []Batch) { b[0].Proof[3] ^= 1 })
		if err != nil || f.Wrong != 1 || f.Tokens >= 7 {
			t.Errorf("%+v, %v", f, err)
		}
		f, err = from(func(m *mint, b []Batch) { b[0].Elements = b[0].Elements[:len(b[0].Elements)-1] })
		if err != nil || f.Wrong != 1 {
			t.Errorf("%+v, %v", f, err)
		}
	})
	// A batch that is only in part this wallet's is another's.
	f, err := from(func(m *mint, b []Batch) {
		for i := range b {
			b[i].Blinded = append(slices.Clone(b[i].Blinded), header(3))
			b[i].Elements = append(slices.Clone(b[i].Elements), header(3))
		}
	})
	if err != nil || f.Tokens != 4 || f.Wrong != 0 {
		t.Errorf("%+v, %v", f, err)
	}
	broken := Sources{Table: func([32]byte) iter.Seq2[credits.TableEntry, error] {
		return func(yield func(credits.TableEntry, error) bool) { yield(credits.TableEntry{}, errors.New("cut")) }
	}}
	dir := t.TempDir() + "/r"
	if _, _, err := small().restore(dir, m.sets(), 1, broken); err == nil {
		t.Error("half a table is a table")
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("a wallet was made of half a table")
	}
	for name, f := range map[string]func() error{
		"no seed":    func() error { _, _, err := Restore(dir, redact.Secret{}, m.sets(), 1, m.sources(nil)); return err },
		"no keysets": func() error { _, _, err := Restore(dir, testSeed, nil, 1, m.sources(nil)); return err },
		"no table":   func() error { _, _, err := Restore(dir, testSeed, m.sets(), 1, Sources{}); return err },
		"over a wallet": func() error {
			_, _, err := small().restore(w.dir, m.sets(), 1, m.sources(nil))
			return err
		},
	} {
		if f() == nil {
			t.Errorf("%s: restored", name)
		}
	}
}

// TestGap: a token right inside the gap behind the last is found, one behind it
// is not, in indexes and in generations.
func TestGap(t *testing.T) {
	m := newMint(t, coins1)
	w := newWallet(t)
	id := m.keys[0].Keyset().ID()
	put := func(generation uint32, index uint64) {
		t.Helper()
		b, err := w.blank(ref{id, generation, index})
		if err != nil {
			t.Fatal(err)
		}
		m.evaluate(id, 10, b.Element)
	}
	for _, c := range []struct {
		at    [][2]uint64
		found int
	}{
		{nil, 0},
		{[][2]uint64{{0, 15}}, 1},
		{[][2]uint64{{0, 16}}, 0},
		{[][2]uint64{{0, 15}, {0, 31}, {0, 47}}, 3},
		{[][2]uint64{{0, 15}, {0, 32}}, 1},
		{[][2]uint64{{7, 0}}, 1},
		{[][2]uint64{{8, 0}}, 0},
		{[][2]uint64{{7, 15}, {15, 15}, {15, 31}}, 3},
		{[][2]uint64{{7, 0}, {16, 0}}, 1},
	} {
		m.table = nil
		for _, x := range c.at {
			put(uint32(x[0]), x[1])
		}
		v, f, err := small().restore(t.TempDir()+"/r", m.sets(), 1, m.sources(nil))
		if err != nil {
			t.Fatal(err)
		}
		v.Close()
		highest := uint32(1)
		for i, x := range c.at {
			if i < c.found || c.found == len(c.at) {
				highest = max(highest, uint32(x[0])+1)
			}
		}
		if f.Tokens != c.found || f.Generation < highest || f.Generation > highest+generationJump {
			t.Errorf("%v: %+v", c.at, f)
		}
	}
	if indexGap != 1024*wire.Blanks || generationJump >= generationGap {
		t.Error("the gaps do not fit what they are for")
	}
}
