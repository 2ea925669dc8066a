// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/client/account"
	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/wallet"
	"github.com/sotto-project/sotto/internal/wire"
)

// maxCoins is how many coins one purchase has.
const maxCoins = 1024

// A begunError is of something that was begun and has not ended. Nothing of it is
// lost.
type begunError struct{ error }

func (e *begunError) Unwrap() error { return e.error }

// begun marks an error that leaves open what became of an order: there are more
// than the before that were open already.
func begun(c *client.Client, before int, err error) error {
	if err == nil || c.Caught() != nil {
		return err
	}
	if c.Begun() > before || client.CodeOf(err) == credits.CodePending {
		return &begunError{fmt.Errorf("%w. It is begun and written down, and nothing of it is lost: sotto wallet top goes on with it", err)}
	}
	return err
}

const walletExits = `
Exit codes: 0 done; 10 refused, by the bank or by verification; 11 begun and not
ended: sotto wallet top goes on with it; 1 failed; 2 usage.`

func (e *env) wallet() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "wallet",
		Short: "Keep coins: create, buy, look, restore, redeem",
		Long: `Where an epoch asks for payment, each request is paid with a coin that the bank
made without seeing it: what is bought is known, what it is spent on is not.
The wallet is a folder of your own, named in the trust file:

  payments:
    wallet: wallet                 # relative to the trust file
    account:                       # the account that coins are bought from
      url: https://bank.example
      key: api-key                 # a file, mode 0600, from the operator

  sotto wallet create              a new wallet, and the 24 words that find it again
  sotto wallet buy 1048576         units; chat and proxy pay with them by themselves
  sotto wallet status              what is there
  sotto wallet history             what was bought, spent, swapped and lost
  sotto wallet policy              limits, and a stock that is kept by itself
  sotto wallet top                 go on with what was begun; ask for change that is owed
  sotto wallet redeem 1048576      coins back onto the account
  sotto wallet export FILE         move it; sotto wallet import FILE, there
  sotto wallet restore             a lost wallet, from its words
  sotto wallet find                coins that a made-up refusal cost

One process has a wallet open at a time. While sotto proxy has it, its control port
shows it (GET /wallet). docs/wallet.md says what the bank learns and what it does not.
` + walletExits,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(e.walletCreate(), e.walletRestore(), e.walletStatus(), e.walletBuy(), e.walletTop(), e.walletFind(), e.walletRedeem(),
		e.walletPolicy(), e.walletHistory(), e.walletExport(), e.walletImport())
	return cmd
}

// purse returns what the trust file says about money.
func (e *env) purse() (*purse, client.Config, error) {
	cfg, err := e.config()
	if err != nil {
		return nil, cfg, err
	}
	p, ok := purseOf(&cfg)
	if !ok {
		return nil, cfg, &usageError{fmt.Errorf("%s has no section payments; sotto wallet --help shows one", e.trust)}
	}
	return p, cfg, nil
}

// folder opens the wallet alone, for a command that asks nobody.
func (e *env) folder(cmd *cobra.Command) (*purse, *wallet.Wallet, error) {
	p, _, err := e.purse()
	if err != nil {
		return nil, nil, err
	}
	p.name = cmd.CommandPath()
	w, err := p.wallet()
	return p, w, err
}

// spender opens wallet, account and client for one command.
func (e *env) spender(cmd *cobra.Command) (*client.Client, client.Config, error) {
	p, cfg, err := e.purse()
	if err != nil {
		return nil, cfg, err
	}
	p.name = cmd.CommandPath()
	c, err := client.New(cfg)
	return c, cfg, err
}

