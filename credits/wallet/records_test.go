// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"bytes"
	"testing"

	"github.com/sotto-project/sotto/internal/durable"
	"github.com/sotto-project/sotto/internal/redact"
	"github.com/sotto-project/sotto/internal/wire"
)

// one of every kind.
func everyRecord() []record {
	out := redact.New(bytes.Repeat([]byte{7}, outputSize))
	r := ref{header(1), 2, 3}
	return []record{
		&generationRecord{4},
		&keysetRecord{[]byte("keyset")},
		&coinRecord{token{ref: r, exponent: 40, state: stateDoubtful, ripe: 5, output: out}},
		&payRecord{hash: header(2), epoch: 1, class: 10, coin: r, tier: 1, shown: r, keyset: header(3), generation: 4, first: 5},
		&settledRecord{header(2), wire.ChangeUsed, 64, []made{{40, out}, {0, out}}},
		&notedRecord{header(2), "credit.rate"},
		&backRecord{header(2), fateDoubtful},
		&orderRecord{id: header(4), what: orderSwap, epoch: 1, paid: []ref{r}, wanted: []want{{header(3), 6, 7}}},
		&doneRecord{header(4), 1, []ripe{{3, out}}},
		&refusedRecord{header(4), "credit.spent"},
		&closedRecord{header(2), closed{1, 2, 3, 4, 5}},
		&nextRecord{header(3), 9, 8},
		&spentRecord{1, 2},
		&eventRecord{Event{1, "spend", 2}},
		&lostRecord{3},
		&expireRecord{4},
		&movedRecord{},
		&preparedRecord{preparedGone, 1, 10, r, header(3), 4, 5},
		&freedRecord{r},
		&doubtedRecord{},
		&foundRecord{r, []made{{40, out}, {0, out}}},
	}
}

func TestRecordsHaveOneSpelling(t *testing.T) {
	list := everyRecord()
	if len(list) != kindFound {
		t.Fatalf("%d records of %d kinds", len(list), kindFound)
	}
	for i, r := range list {
		b := print(r)
		got, err := parse(b)
		if err != nil || int(got.kind()) != i+1 || !bytes.Equal(print(got), b) {
			t.Fatalf("kind %d: %v", i+1, err)
		}
		for n := range b {
			if _, err := parse(b[:n]); err == nil {
				t.Errorf("kind %d: parsed %d of %d bytes", i+1, n, len(b))
			}
		}
		if _, err := parse(append(b, 0)); err == nil {
			t.Errorf("kind %d: parsed a byte too many", i+1)
		}
	}
	for _, kind := range []byte{0, kindFound + 1, 255} {
		if _, err := parse([]byte{kind}); err == nil {
			t.Errorf("parsed kind %d", kind)
		}
	}
}

