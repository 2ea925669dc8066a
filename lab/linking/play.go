// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package linking

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/wallet"
	"github.com/sotto-project/sotto/internal/wire"
)

// A Flaw is what is wrong with the wallets of a play. The zero Flaw is none: the
// wallets are those that clients have.
type Flaw uint8

const (
	None        Flaw = iota
	ReusedBlank      // one blank goes with every spend (CT-12, CT-17)
	OddAmount        // each buys a denomination of its own (CT-13)
	OddSplit         // takes change that is not the canonical split (CT-13)
	OldKeyset        // takes coins of a keyset that is not on sale, one for each (CT-14)
)

var flaws = [...]string{"as shipped", "one blank is reused", "odd amounts are bought", "odd change is taken", "a keyset of its own is taken"}

func (f Flaw) String() string { return flaws[f] }

// Linking is a simulation. A zero count means its default.
type Linking struct {
	Clients  int    // 200
	Epochs   int    // 12
	Requests int    // of a client and epoch, at most; 0 to this many, drawn; 2
	Seed     uint64 // where chance begins; the wallets draw some of their own
	Flaw     Flaw
	// Wait has wallets order at a moment of each epoch that has nothing to do with
	// requests. Without it they order as the client does: when a request is over.
	Wait     bool
	Dir      string // for wallets and the bank's database; a new temporary one if empty
	Progress func(done, total int)
}

func (s *Linking) defaults() error {
	set := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	set(&s.Clients, 200)
	set(&s.Epochs, 12)
	set(&s.Requests, 2)
	if s.Clients < 4 || s.Clients > 10_000 || s.Epochs < 2 || s.Epochs > 1000 || s.Requests < 1 || s.Requests > 100 || int(s.Flaw) >= len(flaws) {
		return fmt.Errorf("linking: %d clients, %d epochs, %d requests; at least 4, 2 and 1", s.Clients, s.Epochs, s.Requests)
	}
	return nil
}

// A play is one in progress.
type play struct {
	s      *Linking
	ctx    context.Context
	w      *world
	log    log
	r      *rand.Rand
	random *rand.ChaCha8
	epoch  uint64
	now    int // counts what happens; the clock that all parts have
}

// play plays it and returns what was seen.
func (s *Linking) play(ctx context.Context) (_ *log, err error) {
	if err := s.defaults(); err != nil {
		return nil, err
	}
	dir := s.Dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "sotto-linking-"); err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
	}
	seed := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("sotto linking "), s.Seed))
	p := &play{s: s, ctx: ctx, log: log{clients: s.Clients}, random: rand.NewChaCha8(seed), r: rand.New(rand.NewPCG(s.Seed, 1))}
	old := 0
	if s.Flaw == OldKeyset {
		old = s.Clients
	}
	exponents := make([]uint8, credits.MaxExponent+1)
	for i := range exponents {
		exponents[i] = uint8(i)
	}
	if p.w, err = newWorld(ctx, dir, p.random, old, exponents); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.w.store.Close()) }()
	purses := make([]purse, s.Clients)
	for i := range purses {
		if s.Flaw != None {
			purses[i] = newBroken(i, s.Flaw)
			continue
		}
		policy := wallet.DefaultPolicy()
		policy.Stock = map[uint8]int{class: stock, class + step: 2}
		h, err := newHonest(dir, i, policy)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, h.w.Close()) }()
		purses[i] = h
	}
	// A wallet is filled before it is used, and its coins wait.
	for e := range s.Epochs + 1 {
		p.epoch = p.w.first + uint64(e)
		if err := p.w.enter(ctx, p.epoch); err != nil {
			return nil, err
		}
		for _, x := range p.schedule(e == 0) {
			if err := p.one(x, purses[x.client]); err != nil {
				return nil, err
			}
		}
		if s.Progress != nil {
			s.Progress(e+1, s.Epochs+1)
		}
	}
	return &p.log, ctx.Err()
}

// A task is something that a client does at some time of an epoch.
type task struct {
	client int
	when   float64
	top    bool
}

// schedule draws what happens in an epoch.
func (p *play) schedule(filling bool) []task {
	var list []task
	for i := range p.s.Clients {
		if filling || p.s.Wait {
			list = append(list, task{i, p.r.Float64(), true})
		}
		if filling {
			continue
		}
		for range p.r.IntN(p.s.Requests + 1) {
			list = append(list, task{i, p.r.Float64(), false})
		}
	}
	slices.SortFunc(list, func(a, b task) int { return cmp.Compare(a.when, b.when) })
	return list
}

func (p *play) one(x task, purse purse) error {
	if x.top {
		return purse.top(p)
	}
	err := p.ask(x.client, purse)
	if err == nil && !p.s.Wait {
		err = purse.top(p)
	}
	return err
}