func (e *env) walletStatus() *cobra.Command {
	var asJSON, set bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what is in the wallet",
		Long: `Shows the balance, coins by denomination, what is owed, until when coins can be
spent, and the limits. The current epoch is asked for as a chat does, from the
relays; if it is not to be had, the wallet is shown as of the last epoch it knows.

--set fetches the bank's whole public tables, anonymously, and says among how many
coins like yours a coin hides: those made as change and by swaps. Those that were
bought come on top, and are not public; those spent already are in it, and hide
nobody. Asking for all of a table says nothing of what is looked for.
` + walletExits,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := e.spender(cmd)
			if err != nil {
				return err
			}
			defer c.Close()
			var issued func([32]byte, uint8) (uint64, bool)
			if set {
				if issued, err = countTables(cmd.Context(), c, cmd.ErrOrStderr()); err != nil {
					return refused(cmd.OutOrStdout(), asJSON, err)
				}
			}
			return showMoney(cmd.Context(), cmd.OutOrStdout(), c, asJSON, issued)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&set, "set", false, "fetch the bank's tables, and say among how many coins yours hide")
	return cmd
}

func showMoney(ctx context.Context, w io.Writer, c *client.Client, asJSON bool, issued func([32]byte, uint8) (uint64, bool)) error {
	m, err := c.Money(ctx, issued)
	if err != nil {
		return err
	}
	if asJSON {
		return writeJSON(w, m)
	}
	_, err = io.WriteString(reportText{w}, m.Text())
	return err
}

type denomination struct {
	keyset   [32]byte
	exponent uint8
}

// countTables counts the entries of every table that coins are in.
func countTables(ctx context.Context, c *client.Client, info io.Writer) (func([32]byte, uint8) (uint64, bool), error) {
	sets, epoch, err := c.Sets(ctx)
	if err != nil {
		return nil, err
	}
	n, looked := map[denomination]uint64{}, map[[32]byte]bool{}
	for _, k := range spendable(sets, epoch) {
		for x, err := range table(ctx, c, k, info) {
			if err != nil {
				return nil, err
			}
			n[denomination{k.ID(), x.Minted.Exponent}]++
		}
		looked[k.ID()] = true
	}
	return func(keyset [32]byte, exponent uint8) (uint64, bool) {
		return n[denomination{keyset, exponent}], looked[keyset]
	}, nil
}

// spendable returns the keysets whose tables are looked into.
func spendable(sets *credits.Set, epoch uint64) (list []*credits.Keyset) {
	if sets == nil {
		return nil
	}
	return slices.DeleteFunc(sets.All(), func(k *credits.Keyset) bool {
		return k.Type != wire.TokenCoin && k.Type != wire.TokenVoucher || !k.Spends(epoch)
	})
}

// errStop ends a table early: whoever reads it has failed.
var errStop = errors.New("stop")

// table reads a whole table, and says on info how far it is.
func table(ctx context.Context, c *client.Client, k *credits.Keyset, info io.Writer) iter.Seq2[credits.TableEntry, error] {
	return func(yield func(credits.TableEntry, error) bool) {
		n := 0
		err := c.Table(ctx, k.ID(), func(x credits.TableEntry) error {
			n++
			if !yield(x, nil) {
				return errStop
			}
			return nil
		})
		if errors.Is(err, errStop) {
			return
		}
		if err != nil {
			yield(credits.TableEntry{}, err)
			return
		}
		id := k.ID()
		fmt.Fprintf(info, "keyset %x: %d entries read\n", id[:8], n)
	}
}

