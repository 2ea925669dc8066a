// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package accounts_test

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/accounts"
	"github.com/sotto-project/sotto/credits/accounts/api"
	"github.com/sotto-project/sotto/credits/blind"
	"github.com/sotto-project/sotto/credits/ceremony"
	"github.com/sotto-project/sotto/credits/issue"
	"github.com/sotto-project/sotto/internal/durable/durabletest"
	"github.com/sotto-project/sotto/internal/redact"
	"github.com/sotto-project/sotto/internal/wire"
)

func TestMain(m *testing.M) { os.Exit(durabletest.Main(m, work)) }

// A kit is an engine on the database of a directory, without HTTP around it.
type kit struct {
	store  *accounts.Store
	engine *accounts.Engine
	keys   map[uint8]*issue.Keys
	seed   redact.Secret
	next   uint64
}

func openKit(dir string, epoch uint64) (*kit, error) {
	ring := issue.NewRing(dir)
	if err := ring.Load(); err != nil {
		return nil, err
	}
	set, err := ceremony.Open(dir)
	if err != nil {
		return nil, err
	}
	k := &kit{keys: map[uint8]*issue.Keys{}}
	for _, x := range ring.All() {
		k.keys[x.Keyset().Type] = x
	}
	if k.store, err = accounts.OpenStore(filepath.Join(dir, "accounts.db")); err != nil {
		return nil, err
	}
	seed := make([]byte, 32)
	crand.Read(seed)
	k.seed = redact.New(seed)
	k.engine, err = accounts.NewEngine(k.store, &clock{view: accounts.View{Epoch: epoch, Generation: 1, Set: set}}, ring, accounts.Rules{TokensPerEpoch: 1 << 40}, 2)
	return k, err
}

func (k *kit) blank(tokenType uint8) (*blind.Blank, error) {
	k.next++
	return blind.At(k.seed, k.keys[tokenType].Keyset().ID(), 0, k.next)
}

func (k *kit) issue(exponents ...uint8) (*api.IssueRequest, error) {
	r := &api.IssueRequest{Request: newID(), Keyset: api.ID(k.keys[wire.TokenCoin].Keyset().ID())}
	for _, e := range exponents {
		b, err := k.blank(wire.TokenCoin)
		if err != nil {
			return nil, err
		}
		r.Tokens = append(r.Tokens, api.Want{Exponent: e, Blinded: b.Element})
	}
	return r, nil
}

func (k *kit) redeem(a api.Account, exponents ...uint8) (*api.RedeemRequest, error) {
	var coins []*blind.Coin
	for _, e := range exponents {
		b, err := k.blank(wire.TokenVoucher)
		if err != nil {
			return nil, err
		}
		els, proof, err := k.keys[wire.TokenVoucher].Evaluate(e, [][32]byte{b.Element})
		if err != nil {
			return nil, err
		}
		c, err := blind.Finish([]*blind.Blank{b}, k.keys[wire.TokenVoucher].Keyset(), e, els, proof)
		if err != nil {
			return nil, err
		}
		coins = append(coins, c...)
	}
	return redeem(a, newID(), coins...), nil
}

// work buys and redeems until it is killed, and says what it was answered.
func work(dir string, round int, ack func(string, ...any)) error {
	k, err := openKit(dir, 10)
	if err != nil {
		return err
	}
	ctx := context.Background()
	a, _, err := k.engine.Create(ctx, "test", "")
	if err != nil {
		return err
	}
	ack("account %s", a)
	said := func(kind string, r any, answer []byte) error {
		b, err := json.Marshal(r)
		if err == nil {
			ack("%s %s %x %s", kind, a, sha256.Sum256(answer), b)
		}
		return err
	}
	for n := 0; ; n++ {
		event := fmt.Sprintf("%s-%d", a, n)
		if err := k.engine.TopUp(ctx, "", event, a, 100); err != nil {
			return err
		}
		ack("topup %s %s", a, event)
		i, err := k.issue(0, 6)
		if err != nil {
			return err
		}
		answer, err := k.engine.Issue(ctx, a, i)
		if err != nil {
			return err
		}
		if err := said("issue", i, answer); err != nil {
			return err
		}
		r, err := k.redeem(a, 6)
		if err != nil {
			return err
		}
		if answer, err = k.engine.Redeem(ctx, a, r); err != nil {
			return err
		}
		if err := said("redeem", r, answer); err != nil {
			return err
		}
	}
}

func kitDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	mintAll(t, dir)
	if err := accounts.CreateStore(filepath.Join(dir, "accounts.db"), 1); err != nil {
		t.Fatal(err)
	}
	return dir
}

// replay asks again for everything that was acknowledged: nothing is answered
// otherwise, nothing is charged twice.
func replay(t *testing.T, k *kit, acks []string) {
	t.Helper()
	before, err := k.store.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, ack := range acks {
		f := strings.SplitN(ack, " ", 4)
		var a api.Account
		if err := a.UnmarshalText([]byte(f[1])); err != nil {
			t.Fatal(err)
		}
		var answer []byte
		switch f[0] {
		case "account":
			_, err = k.engine.Account(t.Context(), a)
		case "topup":
			err = k.engine.TopUp(t.Context(), "", f[2], a, 100)
		case "issue":
			answer, err = k.engine.Issue(t.Context(), a, into[api.IssueRequest](t, []byte(f[3])))
		case "redeem":
			answer, err = k.engine.Redeem(t.Context(), a, into[api.RedeemRequest](t, []byte(f[3])))
		}
		if err != nil || answer != nil && fmt.Sprintf("%x", sha256.Sum256(answer)) != f[2] {
			t.Fatalf("%s was acknowledged, and now: %v", f[0], err)
		}
	}
	after, err := k.store.Check(t.Context())
	if err != nil || *before != *after {
		t.Fatalf("asking again moved money: %+v, %+v, %v", before, after, err)
	}
}

func TestKilled(t *testing.T) {
	t.Run("CT-03", func(t *testing.T) {
		dir := kitDir(t)
		rng := rand.New(rand.NewPCG(3, 1))
		var acks []string
		for round := range durabletest.Rounds() {
			acks = append(acks, durabletest.Kill(t, dir, round, rng)...)
			k, err := openKit(dir, 10)
			if err != nil {
				t.Fatal(err)
			}
			replay(t, k, acks)
			if err := k.store.Close(); err != nil {
				t.Fatal(err)
			}
		}
		kinds := map[string]bool{}
		for _, a := range acks {
			kinds[strings.Fields(a)[0]] = true
		}
		if !testing.Short() && len(kinds) != 4 {
			t.Errorf("only %v were acknowledged", kinds)
		}
	})
	t.Run("disk full", func(t *testing.T) {
		for _, limit := range []uint64{200_000, 400_000} {
			dir := kitDir(t)
			acks, _ := durabletest.Full(t, dir, 0, limit)
			k, err := openKit(dir, 10)
			if err != nil {
				t.Fatal(err)
			}
			replay(t, k, acks)
			k.store.Close()
		}
	})
}

