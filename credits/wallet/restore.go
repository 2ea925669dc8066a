// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"sync"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/blind"
	"github.com/sotto-project/sotto/internal/redact"
	"github.com/sotto-project/sotto/internal/wire"
)

const (
	// indexGap is how many indexes without a token end the search of a generation.
	// A payment burns eight whether change is written on them or not, so this is
	// 1,024 payments in a row of which nothing came back.
	indexGap = 8192
	// generationGap is how many generations without a token end the search of a
	// keyset. A restored wallet opens the next, or one of the three after it.
	generationGap, generationJump = 8, 3
)

// Sources are what a wallet is found again in. Both may be ranged over several
// times for one keyset, and are read whole: whoever asked for single entries
// would say which are his.
type Sources struct {
	// Table is the table of a keyset, of the anonymous port.
	Table func(keyset [32]byte) iter.Seq2[credits.TableEntry, error]
	// Issued is what an account had evaluated of a keyset, of the identified port;
	// nil if there is no account.
	Issued func(keyset [32]byte) iter.Seq2[Batch, error]
}

// A Batch is tokens of one denomination that were evaluated with one proof.
type Batch struct {
	Exponent          uint8
	Blinded, Elements [][32]byte
	Proof             [64]byte
}

// Found is what a search came to.
type Found struct {
	Tokens     int
	Units      uint64 // if none of it was spent: a swap of each tells
	Wrong      int    // entries under this wallet's names that were not made with the logged key
	Generation uint32 // that the wallet goes on with
}

// Restore makes a wallet of a seed alone, in an epoch of a verified statement,
// from the keysets that can still be spent. It goes on with a new generation, and
// what was found is doubtful: it may have been spent, so each token is to be
// swapped, alone, for one of the new generation. Passes and entitlements are not
// looked for: one that was shown already, shown again, would link two requests.
func Restore(dir string, seed redact.Secret, sets *credits.Set, epoch uint64, from Sources) (*Wallet, Found, error) {
	s := search{seed: seed, gap: indexGap, generations: generationGap}
	return s.restore(dir, sets, epoch, from)
}

// A search looks for the tokens of a seed.
type search struct {
	seed        redact.Secret
	gap         uint64
	generations uint32
}

func (s *search) restore(dir string, sets *credits.Set, epoch uint64, from Sources) (*Wallet, Found, error) {
	var found Found
	if sets == nil || from.Table == nil || len(s.seed.Bytes()) != blind.SeedSize {
		return nil, found, errors.New("wallet: restore: no seed, keysets or table")
	}
	state, used := newState(), uint32(0)
	for _, k := range sets.All() {
		if k.Type != wire.TokenCoin && k.Type != wire.TokenVoucher || !k.Spends(epoch) {
			continue
		}
		tokens, generations, wrong, err := s.keyset(k, from)
		if err != nil {
			return nil, found, fmt.Errorf("wallet: restore: %w", err)
		}
		found.Wrong += wrong
		used = max(used, generations)
		if len(tokens) == 0 {
			continue
		}
		if err := state.apply(&keysetRecord{k.Append(nil)}); err != nil {
			return nil, found, err
		}
		for _, t := range tokens {
			if err := state.apply(&coinRecord{t}); err != nil {
				return nil, found, err
			}
			found.Tokens++
			found.Units += t.units()
		}
	}
	var jump [1]byte
	if _, err := rand.Read(jump[:]); err != nil {
		return nil, found, fmt.Errorf("wallet: restore: %v", err)
	}
	// A generation that burned blanks and left no token in a live table is not seen:
	// the jump makes it unlikely that its indexes are sent again.
	found.Generation = max(used, 1) + uint32(jump[0])%(generationJump+1)
	if err := state.apply(&generationRecord{found.Generation}); err != nil {
		return nil, found, err
	}
	w, err := create(dir, s.seed, state)
	return w, found, err
}

// keyset looks for the tokens of one keyset in all generations that it may have.
// generations is one more than the highest in which there is one.
func (s *search) keyset(k *credits.Keyset, from Sources) (tokens []token, generations uint32, wrong int, err error) {
	names := map[[32]byte]ref{}     // of every blank looked for
	limit := map[uint32]uint64{}    // indexes looked for, by generation
	end := map[uint32]uint64{}      // one more than the highest found
	hits := map[ref]wire.Minted{}   // of the table
	batches := map[[32]byte]bool{}  // of the account, that were taken
	outputs := map[ref]coinOutput{} // of batches
	for {
		wider, err := s.widen(k, names, limit, end, generations)
		if err != nil {
			return nil, 0, 0, err
		}
		if !wider {
			break
		}
		note := func(r ref) {
			end[r.generation] = max(end[r.generation], r.index+1)
			generations = max(generations, r.generation+1)
		}
		for e, err := range from.Table(k.ID()) {
			if err != nil {
				return nil, 0, 0, err
			}
			if r, ok := names[e.Name]; ok {
				hits[r] = e.Minted
				note(r)
			}
		}
		if from.Issued == nil {
			continue
		}
		for b, err := range from.Issued(k.ID()) {
			if err != nil {
				return nil, 0, 0, err
			}
			refs := s.own(&b, names)
			if refs == nil {
				continue
			}
			for _, r := range refs {
				note(r)
			}
			if name := credits.TableName(b.Blinded[0]); !batches[name] {
				batches[name] = true
				outs, err := s.finish(k, refs, &b)
				if err != nil {
					wrong++
					continue
				}
				for i, r := range refs {
					outputs[r] = coinOutput{b.Exponent, outs[i]}
				}
			}
		}
	}
	for r, m := range hits {
		if _, ok := outputs[r]; ok {
			continue
		}
		outs, err := s.finish(k, []ref{r}, &Batch{m.Exponent, [][32]byte{{}}, [][32]byte{m.Element}, m.Proof})
		if err != nil {
			wrong++
			continue
		}
		outputs[r] = coinOutput{m.Exponent, outs[0]}
	}
	for r, o := range outputs {
		tokens = append(tokens, token{ref: r, exponent: o.exponent, state: stateDoubtful, output: o.output})
	}
	slices.SortFunc(tokens, func(a, b token) int { return compareRefs(a.ref, b.ref) })
	return tokens, generations, wrong, nil
}

