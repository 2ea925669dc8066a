// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package fork_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/fork"
	"github.com/sotto-project/sotto/transparency/statement"
)

const origin = "fork.invalid/SIMULATED"

var noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// A world is a log's keys and two trees of it that differ in leaf 2.
type world struct {
	trust  transparency.Trust
	log    *transparency.Signer
	clock  *transparency.Cosigner
	a, b   transparency.Tree
	leaves [2][][]byte
}

func key(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("fork test key " + name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func newWorld(t testing.TB, who string) *world {
	t.Helper()
	w := &world{}
	var err error
	if w.log, err = transparency.NewSigner(origin, key(who)); err != nil {
		t.Fatal(err)
	}
	if w.clock, err = transparency.NewCosigner(origin+"/clock", key(who+" clock")); err != nil {
		t.Fatal(err)
	}
	w.trust = transparency.Trust{Origin: origin, LogKey: w.log.VKey(), Witnesses: []string{w.clock.VKey()}, Quorum: 1}
	for i, tree := range []*transparency.Tree{&w.a, &w.b} {
		for e := range uint64(9) {
			at := noon.Add(time.Duration(e) * time.Hour)
			st := &statement.Statement{Epoch: e, Empty: true, NotBefore: at, NextPublic: at, NotAfter: at.Add(time.Hour)}
			if e == 0 {
				st.NotAfter = at
			}
			if e == 2 && i == 1 {
				st.NotAfter = st.NotAfter.Add(time.Second)
			}
			leaf, err := st.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			w.leaves[i] = append(w.leaves[i], leaf)
			if err := tree.Append(statement.LogLeaf(leaf)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return w
}

func (w *world) note(t testing.TB, tree *transparency.Tree, size uint64, at time.Time) []byte {
	t.Helper()
	root, err := tree.Root(size)
	if err != nil {
		t.Fatal(err)
	}
	n, err := w.clock.Cosign(w.log.Sign(size, root), at)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (w *world) signed(t testing.TB, which int, epoch uint64) []byte {
	t.Helper()
	tree := []*transparency.Tree{&w.a, &w.b}[which]
	proof, err := tree.Prove(epoch, tree.Size())
	if err != nil {
		t.Fatal(err)
	}
	b, err := (&statement.Signed{Leaf: w.leaves[which][epoch], Index: epoch, Proof: proof, Checkpoint: w.note(t, tree, tree.Size(), noon)}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// trees is the proof that tree b does not contain a's first size leaves.
func (w *world) trees(t testing.TB, small, large uint64) *fork.Evidence {
	t.Helper()
	e := fork.New(fork.Trees, w.note(t, &w.a, small, noon), w.note(t, &w.b, large, noon))
	var err error
	if e.Root, err = w.b.Root(small); err != nil {
		t.Fatal(err)
	}
	if e.Proof, err = w.b.ProveConsistency(small, large); err != nil {
		t.Fatal(err)
	}
	return e
}

func good(t testing.TB, w *world) map[string]*fork.Evidence {
	return map[string]*fork.Evidence{
		"AT-48/roots":      fork.New(fork.Roots, w.note(t, &w.a, 5, noon), w.note(t, &w.b, 5, noon)),
		"AT-48/trees":      w.trees(t, 3, 7),
		"AT-48/trees of 4": w.trees(t, 4, 9), // a power of two has a proof of another shape
		"AT-47/order":      fork.New(fork.Order, w.note(t, &w.a, 5, noon.Add(fork.Lag+time.Second)), w.note(t, &w.a, 6, noon)),
		"CR-12/statements": fork.New(fork.Statements, w.signed(t, 0, 2), w.signed(t, 1, 2)),
	}
}

// TestProofs: what contradicts itself proves a fork to whoever has the keys, and
// to nobody else.
func TestProofs(t *testing.T) {
	w, other := newWorld(t, "log"), newWorld(t, "somebody else")
	for name, e := range good(t, w) {
		t.Run(name, func(t *testing.T) {
			b := e.Append(nil)
			e, err := fork.Parse(b)
			if err != nil {
				t.Fatal(err)
			}
			f, err := e.Verify(&w.trust)
			if err != nil || !f.Proves || !strings.Contains(strings.Join(f.Words, "\n"), origin) {
				t.Errorf("%v %+v", err, f)
			}
			if f, err := e.Verify(&other.trust); err != nil || f.Proves {
				t.Errorf("under other keys: %v %+v", err, f)
			}
			if _, err := e.Verify(&transparency.Trust{}); err == nil {
				t.Error("the zero trust proves something")
			}
			// No byte may be changed, but in a witness's line: the log's own
			// word is enough, and then nothing is said of the witness.
			whole := strings.Count(strings.Join(f.Words, "\n"), "/clock cosigned at ")
			for i := range b {
				c := bytes.Clone(b)
				c[i] ^= 1
				if e, err := fork.Parse(c); err == nil {
					f, err := e.Verify(&w.trust)
					if err == nil && f.Proves && strings.Count(strings.Join(f.Words, "\n"), "/clock cosigned at ") == whole {
						t.Errorf("byte %d flipped and it still proves: %q", i, c[max(0, i-20):min(len(c), i+20)])
					}
				}
			}
		})
	}
}

// TestNoProof: what does not contradict itself accuses nobody.
func TestNoProof(t *testing.T) {
	w := newWorld(t, "log")
	wrongRoot := w.trees(t, 3, 7)
	wrongRoot.Root[0] ^= 1
	cut := w.trees(t, 3, 7)
	cut.Proof = cut.Proof[:len(cut.Proof)-1]
	same := fork.New(fork.Trees, w.note(t, &w.a, 3, noon), w.note(t, &w.a, 7, noon))
	same.Root, _ = w.a.Root(3)
	same.Proof, _ = w.a.ProveConsistency(3, 7)
	for name, e := range map[string]*fork.Evidence{
		"one tree at two times":         fork.New(fork.Roots, w.note(t, &w.a, 5, noon), w.note(t, &w.a, 5, noon.Add(time.Minute))),
		"two sizes of one tree":         fork.New(fork.Roots, w.note(t, &w.a, 5, noon), w.note(t, &w.a, 6, noon)),
		"a tree that grew":              same,
		"another root than the proof's": wrongRoot,
		"hashes cut":                    cut,
		"in order":                      fork.New(fork.Order, w.note(t, &w.a, 5, noon), w.note(t, &w.a, 6, noon.Add(time.Hour))),
		"a clock set back a little":     fork.New(fork.Order, w.note(t, &w.a, 5, noon.Add(fork.Lag)), w.note(t, &w.a, 6, noon)),
		"two epochs":                    fork.New(fork.Statements, w.signed(t, 0, 2), w.signed(t, 1, 3)),
		"one statement in two trees":    fork.New(fork.Statements, w.signed(t, 0, 1), w.signed(t, 1, 1)),
		"notes for statements":          fork.New(fork.Statements, w.note(t, &w.a, 5, noon), w.note(t, &w.b, 5, noon)),
		"order without witnesses":       fork.New(fork.Order, w.log.Sign(5, [32]byte{1}), w.log.Sign(6, [32]byte{2})),
		"signed by nobody":              fork.New(fork.Roots, bytes.Replace(w.note(t, &w.a, 5, noon), []byte("\n5\n"), []byte("\n6\n"), 1), w.note(t, &w.a, 6, noon)),
	} {
		t.Run(name, func(t *testing.T) {
			e, err := fork.Parse(e.Append(nil))
			if err != nil {
				t.Fatal(err)
			}
			if f, err := e.Verify(&w.trust); err != nil || f.Proves || len(f.Words) == 0 {
				t.Errorf("%v %+v", err, f)
			}
		})
	}
}

// TestLogAlone: two worlds by the log's own keys are proof without a witness,
// for every kind but the one that is about witnesses; by one of two keys they
// are none.
func TestLogAlone(t *testing.T) {
	w := newWorld(t, "log")
	alone := func(b []byte) []byte { // without the clock's line, which is the last
		lines := bytes.SplitAfter(b, []byte("\n"))
		return bytes.Join(lines[:len(lines)-2], nil)
	}
	bare := func(b []byte) []byte {
		s, err := statement.ParseSigned(b)
		if err != nil {
			t.Fatal(err)
		}
		s.Checkpoint = alone(s.Checkpoint)
		if b, err = s.Append(nil); err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, e := range good(t, w) {
		strip := alone
		if e.Kind == fork.Statements {
			strip = bare
		}
		f := fork.New(e.Kind, strip(e.First), strip(e.Second))
		f.Root, f.Proof = e.Root, e.Proof
		got, err := f.Verify(&w.trust)
		if err != nil || got.Proves != (e.Kind != fork.Order) {
			t.Errorf("%s: %v %+v", name, err, got)
		}
		if got.Proves && !strings.Contains(strings.Join(got.Words, "\n"), "no witness that you trust cosigned it") {
			t.Errorf("%s does not say who cosigned: %q", name, got.Words)
		}
	}
	// A trust that names both keys of the log wants both.
	both, err := transparency.NewHybridSigner(origin, key("log"), bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	trust := w.trust
	trust.LogKeyPQ = both.VKeyPQ()
	for name, c := range map[string]struct {
		sign   func(uint64, [32]byte) []byte
		proves bool
	}{"by both keys": {both.Sign, true}, "by one key": {w.log.Sign, false}} {
		f, err := fork.New(fork.Roots, c.sign(5, [32]byte{1}), c.sign(5, [32]byte{2})).Verify(&trust)
		if err != nil || f.Proves != c.proves {
			t.Errorf("%s: %v %+v", name, err, f)
		}
	}
}

// TestSpoiltLines: AT-48: whoever passes evidence on may break or double a witness's
// line; that takes the witness's name away, and nothing from the log's guilt.
func TestSpoiltLines(t *testing.T) {
	w := newWorld(t, "log")
	lines := func(b []byte) (head []byte, last []byte) {
		all := bytes.SplitAfter(b, []byte("\n"))
		return bytes.Join(all[:len(all)-2], nil), all[len(all)-2]
	}
	wrong := func(b []byte) []byte { // a signature over another note
		head, _ := lines(b)
		_, other := lines(w.note(t, &w.a, 8, noon))
		return append(head, other...)
	}
	doubled := func(b []byte) []byte {
		_, last := lines(b)
		return append(bytes.Clone(b), last...)
	}
	for name, spoil := range map[string]func([]byte) []byte{"wrong": wrong, "doubled": doubled} {
		for kind, e := range good(t, w) {
			if e.Kind != fork.Roots && e.Kind != fork.Trees {
				continue
			}
			f := fork.New(e.Kind, spoil(e.First), e.Second)
			f.Root, f.Proof = e.Root, e.Proof
			got, err := f.Verify(&w.trust)
			if err != nil || !got.Proves {
				t.Errorf("%s, %s: %v %+v", kind, name, err, got)
			} else if text := strings.Join(got.Words, "\n"); !strings.Contains(text, "no witness that you trust cosigned it") || strings.Count(text, "/clock cosigned at ") != 1 {
				t.Errorf("%s, %s: %s", kind, name, text)
			}
		}
	}
}

// TestLiars: AT-47: a log is convicted of going back by more witnesses than the
// trust tolerates as liars, and by no fewer: they take an old note that all
// cosigned and put a new time to it.
func TestLiars(t *testing.T) {
	for _, c := range []struct{ n, quorum, liars int }{{3, 2, 1}, {3, 2, 2}, {3, 2, 3}, {3, 3, 1}, {3, 1, 2}, {3, 1, 3}, {1, 1, 1}, {5, 3, 2}, {5, 3, 3}} {
		w := newWorld(t, "log")
		w.trust.Witnesses, w.trust.Quorum = nil, c.quorum
		clocks := make([]*transparency.Cosigner, c.n)
		for i := range clocks {
			var err error
			if clocks[i], err = transparency.NewCosigner(fmt.Sprintf("w%d.invalid", i), key(fmt.Sprint("witness ", i))); err != nil {
				t.Fatal(err)
			}
			w.trust.Witnesses = append(w.trust.Witnesses, clocks[i].VKey())
		}
		cosigned := func(size uint64, at func(i int) time.Time) []byte {
			root, err := w.a.Root(size)
			if err != nil {
				t.Fatal(err)
			}
			n := w.log.Sign(size, root)
			for i, k := range clocks {
				if n, err = k.Cosign(n, at(i)); err != nil {
					t.Fatal(err)
				}
			}
			return n
		}
		old := cosigned(5, func(i int) time.Time {
			if i < c.liars {
				return noon.Add(time.Hour)
			}
			return noon.Add(-time.Hour)
		})
		f, err := fork.New(fork.Order, old, cosigned(6, func(int) time.Time { return noon })).Verify(&w.trust)
		if err != nil || f.Proves != (c.liars > c.n-c.quorum) {
			t.Errorf("%+v: %v %+v", c, err, f)
		}
		if text := strings.Join(f.Words, "\n"); !strings.Contains(text, "w0.invalid") {
			t.Errorf("%+v does not name the liar: %s", c, text)
		}
		if c.quorum < 2 {
			continue
		}
		// Without the quorum's lines nothing is believed of times, however many are late.
		root, err := w.a.Root(5)
		if err != nil {
			t.Fatal(err)
		}
		alone, err := clocks[0].Cosign(w.log.Sign(5, root), noon.Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		if f, err := fork.New(fork.Order, alone, cosigned(6, func(int) time.Time { return noon })).Verify(&w.trust); err != nil || f.Proves {
			t.Errorf("%+v: one witness's line alone: %v %+v", c, err, f)
		}
	}
}

// TestFromWitness: what a witness keeps in a form of its own is the same proof.
func TestFromWitness(t *testing.T) {
	w := newWorld(t, "log")
	first, second := w.log.Sign(5, [32]byte{2}), w.log.Sign(5, [32]byte{1})
	file := func(n int, a, b []byte) []byte {
		return fmt.Appendf(nil, "sotto fork evidence 1\nfirst %d\n\n%s%s", n, a, b)
	}
	e, err := fork.FromWitness(file(len(first), first, second))
	if err != nil {
		t.Fatal(err)
	}
	if f, err := e.Verify(&w.trust); err != nil || !f.Proves {
		t.Errorf("%v %+v", err, f)
	}
	if _, err := fork.Parse(e.Append(nil)); err != nil {
		t.Errorf("printed anew: %v", err)
	}
	for name, b := range map[string][]byte{
		"empty": nil, "ours": e.Append(nil), "one note": file(len(first), first, nil), "the same twice": file(len(first), first, first),
		"longer than it is": file(1<<20, first, second), "negative": file(-1, first, second), "no first": file(0, nil, second),
		"leading zero": bytes.Replace(file(len(first), first, second), []byte("first "), []byte("first 0"), 1),
		"too long":     file(len(first), first, bytes.Repeat([]byte("x"), 2*transparency.MaxNoteSize)),
	} {
		if _, err := fork.FromWitness(b); err == nil {
			t.Errorf("%s: read", name)
		}
	}
	if e, err = fork.FromWitness(file(len(first)-1, first, second)); err == nil {
		if f, err := e.Verify(&w.trust); err != nil || f.Proves {
			t.Errorf("cut elsewhere: %v %+v", err, f)
		}
	}
}

func FuzzFromWitness(f *testing.F) {
	w := newWorld(f, "log")
	first, second := w.log.Sign(5, [32]byte{2}), w.log.Sign(5, [32]byte{1})
	f.Add(fmt.Appendf(nil, "sotto fork evidence 1\nfirst %d\n\n%s%s", len(first), first, second))
	f.Add([]byte("sotto fork evidence 1\nfirst 1\n\nab"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := fork.FromWitness(b)
		if err != nil {
			return
		}
		back, err := fork.Parse(e.Append(nil))
		if err != nil || !bytes.Equal(back.First, e.First) || !bytes.Equal(back.Second, e.Second) {
			t.Errorf("%q is printed as something else: %v", b, err)
		}
	})
}

func TestMalformed(t *testing.T) {
	w := newWorld(t, "log")
	ok := string(good(t, w)["AT-48/trees"].Append(nil))
	roots := good(t, w)["AT-48/roots"]
	backwards := &fork.Evidence{Kind: fork.Roots, First: roots.Second, Second: roots.First}
	hash := "hash " + base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\n"
	for name, text := range map[string]string{
		"empty":           "",
		"another version": strings.Replace(ok, "/v1", "/v2", 1),
		"another kind":    strings.Replace(ok, "kind trees", "kind others", 1),
		"bytes after it":  ok + "\n",
		"bytes before it": " " + ok,
		"cut":             ok[:len(ok)-1],
		"too many hashes": strings.Replace(ok, "first ", strings.Repeat(hash, 64)+"first ", 1),
		"leading zero":    strings.Replace(ok, "first ", "first 0", 1),
		"no second":       ok[:strings.Index(ok, "second ")],
		"wrong order":     string(backwards.Append(nil)),
		"the same twice":  string((&fork.Evidence{Kind: fork.Roots, First: roots.First, Second: roots.First}).Append(nil)),
		"too long":        strings.Repeat("x", fork.MaxSize+1),
	} {
		if e, err := fork.Parse([]byte(text)); err == nil {
			t.Errorf("%s: parsed as %+v", name, e)
		}
	}
}

func FuzzParse(f *testing.F) {
	w := newWorld(f, "log")
	for _, e := range good(f, w) {
		f.Add(e.Append(nil))
	}
	f.Add(fmt.Appendf(nil, "sotto-fork-evidence/v1\nkind order\nfirst 1\nx\nsecond 1\ny\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := fork.Parse(b)
		if err != nil {
			return
		}
		if out := e.Append(nil); !bytes.Equal(out, b) {
			t.Errorf("accepted %q, printed %q", b, out)
		}
		if _, err := e.Verify(&w.trust); err != nil {
			t.Errorf("%v", err)
		}
	})
}