// ask plays one request.
func (p *play) ask(client int, purse purse) error {
	c := uint8(class)
	if p.r.IntN(3) == 0 {
		c += step // a long one
	}
	// Most prompts are short, some are long; how long, and how long the answer is,
	// has nothing to do with who asks. (If it has, that is no matter of payment.)
	prompt := 100 + int(p.r.ExpFloat64()*2000)
	used := uint8(1 + p.r.IntN(wire.Parts))
	h, n := p.w.header(p.r, p.random, p.epoch)
	hash := h.Hash()
	s, err := purse.pay(p, hash, c)
	if errors.Is(err, errFunds) {
		p.log.refused++ // the client refuses it, too
		return nil
	}
	if err != nil {
		return err
	}
	from, ok := purse.came(s.Nonce)
	if !ok {
		return errors.New("linking: a coin was spent that came from nowhere")
	}
	r := request{
		client: client, epoch: int(p.epoch), at: p.tick(), class: s.Class, used: used, keyset: s.Keyset,
		prompt: prompt, padded: rung(prompt), nonce: s.Nonce, blank: s.Blanks[0], hash: hash, parent: from.parent, swap: from.swap,
		ids: [][32]byte{s.Nonce, s.MAC, hash},
	}
	for i := range p.w.nodes {
		if p.w.nodes[i].id == n.id {
			r.node = int8(i)
		}
		if slices.Contains(h.CandidateIDs(), p.w.nodes[i].id) {
			r.candidates |= 1 << i
		}
	}
	r.ids = append(r.ids, s.Blanks[:]...)
	change, err := p.w.run(p.ctx, p.epoch, h, n, s, used)
	if err != nil {
		return err
	}
	if p.s.Flaw == OddSplit {
		if err := p.mark(client, &s, change); err != nil {
			return err
		}
	}
	for _, m := range change.Coins {
		r.ids, r.minted = append(append(r.ids, m.Element), halves(m.Proof)...), append(r.minted, m.Exponent)
	}
	if err := purse.settle(p, hash, change); err != nil {
		return err
	}
	r.end = p.tick()
	p.log.requests = append(p.log.requests, r)
	return nil
}

// mark is what a bank does to wallets that take any split: it writes one coin
// that few others have.
func (p *play) mark(client int, s *wire.Spend, c *wire.Change) error {
	e := oddClass(client)
	elements, proof, err := p.w.onSale().Evaluate(e, s.Blanks[:1])
	if err != nil {
		return err
	}
	c.Coins = []wire.Minted{{Exponent: e, Element: elements[0], Proof: proof}}
	return nil
}

func (p *play) tick() int { p.now++; return p.now }

// rung is the step of the client's ladder (docs/spec/client.md), roughly: what
// is not prompt is 5 KiB.
func rung(prompt int) (n int) {
	for size := 8 << 10; size < prompt+5<<10; size = size * 3 / 2 {
		n++
	}
	return n
}

// swapped is the anonymous port.
func (p *play) swapped(client int, s *credits.Swap) ([]wire.Minted, error) {
	minted, err := p.w.bank.Swap(p.ctx, s.Append(nil))
	if err != nil {
		return nil, fmt.Errorf("linking: swap: %w", err)
	}
	x := swap{client: client, epoch: int(p.epoch), at: p.tick()}
	for _, v := range s.Paid {
		x.paid, x.ids = append(x.paid, v.Exponent), append(x.ids, v.Nonce, v.MAC)
	}
	for i, m := range minted {
		x.minted, x.ids = append(x.minted, m.Exponent), append(append(x.ids, s.Wanted[i].Blinded, m.Element), halves(m.Proof)...)
	}
	p.log.swaps = append(p.log.swaps, x)
	return minted, nil
}

// bought is the identified port: one proof for each exponent.
func (p *play) bought(client int, keyset [32]byte, exponents []uint8, blinded [][32]byte) (elements [][32]byte, proofs map[uint8][64]byte, err error) {
	k, ok := p.w.find(keyset)
	if !ok {
		return nil, nil, errors.New("linking: no such keyset")
	}
	x := purchase{client: client, epoch: int(p.epoch), at: p.tick(), keyset: keyset, exponents: exponents, ids: slices.Clone(blinded)}
	proofs = map[uint8][64]byte{}
	for from := 0; from < len(exponents); {
		to := from
		for to < len(exponents) && exponents[to] == exponents[from] {
			to++
		}
		out, proof, err := k.Evaluate(exponents[from], blinded[from:to])
		if err != nil {
			return nil, nil, err
		}
		proofs[exponents[from]] = proof
		elements = append(elements, out...)
		x.ids = append(append(x.ids, out...), halves(proof)...)
		from = to
	}
	p.log.purchases = append(p.log.purchases, x)
	return elements, proofs, nil
}
