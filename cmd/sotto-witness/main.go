// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Command sotto-witness cosigns the checkpoints of statement logs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/sotto-project/sotto/internal/daemon"
	"github.com/sotto-project/sotto/transparency/witness"
)

const about = `Cosigns the checkpoints of statement logs, so that a log cannot show two people
two different histories. Run by others than the log's operator. It dials nobody
and never sees a prompt, a request or who reads a statement.

A witness is made once, before the first start:

  sotto-witness create -dir DIR -name NAME -log ORIGIN    prints what goes into trust files

and told of further logs while it does not run:

  sotto-witness add-log -dir DIR -log ORIGIN              only if it has never signed for that log`

func main() {
	if len(os.Args) > 1 && os.Args[1] == "create" {
		os.Exit(create(os.Args[2:], os.Stdout, os.Stderr))
	}
	if len(os.Args) > 1 && os.Args[1] == "add-log" {
		os.Exit(addLog(os.Args[2:], os.Stderr))
	}
	os.Exit(daemon.Role[witness.Config]{
		Name: "sotto-witness", About: about,
		Check: func(c witness.Config) error { return c.Validate() },
		Serve: func(ctx context.Context, c witness.Config, log *slog.Logger) error {
			w, err := witness.Open(c, log)
			if err != nil {
				return err
			}
			return errors.Join(w.Serve(ctx), w.Close())
		},
	}.Main())
}

// create makes a new witness and refuses a directory in use: an empty memory
// under an old key could be shown a second history.
func create(args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("sotto-witness create", flag.ContinueOnError)
	fs.SetOutput(stderr)
	dir := fs.String("dir", "", "new `directory` for keys and memory")
	name := fs.String("name", "", "`name` of the witness for ever, such as witness.example/w1")
	var logs []string
	fs.Func("log", "`origin` of a log to sign for; may be repeated", func(s string) error { logs = append(logs, s); return nil })
	if err := fs.Parse(args); err != nil || *dir == "" || *name == "" || fs.NArg() > 0 {
		fs.Usage()
		return daemon.ExitUsage
	}
	if err := witness.Create(*dir, *name, logs...); err != nil {
		fmt.Fprintln(stderr, "sotto-witness:", err)
		return daemon.ExitFailed
	}
	cosigners, err := witness.OpenCosigners(*dir, *name, true)
	if err != nil {
		fmt.Fprintln(stderr, "sotto-witness:", err)
		return daemon.ExitFailed
	}
	fmt.Fprintln(stdout, "witnesses: # one witness: name its second key, ML-DSA-44, only if ml_dsa_44 is set")
	for _, c := range cosigners {
		fmt.Fprintf(stdout, "  - %s\n", c.VKey())
	}
	return daemon.ExitOK
}

// addLog writes down that a witness has signed nothing of a log yet. An absent memory
// is never taken for that: it may have been lost.
func addLog(args []string, stderr io.Writer) int {
	fs := flag.NewFlagSet("sotto-witness add-log", flag.ContinueOnError)
	fs.SetOutput(stderr)
	dir := fs.String("dir", "", "`directory` of the witness, which does not run")
	log := fs.String("log", "", "`origin` of a log that this witness has never signed for")
	if err := fs.Parse(args); err != nil || *dir == "" || *log == "" || fs.NArg() > 0 {
		fs.Usage()
		return daemon.ExitUsage
	}
	if err := witness.AddLog(*dir, *log); err != nil {
		fmt.Fprintln(stderr, "sotto-witness:", err)
		return daemon.ExitFailed
	}
	return daemon.ExitOK
}
