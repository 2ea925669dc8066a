// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/client/account"
	"github.com/sotto-project/sotto/computenode"
	"github.com/sotto-project/sotto/credits/bank"
	"github.com/sotto-project/sotto/credits/issue"
	"github.com/sotto-project/sotto/credits/wallet"
	"github.com/sotto-project/sotto/internal/config"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/wire"
)

// Twins that cheat with money. They are SIMULATED, and so is the money.

// serveInflatingNode is a node that claims to have used less than nothing, so
// that more would come back than was paid.
func serveInflatingNode(ctx context.Context, path string, lns []net.Listener, log *slog.Logger) error {
	n, hw, cfg, err := makeNode(ctx, path, log, attestationtest.LabEntries(), func(*computenode.Hardware) {})
	if err != nil {
		return err
	}
	defer hw.TPM.Close()
	if err := n.Start(ctx); err != nil {
		return err
	}
	tc, err := cfg.TLS.Server(true)
	if err != nil {
		return err
	}
	s := httpx.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.Handler().ServeHTTP(w, r)
		if raw, err := base64.RawURLEncoding.DecodeString(w.Header().Get(wire.UsageTrailer)); err == nil && len(raw) == wire.UsageSize {
			raw[wire.UsageSize-65] = 0xc0 // -64 of 64, for whoever reads it as signed
			w.Header().Set(wire.UsageTrailer, base64.RawURLEncoding.EncodeToString(raw))
			deed(log, "claimed that a request had used -64 64ths of what was held for it")
		}
	}))
	s.TLSConfig = tc
	return httpx.Serve(ctx, lns[0], s)
}

// serveBankTwin runs a bank whose handler is wrapped.
func serveBankTwin(ctx context.Context, path string, ln net.Listener, log *slog.Logger, wrap func(bank.Config, http.Handler) (http.Handler, error)) error {
	cfg, err := config.Load[bank.Config](path)
	if err != nil {
		return err
	}
	b, err := bank.New(cfg, log)
	if err != nil {
		return err
	}
	defer b.Close()
	h, err := wrap(cfg, b.Handler())
	if err != nil {
		return err
	}
	tc, err := cfg.TLS.Server(true)
	if err != nil {
		return err
	}
	s := httpx.NewServer(h)
	s.TLSConfig = tc
	ctx, cancel := context.WithCancel(ctx)
	var loops sync.WaitGroup
	defer loops.Wait()
	defer cancel()
	loops.Go(func() { repeat(ctx, cfg.Poll, func() { b.Poll(ctx) }) }) // its errors are in the log
	return httpx.Serve(ctx, ln, s)
}

// altered has h answer path, and change what it said. change gets the request's
// body, too, and returns nil to leave an answer as it is.
func altered(h http.Handler, paths map[string]func(asked, said []byte) []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		change := paths[r.URL.Path]
		if change == nil {
			h.ServeHTTP(w, r)
			return
		}
		httpx.LimitBody(w, r, 64<<10)
		asked, err := io.ReadAll(r.Body)
		if err != nil {
			httpx.BodyProblem(w, err)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(asked))
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		said := rec.Body.Bytes()
		if out := change(asked, said); out != nil && rec.Code == http.StatusOK {
			said = out
		}
		for name, v := range rec.Header() {
			w.Header()[name] = v
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(said)))
		w.WriteHeader(rec.Code)
		w.Write(said)
	})
}

// serveMarkingBank is a bank that writes change with a key of its own, one for
// each user that it wants to know again: the coins would be as good as names.
func serveMarkingBank(ctx context.Context, path string, lns []net.Listener, log *slog.Logger) error {
	return serveBankTwin(ctx, path, lns[0], log, func(cfg bank.Config, h http.Handler) (http.Handler, error) {
		ring := issue.NewRing(cfg.Keys)
		if err := ring.Load(); err != nil {
			return nil, err
		}
		ticket, err := bank.OpenTicketKey(cfg.TicketKey)
		if err != nil {
			return nil, err
		}
		var mu sync.Mutex
		blanks := map[[32]byte][wire.Blanks][32]byte{} // by coin: enough for a lab
		held := map[[32]byte][32]byte{}                // header hash to coin
		marked := map[[32]byte]*issue.Keys{}
		return altered(h, map[string]func(asked, said []byte) []byte{
			"/v1/hold": func(asked, said []byte) []byte {
				block, err := wire.ParseRoutingBlock(asked[:min(len(asked), wire.RoutingBlockSize)])
				ticket, err2 := wire.ParseTicket(said)
				if err != nil || err2 != nil {
					return nil
				}
				mu.Lock()
				defer mu.Unlock()
				blanks[block.Spend.Nonce], held[ticket.HeaderHash] = block.Spend.Blanks, block.Spend.Nonce
				return nil
			},
			"/v1/settle": func(_, said []byte) []byte {
				c, err := wire.ParseChange(said)
				if err != nil || len(c.Coins) == 0 {
					return nil
				}
				mu.Lock()
				defer mu.Unlock()
				mine := blanks[held[c.Usage.HeaderHash]]
				honest, ok := ring.Of(c.Keyset)
				if !ok {
					return nil
				}
				keys := marked[c.Keyset]
				if keys == nil {
					var exponents []uint8
					for _, k := range honest.Keyset().Keys {
						exponents = append(exponents, k.Exponent)
					}
					if keys, err = issue.Generate(rand.Reader, *honest.Keyset(), exponents); err != nil {
						return nil
					}
					marked[c.Keyset] = keys
				}
				for i := range c.Coins {
					elements, proof, err := keys.Evaluate(c.Coins[i].Exponent, mine[i:i+1])
					if err != nil {
						return nil
					}
					c.Coins[i].Element, c.Coins[i].Proof = elements[0], proof
				}
				c.Sign(ticket, c.Usage.HeaderHash)
				deed(log, "wrote %d coins of change with keys that it made for this one user", len(c.Coins))
				return c.Append(nil)
			},
		}), nil
	})
}