type coinOutput struct {
	exponent uint8
	output   redact.Secret
}

// widen adds the names that are to be looked for, given what was found: the gap
// behind the last found index of every generation, and the generations behind
// the last. It reports whether there are more than before.
func (s *search) widen(k *credits.Keyset, names map[[32]byte]ref, limit, end map[uint32]uint64, generations uint32) (bool, error) {
	const chunk = 64
	var parts []ref // each of chunk indexes, or fewer at the end of a gap
	sizes := map[ref]int{}
	for g := range generations + s.generations {
		to := end[g] + s.gap
		for i := limit[g]; i < to; i += chunk {
			r := ref{k.ID(), g, i}
			parts, sizes[r] = append(parts, r), int(min(chunk, to-i))
		}
		limit[g] = max(limit[g], to)
	}
	// The curve arithmetic of tens of thousands of blanks: on all processors.
	var mu sync.Mutex
	var wg sync.WaitGroup
	var failed error
	room := make(chan bool, runtime.GOMAXPROCS(0))
	for _, r := range parts {
		room <- true
		wg.Go(func() {
			defer func() { <-room }()
			list, err := blind.Range(s.seed, r.keyset, r.generation, r.index, sizes[r])
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = err
			}
			for i, b := range list {
				names[credits.TableName(b.Element)] = ref{r.keyset, r.generation, r.index + uint64(i)}
			}
		})
	}
	wg.Wait()
	return len(parts) > 0, failed
}

// own returns which blanks a batch is of, if all of them are this wallet's.
func (s *search) own(b *Batch, names map[[32]byte]ref) (refs []ref) {
	for _, e := range b.Blinded {
		r, ok := names[credits.TableName(e)]
		if !ok {
			return nil
		}
		refs = append(refs, r)
	}
	return refs
}

// finish verifies a batch under the keyset and makes the outputs.
func (s *search) finish(k *credits.Keyset, refs []ref, b *Batch) (outs []redact.Secret, err error) {
	var blanks []*blind.Blank
	for _, r := range refs {
		x, err := blind.At(s.seed, r.keyset, r.generation, r.index)
		if err != nil {
			return nil, err
		}
		blanks = append(blanks, x)
	}
	coins, err := blind.Finish(blanks, k, b.Exponent, b.Elements, b.Proof)
	if err != nil {
		return nil, err
	}
	for _, c := range coins {
		outs = append(outs, c.Output)
	}
	return outs, nil
}

// Find looks in the tables for orders that have not ended, or that were said to
// be refused, and ends those of which all tokens are there. It returns how many.
func (w *Wallet) Find(epoch uint64, from Sources) (n int, err error) {
	w.mu.Lock()
	var open []orderRecord
	sets := map[[32]byte]*credits.Keyset{}
	for _, id := range sortedKeys(w.state.orders) {
		if o := w.state.orders[id]; len(o.wanted) > 0 {
			open = append(open, o.orderRecord)
			for _, v := range o.wanted {
				sets[v.keyset] = w.state.sets[v.keyset]
			}
		}
	}
	w.mu.Unlock()
	names := map[[32]byte]ref{}
	for _, o := range open {
		for _, v := range o.wanted {
			r := ref{v.keyset, o.generation, v.index}
			b, err := w.blank(r)
			if err != nil {
				return 0, err
			}
			names[credits.TableName(b.Element)] = r
		}
	}
	hits := map[ref]wire.Minted{}
	for id := range sets {
		for e, err := range from.Table(id) {
			if err != nil {
				return 0, fmt.Errorf("wallet: find: %w", err)
			}
			if r, ok := names[e.Name]; ok {
				hits[r] = e.Minted
			}
		}
	}
	for _, o := range open {
		done := &doneRecord{id: o.id, epoch: epoch}
		for _, v := range o.wanted {
			m, ok := hits[ref{v.keyset, o.generation, v.index}]
			if !ok || m.Exponent != v.exponent {
				break
			}
			out, err := w.mint(sets[v.keyset], ref{v.keyset, o.generation, v.index}, &m)
			if err != nil {
				return n, err
			}
			done.made = append(done.made, ripe{0, out})
		}
		if len(done.made) != len(o.wanted) {
			continue
		}
		if err := w.end(done); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
