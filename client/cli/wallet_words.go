// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/wallet"
	"github.com/sotto-project/sotto/internal/durable"
	"github.com/sotto-project/sotto/internal/redact"
)

// maxWords is the longest text that 24 words are looked for in, in bytes.
const maxWords = 1 << 10

func (e *env) walletCreate() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a wallet, and show its 24 words once",
		Long: `Makes a new wallet in the folder that the trust file names, and shows the 24 words
of its seed: on the terminal, or in a file with --words-file (mode 0600, and not one
that is there already). Standard output has to be a terminal otherwise, so that the
words do not land in a pipe or a log.

Write them on paper. They find the coins again if the folder is lost (sotto wallet
restore), and so does whoever else has them: they are as good as the money. They are
not shown again, and nobody else has them.
` + walletExits,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, _, err := e.purse()
			if err != nil {
				return err
			}
			return p.create(cmd, file)
		},
	}
	cmd.Flags().StringVar(&file, "words-file", "", "write the words to this new file, not to the terminal")
	return cmd
}

func (p *purse) create(cmd *cobra.Command, file string) error {
	out := cmd.OutOrStdout()
	if file == "" && !isTerminal(out) {
		return &usageError{errors.New("the words would go into a pipe or a file that others may read; run this on a terminal, or name a new file with --words-file")}
	}
	if err := p.free(); err != nil {
		return err
	}
	seed, err := wallet.NewSeed(rand.Reader)
	if err != nil {
		return err
	}
	words, err := wallet.Words(seed)
	if err != nil {
		return err
	}
	if file != "" { // first: no wallet without its words
		if err := durable.CreateFile(file, append(words.Bytes(), '\n'), 0o600); err != nil {
			return fmt.Errorf("words: %w", err)
		}
	}
	w, err := wallet.Create(p.dir, seed)
	if err != nil {
		if file != "" {
			err = errors.Join(err, os.Remove(file))
		}
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	if file != "" {
		errorf(cmd, "The 24 words are in %s. Copy them onto paper and remove the file: they are as good as the money.", file)
	} else {
		fmt.Fprintf(out, "\n%s\nWrite these 24 words on paper, in this order. They find the coins again if this\nmachine is lost, and they are as good as the money. They are not shown again.\n\n", numbered(words))
	}
	errorf(cmd, "A wallet was made in %s. Next: sotto wallet buy UNITS", p.dir)
	return nil
}

// free says what to do if there is a wallet already.
func (p *purse) free() error {
	for _, f := range []string{"seed", "journal"} {
		switch _, err := os.Lstat(filepath.Join(p.dir, f)); {
		case err == nil:
			return fmt.Errorf("there is a wallet in %s already: name another folder in the trust file (payments.wallet), or move this one away", p.dir)
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	return nil
}

// numbered is the words for a person who copies them.
func numbered(words redact.Secret) string {
	var b strings.Builder
	for i, w := range strings.Fields(string(words.Bytes())) {
		fmt.Fprintf(&b, "  %2d %-10s", i+1, w)
		if i%4 == 3 {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

func (e *env) walletRestore() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "restore",
		Short: "Find a wallet again from its 24 words",
		Long: `Reads 24 words from standard input or --words-file, looks for their coins in the
bank's public tables, fetched whole and anonymously, and in the account's own list of
what it bought, and makes a wallet in the folder that the trust file names. What is
found may have been spent: each coin is swapped for a new one, which tells. Words are
not taken from the command line, where other users of a machine can read them.

A wallet of the same words must not be in use anywhere else, now or later: two would
spend the same coins, and could be told to be one person's. Passes and entitlements
are not found again; the account issues new ones.
` + walletExits,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, cfg, err := e.purse()
			if err != nil {
				return err
			}
			if err := p.free(); err != nil {
				return err
			}
			seed, err := readWords(cmd, file)
			if err != nil {
				return err
			}
			p.name = cmd.CommandPath()
			if err := p.restore(cmd, cfg, seed); err != nil {
				return err
			}
			return e.top(cmd, false)
		},
	}
	cmd.Flags().StringVar(&file, "words-file", "", "read the words from this file")
	return cmd
}

func (e *env) walletFind() *cobra.Command {
	return &cobra.Command{
		Use:   "find",
		Short: "Look in the bank's tables for orders that were said to be refused",
		Long: `A refused swap leaves its coins to be swapped again. Whoever carried the refusal may
have made it up: then the swap had its effect, and the coins turn out to be spent.
This fetches the bank's tables whole and anonymously, as a restore does, and takes what
such orders, and those that have not ended, came to. Run it if coins were lost that you
did not spend.
` + walletExits,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			p, cfg, err := e.purse()
			if err != nil {
				return err
			}
			p.name = cmd.CommandPath()
			w, err := p.wallet()
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, w.Close()) }()
			ctx, info := cmd.Context(), cmd.ErrOrStderr()
			cfg.Payments = nil // it is open here
			c, sets, epoch, err := keysetsOf(ctx, cfg)
			if err != nil {
				return err
			}
			defer c.Close()
			n, err := w.Find(epoch, wallet.Sources{Table: func(keyset [32]byte) iter.Seq2[credits.TableEntry, error] {
				if k, ok := sets.Find(keyset); ok {
					return table(ctx, c, k, info)
				}
				return func(func(credits.TableEntry, error) bool) {} // over: its table is gone
			}})
			if n > 0 || err == nil {
				fmt.Fprintf(cmd.OutOrStdout(), "found      %d orders that had their effect\n", n)
			}
			return err
		},
	}
}

