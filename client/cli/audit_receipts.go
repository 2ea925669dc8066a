// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/audit/steer"
	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/internal/durable"
)

// A receiptsError says what pooled receipts came to. The result has been
// written; it carries the exit code.
type receiptsError struct {
	code int
	text string
}

func (e *receiptsError) Error() string { return "audit receipts: " + e.text }

// receiptKeeper writes receipts into a folder, one file each. A name is random
// and the file's time is the day computers count from: neither tells in which
// order requests were made.
type receiptKeeper struct {
	dir  string
	info io.Writer
	once sync.Once
}

func (k *receiptKeeper) keep(r steer.Receipt) {
	if err := k.write(r); err != nil {
		k.once.Do(func() { fmt.Fprintf(k.info, "no receipt was kept: %v\n", err) })
	}
}

func (k *receiptKeeper) write(r steer.Receipt) error {
	b, err := r.Append(nil)
	if err != nil {
		return err
	}
	var name [16]byte
	if _, err := rand.Read(name[:]); err != nil {
		return err
	}
	path := filepath.Join(k.dir, hex.EncodeToString(name[:])+".receipt")
	if err := durable.CreateFile(path, b, 0o600); err != nil {
		return err
	}
	return os.Chtimes(path, time.Unix(0, 0), time.Unix(0, 0))
}

// keepReceipts makes the folder and has a client's receipts written there.
func keepReceipts(cfg *client.Config, dir string, info io.Writer) error {
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return &usageError{err}
	}
	cfg.Receipt = (&receiptKeeper{dir: dir, info: info}).keep
	return nil
}

const receiptsFlag = "keep a receipt of each request's draw in `DIR`: it names the request to the node that read it, so read docs/spec/choice.md before you give one away"

type receiptsFlags struct {
	evidence []string
	bare     string
	json     bool
}

