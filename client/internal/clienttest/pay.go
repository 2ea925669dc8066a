// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package clienttest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/bank"
	"github.com/sotto-project/sotto/credits/ceremony"
	"github.com/sotto-project/sotto/credits/issue"
	"github.com/sotto-project/sotto/credits/wallet"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/transparency/statement"
)

const (
	// Generation is that of a paid world's bank.
	Generation = 1
	// LargestCoin is the largest denomination that is on sale, as an exponent: two
	// steps of the ladder over the default class.
	LargestCoin = client.DefaultClass + 6

	lastEpoch = 1000 // of the one mint period
)

// Prices are those of a paid world's nodes, in units by meter: a request, a KiB,
// 1,000 tokens.
var Prices = [3]uint32{100, 10, 1000}

// A Mint is what a paid world has more: a bank as shipped on a database of its
// own, behind a hop, and the private keys of its coins.
type Mint struct {
	Bank   *Hop
	Keys   *issue.Ring
	Ticket ed25519.PrivateKey
	Dir    string // of the private keys, the public list, the ticket key

	bank *bank.Bank
}

// StartPaid is [Start] of a world in which requests are paid.
func StartPaid(t testing.TB, n int) *World {
	t.Helper()
	return start(t, n, attestationtest.Policy, (*World).mint)
}

// mint makes keys and an empty database.
func (w *World) mint() {
	w.t.Helper()
	m := &Mint{Dir: w.t.TempDir()}
	coins := make([]uint8, LargestCoin+1)
	for i := range coins {
		coins[i] = uint8(i)
	}
	plan := ceremony.Plan{First: 1, Last: lastEpoch, SpendLast: lastEpoch, Coins: coins, Vouchers: coins}
	_, _, err := ceremony.Run(m.Dir, plan, "clienttest, SIMULATED", time.Now(), rand.Reader)
	w.must(err)
	m.Keys = issue.NewRing(m.Dir)
	w.must(m.Keys.Load())
	key := filepath.Join(m.Dir, "ticket.key")
	public, err := bank.CreateTicketKey(key, rand.Reader)
	w.must(err)
	w.must(os.WriteFile(key+".pub", public, 0o600))
	m.Ticket, err = bank.OpenTicketKey(key)
	w.must(err)
	w.Mint = m
}

// openBank starts the bank; publisher is where it reads statements.
func (w *World) openBank(publisher string) {
	w.t.Helper()
	m := w.Mint
	cfg := bank.Config{
		TLS: w.identity(wire.BankAuthority), Publisher: publisher, PublisherCA: w.CA.File(), Trust: w.Trust,
		SQLite: filepath.Join(w.t.TempDir(), "spent.db"), Keys: m.Dir, TicketKey: filepath.Join(m.Dir, "ticket.key"), Away: lastEpoch,
	}
	w.must(bank.CreateStore(context.Background(), cfg, Generation))
	var err error
	m.bank, err = bank.New(cfg, nil)
	w.must(err)
	w.t.Cleanup(func() { m.bank.Close() })
	m.Bank = w.serve(wire.BankAuthority, true, m.bank.Handler())
	w.config.Payment, w.config.MintGeneration = "coins", Generation
	w.config.TicketKey, w.config.CoinKeysets = filepath.Join(m.Dir, "ticket.key.pub"), filepath.Join(m.Dir, ceremony.ListFile)
}

// paidConfig is the measured configuration of a node that takes tickets.
func (m *Mint) paidConfig(c *evidence.Config) {
	c.Payment = "coins"
	c.Settings = map[string]string{evidence.SettingTicketKeys: hex.EncodeToString(m.Ticket.Public().(ed25519.PublicKey))}
}

func prices() (list []statement.Price) {
	for meter, units := range Prices {
		list = append(list, statement.Price{Class: uint8(meter), Units: units})
	}
	return list
}

// Sets are the world's keysets.
func (w *World) Sets() *credits.Set {
	w.t.Helper()
	sets, err := ceremony.Open(w.Mint.Dir)
	w.must(err)
	return sets
}

// Wallet makes a wallet with coins of these classes, which need not wait.
func (w *World) Wallet(classes ...uint8) *wallet.Wallet {
	w.t.Helper()
	wl, _ := w.WalletIn(classes...)
	return wl
}