// readWords reads 24 words. Nothing of what was read is in an error.
func readWords(cmd *cobra.Command, file string) (seed redact.Secret, err error) {
	var b []byte
	if file != "" {
		if st, err := os.Stat(file); err == nil && runtime.GOOS != "windows" && st.Mode().Perm()&0o077 != 0 {
			return seed, &usageError{fmt.Errorf("%s is open to others than its owner (mode %04o): the words are as good as the money; chmod 600", file, st.Mode().Perm())}
		}
		b, err = readCapped(file, maxWords)
	} else {
		if isTerminal(cmd.InOrStdin()) {
			errorf(cmd, "Type the 24 words, then an empty line or Ctrl-D. They show on this terminal.")
			b, err = untilEmptyLine(cmd.InOrStdin())
		} else {
			b, err = io.ReadAll(io.LimitReader(cmd.InOrStdin(), maxWords+1))
		}
	}
	defer clear(b)
	if err != nil {
		return seed, fmt.Errorf("words: %w", err)
	}
	if len(b) > maxWords {
		return seed, &usageError{errors.New("words: that is longer than 24 words")}
	}
	if seed, err = wallet.FromWords(string(b)); err != nil {
		return seed, &usageError{fmt.Errorf("words: %d were given; 24 words of the list are wanted, and their checksum must fit: look for one that is misspelt or in the wrong place", len(strings.Fields(string(b))))}
	}
	return seed, nil
}

// untilEmptyLine reads what a person types.
func untilEmptyLine(in io.Reader) (b []byte, err error) {
	var c [1]byte
	for len(b) <= maxWords && !strings.HasSuffix(string(b), "\n\n") {
		n, err := in.Read(c[:])
		b = append(b, c[:n]...)
		if err == io.EOF {
			break
		}
		if err != nil {
			return b, err
		}
	}
	return b, nil
}

// keysetsOf makes a client that does not pay, to look into a bank's tables, and
// says which keysets there are. The client is the caller's to close.
func keysetsOf(ctx context.Context, cfg client.Config) (*client.Client, *credits.Set, uint64, error) {
	c, err := client.New(cfg)
	if err != nil {
		return nil, nil, 0, err
	}
	sets, epoch, err := c.Sets(ctx)
	if err == nil && sets == nil {
		err = &client.Error{Code: client.CodePayment, Detail: fmt.Sprintf("nobody pays in epoch %d: there is no bank whose tables could be looked into", epoch)}
	}
	if err != nil {
		c.Close()
		return nil, nil, 0, err
	}
	return c, sets, epoch, nil
}

