// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/credits/wallet"
)

func (e *env) walletPolicy() *cobra.Command {
	var f policyFlags
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Show or set what the wallet buys and how much it may spend",
		Long: `Without flags: shows the policy. A flag sets one thing and leaves the rest; 0 takes a
limit or a stock away.

  sotto wallet policy --stock 16=32         keep 32 coins of 2^16 units ready
  sotto wallet policy --per-epoch 4194304   spend no more in one epoch
  sotto wallet policy --per-window 33554432 --window 24

A stock is filled up by sotto wallet top, and by itself while requests are paid: when
half of it is gone, by a power of two of coins, so that what is bought does not say
what was spent. What is bought waits up to --delay epochs, each coin its own number
drawn, if there is an older one to pay with. Limits are your own, and no protection
from somebody who uses the wallet's folder.
` + walletExits,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			_, w, err := e.folder(cmd)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, w.Close()) }()
			now, changed, err := f.apply(cmd, w.Policy())
			if err != nil {
				return err
			}
			if changed {
				if err := w.SetPolicy(now); err != nil {
					return &usageError{err}
				}
			}
			return f.show(cmd.OutOrStdout(), now)
		},
	}
	cmd.Flags().StringArrayVar(&f.stock, "stock", nil, "keep `CLASS=N` coins of 2^CLASS units ready; N is 0 to 256; may be given more than once")
	cmd.Flags().Uint64Var(&f.perEpoch, "per-epoch", 0, "most units in an epoch; 0 no limit")
	cmd.Flags().Uint64Var(&f.perWindow, "per-window", 0, "most units in --window epochs; 0 no limit")
	cmd.Flags().Uint64Var(&f.window, "window", 0, "length of the window, in epochs")
	cmd.Flags().Uint64Var(&f.delay, "delay", 0, "for how many epochs at most a bought coin waits")
	cmd.Flags().Uint64Var(&f.renew, "renew", 0, "how many epochs before its end a coin is swapped for a new one")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
	return cmd
}

type policyFlags struct {
	stock                                     []string
	perEpoch, perWindow, window, delay, renew uint64
	json                                      bool
}

// apply returns the policy with what the flags say, and whether they say anything.
func (f *policyFlags) apply(cmd *cobra.Command, p wallet.Policy) (wallet.Policy, bool, error) {
	changed := len(f.stock) > 0
	p.Stock = maps.Clone(p.Stock)
	for _, s := range f.stock {
		class, n, err := parseStock(s)
		if err != nil {
			return p, false, &usageError{err}
		}
		if p.Stock == nil {
			p.Stock = map[uint8]int{}
		}
		p.Stock[class] = n
		if n == 0 {
			delete(p.Stock, class)
		}
	}
	for _, x := range []struct {
		flag string
		from uint64
		to   *uint64
	}{{"per-epoch", f.perEpoch, &p.PerEpoch}, {"per-window", f.perWindow, &p.PerWindow}, {"window", f.window, &p.Window},
		{"delay", f.delay, &p.Delay}, {"renew", f.renew, &p.Renew}} {
		if cmd.Flags().Changed(x.flag) {
			*x.to, changed = x.from, true
		}
	}
	return p, changed, nil
}

// parseStock parses CLASS=N, which has one spelling.
func parseStock(s string) (class uint8, n int, err error) {
	a, b, ok := strings.Cut(s, "=")
	c, err1 := strconv.ParseUint(a, 10, 8)
	m, err2 := strconv.ParseUint(b, 10, 16)
	if !ok || err1 != nil || err2 != nil || fmt.Sprintf("%d=%d", c, m) != s {
		return 0, 0, fmt.Errorf("--stock %q is not CLASS=N, such as 16=32", s)
	}
	return uint8(c), int(m), nil
}

type policyJSON struct {
	Stock     map[uint8]int `json:"stock"`
	Delay     uint64        `json:"delay"`
	Renew     uint64        `json:"renew"`
	PerEpoch  uint64        `json:"per_epoch"`
	PerWindow uint64        `json:"per_window"`
	Window    uint64        `json:"window"`
}

func (f *policyFlags) show(w io.Writer, p wallet.Policy) error {
	if f.json {
		j := policyJSON{p.Stock, p.Delay, p.Renew, p.PerEpoch, p.PerWindow, p.Window}
		if j.Stock == nil {
			j.Stock = map[uint8]int{}
		}
		return writeJSON(w, j)
	}
	limit := func(n uint64) string {
		if n == 0 {
			return "no limit"
		}
		return fmt.Sprintf("at most %d units", n)
	}
	var b strings.Builder
	if len(p.Stock) == 0 {
		b.WriteString("stock      none is kept: buy by hand, or set --stock CLASS=N\n")
	}
	for _, c := range slices.Sorted(maps.Keys(p.Stock)) {
		fmt.Fprintf(&b, "stock      %d coins of %d units (class %d)\n", p.Stock[c], uint64(1)<<c, c)
	}
	fmt.Fprintf(&b, "delay      bought coins wait up to %d epochs\n", p.Delay)
	fmt.Fprintf(&b, "renew      coins are swapped in the last %d epochs of their time\n", p.Renew)
	fmt.Fprintf(&b, "epoch      %s\n", limit(p.PerEpoch))
	fmt.Fprintf(&b, "window     %s in %d epochs\n", limit(p.PerWindow), p.Window)
	_, err := io.WriteString(w, b.String())
	return err
}

func (e *env) walletHistory() *cobra.Command {
	var atBank, asJSON bool
	cmd := &cobra.Command{
		Use:   "history",
		Short: "List what was spent, bought, swapped and lost",
		Long: `Lists the last 4096 events of the wallet, oldest first. No prompt, node or time finer
than an epoch is in it; it is kept in the wallet's folder and nowhere else.

--account lists what the bank keeps of your account in its place: top-ups, purchases
and redemptions, with the epoch of each.
` + walletExits,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, _, err := e.purse()
			if err != nil {
				return err
			}
			p.name = cmd.CommandPath()
			list, err := p.history(cmd, atBank)
			if err != nil {
				return refused(cmd.OutOrStdout(), asJSON, err)
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), list)
			}
			for _, l := range list {
				fmt.Fprintf(reportText{cmd.OutOrStdout()}, "epoch %-8d %-8s %14d units %s\n", l.Epoch, l.Kind, l.Units, l.Event)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&atBank, "account", false, "what the bank keeps of the account")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// An eventJSON is a line of a history.
type eventJSON struct {
	Epoch uint64 `json:"epoch"`
	Kind  string `json:"kind"`
	Units uint64 `json:"units"`
	Event string `json:"event,omitempty"` // of a top-up: what the payment provider calls it
}

func (p *purse) history(cmd *cobra.Command, atBank bool) (list []eventJSON, err error) {
	list = []eventJSON{}
	if !atBank {
		w, err := p.wallet()
		if err != nil {
			return nil, err
		}
		for _, e := range w.History() {
			list = append(list, eventJSON{Epoch: e.Epoch, Kind: e.Kind, Units: e.Units})
		}
		return list, w.Close()
	}
	a, err := p.openAccount()
	if err != nil {
		return nil, err
	}
	if a == nil {
		return nil, &usageError{errors.New("the trust file names no account (payments.account)")}
	}
	defer a.Close()
	entries, err := a.History(cmd.Context())
	for _, e := range entries {
		list = append(list, eventJSON{Epoch: e.Epoch, Kind: e.Kind, Units: e.Units, Event: e.Event})
	}
	return list, err
}
