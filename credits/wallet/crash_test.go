// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/internal/durable"
	"github.com/sotto-project/sotto/internal/redact"
	"github.com/sotto-project/sotto/internal/wire"
)

// flaky is a journal that fails at one write, in one of the two ways in which
// that can be: nothing of it is on disk, or all of it is and nobody is told.
type flaky struct {
	journal
	after  int // writes that go well
	kept   bool
	broken bool
}

type failed struct {
	waiter // written first, if not nil
}

func (f failed) Wait() error {
	if f.waiter != nil {
		f.waiter.Wait()
	}
	return syscall.EIO
}

func (f *flaky) Add(r []byte) waiter {
	if f.broken {
		return failed{}
	}
	if f.after--; f.after >= 0 {
		return f.journal.Add(r)
	}
	f.broken = true
	if f.kept {
		return failed{f.journal.Add(r)}
	}
	return failed{}
}

// A world is a wallet, the mint, and everything that was ever on its way.
type world struct {
	t      *testing.T
	m      *mint
	w      *Wallet
	rng    *rand.Rand
	sent   map[[32]byte]string // blanks, and what they were sent in
	spends map[[32]byte]*wire.Spend
	used   map[[32]byte]uint8         // of what the mint settled
	left   map[[32]byte]bool          // nonces of coins that paid
	minted map[[32]byte][]wire.Minted // of what the mint swapped, by digest
	n      int
	bought uint64 // by the mint's books
	spent  uint64
}

func newWorld(t *testing.T, seed uint64) *world {
	return &world{t: t, m: newMint(t, coins1), w: prompt(t), rng: rand.New(rand.NewPCG(seed, 1)), sent: map[[32]byte]string{},
		spends: map[[32]byte]*wire.Spend{}, used: map[[32]byte]uint8{}, minted: map[[32]byte][]wire.Minted{}, left: map[[32]byte]bool{}}
}

// send notes a blank: one that was sent in something else before is a link.
func (x *world) send(blank [32]byte, in string) {
	x.t.Helper()
	if was, ok := x.sent[blank]; ok && was != in {
		x.t.Fatalf("a blank was sent in %s and in %s", was, in)
	}
	x.sent[blank] = in
}

func (x *world) buy() error {
	b, err := x.w.Buy(x.m.sets(), 1, wire.TokenCoin, 0, []uint8{[]uint8{6, 8, 10}[x.rng.IntN(3)]})
	if err != nil {
		return err
	}
	return x.bring(b)
}

func (x *world) bring(b *Buy) error {
	for _, k := range b.Tokens {
		x.send(k.Blinded, fmt.Sprintf("purchase %x", b.Request))
	}
	if _, ok := x.minted[b.Request]; !ok {
		x.minted[b.Request] = []wire.Minted{}
		for _, k := range b.Tokens {
			x.bought += 1 << k.Exponent
		}
	}
	elements, proofs := x.m.issue(b)
	return x.w.Bought(b.Request, 1, elements, proofs)
}

func (x *world) pay() error {
	x.n++
	h := header(x.n)
	s, err := x.w.Pay(Payment{Epoch: 1, HeaderHash: h, Class: []uint8{6, 8, 10}[x.rng.IntN(3)], Sets: x.m.sets()})
	var no *NoCoinError
	if errors.As(err, &no) {
		return nil
	}
	if err != nil {
		return err
	}
	for i := range s.Blanks {
		x.send(s.Blanks[i], fmt.Sprintf("payment %x", h))
	}
	x.send(s.Nonce, fmt.Sprintf("payment %x", h))
	x.left[s.Nonce] = true
	if x.rng.IntN(5) == 0 { // it does not arrive
		return nil
	}
	if !x.m.hold(h, 1, &s) {
		x.t.Fatal("the bank refused an honest spend")
	}
	x.spends[h] = &s
	return x.settle(h)
}

// settle asks the mint for the change of a header.
func (x *world) settle(h [32]byte) error {
	s, ok := x.spends[h]
	if !ok {
		_, err := x.w.Absent(h, 1+uint64(x.rng.IntN(4)))
		return err
	}
	if _, ok := x.used[h]; !ok {
		x.use(h, s)
	}
	_, err := x.w.Settle(h, x.m.settle(h, 1, s, x.used[h]))
	return err
}