// WalletIn is [World.Wallet], and its folder.
func (w *World) WalletIn(classes ...uint8) (*wallet.Wallet, string) {
	w.t.Helper()
	seed, err := wallet.NewSeed(rand.Reader)
	w.must(err)
	dir := filepath.Join(w.t.TempDir(), "wallet")
	wl, err := wallet.Create(dir, seed)
	w.must(err)
	w.t.Cleanup(func() { wl.Close() })
	p := wallet.DefaultPolicy()
	p.Delay = 0
	w.must(wl.SetPolicy(p))
	if len(classes) > 0 {
		epoch := w.Log.Last().Epoch
		b, err := wl.Buy(w.Sets(), epoch, wire.TokenCoin, 0, classes)
		w.must(err)
		elements, proofs, err := w.Issuer().Issue(context.Background(), b)
		w.must(err)
		w.must(wl.Bought(b.Request, epoch, elements, proofs))
	}
	return wl, dir
}

// Pays is for [World.Client].
func Pays(wl *wallet.Wallet) func(*client.Config) {
	return func(c *client.Config) { c.Payments = &client.Payments{Wallet: wl} }
}

// An Issuer sells to everybody, or answers with Err.
type Issuer struct {
	mint *Mint

	mu   sync.Mutex
	err  error
	sold int // purchases
}

// Issuer returns one that holds the world's keys.
func (w *World) Issuer() *Issuer { return &Issuer{mint: w.Mint} }

// Refuse makes every later purchase end in err; nil: it sells again.
func (i *Issuer) Refuse(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.err = err
}

// Asked returns how many purchases were asked for.
func (i *Issuer) Asked() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.sold
}

// Issue implements [client.Issuer].
func (i *Issuer) Issue(_ context.Context, b *wallet.Buy) ([][32]byte, map[uint8][64]byte, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.sold++; i.err != nil {
		return nil, nil, i.err
	}
	keys, ok := i.mint.Keys.Of(b.Keyset)
	if !ok {
		return nil, nil, &client.Error{Code: credits.CodeEpoch}
	}
	var elements [][32]byte
	proofs := map[uint8][64]byte{}
	for from := 0; from < len(b.Tokens); {
		to, blinded := from, [][32]byte{}
		for ; to < len(b.Tokens) && b.Tokens[to].Exponent == b.Tokens[from].Exponent; to++ {
			blinded = append(blinded, b.Tokens[to].Blinded)
		}
		made, proof, err := keys.Evaluate(b.Tokens[from].Exponent, blinded)
		if err != nil {
			return nil, nil, err
		}
		elements, proofs[b.Tokens[from].Exponent] = append(elements, made...), proof
		from = to
	}
	return elements, proofs, nil
}

// Redeem implements [client.Issuer].
func (i *Issuer) Redeem(context.Context, *wallet.Redeem) error { return nil }

// A till is a node's side of paying.
type till struct {
	mu     sync.Mutex
	usages map[[32]byte]*wire.Usage // nil while the request runs
}

// admit checks the ticket of a paid request.
func (n *Node) admit(r *http.Request, ask wire.Ask) (*wire.Ticket, bool) {
	m := n.world.Mint
	if m == nil {
		return nil, r.Header.Get(wire.TicketHeader) == ""
	}
	t, err := wire.ParseTicketHeader(r.Header.Get(wire.TicketHeader))
	if err != nil || t.Ask() != ask || !t.Verify(m.Ticket.Public().(ed25519.PublicKey)) {
		return nil, false
	}
	return &t, true
}

// begin notes that a paid request runs.
func (n *Node) begin(w http.ResponseWriter, t *wire.Ticket) {
	if t == nil {
		return
	}
	w.Header().Set("Trailer", wire.UsageTrailer)
	n.till.mu.Lock()
	defer n.till.mu.Unlock()
	n.till.usages[t.HeaderHash] = nil
}

// end signs what the request used. It is called when the answer is cut, too.
func (n *Node) end(w http.ResponseWriter, t *wire.Ticket, x *Exchange) {
	if t == nil {
		return
	}
	u := &wire.Usage{HeaderHash: t.HeaderHash, NodeID: n.ID(), Epoch: t.Epoch, Class: t.Class, Index: t.Index, Attempt: t.Attempt, Used: x.Used}
	u.Sign(n.hw.NodeKey)
	n.till.mu.Lock()
	n.till.usages[t.HeaderHash] = u
	n.till.mu.Unlock()
	said := u.String()
	if x.Usage != nil {
		said = x.Usage(*u)
	}
	w.Header().Set(wire.UsageTrailer, said)
}

func (n *Node) usage(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil || len(b) != 32 {
		httpx.Problem(w, http.StatusBadRequest, "usage.format")
		return
	}
	n.till.mu.Lock()
	u, known := n.till.usages[[32]byte(b)]
	n.till.mu.Unlock()
	switch {
	case !known:
		httpx.Problem(w, http.StatusNotFound, "usage")
	case u == nil:
		httpx.Problem(w, http.StatusConflict, "running")
	default:
		w.Write(u.Append(nil))
	}
}
