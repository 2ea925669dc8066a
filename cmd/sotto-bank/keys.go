// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/accounts"
	"github.com/sotto-project/sotto/credits/bank"
	"github.com/sotto-project/sotto/credits/ceremony"
	"github.com/sotto-project/sotto/internal/daemon"
	"github.com/sotto-project/sotto/internal/durable"
)

var keyCommands = []command{
	{"keys new", `Makes the keysets of a mint period: a private key file for each, the public list
(keysets.list, for the publisher's statements), and a transcript, which the admin log
gets the hash of. Both ports need the private files. A period that would overlap with
one that is there is refused before anything is written.

With epochs of an hour a period is 168 epochs of sale and 672 more to spend:

  sotto-bank keys new -config identified.yaml -first 337 -last 504 -spend-last 1176`, keysNew},
	{"keys list", `Prints the keysets of the directory of keys.`, keysList},
	{"keys check", `Reads every key file, judges whether they go together as every client will, and
compares the public list with them.`, keysCheck},
	{"keys publish", `Writes the public list anew. With -epoch, without those that are over by then.`, keysPublish},
	{"ticket-key new", `Makes the key that signs tickets: the private file for the anonymous port, and beside
it FILE.pub, 32 bytes, for the publisher's ticket_key and the nodes' configurations.`, ticketKeyNew},
}

func keysNew(ctx context.Context, e *env, args []string) int {
	fs := e.flags()
	path := fs.String("config", "", "the identified port's YAML `file`: where the keys and the admin log are")
	var p ceremony.Plan
	fs.Uint64Var(&p.First, "first", 0, "first `epoch` of sale")
	fs.Uint64Var(&p.Last, "last", 0, "last `epoch` of sale")
	fs.Uint64Var(&p.SpendLast, "spend-last", 0, "last `epoch` in which the tokens can be spent")
	coins := fs.String("coins", "0-20", "`exponents` of coins, as 0-20 or 0,6,10")
	vouchers := fs.String("vouchers", "10,14,18", "`exponents` of vouchers; few, so that many look alike")
	passes := fs.String("passes", "", "`exponents` of passes, the free tier")
	fs.StringVar(&p.PassName, "pass-name", "free", "`name` of the passes, for people")
	tiers := fs.String("entitlements", "", "`tiers`, as 1=fast,2=large")
	if code, done := e.parse(fs, args, "config", "first", "last", "spend-last"); done {
		return code
	}
	c, err := load[accounts.Config](*path)
	if err != nil {
		return e.usage(err)
	}
	for text, to := range map[*string]*[]uint8{coins: &p.Coins, vouchers: &p.Vouchers, passes: &p.Passes} {
		if *to, err = exponents(*text); err != nil {
			return e.usage(err)
		}
	}
	if p.Entitlements, err = entitlements(*tiers); err != nil {
		return e.usage(err)
	}
	s, err := accounts.OpenStore(c.Store)
	if err != nil {
		return e.fail(err)
	}
	defer s.Close()
	t, file, err := ceremony.Run(c.Keys, p, local(), time.Now(), rand.Reader)
	if err != nil {
		return e.fail(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return e.fail(err)
	}
	digest := sha256.Sum256(text)
	if err := s.LogAct(ctx, accounts.Act{Who: t.Who, What: "keys", Digest: hex.EncodeToString(digest[:]), Outcome: "ok"}); err != nil {
		return e.fail(err)
	}
	for _, k := range t.Keysets {
		e.say("%s %s %d to %d, spent until %d: %d keys", k.ID[:16], k.Type, k.First, k.Last, k.SpendLast, len(k.Keys))
	}
	e.say("transcript %s", file)
	return daemon.ExitOK
}

// exponents reads "0-3,6".
func exponents(text string) ([]uint8, error) {
	var out []uint8
	if text == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		low, high, ranged := strings.Cut(part, "-")
		if !ranged {
			high = low
		}
		a, err := strconv.ParseUint(low, 10, 8)
		b, err2 := strconv.ParseUint(high, 10, 8)
		if err != nil || err2 != nil || a > b || b > credits.MaxExponent || len(out) > 0 && uint8(a) <= out[len(out)-1] {
			return nil, fmt.Errorf("%q: want ascending exponents of at most %d, as 0-20 or 0,6,10", text, credits.MaxExponent)
		}
		for ; a <= b; a++ {
			out = append(out, uint8(a))
		}
	}
	return out, nil
}

// entitlements reads "1=fast,2=large".
func entitlements(text string) (map[uint8]string, error) {
	out := map[uint8]string{}
	if text == "" {
		return out, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		tier, name, ok := strings.Cut(part, "=")
		n, err := strconv.ParseUint(tier, 10, 8)
		if !ok || err != nil || n == 0 || name == "" || out[uint8(n)] != "" {
			return nil, fmt.Errorf("%q: want tiers with names, as 1=fast,2=large", text)
		}
		out[uint8(n)] = name
	}
	return out, nil
}

func keysList(_ context.Context, e *env, args []string) int {
	return e.withKeys(args, func(dir string, _ uint64) error {
		set, err := ceremony.Open(dir)
		if err != nil {
			return err
		}
		for _, k := range set.All() {
			id := k.ID()
			name := credits.TypeName(k.Type)
			if k.Name != "" {
				name += " " + strconv.Quote(k.Name)
			}
			e.say("%x %s %d to %d, spent until %d: %d keys", id[:8], name, k.First, k.Last, k.SpendLast, len(k.Keys))
		}
		return nil
	})
}

func keysCheck(_ context.Context, e *env, args []string) int {
	return e.withKeys(args, func(dir string, epoch uint64) error {
		set, err := ceremony.Check(dir, epoch)
		if err == nil {
			e.say("%d keysets, and %s is their list", len(set.All()), ceremony.ListFile)
		}
		return err
	})
}

func keysPublish(_ context.Context, e *env, args []string) int {
	return e.withKeys(args, func(dir string, epoch uint64) error {
		n, err := ceremony.Publish(dir, epoch)
		if err == nil {
			e.say("%d keysets in %s", n, ceremony.ListFile)
		}
		return err
	})
}

func (e *env) withKeys(args []string, f func(dir string, epoch uint64) error) int {
	fs := e.flags()
	path := fs.String("config", "", "the identified port's YAML `file`")
	epoch := fs.Uint64("epoch", 0, "leave out keysets whose last epoch to spend is before this `epoch`")
	if code, done := e.parse(fs, args, "config"); done {
		return code
	}
	c, err := load[accounts.Config](*path)
	if err != nil {
		return e.usage(err)
	}
	if err := f(c.Keys, *epoch); err != nil {
		return e.fail(err)
	}
	return daemon.ExitOK
}

func ticketKeyNew(_ context.Context, e *env, args []string) int {
	fs := e.flags()
	out := fs.String("out", "", "new private `file`; its public side is FILE.pub")
	if code, done := e.parse(fs, args, "out"); done {
		return code
	}
	public, err := bank.CreateTicketKey(*out, rand.Reader)
	if err != nil {
		return e.fail(err)
	}
	if err := durable.CreateFile(*out+".pub", public, 0o644); err != nil {
		return e.fail(err)
	}
	e.say("%s", hex.EncodeToString(public))
	return daemon.ExitOK
}
