// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package statement_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"testing"
	"time"

	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/statement"
)

// A testLog is a log with one witness, in memory.
type testLog struct {
	origin string
	signer *transparency.Signer
	clock  *transparency.Cosigner
	tree   transparency.Tree
	leaves [][]byte
}

func newLog(t testing.TB) *testLog {
	s, err := transparency.NewSigner(origin, key(origin))
	if err != nil {
		t.Fatal(err)
	}
	c, err := transparency.NewCosigner("clock.example", key("clock.example"))
	if err != nil {
		t.Fatal(err)
	}
	return &testLog{origin: origin, signer: s, clock: c}
}

func (l *testLog) trust() *transparency.Trust {
	return &transparency.Trust{Origin: l.origin, LogKey: l.signer.VKey(), Witnesses: []string{l.clock.VKey()}, Quorum: 1}
}

func (l *testLog) add(t testing.TB, s *statement.Statement) {
	leaf := encode(t, s)
	if err := l.tree.Append(statement.LogLeaf(leaf)); err != nil {
		t.Fatal(err)
	}
	l.leaves = append(l.leaves, leaf)
}

// signed proves the leaf at index in the whole tree.
func (l *testLog) signed(t testing.TB, index uint64) *statement.Signed {
	t.Helper()
	n := l.tree.Size()
	proof, err := l.tree.Prove(index, n)
	if err != nil {
		t.Fatal(err)
	}
	root, err := l.tree.Root(n)
	if err != nil {
		t.Fatal(err)
	}
	note, err := l.clock.Cosign(l.signer.Sign(n, root), noon)
	if err != nil {
		t.Fatal(err)
	}
	return &statement.Signed{Leaf: l.leaves[index], Index: index, Proof: proof, Checkpoint: note}
}

// standard has epochs 0 to 4, of which 2 was an outage.
func standard(t testing.TB) *testLog {
	l := newLog(t)
	l.add(t, genesis())
	for e := uint64(1); e <= 4; e++ {
		s := full(e)
		if e == 2 {
			s = &statement.Statement{Epoch: 2, Empty: true, NotBefore: s.NotBefore, NotAfter: s.NotAfter, NextPublic: s.NotAfter}
		}
		s.Beacon = statement.LeafHash(l.leaves[e-1])
		l.add(t, s)
	}
	return l
}

func verify(s *statement.Signed, tr *transparency.Trust) error {
	_, _, err := s.Verify(tr)
	return err
}

