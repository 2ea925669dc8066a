// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/sotto-project/sotto/credits/accounts"
	"github.com/sotto-project/sotto/credits/bank"
	"github.com/sotto-project/sotto/internal/config"
	"github.com/sotto-project/sotto/internal/daemon"
)

const (
	aboutCreate = `Makes a new, empty database for one port. It refuses to touch one that is there. The
generation is what the publisher's mint_generation will say: one that no statement has
named yet, since an empty database has forgotten what was spent in an old one, and
everybody would take it for that one. So the publisher is asked, and a number that is
not above what statements name is refused. -first is for the time before anything is
published: then a publisher that cannot be reached is no reason to refuse.`
	aboutRestore = `Says that this database, brought back from a backup or promoted from a copy, is the
one that counts from now on: raises its generation above its own and above what
statements name, and prints it. For that the publisher is asked; if it is not to be
had, -named says what its statements name. The bank serves again when the publisher's mint_generation, and a statement, say the same;
every other copy stops then. There is one generation for both ports: restore the
other port's database, too, or it stops as well. What was spent since the backup can
be spent again: that loss is the operator's.`
	aboutConfig = `Validates a configuration file and touches nothing that it names.`
)

var storeCommands = []command{
	{"create anonymous", aboutCreate, createAnonymous},
	{"create identified", aboutCreate, createIdentified},
	{"restore anonymous", aboutRestore, restoreAnonymous},
	{"restore identified", aboutRestore, restoreIdentified},
	{"config anonymous", aboutConfig, func(ctx context.Context, e *env, args []string) int {
		return anonymous.Run(ctx, append([]string{"-check"}, args...), e.stdout, e.stderr)
	}},
	{"config identified", aboutConfig, func(ctx context.Context, e *env, args []string) int {
		return identified.Run(ctx, append([]string{"-check"}, args...), e.stdout, e.stderr)
	}},
	{"check", `Recomputes what must hold of money at the identified port: for each account, what was
topped up and redeemed is what is there and what was issued; no answer without its
entry in a history; the admin log's chain is whole; the file is not damaged.`, checkStore},
	{"log show", `Prints the admin log, one entry a line, and verifies it.`, logShow},
	{"log verify", `Computes the chain of the admin log anew. With -noted, which is a head that was noted
elsewhere ("NUMBER HASH"), a log that was cut or written anew since is found, too.`, logVerify},
	{"log head", `Prints the head of the admin log. Note it where this machine's operator cannot write.`, logHead},
}

// load reads and validates a configuration file.
func load[T interface{ Validate() error }](path string) (T, error) {
	c, err := config.Load[T](path)
	if err == nil {
		err = c.Validate()
	}
	return c, err
}

// local is who does something on this machine, for the admin log.
func local() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return "local:" + u.Username
	}
	return "local"
}

func createAnonymous(ctx context.Context, e *env, args []string) int {
	fs := e.flags()
	path := fs.String("config", "", "the anonymous port's YAML `file`")
	generation := fs.Uint64("generation", 0, "`number` that the statements will name")
	first := fs.Bool("first", false, "nothing is published yet")
	if code, done := e.parse(fs, args, "config", "generation"); done {
		return code
	}
	c, err := load[bank.Config](*path)
	if err != nil {
		return e.usage(err)
	}
	if err := fresh(ctx, &c, *generation, *first); err != nil {
		return e.fail(err)
	}
	if err := bank.CreateStore(ctx, c, *generation); err != nil {
		return e.fail(err)
	}
	e.say("created, generation %d", *generation)
	return daemon.ExitOK
}

func createIdentified(ctx context.Context, e *env, args []string) int {
	fs := e.flags()
	path := fs.String("config", "", "the identified port's YAML `file`")
	generation := fs.Uint64("generation", 0, "`number` that the statements will name")
	first := fs.Bool("first", false, "nothing is published yet")
	if code, done := e.parse(fs, args, "config", "generation"); done {
		return code
	}
	c, err := load[accounts.Config](*path)
	if err != nil {
		return e.usage(err)
	}
	if err := fresh(ctx, &c, *generation, *first); err != nil {
		return e.fail(err)
	}
	if err := accounts.CreateStore(c.Store, *generation); err != nil {
		return e.fail(err)
	}
	e.say("created %s, generation %d", c.Store, *generation)
	return daemon.ExitOK
}

func restoreAnonymous(ctx context.Context, e *env, args []string) int {
	fs := e.flags()
	path := fs.String("config", "", "the anonymous port's YAML `file`; it must not run")
	named := fs.Uint64("named", 0, namedUsage)
	if code, done := e.parse(fs, args, "config"); done {
		return code
	}
	c, err := load[bank.Config](*path)
	if err != nil {
		return e.usage(err)
	}
	above, err := e.named(ctx, fs, &c, *named)
	if err != nil {
		return e.fail(err)
	}
	g, err := bank.Restore(ctx, c, above)
	if err != nil {
		return e.fail(err)
	}
	e.say("generation %d", g)
	return daemon.ExitOK
}