// restore makes the wallet and closes it again.
func (p *purse) restore(cmd *cobra.Command, cfg client.Config, seed redact.Secret) error {
	ctx, info := cmd.Context(), cmd.ErrOrStderr()
	cfg.Payments = nil // there is no wallet yet
	c, sets, epoch, err := keysetsOf(ctx, cfg)
	if err != nil {
		return err
	}
	defer c.Close()
	from, done, err := p.sources(ctx, c, sets, info)
	if err != nil {
		return err
	}
	defer done()
	fmt.Fprintf(info, "looking through %d keysets; each takes the arithmetic of some 65,000 blanks\n", len(spendable(sets, epoch)))
	w, found, err := wallet.Restore(p.dir, seed, sets, epoch, from)
	if err != nil {
		return err
	}
	fmt.Fprintf(info, "found %d coins and vouchers, worth at most %d units; each is swapped now, which tells whether it was spent\n", found.Tokens, found.Units)
	if found.Wrong > 0 {
		fmt.Fprintf(info, "WARNING: %d entries under this wallet's names were not made with the bank's published keys: show this to the operator, and to others\n", found.Wrong)
	}
	if found.Tokens == 0 {
		fmt.Fprintln(info, "nothing was found: other words, another bank, or all of it spent or expired; the wallet is empty and works")
	}
	return w.Close()
}

// sources are where the coins of a seed are looked for.
func (p *purse) sources(ctx context.Context, c *client.Client, sets *credits.Set, info io.Writer) (from wallet.Sources, done func(), err error) {
	from.Table = func(keyset [32]byte) iter.Seq2[credits.TableEntry, error] {
		k, ok := sets.Find(keyset)
		if !ok {
			return func(yield func(credits.TableEntry, error) bool) {}
		}
		return table(ctx, c, k, info)
	}
	a, err := p.openAccount()
	if err != nil {
		return from, nil, err
	}
	if a == nil {
		fmt.Fprintln(info, "the trust file names no account: coins that were bought are not looked for, only change and swaps")
		return from, func() {}, nil
	}
	from.Issued = func(keyset [32]byte) iter.Seq2[wallet.Batch, error] { return a.Issued(ctx, keyset) }
	return from, a.Close, nil
}

func (e *env) walletExport() *cobra.Command {
	return &cobra.Command{
		Use:   "export FILE",
		Short: "Move the wallet into a file",
		Long: `Writes the whole wallet, seed and coins, to a new FILE (mode 0600), to be imported
on another machine. This copy does nothing more from then on: two that went on from
one state would spend the same coins. The file is as good as the money; import it
once, and remove it. The policy, with its limits, does not go along.
` + walletExits,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			// A name that cannot be written is found before this copy stops for it.
			if err := newName(args[0]); err != nil {
				return err
			}
			p, w, err := e.folder(cmd)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, w.Close()) }()
			if err := w.Export(args[0]); err != nil {
				return fmt.Errorf("%w; this copy may do nothing more already: export it again, to another FILE, and import that", err)
			}
			errorf(cmd, "The wallet is in %s; %s does nothing more. Next, there: sotto wallet import FILE", args[0], p.dir)
			return nil
		},
	}
}

// newName says what is wrong with a name for a new file.
func newName(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return &usageError{fmt.Errorf("%s is there already: name a new file", path)}
	}
	if s, err := os.Stat(filepath.Dir(path)); err != nil || !s.IsDir() {
		return &usageError{fmt.Errorf("there is no folder %s to write a file into", filepath.Dir(path))}
	}
	return nil
}

func (e *env) walletImport() *cobra.Command {
	return &cobra.Command{
		Use:   "import FILE",
		Short: "Make a wallet of an exported file",
		Long: `Makes a wallet of a FILE that sotto wallet export wrote, in the folder that the
trust file names. Remove the file afterwards: imported twice, it makes two wallets
that spend the same coins. It has no policy yet: set limits anew (sotto wallet policy).
` + walletExits,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, _, err := e.purse()
			if err != nil {
				return err
			}
			if err := p.free(); err != nil {
				return err
			}
			w, err := wallet.Import(p.dir, args[0])
			if err != nil {
				return err
			}
			errorf(cmd, "The wallet is in %s. Remove %s now: imported twice, it makes two wallets that spend the same coins.", p.dir, args[0])
			return w.Close()
		},
	}
}