// TestConservation does random things, some of them twice and some of them
// wrong, and compares with a model that is three numbers an account.
func TestConservation(t *testing.T) {
	t.Run("CT-23", func(t *testing.T) {
		dir := kitDir(t)
		k, err := openKit(dir, 10)
		if err != nil {
			t.Fatal(err)
		}
		type model struct {
			topped, redeemed, issued uint64
			frozen                   bool
		}
		type done struct {
			a      api.Account
			r      any
			answer []byte
		}
		rng := rand.New(rand.NewPCG(23, 2))
		models := map[api.Account]*model{}
		var ids []api.Account
		var past []done
		n := 4000
		if testing.Short() {
			n = 200
		}
		epoch := uint64(10)
		for i := range n {
			ctx := t.Context()
			if len(ids) < 3 || rng.IntN(200) == 0 {
				a, _, err := k.engine.Create(ctx, "test", "")
				if err != nil {
					t.Fatal(err)
				}
				ids, models[a] = append(ids, a), &model{}
			}
			a := ids[rng.IntN(len(ids))]
			m := models[a]
			switch x := rng.IntN(100); {
			case x < 15: // top up
				units := uint64(1 + rng.IntN(3000))
				event := random()
				for range 1 + rng.IntN(2) {
					if err := k.engine.TopUp(ctx, "", event, a, units); err != nil {
						t.Fatal(err)
					}
				}
				m.topped += units
			case x < 50: // issue
				es := [][]uint8{{0}, {6, 6}, {10}, {0, 6, 10}, {10, 10, 10}}[rng.IntN(5)]
				r, err := k.issue(es...)
				if err != nil {
					t.Fatal(err)
				}
				cost, have := credits.Units(es), m.topped+m.redeemed-m.issued
				answer, err := k.engine.Issue(ctx, a, r)
				switch {
				case m.frozen:
					wantCode(t, err, api.CodeFrozen)
				case cost > have:
					wantCode(t, err, credits.CodeFunds)
				case err != nil:
					t.Fatal(err)
				default:
					m.issued += cost
					past = append(past, done{a, r, answer})
				}
			case x < 70: // redeem
				es := [][]uint8{{0}, {6}, {10, 0}}[rng.IntN(3)]
				r, err := k.redeem(a, es...)
				if err != nil {
					t.Fatal(err)
				}
				answer, err := k.engine.Redeem(ctx, a, r)
				switch {
				case m.frozen:
					wantCode(t, err, api.CodeFrozen)
				case err != nil:
					t.Fatal(err)
				default:
					m.redeemed += credits.Units(es)
					past = append(past, done{a, r, answer})
				}
			case x < 85 && len(past) > 0: // something again, or on another account
				d := past[rng.IntN(len(past))]
				var answer []byte
				var err error
				other := ids[rng.IntN(len(ids))]
				switch r := d.r.(type) {
				case *api.IssueRequest:
					answer, err = k.engine.Issue(ctx, d.a, r)
				case *api.RedeemRequest:
					answer, err = k.engine.Redeem(ctx, d.a, r)
					if other != d.a && !models[other].frozen {
						_, err := k.engine.Redeem(ctx, other, r)
						wantCode(t, err, credits.CodeSig)
					}
				}
				if err != nil || !bytes.Equal(answer, d.answer) {
					t.Fatalf("again: %v", err)
				}
			case x < 90:
				m.frozen = !m.frozen
				if err := k.engine.Freeze(ctx, "test", a, m.frozen); err != nil {
					t.Fatal(err)
				}
			case x < 93: // the process ends and starts again, in this epoch or the next
				if err := k.store.Close(); err != nil {
					t.Fatal(err)
				}
				if epoch < 19 && rng.IntN(4) == 0 {
					epoch++
				}
				next := k.next
				seed := k.seed
				if k, err = openKit(dir, epoch); err != nil {
					t.Fatal(err)
				}
				k.next, k.seed = next, seed
			default:
				s, err := k.engine.Account(ctx, a)
				if err != nil || s.Balance != m.topped+m.redeemed-m.issued || s.Frozen != m.frozen {
					t.Fatalf("step %d: %+v, %+v, %v", i, s, m, err)
				}
			}
		}
		var want accounts.Totals
		for _, m := range models {
			want.Accounts++
			want.ToppedUp += m.topped
			want.Redeemed += m.redeemed
			want.Issued += m.issued
			want.Balance += m.topped + m.redeemed - m.issued
		}
		got, err := k.store.Check(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got.Log = accounts.Head{}
		if *got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		// A check that could not fail would be no check.
		if err := k.store.Exec("UPDATE accounts SET balance = balance + 1 WHERE id = (SELECT min(id) FROM accounts)"); err != nil {
			t.Fatal(err)
		}
		if _, err := k.store.Check(t.Context()); err == nil {
			t.Error("a unit from nowhere was not seen")
		}
		k.store.Close()
	})
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	r, ok := err.(*accounts.Refusal)
	if !ok || r.Code != code {
		t.Fatalf("%v, want %s", err, code)
	}
}
