// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package linking

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"text/tabwriter"
)

// A Result is what a play came to.
type Result struct {
	Wallets   string `json:"wallets"`
	Clients   int    `json:"clients"`
	Epochs    int    `json:"epochs"`
	Requests  int    `json:"requests"`
	Purchases int    `json:"purchases"`
	Swaps     int    `json:"swaps"`
	Refused   int    `json:"refused"` // requests, for want of a coin
	// Logs is what coalitions link by what they wrote down, where the time is the
	// epoch; Live by a common clock too, for those with the identified port.
	Logs []Row `json:"logs"`
	Live []Row `json:"live"`
}

// maxAsked bounds the questions that a play is asked.
const maxAsked = 2000

// Run plays and has every coalition guess.
func (s Linking) Run(ctx context.Context) (*Result, error) {
	l, err := s.play(ctx)
	if err != nil {
		return nil, err
	}
	x := newIndex(l)
	out := &Result{Wallets: s.Flaw.String(), Clients: l.clients, Epochs: s.epochs(), Requests: len(l.requests), Purchases: len(l.purchases), Swaps: len(l.swaps), Refused: l.refused}
	for q := range questions {
		out.Logs = append(out.Logs, x.ask(q, false, maxAsked, rand.New(rand.NewPCG(s.Seed, 2)))...)
	}
	out.Live = x.ask(Who, true, maxAsked, rand.New(rand.NewPCG(s.Seed, 2)))
	return out, nil
}

func (s Linking) epochs() int {
	_ = s.defaults() // it was checked
	return s.Epochs
}

// Worst returns, of rows about a question, the one with the greatest advantage.
func Worst(rows []Row, q Question) (worst Row) {
	for _, r := range rows {
		if r.Question == q && (worst.Asked == 0 || r.Hits-r.Chance > worst.Hits-worst.Chance) {
			worst = r
		}
	}
	return worst
}

// WriteTable prints a result for people.
func (r *Result) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintf(t, "%d clients, %d epochs, wallets %s: %d requests, %d more that no coin was there for, %d purchases, %d swaps\n\n", r.Clients, r.Epochs, r.Wallets, r.Requests, r.Refused, r.Purchases, r.Swaps)
	print := func(clock string, rows []Row) {
		for i := range rows {
			row := &rows[i]
			fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%.2f %%\t%.2f %%\t%.2f\t%.3f\n", row.Name, row.Parts, clock, row.Asked, 100*row.Hits, 100*row.Chance, 100*row.Advantage(), row.Inside)
		}
	}
	fmt.Fprintln(t, "question\tcoalition\tclock\tasked\tright\tchance\tadvantage, points at most\tinside the crowd")
	print("epoch", r.Logs)
	print("fine", r.Live)
	return t.Flush()
}