// serveForgetfulBank is a bank that serves from an old copy of its database,
// with what was spent since forgotten, and does not raise its generation.
func serveForgetfulBank(ctx context.Context, path string, lns []net.Listener, log *slog.Logger) error {
	return serveBankTwin(ctx, path, lns[0], log, func(cfg bank.Config, h http.Handler) (http.Handler, error) {
		key, err := bank.OpenTicketKey(cfg.TicketKey)
		if err != nil {
			return nil, err
		}
		return altered(h, map[string]func(asked, said []byte) []byte{
			"/v1/hold": func(_, said []byte) []byte {
				t, err := wire.ParseTicket(said)
				if err != nil {
					return nil
				}
				t.Generation--
				t.Sign(ed25519.PrivateKey(key))
				deed(log, "held a coin in a database of generation %d, whose list of spent coins is an old one", t.Generation)
				return t.Append(nil)
			},
		}), nil
	})
}

// spent is how many coins the dishonest client has: as many as one request tries.
const spent = 4

// spendTwice is the hostile client: it keeps a copy of its wallet from before it
// spent, and pays from the copy.
func spendTwice(ctx context.Context, l *Lab, prompt string) (*outcome, []string, error) {
	dir := filepath.Join(l.dir, "wallet-copied")
	if err := makeWallet(dir); err != nil {
		return nil, nil, err
	}
	err := withWallet(dir, func(w *wallet.Wallet) error {
		p := w.Policy()
		p.Stock = map[uint8]int{client.DefaultClass: spent}
		return w.SetPolicy(p)
	})
	if err != nil {
		return nil, nil, err
	}
	open := func(dir string, buys bool) *client.Payments { return &client.Payments{Source: &opened{l, dir, buys}} }
	c, err := l.client(open(dir, true))
	if err != nil {
		return nil, nil, err
	}
	err = c.Top(ctx)
	c.Close()
	if err != nil {
		return nil, nil, fmt.Errorf("coins for the wallet: %w", err)
	}
	copied := filepath.Join(l.dir, "wallet-copy")
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		return nil, nil, err
	}
	for _, name := range []string{"seed", "journal", "policy.yaml"} {
		if err := os.Chmod(filepath.Join(copied, name), 0o600); err != nil {
			return nil, nil, err
		}
	}
	for range spent {
		got, err := l.probeWith(ctx, prompt, open(dir, false))
		if err == nil {
			err = got.err
		}
		if err != nil {
			return nil, nil, fmt.Errorf("spending honestly first: %w", err)
		}
	}
	got, err := l.probeWith(ctx, prompt, open(copied, false))
	return got, []string{fmt.Sprintf("client paid for a prompt from a copy of its wallet, with coins that it had spent on %d others", spent)}, err
}

func withWallet(dir string, f func(*wallet.Wallet) error) error {
	w, err := wallet.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f(w), w.Close())
}

// opened opens a wallet that is there, with or without somebody to buy from.
type opened struct {
	lab  *Lab
	dir  string
	buys bool
}

func (o *opened) Open() (*wallet.Wallet, client.Issuer, error) {
	w, err := wallet.Open(o.dir)
	if err != nil || !o.buys {
		return w, nil, err
	}
	a, err := account.Open(o.lab.accountConfig())
	return w, a, err
}

// caught waits for the change of a prompt, and returns what it proved of whoever
// dealt with the money, or what came and was not believed.
func caught(ctx context.Context, c *client.Client) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c.Drain(ctx)
	if err := c.Caught(); err != nil {
		return err
	}
	_, last := c.Doubts()
	return last
}