func (e *env) walletBuy() *cobra.Command {
	var class, tier uint8
	var stock bool
	var kind string
	cmd := &cobra.Command{
		Use:   "buy UNITS | buy --stock | buy --type pass|entitlement COUNT",
		Short: "Buy coins from your account, or take passes and entitlements",
		Long: `Buys coins worth UNITS, of the size that requests are paid with (class, in the
trust file's payments; 65536 units if it says nothing), rounded up to a whole coin.
With --stock: what the wallet's policy wants (sotto wallet policy).

The account is charged, and the bank knows that it bought, and how much. Which coins
these are it does not see. To be harder to link to what you ask next, buy before you
need them, and not the exact price of one thing.

Where the operator gives them, COUNT passes each pay for one request of their class,
without change, and are used before coins; COUNT entitlements each open what their
tier opens, once, beside a coin or pass (tier, in the trust file's payments). They cost
no units, an account has so many a mint period, and a restore does not find them again.

  sotto wallet buy 1048576           16 coins of 65536
  sotto wallet buy 1048576 --class 19
  sotto wallet buy --type pass 20
  sotto wallet buy --type entitlement --tier 3 20
` + walletExits,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if stock == (len(args) == 1) {
				return &usageError{errors.New("name a number of units, or --stock")}
			}
			if (kind == kindEntitlement) != (tier != 0) {
				return &usageError{errors.New("--tier goes with --type entitlement: 1 to 255, as the operator says")}
			}
			switch {
			case stock && kind != kindCoin:
				return &usageError{errors.New("a stock is of coins: leave --type out")}
			case stock:
				return e.top(cmd, false)
			case kind == kindPass || kind == kindEntitlement:
				return e.take(cmd, kind, args[0], class, tier)
			case kind != kindCoin:
				return &usageError{fmt.Errorf("--type %q: coin, pass or entitlement", kind)}
			}
			units, err := parseUnits(args[0])
			if err != nil {
				return err
			}
			return e.buy(cmd, units, class)
		},
	}
	cmd.Flags().StringVar(&kind, "type", kindCoin, "what to buy: coin, pass or entitlement")
	complete(cmd, "type", kindCoin+"\tmoney, with change", kindPass+"\tpays for one request, without change", kindEntitlement+"\topens what its tier opens, once")
	cmd.Flags().Uint8Var(&tier, "tier", 0, "the entitlements' tier `N`, 1 to 255")
	cmd.Flags().Uint8Var(&class, "class", 0, "buy coins of 2^`N` units (default: the trust file's class)")
	cmd.Flags().BoolVar(&stock, "stock", false, "buy what the policy wants")
	return cmd
}

// Kinds of tokens that an account gives.
const (
	kindCoin        = "coin"
	kindPass        = "pass"
	kindEntitlement = "entitlement"
)

// take takes passes or entitlements, which cost the account nothing.
func (e *env) take(cmd *cobra.Command, kind, count string, class, tier uint8) error {
	n, err := strconv.ParseUint(count, 10, 16)
	if err != nil || n < 1 || n > maxCoins || strconv.FormatUint(n, 10) != count {
		return &usageError{fmt.Errorf("%q is no number of them: 1 to %d", count, maxCoins)}
	}
	_, cfg, err := e.purse()
	if err != nil {
		return err
	}
	tokenType := wire.TokenEntitlement
	if kind == kindPass {
		tokenType = wire.TokenPass
		if class, err = classOf(&cfg, class); err != nil {
			return err
		}
	} else if class != 0 {
		return &usageError{errors.New("an entitlement has a tier and no class")}
	}
	c, _, err := e.spender(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	before := c.Begun()
	if err := c.Buy(cmd.Context(), tokenType, tier, slices.Repeat([]uint8{class}, int(n))); err != nil {
		if client.CodeOf(err) == credits.CodeEpoch {
			err = fmt.Errorf("%w: the operator gives none of type %s now; ask it, or buy coins", err, kind)
		}
		return begun(c, before, err)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "taken      %d of type %s\n", n, kind)
	return showMoney(cmd.Context(), cmd.OutOrStdout(), c, false, nil)
}

// parseUnits has one spelling for a number of units.
func parseUnits(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 62)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != s {
		return 0, &usageError{fmt.Errorf("%q is no number of units, such as 1048576", s)}
	}
	return n, nil
}

// classOf is the class that requests are paid with.
func classOf(cfg *client.Config, asked uint8) (uint8, error) {
	switch {
	case asked == 0 && cfg.Payments.Class == 0:
		return client.DefaultClass, nil
	case asked == 0:
		return cfg.Payments.Class, nil
	case asked < wire.MinClass || asked > wire.MaxClass:
		return 0, &usageError{fmt.Errorf("a class is %d to %d", wire.MinClass, wire.MaxClass)}
	}
	return asked, nil
}