// A record that does not fit the ones before it is refused.
func TestRecordsThatDoNotFit(t *testing.T) {
	m := newMint(t, coins1)
	k := m.keys[0].Keyset()
	out := redact.New(make([]byte, outputSize))
	coin := &coinRecord{token{ref: ref{keyset: k.ID(), index: 1}, exponent: 10, output: out}}
	p := &payRecord{hash: header(1), epoch: 1, class: 10, coin: coin.ref, keyset: k.ID()}
	fresh := func(list ...record) *state {
		s := newState()
		for _, r := range append([]record{&keysetRecord{k.Append(nil)}, coin}, list...) {
			if err := s.apply(r); err != nil {
				t.Fatal(err)
			}
		}
		return s
	}
	with := func(edit func(*payRecord)) record { q := *p; edit(&q); return &q }
	o := &orderRecord{id: header(4), what: orderSwap, paid: []ref{coin.ref}, wanted: []want{{k.ID(), 10, 7}}}
	for name, c := range map[string]struct {
		s *state
		r record
	}{
		"a keyset that is none":           {fresh(), &keysetRecord{[]byte("x")}},
		"a generation back":               {fresh(&generationRecord{3}), &generationRecord{2}},
		"a coin twice":                    {fresh(), coin},
		"a coin of no keyset":             {newState(), coin},
		"paid with no coin":               {fresh(), with(func(p *payRecord) { p.coin.index = 9 })},
		"paid with another class":         {fresh(), with(func(p *payRecord) { p.class = 11 })},
		"paid twice":                      {fresh(p), p},
		"a coin paid twice":               {fresh(p), with(func(p *payRecord) { p.hash = header(2) })},
		"an entitlement that is not":      {fresh(), with(func(p *payRecord) { p.tier = 1 })},
		"settled without payment":         {fresh(), &settledRecord{header(1), 1, 64, nil}},
		"change of more than was paid":    {fresh(p), &settledRecord{header(1), 1, 0, []made{{10, out}, {0, out}}}},
		"change on a coin that is there":  {fresh(with(func(p *payRecord) { p.first = 1 })), &settledRecord{header(1), 1, 0, []made{{10, out}}}},
		"noted without payment":           {fresh(), &notedRecord{header(1), ""}},
		"back without payment":            {fresh(), &backRecord{header(1), 0}},
		"an order of a coin that is held": {fresh(p), o},
		"an order twice":                  {fresh(o), o},
		"done without order":              {fresh(), &doneRecord{id: header(4)}},
		"done with less":                  {fresh(o), &doneRecord{id: header(4)}},
		"refused without order":           {fresh(), &refusedRecord{header(4), "x"}},
	} {
		if err := c.s.apply(c.r); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func FuzzRecord(f *testing.F) {
	for _, r := range everyRecord() {
		f.Add(print(r))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := parse(b); err == nil && !bytes.Equal(print(r), b) {
			t.Error("printed differently")
		}
	})
}

// FuzzState replays whatever records a journal may hold: they are refused or
// come to a state whose snapshot comes to the same.
func FuzzState(f *testing.F) {
	seed := func(list ...record) {
		var b []byte
		for _, r := range list {
			p := print(r)
			b = append(append(b, byte(len(p)>>8), byte(len(p))), p...)
		}
		f.Add(b)
	}
	seed(newState().snapshot()...)
	seed(everyRecord()...)
	k := newMint(f, coins1).keys[0].Keyset()
	out := redact.New(make([]byte, outputSize))
	c := &coinRecord{token{ref: ref{keyset: k.ID(), index: 1}, exponent: 10, output: out}}
	p := &payRecord{hash: header(1), epoch: 1, class: 10, coin: c.ref, keyset: k.ID(), first: 2}
	o := &orderRecord{id: header(4), what: orderSwap, paid: []ref{c.ref}, wanted: []want{{k.ID(), 10, 70}}}
	seed(&keysetRecord{k.Append(nil)}, c, p, &settledRecord{header(1), 1, 32, []made{{9, out}}}, &generationRecord{3}, &expireRecord{9})
	seed(&keysetRecord{k.Append(nil)}, c, o, &doneRecord{header(4), 1, []ripe{{3, out}}})
	seed(&keysetRecord{k.Append(nil)}, c, o, &refusedRecord{header(4), "credit.spent"}, &expireRecord{51})
	seed(&keysetRecord{k.Append(nil)}, c, p, &backRecord{header(1), fateStale}, &expireRecord{2000})
	q := &preparedRecord{epoch: 1, class: 10, coin: c.ref, keyset: k.ID(), first: 2}
	seed(&keysetRecord{k.Append(nil)}, c, q, p, &settledRecord{header(1), 1, 32, []made{{9, out}}})
	seed(&keysetRecord{k.Append(nil)}, c, q, &freedRecord{c.ref}, q, &expireRecord{51})
	seed(&keysetRecord{k.Append(nil)}, c, q, &doubtedRecord{}, o, &doneRecord{header(4), 1, []ripe{{3, out}}})
	seed(&keysetRecord{k.Append(nil)}, c, q, &doubtedRecord{}, o, &refusedRecord{header(4), "credit.spent"}, &foundRecord{c.ref, []made{{9, out}}})
	seed(&keysetRecord{k.Append(nil)}, c, q, &doubtedRecord{}, o, &refusedRecord{header(4), "credit.spent"}, &expireRecord{51})
	f.Fuzz(func(t *testing.T, b []byte) {
		s := newState()
		for len(b) >= 2 {
			n := min(int(b[0])<<8|int(b[1]), len(b)-2)
			if s.replay(b[2:2+n]) != nil {
				return
			}
			b = b[2+n:]
		}
		first := s.snapshot()
		again := newState()
		for _, r := range first {
			if err := again.apply(r); err != nil {
				t.Fatalf("a snapshot is refused: %v", err)
			}
		}
		if !bytes.Equal(durable.Frames(printAll(again.snapshot())), durable.Frames(printAll(first))) {
			t.Error("a snapshot comes to another state")
		}
	})
}