func (x *world) swap() error {
	p, units := picks(x.w)
	if len(p) == 0 {
		return nil
	}
	if len(p) > 20 {
		return x.plan(p[:20])
	}
	s, err := x.w.Swap(x.m.sets(), 1, wire.TokenCoin, p, credits.Split(units))
	var r *credits.Refusal
	if errors.As(err, &r) {
		return nil // worth more than the largest denomination splits into
	}
	if err != nil {
		return err
	}
	return x.exchange(s)
}

func (x *world) plan(p []Pick) error {
	var units uint64
	x.w.mu.Lock()
	for _, k := range p {
		units += x.w.state.tokens[k.ref].units()
	}
	x.w.mu.Unlock()
	s, err := x.w.Swap(x.m.sets(), 1, wire.TokenCoin, p, credits.Split(units))
	var r *credits.Refusal
	if errors.As(err, &r) {
		return nil
	}
	if err != nil {
		return err
	}
	return x.exchange(s)
}

func (x *world) exchange(s *Swap) error {
	for _, w := range s.Request.Wanted {
		x.send(w.Blinded, fmt.Sprintf("swap %x", s.ID))
	}
	d := s.Request.Digest()
	out, ok := x.minted[d]
	if !ok {
		var code string
		if out, code = x.m.swap(s.Request); code == credits.CodeSpent && slices.ContainsFunc(s.Request.Paid, func(p credits.Paid) bool { return x.left[p.Nonce] }) {
			return x.w.Refused(s.ID, code) // of a payment whose header hash was lost
		}
		if code != "" {
			x.t.Fatalf("the bank refused an honest swap: %s", code)
		}
		x.minted[d] = out
	}
	if x.rng.IntN(5) == 0 { // the answer is lost
		return nil
	}
	return x.w.Swapped(s.ID, out)
}

// prepare has up to three payments of a class ready.
func (x *world) prepare() error {
	return x.w.Prepare(Payment{Epoch: 1, Class: []uint8{6, 8, 10}[x.rng.IntN(3)], Sets: x.m.sets()}, 1+x.rng.IntN(3))
}

// doubts resolves what may have been spent: by a swap of each coin alone, and by
// the table, when the bank has ended every hold.
func (x *world) doubts() error {
	x.w.mu.Lock()
	var list []*token
	for _, t := range x.w.state.tokens {
		if t.state == stateDoubtful && !t.held {
			list = append(list, t)
		}
	}
	x.w.mu.Unlock()
	slices.SortFunc(list, func(a, b *token) int { return compareRefs(a.ref, b.ref) })
	for _, t := range list {
		s, err := x.w.Swap(x.m.sets(), 1, wire.TokenCoin, []Pick{{t.ref}}, []uint8{t.exponent})
		if err != nil {
			return err
		}
		if err := x.exchange(s); err != nil {
			return err
		}
	}
	for h, s := range x.spends {
		if _, ok := x.used[h]; !ok {
			x.use(h, s)
			x.m.settle(h, 1, s, x.used[h])
		}
	}
	for epoch := range uint64(5) {
		if _, err := x.w.Trace(epoch, x.m.entries); err != nil {
			return err
		}
	}
	return nil
}

func (x *world) use(h [32]byte, s *wire.Spend) {
	x.used[h] = uint8(x.rng.IntN(65))
	x.spent += uint64(x.used[h]) << (s.Class - 6)
}

// recover asks again for everything that has not ended.
func (x *world) recover() error {
	if err := x.doubts(); err != nil {
		return err
	}
	buys, err := x.w.Buys()
	if err != nil {
		return err
	}
	for _, b := range buys {
		if err := x.bring(b); err != nil {
			return err
		}
	}
	swaps, err := x.w.Swaps(1)
	if err != nil {
		return err
	}
	for _, s := range swaps {
		if err := x.exchange(s); err != nil {
			return err
		}
	}
	for _, o := range x.w.Owed() {
		if err := x.settle(o.HeaderHash); err != nil {
			return err
		}
	}
	return nil
}