func restoreIdentified(ctx context.Context, e *env, args []string) int {
	fs := e.flags()
	path := fs.String("config", "", "the identified port's YAML `file`")
	named := fs.Uint64("named", 0, namedUsage)
	return e.withStore(fs, args, path, func(s *accounts.Store) error {
		c, err := load[accounts.Config](*path)
		if err != nil {
			return err
		}
		above, err := e.named(ctx, fs, &c, *named)
		if err != nil {
			return err
		}
		g, err := s.Restore(ctx, local(), above)
		if err == nil {
			e.say("generation %d", g)
		}
		return err
	})
}

// A publisher says which generation statements name now.
type publisher interface {
	Named(ctx context.Context) (uint64, error)
}

// askWait is how long a publisher may take.
const askWait = 30 * time.Second

// fresh refuses a generation for an empty database that statements name already,
// or named before: with it the database would be taken for one that knows what was
// spent.
func fresh(ctx context.Context, p publisher, generation uint64, first bool) error {
	ctx, stop := context.WithTimeout(ctx, askWait)
	defer stop()
	switch named, err := p.Named(ctx); {
	case err != nil && first:
		return nil
	case err != nil:
		return fmt.Errorf("which generation do statements name? %w; -first says that nothing is published yet", err)
	case generation <= named:
		return fmt.Errorf("statements name generation %d: a new database needs a higher one, since it has forgotten what was spent; take %d", named, named+1)
	}
	return nil
}

const namedUsage = "the `generation` that statements name, where the publisher cannot be asked"

// named is the generation that a database which came back must be above. What
// was said by hand counts only where nobody can be asked.
func (e *env) named(ctx context.Context, fs *flag.FlagSet, p publisher, byHand uint64) (uint64, error) {
	ctx, stop := context.WithTimeout(ctx, askWait)
	defer stop()
	named, err := p.Named(ctx)
	if err == nil {
		return max(named, byHand), nil
	}
	said := false
	fs.Visit(func(f *flag.Flag) { said = said || f.Name == "named" })
	if said {
		return byHand, nil
	}
	return 0, fmt.Errorf("which generation do statements name? %w; -named says it by hand", err)
}

func checkStore(ctx context.Context, e *env, args []string) int {
	fs := e.flags()
	path := fs.String("config", "", "the identified port's YAML `file`")
	return e.withStore(fs, args, path, func(s *accounts.Store) error {
		t, err := s.Check(ctx)
		if err != nil {
			return err
		}
		e.say("accounts %d\ntopped up %d + redeemed %d = balance %d + issued %d units\nadmin log %v",
			t.Accounts, t.ToppedUp, t.Redeemed, t.Balance, t.Issued, t.Log)
		return nil
	})
}

func logShow(ctx context.Context, e *env, args []string) int {
	fs := e.flags()
	path := fs.String("config", "", "the identified port's YAML `file`")
	return e.withStore(fs, args, path, func(s *accounts.Store) error {
		_, err := s.VerifyLog(ctx, accounts.Head{}, func(n uint64, entry string) { e.say("%d %s", n, entry) })
		return err
	})
}

func logVerify(ctx context.Context, e *env, args []string) int {
	fs := e.flags()
	path := fs.String("config", "", "the identified port's YAML `file`")
	noted := fs.String("noted", "", "`head` that was noted earlier")
	return e.withStore(fs, args, path, func(s *accounts.Store) error {
		var before accounts.Head
		if *noted != "" {
			var err error
			if before, err = parseHead(*noted); err != nil {
				return err
			}
		}
		h, err := s.VerifyLog(ctx, before, nil)
		if err == nil {
			e.say("whole: %v", h)
		}
		return err
	})
}

func logHead(_ context.Context, e *env, args []string) int {
	fs := e.flags()
	path := fs.String("config", "", "the identified port's YAML `file`")
	return e.withStore(fs, args, path, func(s *accounts.Store) error {
		h, err := s.LogHead()
		if err == nil {
			e.say("%v", h)
		}
		return err
	})
}

func parseHead(text string) (h accounts.Head, err error) {
	number, hash, _ := strings.Cut(text, " ")
	b, err := hex.DecodeString(hash)
	if err != nil || len(b) != len(h.Hash) {
		return h, errors.New("-noted: want NUMBER HASH, as `sotto-bank log head` prints them")
	}
	h.Hash = [32]byte(b)
	if h.Number, err = strconv.ParseUint(number, 10, 64); err != nil {
		return h, fmt.Errorf("-noted: %q is no number", number)
	}
	return h, nil
}

// withStore opens the identified port's database for f. The port may be running.
func (e *env) withStore(fs *flag.FlagSet, args []string, path *string, f func(*accounts.Store) error) int {
	if code, done := e.parse(fs, args, "config"); done {
		return code
	}
	c, err := load[accounts.Config](*path)
	if err != nil {
		return e.usage(err)
	}
	s, err := accounts.OpenStore(c.Store)
	if err != nil {
		return e.fail(err)
	}
	defer s.Close()
	if err := f(s); err != nil {
		return e.fail(err)
	}
	return daemon.ExitOK
}