func TestVerify(t *testing.T) {
	l := standard(t)
	for e := range uint64(5) {
		st, cp, err := l.signed(t, e).Verify(l.trust())
		if err != nil || st.Epoch != e || cp.Size != 5 || !cp.Time.Equal(noon) {
			t.Errorf("epoch %d: %+v, %+v, %v", e, st, cp, err)
		}
		b, err := l.signed(t, e).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		s, err := statement.ParseSigned(b)
		if err != nil || verify(s, l.trust()) != nil {
			t.Errorf("epoch %d: %v", e, err)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	l := standard(t)
	t.Run("zero trust", func(t *testing.T) {
		wantCode(t, verify(l.signed(t, 3), &transparency.Trust{}), transparency.CodeTrust)
	})
	t.Run("other log's statement", func(t *testing.T) {
		tr := l.trust()
		other, err := transparency.NewSigner("other.example", key("other.example"))
		if err != nil {
			t.Fatal(err)
		}
		tr.Origin, tr.LogKey = "other.example", other.VKey()
		wantCode(t, verify(l.signed(t, 3), tr), transparency.CodeOrigin)
	})
	t.Run("unknown key", func(t *testing.T) {
		imposter := standard(t)
		imposter.signer, _ = transparency.NewSigner(origin, key("imposter"))
		wantCode(t, verify(imposter.signed(t, 3), l.trust()), transparency.CodeSignature)
	})
	t.Run("not cosigned", func(t *testing.T) {
		s := l.signed(t, 3)
		root, _ := l.tree.Root(5)
		s.Checkpoint = l.signer.Sign(5, root)
		wantCode(t, verify(s, l.trust()), transparency.CodeWitness)
	})
	t.Run("wrong index", func(t *testing.T) {
		s := l.signed(t, 3)
		s.Index = 4
		wantCode(t, verify(s, l.trust()), transparency.CodeIndex)
	})
	// A second statement for epoch 3 that the log really holds, elsewhere.
	t.Run("CR-12 two statements for one epoch in one log", func(t *testing.T) {
		l := standard(t)
		again := full(3)
		again.GatewayKeys = [][]byte{[]byte("a key for one user")}
		l.add(t, again)
		wantCode(t, verify(l.signed(t, 5), l.trust()), transparency.CodeIndex)
		lie := l.signed(t, 5)
		lie.Index = 3
		wantCode(t, verify(lie, l.trust()), transparency.CodeInclusion)
	})
	t.Run("AT-48 two logs that differ in one epoch", func(t *testing.T) {
		other := newLog(t)
		for e, leaf := range l.leaves {
			s, err := statement.Parse(leaf)
			if err != nil {
				t.Fatal(err)
			}
			if e == 4 {
				s.GatewayKeys = [][]byte{[]byte("a key for one user")}
			}
			other.add(t, s)
		}
		a, b := l.signed(t, 4), other.signed(t, 4)
		if verify(a, l.trust()) != nil || verify(b, l.trust()) != nil {
			t.Fatal("both verify alone: only comparing tells")
		}
		err := statement.Agree(a, b)
		wantCode(t, err, transparency.CodeFork)
		var e *transparency.Error
		if !errors.As(err, &e) || len(e.Evidence) != 2 {
			t.Fatal("no evidence")
		}
		for _, raw := range e.Evidence {
			if s, err := statement.ParseSigned(raw); err != nil || verify(s, l.trust()) != nil {
				t.Errorf("the evidence does not verify: %v", err)
			}
		}
		if err := statement.Agree(a, a); err != nil {
			t.Error(err)
		}
		_, ca, _ := a.Verify(l.trust())
		_, cb, _ := b.Verify(l.trust())
		wantCode(t, ca.Extends(cb), transparency.CodeFork)
	})
	t.Run("AT-46 proof of another leaf", func(t *testing.T) {
		s := l.signed(t, 3)
		s.Proof = l.signed(t, 1).Proof
		wantCode(t, verify(s, l.trust()), transparency.CodeInclusion)
	})
	t.Run("another checkpoint", func(t *testing.T) {
		s := l.signed(t, 3)
		short := newLog(t)
		short.add(t, genesis())
		s.Checkpoint = short.signed(t, 0).Checkpoint
		wantCode(t, verify(s, l.trust()), transparency.CodeInclusion)
	})
	t.Run("expired", func(t *testing.T) {
		st, cp, err := l.signed(t, 3).Verify(l.trust())
		if err != nil {
			t.Fatal(err)
		}
		_ = cp
		wantCode(t, st.Current(st.NotAfter, nil), transparency.CodeEpochExpired)
	})
}

// Every single bit of an accepted statement counts.
func TestEveryBitFlipIsRefused(t *testing.T) {
	l := standard(t)
	b, err := l.signed(t, 4).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		for bit := range 8 {
			c := bytes.Clone(b)
			c[i] ^= 1 << bit
			s, err := statement.ParseSigned(c)
			if err == nil {
				err = verify(s, l.trust())
			}
			var e *transparency.Error
			if !errors.As(err, &e) {
				t.Fatalf("bit %d of byte %d flipped: %v", bit, i, err)
			}
		}
	}
}

func record() *statement.Record {
	return &statement.Record{
		NodeID: h(1), Epoch: 3, REK: bytes.Repeat([]byte{4}, 1249), NodeKey: key("node").Public().(ed25519.PublicKey), EvidenceDigest: statement.Digest([]byte("evidence")),
		Prices: []statement.Price{{0, 64}, {1, 128}}, Claims: []statement.Claim{{"operator", "example"}, {"region", "fsn1"}},
	}
}

func TestPack(t *testing.T) {
	r := record()
	raw, err := r.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &statement.Pack{Epoch: 3, Checkpoint: []byte("note")}
	row := statement.Node{ID: h(1), Record: p.Add(raw)}
	wantCode(t, third(p.Node(row)), transparency.CodePackMissing) // no evidence yet
	p.Add([]byte("evidence"))
	b, err := p.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	q, err := statement.ParsePack(b)
	if err != nil || q.Epoch != 3 || q.Len() != 2 || string(q.Checkpoint) != "note" {
		t.Fatalf("%+v, %v", q, err)
	}
	got, ev, err := q.Node(row)
	if err != nil || string(ev) != "evidence" || got.NodeID != h(1) || len(got.Claims) != 2 {
		t.Errorf("%+v, %q, %v", got, ev, err)
	}
	if again, err := q.Append(nil); err != nil || !bytes.Equal(again, b) {
		t.Errorf("printed differently: %v", err)
	}
	other := row
	other.ID = h(2)
	wantCode(t, third(q.Node(other)), transparency.CodeStatement)
	wantCode(t, third(q.Node(statement.Node{ID: h(1), Record: h(1)})), transparency.CodePackMissing)
	wantCode(t, third(q.Node(statement.Node{ID: h(1), Record: statement.Digest([]byte("evidence"))})), transparency.CodeStatement)
	q.Epoch = 4
	wantCode(t, third(q.Node(row)), transparency.CodeStatement)
	for i := range b {
		if i > 15 && i != len(b)-1 {
			continue
		}
		if _, err := statement.ParsePack(b[:i]); err == nil && i != 15 {
			t.Errorf("accepted the first %d bytes", i)
		}
	}
	var none statement.Pack
	none.Add(nil)
	wantCode(t, second(none.Append(nil)), transparency.CodeStatement)
}

func third[A, B any](_ A, _ B, err error) error { return err }

func TestRecordRefuses(t *testing.T) {
	for name, edit := range map[string]func(*statement.Record){
		"no REK":                 func(r *statement.Record) { r.REK = nil },
		"short node key":         func(r *statement.Record) { r.NodeKey = r.NodeKey[:31] },
		"prices out of order":    func(r *statement.Record) { r.Prices[1].Class = 0 },
		"claims out of order":    func(r *statement.Record) { r.Claims[1].Name = "a" },
		"claim without value":    func(r *statement.Record) { r.Claims[1].Value = "" },
		"claim with line breaks": func(r *statement.Record) { r.Claims[1].Value = "a\nb" },
		"too large":              func(r *statement.Record) { r.REK = make([]byte, 1<<16) },
	} {
		t.Run(name, func(t *testing.T) {
			r := record()
			edit(r)
			wantCode(t, second(r.Append(nil)), transparency.CodeStatement)
		})
	}
}

func freshness() *statement.Freshness {
	return &statement.Freshness{Checkpoint: []byte("note"), Items: []statement.Fresh{
		{3, h(1), []byte("a")}, {3, h(2), []byte("b")}, {4, h(1), []byte("c")}}}
}

func TestFreshness(t *testing.T) {
	b, err := freshness().Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	f, err := statement.ParseFreshness(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		epoch uint64
		id    [32]byte
		want  string
	}{{3, h(1), "a"}, {3, h(2), "b"}, {4, h(1), "c"}, {4, h(2), ""}, {2, h(1), ""}} {
		if got, ok := f.Find(c.epoch, c.id); string(got) != c.want || ok != (c.want != "") {
			t.Errorf("Find(%d, %x) = %q, %v", c.epoch, c.id[:1], got, ok)
		}
	}
	twice := freshness()
	twice.Items[1] = twice.Items[0]
	wantCode(t, second(twice.Append(nil)), transparency.CodeStatement)
	blank := freshness()
	blank.Items[1].Bundle = nil
	wantCode(t, second(blank.Append(nil)), transparency.CodeStatement)
	wantCode(t, second(statement.ParseFreshness(b[:len(b)-1])), transparency.CodeStatement)
}

func fuzzSeeds(f *testing.F, seeds ...[]byte) {
	for _, s := range seeds {
		if len(s) == 0 {
			f.Fatal("an empty seed teaches nothing")
		}
		f.Add(s)
	}
}

func FuzzStatement(f *testing.F) {
	fuzzSeeds(f, encode(f, full(1)), encode(f, genesis()))
	f.Fuzz(func(t *testing.T, in []byte) {
		s, err := statement.Parse(in)
		if err != nil {
			if s != nil {
				t.Error("a value beside an error")
			}
			return
		}
		if out, err := s.Append(nil); err != nil || !bytes.Equal(in, out) {
			t.Errorf("accepted %x, printed %x (%v)", in, out, err)
		}
		s.Current(time.Now(), nil)
		if _, err := s.MarshalJSON(); err != nil {
			t.Error(err)
		}
	})
}

func FuzzSigned(f *testing.F) {
	b, err := standard(f).signed(f, 3).Append(nil)
	if err != nil {
		f.Fatal(err)
	}
	fuzzSeeds(f, b)
	f.Fuzz(func(t *testing.T, in []byte) {
		s, err := statement.ParseSigned(in)
		if err != nil {
			return
		}
		if out, err := s.Append(nil); err != nil || !bytes.Equal(in, out) {
			t.Errorf("accepted %x, printed %x (%v)", in, out, err)
		}
	})
}

func FuzzRecord(f *testing.F) {
	b, err := record().Append(nil)
	if err != nil {
		f.Fatal(err)
	}
	fuzzSeeds(f, b)
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := statement.ParseRecord(in)
		if err != nil {
			return
		}
		if out, err := r.Append(nil); err != nil || !bytes.Equal(in, out) {
			t.Errorf("accepted %x, printed %x (%v)", in, out, err)
		}
	})
}

func FuzzPackAndFreshness(f *testing.F) {
	p := &statement.Pack{Epoch: 3, Checkpoint: []byte("note")}
	p.Add([]byte("one"))
	p.Add([]byte("two"))
	b, err := p.Append(nil)
	if err != nil {
		f.Fatal(err)
	}
	c, err := freshness().Append(nil)
	if err != nil {
		f.Fatal(err)
	}
	fuzzSeeds(f, b, c)
	f.Fuzz(func(t *testing.T, in []byte) {
		if p, err := statement.ParsePack(in); err == nil {
			if out, err := p.Append(nil); err != nil || !bytes.Equal(in, out) {
				t.Errorf("pack: accepted %x, printed %x (%v)", in, out, err)
			}
		}
		if p, err := statement.ParseFreshness(in); err == nil {
			if out, err := p.Append(nil); err != nil || !bytes.Equal(in, out) {
				t.Errorf("freshness: accepted %x, printed %x (%v)", in, out, err)
			}
		}
	})
}
