// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Command sotto-log publishes the epoch statements.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/sotto-project/sotto/internal/daemon"
	"github.com/sotto-project/sotto/transparency/publish"
)

const about = `Asks the nodes for keys and evidence each epoch, verifies them, and publishes
one signed statement with the evidence behind it, the same for everybody.

A log is made once, before the first start:

  sotto-log create -dir DIR -origin NAME    prints what clients put into their trust files`

func main() {
	if len(os.Args) > 1 && os.Args[1] == "create" {
		os.Exit(create(os.Args[2:], os.Stdout, os.Stderr))
	}
	os.Exit(daemon.Role[publish.Config]{
		Name: "sotto-log", About: about,
		Check: func(c publish.Config) error { return c.Validate() },
		Serve: func(ctx context.Context, c publish.Config, log *slog.Logger) error {
			p, err := publish.Open(c, nil, log)
			if err != nil {
				return err
			}
			return p.Serve(ctx)
		},
	}.Main())
}

// aboutWitnesses is said in comments, so that what is printed can be pasted as it is.
const aboutWitnesses = `# The one witness above is this log's own clock: it says when, and not that others see the same.
# With witnesses that others run, add to the log's configuration
#   witnesses:
#     - url: https://witness.one.example
#       keys: [what "sotto-witness create" printed there, both lines]
#   quorum: 2
# and to trust files, in the place of the clock, all their keys under witnesses and the same quorum.
`

// create makes a new log and refuses a directory in use: a log's identity must
// not spring into being because a path was wrong.
func create(args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("sotto-log create", flag.ContinueOnError)
	fs.SetOutput(stderr)
	dir := fs.String("dir", "", "new `directory` for keys and leaves")
	origin := fs.String("origin", "", "`name` of the log for ever, such as example.org/sotto")
	if err := fs.Parse(args); err != nil || *dir == "" || *origin == "" || fs.NArg() > 0 {
		fs.Usage()
		return daemon.ExitUsage
	}
	if err := publish.CreateLog(*dir, *origin, time.Now()); err != nil {
		fmt.Fprintln(stderr, "sotto-log:", err)
		return daemon.ExitFailed
	}
	keys, err := publish.OpenKeys(*dir, *origin)
	if err != nil {
		fmt.Fprintln(stderr, "sotto-log:", err)
		return daemon.ExitFailed
	}
	t := keys.Trust()
	fmt.Fprintf(stdout, "log:\n  origin: %s\n  log_key: %s\n", t.Origin, t.LogKey)
	if t.PostQuantum() {
		fmt.Fprintf(stdout, "  log_key_pq: %s\n", t.LogKeyPQ)
	}
	fmt.Fprintf(stdout, "  witnesses:\n")
	for _, w := range t.Witnesses {
		fmt.Fprintf(stdout, "    - %s\n", w)
	}
	fmt.Fprintf(stdout, "  quorum: %d\n%s", t.Quorum, aboutWitnesses)
	return daemon.ExitOK
}
