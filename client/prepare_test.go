// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"bytes"
	"crypto/rand"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sotto-project/sotto/client/internal/clienttest"
	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/wallet"
	"github.com/sotto-project/sotto/internal/wire"
)

// filled makes a wallet of n coins in a folder of the test's.
func filled(t *testing.T, w *world, dir string, n int) *wallet.Wallet {
	t.Helper()
	seed, err := wallet.NewSeed(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	wl, err := wallet.Create(dir, seed)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { wl.Close() })
	if err := wl.SetPolicy(wallet.Policy{Window: 24}); err != nil {
		t.Fatal(err)
	}
	epoch := w.Log.Last().Epoch
	b, err := wl.Buy(w.Sets(), epoch, wire.TokenCoin, 0, coins(n))
	if err != nil {
		t.Fatal(err)
	}
	elements, proofs, err := w.Issuer().Issue(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	if err := wl.Bought(b.Request, epoch, elements, proofs); err != nil {
		t.Fatal(err)
	}
	return wl
}

// TestPowerLostBehindASpend: what the disk has is a prepared payment, and not
// that it was made. The wallet that opens again loses no unit by it, sends nothing
// of it a second time, and asks the bank for nothing that says which it was.
func TestPowerLostBehindASpend(t *testing.T) {
	t.Run("CT-03", func(t *testing.T) {
		w := clienttest.StartPaid(t, 3)
		w.Answer(func(x *clienttest.Exchange) {
			x.Used = 5
			x.Reply(http.StatusOK, "application/json", `{"answer":"hello"}`)
		})
		var mu sync.Mutex
		asked := map[string]int{}
		var spends []wire.Spend
		w.Mint.Bank.Intercept(func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				mu.Lock()
				asked[r.URL.Path]++
				if r.URL.Path == "/v1/hold" {
					b, _ := io.ReadAll(r.Body)
					r.Body = io.NopCloser(bytes.NewReader(b))
					if block, err := wire.ParseRoutingBlock(b[:wire.RoutingBlockSize]); err == nil {
						spends = append(spends, block.Spend)
					}
				}
				mu.Unlock()
				h.ServeHTTP(rw, r)
			})
		})
		dir, dead := filepath.Join(t.TempDir(), "w"), filepath.Join(t.TempDir(), "dead")
		wl := filled(t, w, dir, 4)
		c := w.Client(clienttest.Pays(wl))
		mustAsk(t, c)
		drained(t, c)
		c.Close() // waits until the next payments are prepared
		epoch := w.Log.Last().Epoch
		if s := wl.Status(epoch, nil); s.Prepared != 3*coin {
			t.Fatalf("nothing is prepared behind a payment: %+v", s)
		}
		if err := os.CopyFS(dead, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		for _, f := range []string{"", "seed", "journal", "policy.yaml"} {
			mode := os.FileMode(0o600)
			if f == "" {
				mode = 0o700
			}
			if err := os.Chmod(filepath.Join(dead, f), mode); err != nil {
				t.Fatal(err)
			}
		}
		last := w.Client(clienttest.Pays(wl))
		mustAsk(t, last)
		drained(t, last)
		if s := wl.Status(epoch, nil); s.Balance != 4*coin-2*5*part {
			t.Fatalf("%+v", s)
		}

		v, err := wallet.Open(dead)
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		if s := v.Status(epoch, nil); s.Balance != 4*coin-5*part || s.Prepared != 0 || s.Ready != coin-5*part {
			t.Fatalf("opened again: %+v", s)
		}
		mu.Lock()
		clear(asked)
		mu.Unlock()
		again := w.Client(clienttest.Pays(v))
		refused(t, again.Top(t.Context()), credits.CodePending)
		if _, owed := again.Paid(); owed != 1 {
			t.Errorf("%d owed", owed)
		}
		if s := v.Status(epoch, nil); s.Balance != 3*coin-5*part || s.Ready != s.Balance || s.Pending != coin || s.Owed != 1 || s.Lost != 0 {
			t.Errorf("swapped: %+v", s)
		}
		again.Close()
		for range 2 {
			w.Epoch(time.Now(), time.Hour)
		}
		later := w.Client(clienttest.Pays(v))
		drained(t, later) // the first look may find it
		if s := v.Status(epoch, nil); s.Balance != 4*coin-2*5*part || s.Ready != s.Balance || s.Owed != 0 || s.Lost != 0 {
			t.Errorf("%+v", s)
		}
		mu.Lock()
		if asked["/v1/swap"] != 3 || asked["/v1/change"] != 0 {
			t.Errorf("asked the bank %v", asked)
		}
		mu.Unlock()
		mustAsk(t, later)
		drained(t, later)
		seen := map[[32]byte]bool{}
		for i, s := range spends {
			for _, b := range append(s.Blanks[:], s.Nonce) {
				if seen[b] {
					t.Fatalf("request %d sends what another sent: the two are one wallet's", i)
				}
				seen[b] = true
			}
		}
		if len(seen) != 3*9 {
			t.Errorf("%d blanks and coins", len(seen))
		}
	})
}

// TestPreparingAsksNobody: what is prepared, and when, does not show.
func TestPreparingAsksNobody(t *testing.T) {
	t.Run("CT-20", func(t *testing.T) {
		w := clienttest.StartPaid(t, 3)
		wl := w.Wallet(coins(6)...)
		c := w.Client(clienttest.Pays(wl))
		mustAsk(t, c)
		drained(t, c)
		epoch := w.Log.Last().Epoch
		p := wallet.Payment{Epoch: epoch, Class: class, Sets: w.Sets(), Hurry: true}
		w.NoSend(t, func() {
			for n := range 8 {
				if err := wl.Prepare(p, n); err != nil {
					t.Fatal(err)
				}
			}
		})
		if s := wl.Status(epoch, nil); s.Prepared == 0 || s.Balance != s.Ready {
			t.Errorf("%+v", s)
		}
		m, err := c.Money(t.Context(), nil)
		if err != nil || m.Prepared == 0 || m.Balance < m.Prepared {
			t.Errorf("%+v, %v", m, err)
		}
	})
}