// books: what was bought is there, on its way, or spent.
func (x *world) books() {
	x.t.Helper()
	st := x.w.Status(1, nil)
	var bought, spent uint64
	for _, e := range x.w.History() {
		switch e.Kind {
		case "buy":
			bought += e.Units
		case "spend":
			spent += e.Units
		}
	}
	if bought != st.Balance+st.Pending+st.Ordered+spent || st.Lost != 0 {
		x.t.Fatalf("bought %d, spent %d, %+v", bought, spent, st)
	}
}

// end resolves everything and compares with the mint's books.
func (x *world) end() {
	x.t.Helper()
	for range 200 {
		if err := x.recover(); err != nil {
			x.t.Fatal(err)
		}
		if st := x.w.Status(1, nil); st.Owed+st.Orders == 0 {
			break
		}
	}
	st := x.w.Status(1, nil)
	if st.Owed+st.Orders != 0 || st.Balance+x.spent != x.bought {
		x.t.Errorf("bought %d, spent %d, %+v", x.bought, x.spent, st)
	}
}

// late is the error of an operation, or of a write that it did not wait for.
func (x *world) late(err error) error {
	x.w.late.Wait()
	x.w.mu.Lock()
	defer x.w.mu.Unlock()
	return errors.Join(err, x.w.err)
}

func (x *world) crash() {
	x.w = reopen(x.t, x.w)
	x.books()
}

// TestAnyCrash: random purchases, payments, swaps and recoveries; at every write
// it may fail, with the write on disk or not. Nothing is lost, nothing counts
// twice, no blank is sent in two things.
func TestAnyCrash(t *testing.T) {
	t.Run("CT-23", func(t *testing.T) {
		ops := 600
		if testing.Short() {
			ops = 100
		}
		for seed := range uint64(2) {
			x := newWorld(t, seed)
			for range ops {
				x.w.journal = &flaky{journal: x.w.journal, after: x.rng.IntN(4), kept: x.rng.IntN(2) == 0}
				op := []func() error{x.buy, x.pay, x.pay, x.pay, x.swap, x.recover, x.w.Compact, x.prepare, x.prepare}[x.rng.IntN(9)]
				if err := x.late(op()); err != nil {
					// Nothing more is done by this process.
					if _, err := x.w.Pay(Payment{Epoch: 1, HeaderHash: header(1 << 20), Class: 6, Sets: x.m.sets()}); err == nil {
						t.Fatal("went on after a failed write")
					}
					if _, err := x.w.Swaps(1); err == nil {
						t.Fatal("shows orders that may not be on disk")
					}
					x.crash()
					continue
				}
				x.w.journal = x.w.journal.(*flaky).journal
				x.books()
			}
			x.end()
		}
	})
}

func (f *flaky) Sync() error {
	if f.broken {
		return syscall.EIO
	}
	return f.journal.Sync()
}

func (f *flaky) Replace(list [][]byte) error {
	if f.broken {
		return syscall.EIO
	}
	return f.journal.Replace(list)
}

// TestFailureTable makes each durable write of each step fail, in both ways.
func TestFailureTable(t *testing.T) {
	t.Run("CT-03", func(t *testing.T) {
		steps := 0
		for fail := 0; ; fail++ {
			failedOnce := false
			for _, kept := range []bool{false, true} {
				x := newWorld(t, 7)
				x.w.journal = &flaky{journal: x.w.journal, after: fail, kept: kept}
				script := []func() error{
					func() error { return x.buy6(10, 9, 8) },
					x.prepare10,
					func() error { return x.pay10() },
					func() error { return x.w.Failed(header(1), "credit.rate") },
					func() error { return x.settle(header(1)) },
					func() error { return x.swap() },
					func() error { return x.w.Expire(1) },
				}
				for i, step := range script {
					if err := x.late(step()); err != nil {
						failedOnce = true
						// A coin that was prepared, or sent, is in doubt and pays nothing.
						if no := (*NoCoinError)(nil); !errors.Is(err, syscall.EIO) && !errors.Is(err, ErrUnknown) && !errors.As(err, &no) {
							t.Errorf("write %d, step %d: %v", fail, i, err)
						}
						x.crash()
						if err := x.late(step()); err != nil { // the same again, or something like it
							var r *credits.Refusal
							var no *NoCoinError
							if !errors.As(err, &r) && !errors.As(err, &no) && !errors.Is(err, ErrUnknown) {
								t.Errorf("write %d, step %d again: %v", fail, i, err)
							}
						}
					}
					x.books()
				}
				x.end()
			}
			if !failedOnce {
				steps = fail
				break
			}
		}
		if steps < 9 {
			t.Errorf("only %d writes were made to fail", steps)
		}
	})
}