func (e *env) buy(cmd *cobra.Command, units uint64, class uint8) error {
	_, cfg, err := e.purse()
	if err != nil {
		return err
	}
	if class, err = classOf(&cfg, class); err != nil {
		return err
	}
	n := (units-1)>>class + 1
	if n > maxCoins {
		return &usageError{fmt.Errorf("that is %d coins of %d units, and %d are the most at once; buy larger ones with --class", n, uint64(1)<<class, maxCoins)}
	}
	c, _, err := e.spender(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	before := c.Begun()
	if err := c.Buy(cmd.Context(), wire.TokenCoin, 0, slices.Repeat([]uint8{class}, int(n))); err != nil {
		return begun(c, before, err)
	}
	many := "s"
	if n == 1 {
		many = ""
	}
	fmt.Fprintf(cmd.OutOrStdout(), "bought     %d coin%s of %d units, %d units in all\n", n, many, uint64(1)<<class, n<<class)
	return showMoney(cmd.Context(), cmd.OutOrStdout(), c, false, nil)
}

func (e *env) walletTop() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Bring the wallet up to date now",
		Long: `Asks for change that is owed, goes on with swaps, purchases and redemptions that
were begun, swaps what soon cannot be spent, and buys what the policy wants. This
happens by itself while requests are paid.
` + walletExits,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return e.top(cmd, asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (e *env) top(cmd *cobra.Command, asJSON bool) error {
	c, _, err := e.spender(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	err = begun(c, 0, c.Top(cmd.Context()))
	return errors.Join(err, showMoney(cmd.Context(), cmd.OutOrStdout(), c, asJSON, nil), c.Caught())
}

func (e *env) walletRedeem() *cobra.Command {
	var class uint8
	cmd := &cobra.Command{
		Use:   "redeem UNITS",
		Short: "Put coins back onto your account",
		Long: `Swaps coins for vouchers, anonymously, and puts those on the account. UNITS is a
multiple of one voucher (a coin of the class; --class names another size).

The bank learns that this account got so much back, and that whoever swapped for
vouchers a moment before is its owner: the coins that were swapped are then known to
be yours. What they were change of is not. Redeem seldom, and round amounts.
` + walletExits,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			units, err := parseUnits(args[0])
			if err != nil {
				return err
			}
			_, cfg, err := e.purse()
			if err != nil {
				return err
			}
			if class, err = classOf(&cfg, class); err != nil {
				return err
			}
			if units%(1<<class) != 0 {
				less := ""
				if n := units >> class << class; n > 0 {
					less = fmt.Sprintf("%d or ", n)
				}
				return &usageError{fmt.Errorf("vouchers are of %d units: redeem %s%d, or smaller ones with --class", uint64(1)<<class, less, (units>>class+1)<<class)}
			}
			if units>>class > maxCoins {
				return &usageError{fmt.Errorf("that is %d vouchers, and %d are the most at once; take larger ones with --class", units>>class, maxCoins)}
			}
			c, _, err := e.spender(cmd)
			if err != nil {
				return err
			}
			defer c.Close()
			before := c.Begun()
			got, err := c.Redeem(cmd.Context(), class, int(units>>class))
			if got > 0 {
				fmt.Fprintf(cmd.OutOrStdout(), "redeemed   %d units\n", got)
			}
			if err != nil {
				return begun(c, before, err)
			}
			return showMoney(cmd.Context(), cmd.OutOrStdout(), c, false, nil)
		},
	}
	cmd.Flags().Uint8Var(&class, "class", 0, "vouchers of 2^`N` units (default: the trust file's class)")
	return cmd
}

// openAccount opens the account of the trust file, if it names one.
func (p *purse) openAccount() (*account.Account, error) {
	if p.account == nil {
		return nil, nil
	}
	return account.Open(*p.account)
}