func (e *env) auditReceipts() *cobra.Command {
	var f receiptsFlags
	cmd := &cobra.Command{
		Use:   "receipts FILE... --evidence SAVED",
		Short: "Do the receipts of many requests show that somebody chose the nodes?",
		Long: `Reads receipts (sotto chat --receipts DIR writes them), checks them against the
epochs saved with sotto verify --save, and compares who answered with what the
public draw explains. Nodes that are down or busy are so for everybody, and are
allowed for; what depends on who else was drawn is not.

A receipt with a proof is checked: the order is the draw's, each busy receipt is
signed. One without has to be believed, and anybody can make up as many as they
like: pool those of people you know.

  sotto audit receipts --evidence saved.json receipts/*
  sotto audit receipts --bare to-share receipts/*     take the proofs out, for others

What is no receipt, or a false one, is named and left out: it does not keep others
from being judged.

Exit codes: 0 nothing shown; 10 steering shown; 20 nothing was judged, as no receipt
is of an epoch given; 30 nothing was judged, as what was given is malformed or false;
1 failed; 2 usage.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return e.runReceipts(cmd, args, &f) },
	}
	cmd.Flags().StringArrayVar(&f.evidence, "evidence", nil, "epoch saved in `FILE` by sotto verify --save; one for each epoch")
	cmd.Flags().StringVar(&f.bare, "bare", "", "write the receipts, without what names a request, into `DIR`, and analyse nothing")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
	return cmd
}

func (e *env) runReceipts(cmd *cobra.Command, files []string, f *receiptsFlags) error {
	if (f.bare == "") == (len(f.evidence) == 0) {
		return &usageError{errors.New("either --evidence FILE, to analyse, or --bare DIR, to take out proofs")}
	}
	all, out, err := readReceipts(files)
	if err != nil {
		return err
	}
	if f.bare != "" {
		if len(out.LeftOut) > 0 {
			return &receiptsError{ExitMalformed, out.LeftOut[0].String()}
		}
		return writeBare(f.bare, all)
	}
	epochs, err := e.epochs(f.evidence)
	if err != nil {
		return err
	}
	obs := out.observe(all, epochs)
	out.fill(steer.Pool(obs))
	if f.json {
		enc := json.NewEncoder(cmd.OutOrStdout())
		enc.SetIndent("", "  ")
		err = enc.Encode(out)
	} else {
		err = out.text(cmd.OutOrStdout())
	}
	for _, l := range out.LeftOut {
		errorf(cmd, "left out: %s", l)
	}
	switch {
	case err != nil:
		return err
	case len(obs) == 0 && len(out.LeftOut) > 0:
		return &receiptsError{ExitMalformed, "nothing was judged: no receipt is left"}
	case len(obs) == 0:
		return &receiptsError{exitUnsupported, "nothing was judged: no receipt is of an epoch that was given"}
	case out.Steered:
		return &receiptsError{ExitRefused, "steering shown"}
	}
	return nil
}

// A givenReceipt is a receipt and the file it was in.
type givenReceipt struct {
	*steer.Receipt
	file string
}

// A leftOut is a file that does not count, and why. One that somebody spoiled must
// not keep those of others from being judged.
type leftOut struct {
	File string `json:"file"`
	Why  string `json:"why"`
}

func (l leftOut) String() string { return visible(l.File + ": " + l.Why) }

func readReceipts(files []string) ([]givenReceipt, pooledReport, error) {
	var all []givenReceipt
	out := pooledReport{LeftOut: []leftOut{}}
	for _, name := range files {
		b, err := readCapped(name, steer.MaxReceipt)
		var tooLarge *client.Error
		if err != nil && !errors.As(err, &tooLarge) {
			return nil, out, err
		}
		r, perr := steer.ParseReceipt(b)
		if err != nil || perr != nil {
			out.LeftOut = append(out.LeftOut, leftOut{name, "it is no receipt"})
			continue
		}
		all = append(all, givenReceipt{r, name})
	}
	return all, out, nil
}

// observe judges receipts of the epochs that were given. The same request twice
// counts once, because a header hash is drawn once; only a receipt that is true
// takes that place, or whoever knows a request could put a false one before it.
func (r *pooledReport) observe(all []givenReceipt, epochs map[uint64]*steer.Epoch) []steer.Observation {
	var obs []steer.Observation
	seen := map[[32]byte]bool{}
	for _, g := range all {
		epoch := epochs[g.Epoch]
		if epoch == nil {
			r.Elsewhere++
			continue
		}
		o, err := epoch.Observe(g.Receipt)
		if err != nil {
			r.LeftOut = append(r.LeftOut, leftOut{g.file, fmt.Sprintf("a receipt of epoch %d that is false: %v", g.Epoch, err)})
			continue
		}
		if g.Proof == nil {
			r.Bare++
		} else if h := sha256.Sum256(g.Proof.Origin[:]); seen[h] {
			r.Twice++
			continue
		} else {
			seen[h] = true
			r.Proven++
		}
		obs = append(obs, o)
	}
	return obs
}

// writeBare writes receipts in an order that says nothing.
func writeBare(dir string, all []givenReceipt) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	k := &receiptKeeper{dir: dir}
	for i := len(all) - 1; i > 0; i-- {
		j, err := rand.Int(rand.Reader, big.NewInt(int64(i+1)))
		if err != nil {
			return err
		}
		all[i], all[j.Int64()] = all[j.Int64()], all[i]
	}
	seen := map[[32]byte]bool{}
	for _, r := range all {
		if r.Proof != nil {
			h := sha256.Sum256(r.Proof.Origin[:])
			if seen[h] {
				continue // without its proof nobody could tell that it is the same one
			}
			seen[h] = true
		}
		if err := k.write(r.Bare()); err != nil {
			return err
		}
	}
	return nil
}

func (e *env) epochs(files []string) (map[uint64]*steer.Epoch, error) {
	cfg, err := e.config()
	if err != nil {
		return nil, err
	}
	out := map[uint64]*steer.Epoch{}
	for _, name := range files {
		b, err := readCapped(name, client.MaxSaved)
		if err != nil {
			return nil, err
		}
		saved, err := client.ParseSaved(b)
		if err != nil {
			return nil, err
		}
		number, epoch, err := client.Choices(saved, cfg.Trust)
		if err != nil {
			return nil, err
		}
		out[number] = epoch
	}
	return out, nil
}

// A pooledReport is printed as JSON, and as text for people.
type pooledReport struct {
	Steered   bool          `json:"steered"`
	Requests  int           `json:"requests"`
	Answered  int           `json:"answered"`
	Failed    int           `json:"failed"`
	Against   int           `json:"against_the_draw"`
	Proven    int           `json:"proven"`
	Bare      int           `json:"bare"`
	Twice     int           `json:"given_twice"`
	Elsewhere int           `json:"of_other_epochs"`
	LeftOut   []leftOut     `json:"left_out"` // files that are no receipts, or false ones
	ChiSquare float64       `json:"chi_square"`
	Freedom   int           `json:"degrees_of_freedom"`
	P         float64       `json:"p"`
	Spread    float64       `json:"spread_p"`
	Nodes     []pooledShare `json:"nodes"`
}

type pooledShare struct {
	Node           string  `json:"node"`
	Drawn          int     `json:"drawn"`
	First          int     `json:"first"`
	Missed         int     `json:"missed"`
	Answers        int     `json:"answers"`
	Expected       float64 `json:"expected"`
	Favoured       float64 `json:"favoured_p"`
	Avoided        float64 `json:"avoided_p"`
	Behind         int     `json:"behind_misses"`
	BehindExpected float64 `json:"behind_expected"`
	BehindP        float64 `json:"behind_p"`
	Says           string  `json:"says,omitempty"` // favoured, avoided
}

func (r *pooledReport) fill(p *steer.Pooled) {
	r.Steered, r.Requests, r.Answered, r.Failed, r.Against = p.Steered, p.Requests, p.Answered, p.Failed, p.Skipped
	r.ChiSquare, r.Freedom, r.P, r.Spread = p.ChiSquare, p.Freedom, p.P, p.Spread
	for _, s := range p.Shares {
		row := pooledShare{Node: hex.EncodeToString(s.Node[:]), Drawn: s.Drawn, First: s.First, Missed: s.Missed, Answers: s.Answers,
			Expected: s.Expected, Favoured: s.Favoured, Avoided: s.Avoided, Behind: s.Behind, BehindExpected: s.BehindExpected, BehindP: s.BehindP}
		switch limit := p.Limit(); {
		case min(s.Favoured, s.BehindP) < limit:
			row.Says = "favoured"
		case s.Avoided < limit:
			row.Says = "avoided"
		}
		r.Nodes = append(r.Nodes, row)
	}
	slices.SortStableFunc(r.Nodes, func(a, b pooledShare) int {
		x, y := min(a.Favoured, a.Avoided, a.BehindP), min(b.Favoured, b.Avoided, b.BehindP)
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
}

func (r *pooledReport) text(w io.Writer) error {
	verdict := "nothing shown"
	switch {
	case r.Proven+r.Bare == 0:
		verdict = "NOTHING JUDGED"
	case r.Steered:
		verdict = "STEERING SHOWN"
	}
	fmt.Fprintf(w, "verdict    %s\nrequests   %d: %d answered, %d failed, %d answered against the draw\n", verdict, r.Requests, r.Answered, r.Failed, r.Against)
	fmt.Fprintf(w, "receipts   %d with proof, %d without, %d given twice, %d of epochs that were not given, %d left out as false\n", r.Proven, r.Bare, r.Twice, r.Elsewhere, len(r.LeftOut))
	fmt.Fprintf(w, "answers    chi-square %.1f with %d degrees of freedom, p %.2g\nfailures   at more nodes than can be down: p %.2g\n\n", r.ChiSquare, r.Freedom, r.P, r.Spread)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "node\tdrawn\tfirst\tmissed\tanswers\texpected\tp favoured\tp avoided\tmisses before it\texpected\tp\t")
	for _, n := range r.Nodes {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%.1f\t%.2g\t%.2g\t%d\t%.1f\t%.2g\t%s\n", n.Node[:16], n.Drawn, n.First, n.Missed, n.Answers, n.Expected, n.Favoured, n.Avoided, n.Behind, n.BehindExpected, n.BehindP, n.Says)
	}
	return t.Flush()
}
