// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Command sotto-bank runs either port of the bank, and does what its operator
// does by hand: keys, accounts, backups.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/sotto-project/sotto/credits/accounts"
	"github.com/sotto-project/sotto/credits/bank"
	"github.com/sotto-project/sotto/internal/daemon"
)

const about = `The bank is two programs that share keysets and nothing else: neither a
connection, nor a database, nor a clock finer than the epoch.

  sotto-bank anonymous  -config FILE   takes coins from router and gateway; knows no account
  sotto-bank identified -config FILE   sells them to accounts; sees none that is spent

To begin, and once a mint period:

  sotto-bank create anonymous|identified -config FILE -generation N   a new database
  sotto-bank ticket-key new -out FILE                what signs tickets, and its public side
  sotto-bank keys new -config FILE -first N ...      the keysets of a mint period
  sotto-bank keys list|check|publish -config FILE    what there is, does it fit, list it

Accounts, over the admin port (-admin FILE says where, and who asks):

  sotto-bank account create|list|show|history|topup|freeze|unfreeze|rotate
  sotto-bank grant                                   entitlements of an account
  sotto-bank health                                  state, and the head of the admin log

Looking after it:

  sotto-bank check -config FILE                      does all money add up?
  sotto-bank log show|verify|head -config FILE       who did what; is the chain whole?
  sotto-bank restore anonymous|identified -config FILE   this copy is the one that counts
  sotto-bank config anonymous|identified -config FILE    is the file valid?

Each has --help. Exit codes: 0 done; 1 failed, or it does not add up; 2 usage or
configuration.
`

var helpWords = []string{"-h", "-help", "--help", "help"}

// A command is one thing to do by hand. Its first result is an exit code.
type command struct {
	name  string // one or two words
	about string
	run   func(ctx context.Context, e *env, args []string) int
}

// env is what a command touches.
type env struct {
	name   string // of the command, for messages
	about  string
	stdout io.Writer
	stderr io.Writer
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(args) == 0 {
		fmt.Fprint(stderr, about)
		return daemon.ExitUsage
	}
	if slices.Contains(helpWords, args[0]) {
		fmt.Fprint(stderr, about)
		return daemon.ExitOK
	}
	switch args[0] {
	case "anonymous":
		return anonymous.Run(ctx, args[1:], stdout, stderr)
	case "identified":
		return identified.Run(ctx, args[1:], stdout, stderr)
	}
	commands := slices.Concat(storeCommands, keyCommands, adminCommands)
	for n := min(2, len(args)); n > 0; n-- {
		name := args[0]
		if n == 2 {
			name += " " + args[1]
		}
		for _, c := range commands {
			if c.name == name {
				return c.run(ctx, &env{"sotto-bank " + name, c.about, stdout, stderr}, args[n:])
			}
		}
	}
	return group(commands, args, stderr)
}

// group answers for what is no command: the first word of several has a list of
// them for help.
func group(commands []command, args []string, stderr io.Writer) int {
	code, under := daemon.ExitUsage, false
	if len(args) == 2 && slices.Contains(helpWords, args[1]) {
		code = daemon.ExitOK
	}
	for _, c := range commands {
		if !strings.HasPrefix(c.name, args[0]+" ") {
			continue
		}
		if !under && code != daemon.ExitOK {
			fmt.Fprintf(stderr, "sotto-bank: no such command; under %s there are:\n", args[0])
		}
		under = true
		fmt.Fprintf(stderr, "  sotto-bank %s --help\n", c.name)
	}
	if !under {
		fmt.Fprintf(stderr, "sotto-bank: no such command; sotto-bank --help lists them\n")
		return daemon.ExitUsage
	}
	return code
}

var anonymous = daemon.Role[bank.Config]{
	Name: "sotto-bank anonymous",
	About: `Takes coins: holds one for a request, signs the ticket, gives change on blanks, and
swaps coins anonymously. It sees valid coins and what they paid for; it never sees an
account, a user's address, or which purchase a coin came from.`,
	Check: func(c bank.Config) error { return c.Validate() },
	Serve: func(ctx context.Context, c bank.Config, log *slog.Logger) error {
		b, err := bank.New(c, log)
		if err != nil {
			return err
		}
		return errors.Join(b.Serve(ctx), b.Close())
	},
}

var identified = daemon.Role[accounts.Config]{
	Name: "sotto-bank identified",
	About: `Keeps accounts: sells coins, passes and entitlements to them without seeing any, takes
vouchers back. It sees who buys, and never when or where a coin is spent. What the
law asks an operator to keep is here and only here.`,
	Check: func(c accounts.Config) error { return c.Validate() },
	Serve: func(ctx context.Context, c accounts.Config, log *slog.Logger) error {
		c.Log = log
		b, err := accounts.New(c)
		if err != nil {
			return err
		}
		return errors.Join(b.Serve(ctx), b.Close())
	},
}

// flags returns a set for the command, whose help says what it is about.
func (e *env) flags() *flag.FlagSet {
	fs := flag.NewFlagSet(e.name, flag.ContinueOnError)
	fs.SetOutput(e.stderr)
	fs.Usage = func() {
		fmt.Fprintf(e.stderr, "%s\n\nUsage: %s", e.about, e.name)
		n := 0
		fs.VisitAll(func(*flag.Flag) { n++ })
		if n > 0 {
			fmt.Fprint(e.stderr, " [flags]\n\n")
			fs.PrintDefaults()
		}
		fmt.Fprint(e.stderr, "\nExit codes: 0 done; 1 failed; 2 usage or configuration.\n")
	}
	return fs
}

// parse parses args, none of which may be left over, and needs the named flags.
// It returns an exit code where there is nothing more to do.
func (e *env) parse(fs *flag.FlagSet, args []string, need ...string) (code int, done bool) {
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return daemon.ExitOK, true
		}
		return daemon.ExitUsage, true
	}
	if fs.NArg() > 0 {
		return e.usage(fmt.Errorf("%q is left over", fs.Arg(0))), true
	}
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for _, n := range need {
		if !given[n] {
			return e.usage(fmt.Errorf("-%s is needed; --help says more", n)), true
		}
	}
	return 0, false
}

func (e *env) fail(err error) int {
	fmt.Fprintf(e.stderr, "%s: %v\n", e.name, err)
	return daemon.ExitFailed
}

func (e *env) usage(err error) int {
	fmt.Fprintf(e.stderr, "%s: %v\n", e.name, err)
	return daemon.ExitUsage
}

func (e *env) say(format string, args ...any) { fmt.Fprintf(e.stdout, format+"\n", args...) }