func (x *world) buy6(e ...uint8) error {
	b, err := x.w.Buy(x.m.sets(), 1, wire.TokenCoin, 0, e)
	if err != nil {
		return err
	}
	return x.bring(b)
}

func (x *world) prepare10() error {
	return x.w.Prepare(Payment{Epoch: 1, Class: 10, Sets: x.m.sets()}, 1)
}

func (x *world) pay10() error {
	s, err := x.w.Pay(Payment{Epoch: 1, HeaderHash: header(1), Class: 10, Sets: x.m.sets()})
	if err != nil {
		return err
	}
	for i := range s.Blanks {
		x.send(s.Blanks[i], "payment")
	}
	x.left[s.Nonce] = true
	if !x.m.hold(header(1), 1, &s) {
		x.t.Fatal("hold")
	}
	x.spends[header(1)] = &s
	return nil
}

// TestTornJournal cuts the journal at every frame and in each: what is there is
// a wallet as it was at an earlier moment, and its books are right.
func TestTornJournal(t *testing.T) {
	x := newWorld(t, 3)
	for range 6 {
		for _, op := range []func() error{x.buy, x.prepare, x.pay, x.swap} {
			if err := op(); err != nil {
				t.Fatal(err)
			}
		}
	}
	x.w.Close()
	whole, err := os.ReadFile(filepath.Join(x.w.dir, journalFile))
	if err != nil {
		t.Fatal(err)
	}
	step := max(1, len(whole)/200)
	for cut := len(whole); cut > 0; cut -= step {
		if err := os.WriteFile(filepath.Join(x.w.dir, journalFile), whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		w, err := Open(x.w.dir)
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		x.w = w
		x.books()
		w.Close()
	}
	bad := bytes.Clone(whole)
	bad[len(bad)/2] ^= 1
	if err := os.WriteFile(filepath.Join(x.w.dir, journalFile), bad, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(x.w.dir); !errors.Is(err, durable.ErrDamaged) {
		t.Errorf("opened a damaged journal: %v", err)
	}
}

// A snapshot comes to the same state, and so to the same snapshot.
func TestSnapshotIsTheState(t *testing.T) {
	x := newWorld(t, 4)
	if err := x.w.SetPolicy(Policy{Window: 24, Delay: 3}); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		for _, op := range []func() error{x.buy, x.pay, x.swap} {
			if err := op(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if b, err := x.w.Buy(x.m.sets(), 1, wire.TokenCoin, 0, []uint8{6}); err != nil {
		t.Fatal(err)
	} else if err := x.w.Refused(b.Request, "account.limit"); err != nil {
		t.Fatal(err)
	}
	first := printAll(x.w.state.snapshot())
	s := newState()
	for _, r := range first {
		if err := s.replay(r); err != nil {
			t.Fatal(err)
		}
	}
	if second := printAll(s.snapshot()); !slices.EqualFunc(first, second, bytes.Equal) {
		t.Errorf("%d records, then %d", len(first), len(second))
	}
	x.crash()
	if third := printAll(x.w.state.snapshot()); !slices.EqualFunc(first, third, bytes.Equal) {
		t.Error("the journal comes to another state")
	}
	if err := x.w.Compact(); err != nil {
		t.Fatal(err)
	}
	x.crash()
	if fourth := printAll(x.w.state.snapshot()); !slices.EqualFunc(first, fourth, bytes.Equal) {
		t.Error("the snapshot comes to another state")
	}
}

func TestJournalIsReplaced(t *testing.T) {
	x := newWorld(t, 5)
	x.w.compact = 4096
	for range 30 {
		for _, op := range []func() error{x.buy, x.pay} {
			if err := op(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if x.w.compact == 4096 {
		t.Error("the journal only grew")
	}
	x.crash()
	x.end()
}

func TestFolder(t *testing.T) {
	w := newWallet(t)
	if _, err := Open(w.dir); err == nil {
		t.Error("open twice")
	}
	if _, err := Create(w.dir, testSeed); err == nil {
		t.Error("made over a wallet")
	}
	w.Close()
	for _, f := range []string{journalFile, seedFile} {
		path := filepath.Join(w.dir, f)
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", f, st.Mode(), err)
		}
		for _, mode := range []os.FileMode{0o640, 0o604, 0o622} {
			os.Chmod(path, mode)
			if _, err := Open(w.dir); err == nil {
				t.Errorf("opened %s of mode %04o", f, mode)
			}
		}
		os.Chmod(path, 0o600)
	}
	for name, text := range map[string]string{"another seed": "sotto-wallet-seed-v2\n" + string(make([]byte, 32)), "a short seed": seedLabel + "x", "none": ""} {
		good, _ := os.ReadFile(filepath.Join(w.dir, seedFile))
		os.WriteFile(filepath.Join(w.dir, seedFile), []byte(text), 0o600)
		if _, err := Open(w.dir); err == nil {
			t.Errorf("%s: opened", name)
		}
		os.WriteFile(filepath.Join(w.dir, seedFile), good, 0o600)
	}
	if err := os.WriteFile(filepath.Join(w.dir, policyFile), []byte("delya: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(w.dir); err == nil {
		t.Error("opened with a policy that is none")
	}
	os.Remove(filepath.Join(w.dir, policyFile))
	v, err := Open(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	v.Close()
	open := t.TempDir()
	os.Chmod(open, 0o755)
	if _, err := Create(open, testSeed); err == nil {
		t.Error("made in a folder that everybody reads")
	}
}

// gate holds every write back until it is opened.
type gate struct {
	journal
	queued chan bool
	open   chan bool
}

type gated struct {
	waiter
	open chan bool
}

func (g gated) Wait() error { <-g.open; return g.waiter.Wait() }

func (g *gate) Add(r []byte) waiter {
	c := g.journal.Add(r)
	g.queued <- true
	return gated{c, g.open}
}

// Payments that come while the disk is busy wait for it together, not for each
// other: if one held the wallet while it waits, this would not end.
func TestPaymentsShareAWrite(t *testing.T) {
	m := newMint(t, coins1)
	w := prompt(t)
	const n = 16
	buy(t, w, m, 1, wire.TokenCoin, 0, slices.Repeat([]uint8{10}, n)...)
	sets := m.sets()
	g := &gate{w.journal, make(chan bool, n), make(chan bool)}
	w.journal = g
	done := make(chan error, n)
	for i := range n {
		go func() {
			_, err := w.Pay(Payment{Epoch: 1, HeaderHash: header(i), Class: 10, Sets: sets})
			done <- err
		}()
	}
	for range n {
		<-g.queued
	}
	select {
	case err := <-done:
		t.Errorf("a spend before its write: %v", err)
	default:
	}
	close(g.open)
	for range n {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestNothingSecretIsPrinted(t *testing.T) {
	m := newMint(t, coins1)
	seed := []byte("canary-canary-canary-canary-32-b")
	w, err := Create(t.TempDir()+"/w", redact.New(seed))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	buy(t, w, m, 1, wire.TokenCoin, 0, 10, 6)
	var outputs [][]byte
	for _, k := range w.state.tokens {
		outputs = append(outputs, k.output.Bytes())
	}
	_, missing := w.Pay(Payment{Epoch: 1, HeaderHash: header(1), Class: 13, Sets: m.sets()})
	var b bytes.Buffer
	for _, v := range []any{w, *w.state, w.Status(1, nil), w.History(), w.Owed(), missing, w.state.snapshot(), everyRecord()} {
		fmt.Fprintf(&b, "%v %+v %#v %s\n", v, v, v, v)
	}
	for _, k := range w.state.tokens {
		fmt.Fprintf(&b, "%v %+v %#v %v\n", *k, *k, *k, w.coin(k))
	}
	for _, secret := range append(outputs, seed) {
		for _, form := range []string{string(secret), fmt.Sprintf("%x", secret[:8]), strings.Trim(fmt.Sprint(secret[:8]), "[]")} {
			if strings.Contains(b.String(), form) {
				t.Errorf("printed %q", form)
			}
		}
	}
}
