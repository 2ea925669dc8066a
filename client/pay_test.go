// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/client/internal/clienttest"
	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/ceremony"
	"github.com/sotto-project/sotto/credits/issue"
	"github.com/sotto-project/sotto/credits/wallet"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/ohttp/bhttp"
	"github.com/sotto-project/sotto/transparency/statement"
)

const (
	class = client.DefaultClass
	coin  = 1 << class
	part  = coin / wire.Parts // the least that can be charged
)

// coins are n classes.
func coins(n int) []uint8 { return slices.Repeat([]uint8{class}, n) }

// drained waits until change was read behind every answer, and what is owed was
// asked for.
func drained(t testing.TB, c *client.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c.Drain(ctx)
	for {
		err := c.Top(ctx)
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("still owed: %v", err)
		}
	}
}

// conserved checks that every unit is somewhere, and returns what the wallet
// holds.
func conserved(t testing.TB, w *world, wl *wallet.Wallet, c *client.Client, had uint64) wallet.Status {
	t.Helper()
	s := wl.Status(w.Log.Last().Epoch, nil)
	paid, _ := c.Paid()
	if sum := s.Balance + s.Pending + s.Ordered + s.Lost + paid; sum != had {
		t.Errorf("%d units became %d: balance %d, pending %d, ordered %d, lost %d, paid %d", had, sum, s.Balance, s.Pending, s.Ordered, s.Lost, paid)
	}
	return s
}

// holds collects what the bank is asked to hold.
func holds(w *world) func() []wire.Spend {
	var mu sync.Mutex
	var spends []wire.Spend
	w.Mint.Bank.Intercept(func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v1/hold" {
				b, _ := io.ReadAll(r.Body)
				r.Body = io.NopCloser(bytes.NewReader(b))
				if block, err := wire.ParseRoutingBlock(b[:wire.RoutingBlockSize]); err == nil {
					mu.Lock()
					spends = append(spends, block.Spend)
					mu.Unlock()
				}
			}
			h.ServeHTTP(rw, r)
		})
	})
	return func() []wire.Spend {
		mu.Lock()
		defer mu.Unlock()
		out := spends
		spends = nil
		return out
	}
}

// A gate holds a response back where the change block begins.
type gate struct {
	http.ResponseWriter
	open <-chan struct{}
}

func (g *gate) Unwrap() http.ResponseWriter { return g.ResponseWriter }

func (g *gate) Write(b []byte) (int, error) {
	if len(b) == wire.ChangeSize {
		<-g.open
	}
	return g.ResponseWriter.Write(b)
}

// hold holds every change block back until what it returns is called.
func hold(t testing.TB, w *world) (release func()) {
	open := make(chan struct{})
	w.Router.Intercept(func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { h.ServeHTTP(&gate{rw, open}, r) })
	})
	release = sync.OnceFunc(func() { close(open) })
	t.Cleanup(release)
	return release
}

func TestPayment(t *testing.T) {
	w := clienttest.StartPaid(t, 3)
	w.Answer(func(x *clienttest.Exchange) {
		x.Used = 5
		x.Reply(http.StatusOK, "application/json", `{"answer":"hello"}`)
	})
	spends := holds(w)
	wl := w.Wallet(coins(4)...)
	c := w.Client(clienttest.Pays(wl))
	for range 3 {
		mustAsk(t, c)
	}
	drained(t, c)
	if paid, owed := c.Paid(); paid != 3*5*part || owed != 0 {
		t.Errorf("paid %d, owed %d", paid, owed)
	}
	if s := conserved(t, w, wl, c, 4*coin); s.Balance != 4*coin-3*5*part || s.Ready != s.Balance {
		t.Errorf("%+v", s)
	}
	if c.Caught() != nil {
		t.Error(c.Caught())
	}
	for _, s := range spends() {
		if s.Type != wire.TokenCoin || s.Class != class || s.Tier != 0 {
			t.Errorf("a spend of type %d, class %d, tier %d", s.Type, s.Class, s.Tier)
		}
	}
	for used := range uint8(wire.Parts + 1) {
		if used%9 != 0 && used != wire.Parts {
			continue // 0, 9, ... 63, 64
		}
		wl := w.Wallet(coins(1)...)
		c := w.Client(clienttest.Pays(wl))
		w.Answer(func(x *clienttest.Exchange) {
			x.Used = used
			x.Reply(http.StatusOK, "application/json", `{"answer":"hello"}`)
		})
		mustAsk(t, c)
		drained(t, c)
		if s := conserved(t, w, wl, c, coin); s.Balance != coin-uint64(used)*part || s.Owed != 0 {
			t.Errorf("used %d: %+v", used, s)
		}
	}
}

// TestChangeDelaysNoAnswer: the application's end comes before the change, and
// what it does then takes nothing from the wallet.
func TestChangeDelaysNoAnswer(t *testing.T) {
	w := clienttest.StartPaid(t, 3)
	wl := w.Wallet(coins(2)...)
	c := w.Client(clienttest.Pays(wl))
	release := hold(t, w)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	resp, err := c.RoundTrip(request(t, chatURL, body(canary)).WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil || string(b) != `{"answer":"hello"}` {
		t.Fatalf("%q %v", b, err)
	}
	if paid, owed := c.Paid(); paid != 0 || owed != 1 {
		t.Errorf("paid %d, owed %d before the change came", paid, owed)
	}
	cancel() // the application has what it wanted
	resp.Body.Close()
	release()
	asked := false
	onPath(w.Mint.Bank, "/v1/change", func(rw http.ResponseWriter, _ *http.Request) {
		asked = true
		httpx.Problem(rw, 503, "starting")
	})
	drain, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	c.Drain(drain)
	if paid, owed := c.Paid(); paid != part || owed != 0 || asked {
		t.Errorf("paid %d, owed %d, asked for it: %v", paid, owed, asked)
	}
	conserved(t, w, wl, c, 2*coin)
}

// TestAbandonedAnswers: who goes half-way pays for what was produced, and gets
// the rest when it asks.
func TestAbandonedAnswers(t *testing.T) {
	t.Run("CT-05", func(t *testing.T) {
		w := clienttest.StartPaid(t, 3)
		wl := w.Wallet(coins(2)...)
		c := w.Client(clienttest.Pays(wl))
		for _, leave := range []func(*http.Response, context.CancelFunc){
			func(r *http.Response, _ context.CancelFunc) { r.Body.Close() },
			func(r *http.Response, cancel context.CancelFunc) {
				cancel()
				if _, err := io.ReadAll(r.Body); err == nil {
					t.Error("an answer that was cancelled was whole")
				}
				r.Body.Close()
			},
		} {
			w.Answer(func(x *clienttest.Exchange) {
				s := x.Begin(http.StatusOK, bhttp.Field{Name: "content-type", Value: "text/event-stream"})
				s.Say("data: {}\n\n")
				<-x.Context().Done()
				x.Used = 20
			})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			resp, err := c.RoundTrip(request(t, chatURL, body(canary)).WithContext(ctx))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := resp.Body.Read(make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
			leave(resp, cancel)
			drained(t, c)
		}
		if paid, owed := c.Paid(); paid != 2*20*part || owed != 0 {
			t.Errorf("paid %d, owed %d", paid, owed)
		}
		conserved(t, w, wl, c, 2*coin)
	})
}

// atBlock changes what follows the sealed answer.
func atBlock(w *world, f func(block []byte) []byte) {
	atTheRouter(w, func(rw http.ResponseWriter, _ []byte, honest *httptest.ResponseRecorder) {
		b := honest.Body.Bytes()
		if honest.Code != http.StatusOK {
			with(rw, honest, b)
			return
		}
		cut := len(b) - wire.ChangeSize
		with(rw, honest, append(bytes.Clone(b[:cut]), f(bytes.Clone(b[cut:]))...))
	})
}

// edited is atBlock for what can be said in a block.
func edited(f func(*wire.Change)) func([]byte) []byte {
	return func(b []byte) []byte {
		c, err := wire.ParseChange(b)
		if err != nil {
			panic(err)
		}
		f(c)
		return c.Append(nil)
	}
}

// unasked fails if a request for inference came through while f ran. What is owed
// may be asked for meanwhile, in questions that look like one from outside.
func unasked(t testing.TB, w *world, f func()) {
	t.Helper()
	var mu sync.Mutex
	came := 0
	w.Seen()
	onPath(w.Router, "/v1/request", func(rw http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		came++
		mu.Unlock()
		httpx.Problem(rw, 503, "starting")
	})
	f()
	w.Router.Intercept(nil)
	mu.Lock()
	defer mu.Unlock()
	if seen := w.Seen(); came+len(seen) > 0 {
		t.Errorf("%d requests reached the router, %d a node", came, len(seen))
	}
}

// atBank changes what the bank says of how a payment ended, and has the bank sign
// it, unless f reports that it is not to.
func atBank(w *world, f func(*wire.Change) (signed bool)) {
	w.Mint.Bank.Intercept(func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v1/settle" && r.URL.Path != "/v1/change" {
				h.ServeHTTP(rw, r)
				return
			}
			asked, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(asked))
			honest := httptest.NewRecorder()
			h.ServeHTTP(honest, r)
			c, err := wire.ParseChange(honest.Body.Bytes())
			if err != nil || !c.Ended() {
				with(rw, honest, honest.Body.Bytes())
				return
			}
			if f(c) { // asked is a header hash, or a kind and what begins with one
				c.Sign(w.Mint.Ticket, [32]byte(asked[min(1, len(asked)-32):][:32]))
			}
			with(rw, honest, c.Append(nil))
		})
	})
}

// TestWait: CT-20, who wants a bought coin to keep its time is refused rather than
// have it used at once.
func TestWait(t *testing.T) {
	w := clienttest.StartPaid(t, 3)
	wl, epoch := w.Wallet(), w.Log.Last().Epoch
	b, err := wl.Buy(w.Sets(), epoch, wire.TokenCoin, 0, coins(1))
	if err != nil {
		t.Fatal(err)
	}
	elements, proofs, err := w.Issuer().Issue(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	if err := wl.Bought(b.Request, epoch+5, elements, proofs); err != nil {
		t.Fatal(err)
	}
	c := w.Client(func(c *client.Config) { c.Payments = &client.Payments{Wallet: wl, Wait: true} })
	w.NoSend(t, func() {
		_, err := ask(t, c)
		refused(t, err, credits.CodeFunds)
		if !strings.Contains(err.Error(), fmt.Sprintf("waits until epoch %d", epoch+5)) {
			t.Error(err)
		}
	})
	c.Close()
	mustAsk(t, w.Client(clienttest.Pays(wl)))
}

// TestOwedIsNotAskedForInARow: CT-12, what one wallet is owed of several requests
// is not asked for at once, by itself: whoever sees the questions in a row would
// know the requests for one wallet's.
func TestOwedIsNotAskedForInARow(t *testing.T) {
	const n = 6
	w := clienttest.StartPaid(t, 3)
	asked := make(chan [32]byte, 100)
	var closed atomic.Bool // the bank says nothing of change
	w.Mint.Bank.Intercept(func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v1/change" {
				b, _ := io.ReadAll(r.Body)
				r.Body = io.NopCloser(bytes.NewReader(b))
				if asked <- [32]byte(b); closed.Load() {
					httpx.Problem(rw, 503, "bank.store")
					return
				}
			}
			h.ServeHTTP(rw, r)
		})
	})
	atBlock(w, func([]byte) []byte { return nil }) // no change comes with an answer
	closed.Store(true)
	wl := w.Wallet(coins(n + 2)...)
	c := w.Client(clienttest.Pays(wl))
	for range n {
		mustAsk(t, c)
	}
	c.Drain(t.Context())
	c.Close()
	before := map[[32]byte]bool{}
	for _, o := range wl.Owed() {
		before[o.HeaderHash] = true
	}
	if len(before) != n {
		t.Fatalf("%d owed", len(before))
	}
	for len(asked) > 0 {
		<-asked
	}
	c = w.Client(clienttest.Pays(wl))
	early, fresh := map[[32]byte]bool{}, map[[32]byte]bool{}
	for i := range 2 { // with the second question the round of the first is over
		mustAsk(t, c)
		for len(fresh) == i {
			if h := <-asked; before[h] {
				early[h] = true
			} else {
				fresh[h] = true // of the request that has just ended
			}
		}
	}
	if len(early) > n/2 {
		t.Errorf("with the change of one request that of %d others was asked for", len(early))
	}
	closed.Store(false)
	drained(t, c) // who asks for it gets it all
	if _, owed := c.Paid(); owed != 0 {
		t.Errorf("%d owed", owed)
	}
}

// TestBegunPurchaseDoesNotFollowRequests: CT-20, a purchase that was begun and does
// not come to an end is not sent again with each request that is over: at the
// identified port it would show the moments of an account's requests.
func TestBegunPurchaseDoesNotFollowRequests(t *testing.T) {
	w := clienttest.StartPaid(t, 3)
	issuer := w.Issuer()
	wl := w.Wallet(coins(4)...)
	c := w.Client(func(c *client.Config) { c.Payments = &client.Payments{Wallet: wl, Issuer: issuer} })
	issuer.Refuse(&client.Error{Code: client.CodeBank})
	refused(t, c.Buy(t.Context(), wire.TokenCoin, 0, coins(1)), client.CodeBank)
	for range 3 {
		mustAsk(t, c)
		c.Drain(t.Context())
	}
	// Of one more request the change is withheld: with the second question for it a
	// round is over that began after the requests were.
	asked := make(chan struct{}, 100)
	w.Mint.Bank.Intercept(func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v1/change" {
				asked <- struct{}{}
				httpx.Problem(rw, 503, "bank.store")
				return
			}
			h.ServeHTTP(rw, r)
		})
	})
	atBlock(w, func([]byte) []byte { return nil })
	mustAsk(t, c)
	<-asked
	<-asked
	if n := issuer.Asked(); n != 1 {
		t.Errorf("the identified port was asked %d times", n)
	}
	w.Mint.Bank.Intercept(nil)
	issuer.Refuse(nil)
	drained(t, c) // who asks for it has it gone on with
	if c.Begun() != 0 {
		t.Error("the purchase is open still")
	}
}

// TestPurchaseIsNotRightBehindASwap: CT-20, where nobody waits, a swap that was begun
// and a purchase that was begun are gone on with at two moments: side by side they
// would say whose the coins were.
func TestPurchaseIsNotRightBehindASwap(t *testing.T) {
	w := clienttest.StartPaid(t, 3)
	issuer := w.Issuer()
	wl := w.Wallet(coins(6)...)
	p := wl.Policy()
	p.Stock = map[uint8]int{class: 4, class - 1: 2} // one coin is swapped, the others pay
	if err := wl.SetPolicy(p); err != nil {
		t.Fatal(err)
	}
	pays := func(c *client.Config) { c.Payments = &client.Payments{Wallet: wl, Issuer: issuer} }
	issuer.Refuse(&client.Error{Code: client.CodeBank})
	onPath(w.Mint.Bank, "/v1/swap", func(rw http.ResponseWriter, _ *http.Request) { httpx.Problem(rw, 503, "bank.store") })
	c := w.Client(pays)
	refused(t, c.Buy(t.Context(), wire.TokenCoin, 0, coins(1)), client.CodeBank)
	if err := c.Top(t.Context()); err == nil || c.Begun() != 2 {
		t.Fatalf("%d are begun, want a purchase and a swap: %v", c.Begun(), err)
	}
	c.Close()
	issuer.Refuse(nil)
	w.Mint.Bank.Intercept(nil)
	c = w.Client(pays)
	for i, left := range []int{1, 0} { // the swap in the first round, the purchase in the second
		before := issuer.Asked()
		if err := client.StockRound(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if issuer.Asked()-before != i || c.Begun() != left {
			t.Errorf("round %d: %d purchases, %d still begun", i, issuer.Asked()-before, c.Begun())
		}
	}
}

// redeemed is an account onto which one voucher, the first that it sees, was put
// before.
type redeemed struct {
	*clienttest.Issuer
	gone  *[32]byte
	asked int
}

func (r *redeemed) Digest(context.Context) (func([32]byte) [32]byte, error) {
	return func(request [32]byte) [32]byte { return request }, nil
}

func (r *redeemed) Redeem(_ context.Context, o *wallet.Redeem) error {
	r.asked++
	for _, v := range o.Vouchers {
		if r.gone == nil {
			r.gone = &v.Nonce
		}
		if v.Nonce == *r.gone {
			return &client.Error{Code: credits.CodeSpent, Sent: true}
		}
	}
	return nil
}

// TestVouchersOfBefore: a restored wallet has vouchers that it had redeemed. They
// keep the others from no account, and where there is nothing else that is said.
func TestVouchersOfBefore(t *testing.T) {
	w := clienttest.StartPaid(t, 3)
	wl := w.Wallet(coins(4)...)
	account := &redeemed{Issuer: w.Issuer()}
	c := w.Client(func(c *client.Config) { c.Payments = &client.Payments{Wallet: wl, Issuer: account} })
	units, err := c.Redeem(t.Context(), class, 3)
	if err != nil || units != 2*coin || account.asked != 4 { // together, then each alone
		t.Errorf("%d units, asked %d times: %v", units, account.asked, err)
	}
	if s := conserved(t, w, wl, c, 4*coin-units); s.Lost != coin || s.Vouchers != 0 {
		t.Errorf("%+v", s)
	}
	account.gone = nil
	units, err = c.Redeem(t.Context(), class, 1)
	if refused(t, err, credits.CodeSpent); units != 0 {
		t.Errorf("%d units", units)
	}
}

// TestOneAnswerKeepsNoOther: what the bank says of one payment is about that one.
func TestOneAnswerKeepsNoOther(t *testing.T) {
	w := clienttest.StartPaid(t, 3)
	atBlock(w, func([]byte) []byte { return nil })
	wl := w.Wallet(coins(3)...)
	c := w.Client(clienttest.Pays(wl))
	var refuse atomic.Pointer[[32]byte] // nil: all of them
	w.Mint.Bank.Intercept(func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v1/change" {
				b, _ := io.ReadAll(r.Body)
				r.Body = io.NopCloser(bytes.NewReader(b))
				if one := refuse.Load(); one == nil || *one == [32]byte(b) {
					httpx.Problem(rw, 503, "bank.store")
					return
				}
			}
			h.ServeHTTP(rw, r)
		})
	})
	for range 3 {
		mustAsk(t, c)
	}
	c.Drain(t.Context())
	owed := wl.Owed()
	if len(owed) != 3 {
		t.Fatalf("%d are owed", len(owed))
	}
	refuse.Store(&owed[0].HeaderHash) // the first that is asked for
	refused(t, c.Top(t.Context()), "bank.store")
	if left := wl.Owed(); len(left) != 1 || left[0].HeaderHash != owed[0].HeaderHash {
		t.Errorf("%d are owed still", len(left))
	}
	w.Mint.Bank.Intercept(nil)
	drained(t, c)
	conserved(t, w, wl, c, 3*coin)
}

// first is an issuer whose answers somebody else has taken already.
type first struct {
	*clienttest.Issuer
	wl    *wallet.Wallet
	epoch uint64
}

func (f first) Issue(ctx context.Context, b *wallet.Buy) ([][32]byte, map[uint8][64]byte, error) {
	elements, proofs, err := f.Issuer.Issue(ctx, b)
	return elements, proofs, errors.Join(err, f.wl.Bought(b.Request, f.epoch, elements, proofs))
}

// TestPurchaseEndedMeanwhile: one purchase sent twice at once was bought, whichever
// answer was first.
func TestPurchaseEndedMeanwhile(t *testing.T) {
	w := clienttest.StartPaid(t, 3)
	wl := w.Wallet()
	c := w.Client(func(c *client.Config) {
		c.Payments = &client.Payments{Wallet: wl, Issuer: first{w.Issuer(), wl, w.Log.Last().Epoch}}
	})
	if err := c.Buy(t.Context(), wire.TokenCoin, 0, coins(2)); err != nil {
		t.Fatal(err)
	}
	if s := wl.Status(w.Log.Last().Epoch, nil); s.Ready != 2*coin || s.Orders != 0 {
		t.Errorf("%+v", s)
	}
}

// TestFalseChange: change that is not exactly as it must be is kept in no part.
// Where the bank signed it, it is proof, and nothing is paid any more; where
// somebody on the way wrote it, it stops nobody: the bank is asked.
func TestFalseChange(t *testing.T) {
	w := clienttest.StartPaid(t, 3)
	w.Answer(func(x *clienttest.Exchange) {
		x.Used = 21 // 43 parts: coins of four denominations
		x.Reply(http.StatusOK, "application/json", `{"answer":"hello"}`)
	})
	another, err := issue.Generate(rand.Reader, credits.Keyset{Type: wire.TokenCoin, First: 1, Last: 9, SpendLast: 9}, []uint8{15})
	if err != nil {
		t.Fatal(err)
	}
	stranger := ed25519.NewKeyFromSeed(make([]byte, 32))
	for _, tt := range []struct {
		name, code string
		edit       func(*wire.Change)
	}{
		{"CT-13 too few", credits.CodeChange, func(c *wire.Change) { c.Coins = c.Coins[:len(c.Coins)-1] }},
		{"CT-13 none", credits.CodeChange, func(c *wire.Change) { c.Coins, c.Keyset = nil, [32]byte{} }},
		{"CT-13 more", credits.CodeChange, func(c *wire.Change) { c.Coins = append(c.Coins, c.Coins[0]) }},
		{"CT-13 another order", credits.CodeChange, func(c *wire.Change) { slices.Reverse(c.Coins) }},
		{"CT-13 another split", credits.CodeChange, func(c *wire.Change) { c.Coins[0].Exponent-- }},
		{"CT-13 returned, but not all", credits.CodeChange, func(c *wire.Change) { c.State, c.Usage = wire.ChangeReturned, wire.Usage{} }},
		{"CT-15 another's proof", client.CodeConsistency, func(c *wire.Change) { c.Coins[0].Proof = c.Coins[1].Proof }},
		{"CT-15 another's element", client.CodeConsistency, func(c *wire.Change) { c.Coins[0].Element = c.Coins[1].Element }},
		{"CT-15 no element", client.CodeConsistency, func(c *wire.Change) { c.Coins[0].Element = [32]byte{} }},
		{"CT-14 another key", client.CodeConsistency, func(c *wire.Change) {
			e, p, err := another.Evaluate(15, [][32]byte{c.Coins[0].Element}) // of any element: it is another key
			if err != nil {
				t.Error(err)
				return
			}
			c.Coins[0].Element, c.Coins[0].Proof = e[0], p
		}},
		{"CT-14 another keyset", client.CodeConsistency, func(c *wire.Change) { c.Keyset = another.Keyset().ID() }},
		{"CT-21 another generation", credits.CodeGeneration, func(c *wire.Change) { c.Generation-- }},
		{"CT-10 usage altered", credits.CodeRefund, func(c *wire.Change) { c.Usage.Used++ }},
		{"CT-10 a stranger's usage", credits.CodeRefund, func(c *wire.Change) {
			c.Usage.NodeID = [32]byte{1}
			c.Usage.Sign(stranger)
		}},
		{"CT-11 a usage of another request", credits.CodeRefund, func(c *wire.Change) {
			c.Usage.HeaderHash[0]++
			for _, n := range w.Nodes {
				if n.ID() == c.Usage.NodeID {
					c.Usage.Sign(n.Key())
				}
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.Router.Intercept(nil)
			atBank(w, func(c *wire.Change) bool { tt.edit(c); return true })
			wl, dir := w.WalletIn(coins(2)...)
			c := w.Client(clienttest.Pays(wl))
			mustAsk(t, c) // the answer is the node's all the same
			ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
			defer stop()
			c.Drain(ctx)
			refused(t, c.Caught(), tt.code)
			unasked(t, w, func() {
				_, err := ask(t, c)
				refused(t, err, tt.code)
				var e *client.Error
				if errors.As(err, &e) && e.Sent {
					t.Error("sent")
				}
			})
			if s := conserved(t, w, wl, c, 2*coin); s.Balance < coin {
				t.Errorf("%+v", s)
			}
			isProof(t, w, dir)
		})
		t.Run(tt.name+", on the way", func(t *testing.T) {
			w.Mint.Bank.Intercept(nil)
			wl := w.Wallet(coins(2)...)
			c := w.Client(clienttest.Pays(wl))
			atBlock(w, edited(tt.edit))
			defer w.Router.Intercept(nil)
			mustAsk(t, c)
			mustAsk(t, c) // one bad hop keeps no wallet from paying
			drained(t, c)
			if paid, owed := c.Paid(); paid != 2*21*part || owed != 0 || c.Caught() != nil {
				t.Errorf("paid %d, owed %d, %v", paid, owed, c.Caught())
			}
			times, last := c.Doubts()
			if refused(t, last, credits.CodeChange, credits.CodeRefund); times < 2 {
				t.Errorf("seen %d times", times)
			}
			if s := conserved(t, w, wl, c, 2*coin); s.Balance != 2*coin-2*21*part {
				t.Errorf("%+v", s)
			}
		})
	}
	w.Mint.Bank.Intercept(nil)
	t.Run("CT-10 refused", func(t *testing.T) { // by whom, nobody can tell
		wl := w.Wallet(coins(2)...)
		c := w.Client(clienttest.Pays(wl))
		atBlock(w, edited(func(c *wire.Change) { *c = wire.Change{State: wire.ChangeRefused, Generation: c.Generation} }))
		defer w.Router.Intercept(nil)
		mustAsk(t, c)
		mustAsk(t, c)
		drained(t, c)
		_, last := c.Doubts()
		if refused(t, last, credits.CodeRefund); c.Caught() != nil {
			t.Error(c.Caught())
		}
		conserved(t, w, wl, c, 2*coin)
	})
	t.Run("CT-10 the node claims too much", func(t *testing.T) {
		w.Answer(func(x *clienttest.Exchange) {
			x.Usage = func(u wire.Usage) string { u.Used++; return u.String() }
			x.Reply(http.StatusOK, "application/json", `{"answer":"hello"}`)
		})
		wl := w.Wallet(coins(2)...)
		c := w.Client(clienttest.Pays(wl))
		mustAsk(t, c)
		mustAsk(t, c) // one bad node keeps no wallet from paying
		ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
		defer stop()
		c.Drain(ctx)
		times, last := c.Doubts()
		if refused(t, last, credits.CodeRefund); times != 2 || c.Caught() != nil {
			t.Errorf("%d times, %v", times, c.Caught())
		}
		// The holds end by themselves; what was held is owed until then.
		if s := conserved(t, w, wl, c, 2*coin); s.Pending != 2*coin {
			t.Errorf("%+v", s)
		}
	})
	t.Run("CT-11 another candidate's usage", func(t *testing.T) {
		// A router and a node that work together: the bank settled by the word of a
		// candidate that had the ticket, and another one answered.
		w.Answer(func(x *clienttest.Exchange) {
			x.Used = 21
			x.Reply(http.StatusOK, "application/json", `{"answer":"hello"}`)
		})
		atBank(w, func(c *wire.Change) bool {
			for _, n := range w.Nodes {
				if n.ID() != c.Usage.NodeID {
					c.Usage.NodeID = n.ID()
					c.Usage.Sign(n.Key())
					return true
				}
			}
			return false
		})
		defer w.Mint.Bank.Intercept(nil)
		wl := w.Wallet(coins(2)...)
		c := w.Client(clienttest.Pays(wl))
		mustAsk(t, c)
		drained(t, c)
		_, last := c.Doubts()
		if refused(t, last, credits.CodeRefund); c.Caught() != nil {
			t.Error(c.Caught()) // the bank's it is not
		}
		if s := conserved(t, w, wl, c, 2*coin); s.Owed != 0 {
			t.Errorf("%+v", s)
		}
	})
	t.Run("CT-21 a generation that the next statement may name", func(t *testing.T) {
		atBank(w, func(c *wire.Change) bool { c.Generation++; return true })
		wl := w.Wallet(coins(1)...)
		c := w.Client(clienttest.Pays(wl))
		mustAsk(t, c)
		ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
		defer stop()
		c.Drain(ctx)
		refused(t, c.Top(ctx), credits.CodePending)
		if c.Caught() != nil {
			t.Error(c.Caught())
		}
		w.Mint.Bank.Intercept(nil)
		drained(t, c)
	})
}

// TestChangeFromBeforeARestore: CT-21, what the bank signed in an older generation,
// and somebody kept back until a statement names a newer one, is asked for again and
// accuses nobody.
func TestChangeFromBeforeARestore(t *testing.T) {
	w := clienttest.StartPaid(t, 3)
	wl := w.Wallet(coins(1)...)
	c := w.Client(clienttest.Pays(wl))
	atBlock(w, func([]byte) []byte { return nil })
	onPath(w.Mint.Bank, "/v1/change", func(rw http.ResponseWriter, _ *http.Request) { httpx.Problem(rw, 503, "bank.store") })
	mustAsk(t, c)
	c.Drain(t.Context())
	c.Close()
	w.Epoch(time.Now().Add(-time.Second), time.Hour)
	atBank(w, func(c *wire.Change) bool { c.Generation--; return true })
	c = w.Client(clienttest.Pays(wl))
	refused(t, c.Top(t.Context()), credits.CodePending)
	_, last := c.Doubts()
	if refused(t, last, credits.CodeGeneration); c.Caught() != nil {
		t.Error(c.Caught())
	}
	w.Mint.Bank.Intercept(nil)
	drained(t, c)
	conserved(t, w, wl, c, coin)
}

// isProof checks that what was kept in a wallet's folder proves something to
// somebody who has only it and the statement.
func isProof(t testing.TB, w *world, dir string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "caught-*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%v, %v", found, err)
	}
	text, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	var hash, key, block []byte
	if _, err := fmt.Sscanf(string(text), "sotto-caught-v1\nheader_hash %x\nticket_key %x\nchange %x\n", &hash, &key, &block); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	c, err := wire.ParseChange(block)
	if err != nil || !bytes.Equal(key, w.Mint.Ticket.Public().(ed25519.PublicKey)) || !c.Verify(key, [32]byte(hash)) {
		t.Errorf("%v: %s", err, text)
	}
}

// TestLostChange: a block that did not come, or is none, is nobody's proof: the
// bank is asked for it.
func TestLostChange(t *testing.T) {
	w := clienttest.StartPaid(t, 3)
	for name, f := range map[string]func([]byte) []byte{
		"missing":   func([]byte) []byte { return nil },
		"cut":       func(b []byte) []byte { return b[:len(b)-1] },
		"longer":    func(b []byte) []byte { return append(b, 0) },
		"noise":     func(b []byte) []byte { b[0] = 9; return b },
		"pending":   edited(func(c *wire.Change) { *c = wire.Change{Generation: c.Generation} }),
		"old: pend": edited(func(c *wire.Change) { *c = wire.Change{} }),
	} {
		t.Run(name, func(t *testing.T) {
			wl := w.Wallet(coins(1)...)
			c := w.Client(clienttest.Pays(wl))
			atBlock(w, f)
			mustAsk(t, c)
			drained(t, c)
			if paid, owed := c.Paid(); paid != part || owed != 0 || c.Caught() != nil {
				t.Errorf("paid %d, owed %d, %v", paid, owed, c.Caught())
			}
			conserved(t, w, wl, c, coin)
		})
	}
}

// TestSpentCoins: a coin that the bank knows already costs an attempt, and there
// are as many as ever.
func TestSpentCoins(t *testing.T) {
	w := clienttest.StartPaid(t, 3)
	for spent := range 4 {
		t.Run(fmt.Sprint("CT-01 ", spent), func(t *testing.T) {
			var mu sync.Mutex
			nonces := map[[32]byte]bool{}
			w.Mint.Bank.Intercept(func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					if r.URL.Path != "/v1/hold" {
						h.ServeHTTP(rw, r)
						return
					}
					b, _ := io.ReadAll(r.Body)
					r.Body = io.NopCloser(bytes.NewReader(b))
					block, err := wire.ParseRoutingBlock(b[:wire.RoutingBlockSize])
					mu.Lock()
					nonces[block.Spend.Nonce] = true
					n := len(nonces)
					mu.Unlock()
					if err != nil || n <= spent {
						httpx.Problem(rw, 409, credits.CodeSpent)
						return
					}
					h.ServeHTTP(rw, r)
				})
			})
			wl := w.Wallet(coins(5)...)
			c := w.Client(clienttest.Pays(wl))
			if spent < 3 {
				mustAsk(t, c)
			} else {
				_, err := ask(t, c)
				refused(t, err, credits.CodeSpent)
			}
			mu.Lock()
			tried := len(nonces)
			mu.Unlock()
			if tried != min(spent+1, 3) {
				t.Errorf("%d coins were tried", tried)
			}
			if s := conserved(t, w, wl, c, 5*coin); s.Pending < uint64(spent)*coin || c.Caught() != nil {
				t.Errorf("%+v, %v", s, c.Caught())
			}
		})
	}
}

// TestUnsent: where no byte left, the coin is as before.
func TestUnsent(t *testing.T) {
	w := clienttest.StartPaid(t, 3)
	for _, r := range w.Relays {
		r.Intercept(func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				rw.Header().Set("Connection", "close") // so that the next is dialled
				h.ServeHTTP(rw, r)
			})
		})
	}
	wl := w.Wallet(coins(1)...)
	c := w.Client(clienttest.Pays(wl))
	if _, err := c.Models(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.Meter.Route = func(string) string { return "127.0.0.1:1" }
	w.NoSend(t, func() {
		_, err := ask(t, c)
		refused(t, err, client.CodeRelay)
	})
	if s := wl.Status(w.Log.Last().Epoch, nil); s.Ready != coin || s.Owed != 0 {
		t.Errorf("%+v", s)
	}
	w.Meter.Route = nil
	mustAsk(t, c)
	drained(t, c)
	conserved(t, w, wl, c, coin)
}

// TestLostAnswers: what may have been sent is owed until the bank says what
// became of it.
func TestLostAnswers(t *testing.T) {
	t.Run("it ran", func(t *testing.T) {
		w := clienttest.StartPaid(t, 3)
		wl := w.Wallet(coins(1)...)
		c := w.Client(clienttest.Pays(wl))
		atTheRouter(w, func(http.ResponseWriter, []byte, *httptest.ResponseRecorder) { panic(http.ErrAbortHandler) })
		if _, err := ask(t, c); err == nil {
			t.Fatal("an answer that was lost")
		}
		drained(t, c)
		if paid, owed := c.Paid(); paid != part || owed != 0 {
			t.Errorf("paid %d, owed %d", paid, owed)
		}
		conserved(t, w, wl, c, coin)
	})
	t.Run("it never came", func(t *testing.T) {
		w := clienttest.StartPaid(t, 3)
		wl := w.Wallet(coins(1)...)
		c := w.Client(clienttest.Pays(wl))
		onPath(w.Router, "/v1/request", hangsUp)
		if _, err := ask(t, c); err == nil {
			t.Fatal("an answer that was lost")
		}
		w.Router.Intercept(nil)
		refused(t, c.Top(t.Context()), credits.CodePending)
		if s := conserved(t, w, wl, c, coin); s.Pending != coin || s.Owed != 1 {
			t.Errorf("%+v", s)
		}
		for range 2 {
			w.Epoch(time.Now(), time.Hour)
		}
		later := w.Client(clienttest.Pays(wl))
		c.Close()
		drained(t, later)
		if s := conserved(t, w, wl, later, coin); s.Balance != coin || s.Owed != 0 || s.Lost != 0 {
			t.Errorf("%+v", s)
		}
		drained(t, later) // what was seen is swapped before it is spent
		if _, err := ask(t, later); err != nil {
			refused(t, err, credits.CodeFunds) // a policy without stock swaps nothing into a class
		}
	})
	t.Run("CT-03 a hold that nobody ends", func(t *testing.T) {
		w := clienttest.StartPaid(t, 3)
		wl := w.Wallet(coins(1)...)
		c := w.Client(clienttest.Pays(wl))
		onPath(w.Mint.Bank, "/v1/settle", hangsUp)
		mustAsk(t, c)
		ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
		defer stop()
		c.Drain(ctx)
		refused(t, c.Top(t.Context()), credits.CodePending)
		for range 2 {
			w.Epoch(time.Now(), time.Hour)
		}
		c.Close()
		later := w.Client(clienttest.Pays(wl))
		drained(t, later)
		if s := conserved(t, w, wl, later, coin); s.Balance != coin || s.Ready != coin || s.Owed != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// TestBusyIsFree: a retry pays with another coin, and the first comes back.
func TestBusyIsFree(t *testing.T) {
	w := clienttest.StartPaid(t, 3)
	spends := holds(w)
	wl := w.Wallet(coins(2)...)
	c := w.Client(clienttest.Pays(wl))
	for _, n := range w.Nodes {
		n.Busy(1)
	}
	mustAsk(t, c)
	drained(t, c)
	list := spends()
	if len(list) != 2 || list[0].Nonce == list[1].Nonce || list[0].Blanks == list[1].Blanks {
		t.Errorf("%d holds", len(list))
	}
	if s := conserved(t, w, wl, c, 2*coin); s.Balance != 2*coin-part || s.Ready != s.Balance {
		t.Errorf("%+v", s)
	}
}

// TestEmptyWallet: a wallet that keeps a stock fills itself on the way of a
// request, once; otherwise nothing is sent.
func TestEmptyWallet(t *testing.T) {
	w := clienttest.StartPaid(t, 3)
	stocked := func(t *testing.T) *wallet.Wallet {
		wl := w.Wallet()
		p := wl.Policy()
		p.Stock = map[uint8]int{class: 2}
		if err := wl.SetPolicy(p); err != nil {
			t.Fatal(err)
		}
		return wl
	}
	account := func(wl *wallet.Wallet, i client.Issuer) *client.Client {
		return w.Client(func(c *config) { c.Payments = &client.Payments{Wallet: wl, Issuer: i} })
	}
	t.Run("fills itself", func(t *testing.T) {
		i := w.Issuer()
		c := account(stocked(t), i)
		mustAsk(t, c)
		if i.Asked() != 1 {
			t.Errorf("%d purchases", i.Asked())
		}
	})
	none := func(t *testing.T, c *client.Client) {
		t.Helper()
		w.NoSend(t, func() {
			_, err := ask(t, c)
			refused(t, err, credits.CodeFunds)
			var e *client.Error
			if !errors.As(err, &e) || e.Sent || e.Hint == "" {
				t.Errorf("%#v", err)
			}
		})
	}
	t.Run("no account", func(t *testing.T) { none(t, w.Client(clienttest.Pays(stocked(t)))) })
	t.Run("no stock", func(t *testing.T) {
		i := w.Issuer()
		none(t, account(w.Wallet(), i))
		if i.Asked() != 0 {
			t.Error("bought what nobody wants")
		}
	})
	t.Run("the account has nothing", func(t *testing.T) {
		i := w.Issuer()
		i.Refuse(&client.Error{Code: credits.CodeFunds})
		c := account(stocked(t), i)
		none(t, c)
		none(t, c)
		if i.Asked() != 1 {
			t.Errorf("asked %d times", i.Asked())
		}
		i.Refuse(nil)
		if err := c.Top(t.Context()); err != nil { // somebody asks for it to be tried again
			t.Fatal(err)
		}
		mustAsk(t, c)
	})
	t.Run("CT-14 tokens of another key", func(t *testing.T) {
		i := w.Issuer()
		c := account(stocked(t), forger{i})
		w.NoSend(t, func() {
			_, err := ask(t, c)
			refused(t, err, client.CodeConsistency)
		})
		refused(t, c.Caught(), client.CodeConsistency)
		asked := i.Asked()
		refused(t, c.Top(t.Context()), client.CodeConsistency)
		if i.Asked() != asked {
			t.Error("bought from somebody who was caught")
		}
	})
}

// A forger's proofs are somebody else's.
type forger struct{ *clienttest.Issuer }

func (f forger) Issue(ctx context.Context, b *wallet.Buy) ([][32]byte, map[uint8][64]byte, error) {
	elements, proofs, err := f.Issuer.Issue(ctx, b)
	for e, p := range proofs {
		p[0]++
		proofs[e] = p
	}
	return elements, proofs, err
}

// TestClasses: a request is paid with the first class of the ladder that holds
// what it may cost.
func TestClasses(t *testing.T) {
	w := clienttest.StartPaid(t, 3)
	say := func(tokens uint64, field string) string {
		return fmt.Sprintf(`{"model":"toy",%q:%d,"messages":[]}`, field, tokens)
	}
	send := func(c *client.Client, content string) error {
		resp, err := c.RoundTrip(request(t, chatURL, content))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.ReadAll(resp.Body)
		return err
	}
	fixed := uint64(clienttest.Prices[0] + clienttest.Prices[1]) // one KiB; a token is one unit
	for _, tt := range []struct {
		name, body string
		class      uint8
	}{
		{"nothing said", `{"model":"toy","messages":[]}`, class},
		{"one token", say(1, "max_tokens"), class},
		{"all of it", say(coin-fixed, "max_tokens"), class},
		{"one more", say(coin-fixed+1, "max_tokens"), class + 3},
		{"the newer field", say(coin-fixed+1, "max_completion_tokens"), class + 3},
		{"the next class", say(coin<<3-fixed, "max_tokens"), class + 3},
		{"one more than that", say(coin<<3-fixed+1, "max_tokens"), class + 6},
		{"a KiB more", fmt.Sprintf(`{"model":"toy","max_tokens":%d,"messages":[],"x":%q}`, coin-fixed, strings.Repeat("x", 1024)), class + 3},
		{"a body that streams", `{"model":"toy","messages":[{"role":"user","content":"` + strings.Repeat("x", 2<<20) + `"}]}`, class + 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := w.Client(clienttest.Pays(w.Wallet(class, class+3, class+6)))
			w.Seen()
			if err := send(c, tt.body); err != nil {
				t.Fatal(err)
			}
			if seen := w.Seen(); len(seen) != 1 || seen[0].Class != tt.class {
				t.Errorf("paid with class %d, want %d", seen[0].Class, tt.class)
			}
			drained(t, c)
		})
	}
	for _, tt := range []struct {
		name string
		max  uint64
		code string
	}{{"more than the wallet has", coin << 6, credits.CodeFunds}, {"more than there is", 1 << 62, credits.CodeClass}, {"the most that can be said", 1<<64 - 1, credits.CodeClass}} {
		t.Run(tt.name, func(t *testing.T) {
			c := w.Client(clienttest.Pays(w.Wallet(class, class+3, class+6)))
			w.NoSend(t, func() { refused(t, send(c, say(tt.max, "max_tokens")), tt.code) })
		})
	}
	for name, p := range map[string]client.Payments{"class 5": {Class: 5}, "class 41": {Class: 41}, "no tokens": {Tokens: -1}} {
		cfg := w.Config()
		p.Wallet = w.Wallet()
		cfg.Payments = &p
		if _, err := client.New(cfg); client.CodeOf(err) != client.CodeConfig {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestKeysetsOfAStatement: two keysets that sell at once would be a way to mark
// wallets.
func TestKeysetsOfAStatement(t *testing.T) {
	w := clienttest.StartPaid(t, 3)
	wl := w.Wallet(coins(1)...)
	dir := t.TempDir()
	plan := ceremony.Plan{First: 1, Last: 1000, SpendLast: 1000, Coins: []uint8{class}}
	if _, _, err := ceremony.Run(dir, plan, "SIMULATED", time.Now(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, ceremony.ListFile))
	if err != nil {
		t.Fatal(err)
	}
	list, err := credits.ParseList(b)
	if err != nil {
		t.Fatal(err)
	}
	with := func(edit func(*statement.Statement)) {
		w.Epoch(time.Now(), time.Hour, clienttest.Edit{Statement: func(s *statement.Statement, _ *statement.Pack) { edit(s) }})
	}
	t.Run("CT-14 two at once", func(t *testing.T) {
		with(func(s *statement.Statement) {
			s.CoinKeysets = append(s.CoinKeysets, statement.Keyset(list[0]))
			slices.SortFunc(s.CoinKeysets, func(a, b statement.Keyset) int { return bytes.Compare(a.ID[:], b.ID[:]) })
		})
		c := w.Client(clienttest.Pays(wl))
		w.NoSend(t, func() {
			_, err := ask(t, c)
			refused(t, err, client.CodeConsistency)
		})
	})
	t.Run("CT-08 none", func(t *testing.T) {
		with(func(s *statement.Statement) { s.CoinKeysets = nil })
		c := w.Client(clienttest.Pays(wl))
		w.NoSend(t, func() {
			_, err := ask(t, c)
			refused(t, err, credits.CodeEpoch)
		})
	})
	t.Run("no wallet", func(t *testing.T) {
		w.Epoch(time.Now(), time.Hour)
		c := w.Client()
		w.NoSend(t, func() {
			_, err := ask(t, c)
			refused(t, err, client.CodePayment)
		})
		mustAsk(t, w.Client(clienttest.Pays(wl)))
	})
}

// TestNobodyPays: where nobody pays, a wallet changes nothing in what is sent.
func TestNobodyPays(t *testing.T) {
	w := clienttest.Start(t, 3)
	seed, err := wallet.NewSeed(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	wl, err := wallet.Create(filepath.Join(t.TempDir(), "wallet"), seed)
	if err != nil {
		t.Fatal(err)
	}
	defer wl.Close()
	c := w.Client(clienttest.Pays(wl))
	defer c.Close()
	asked := 0
	atTheRouter(w, func(rw http.ResponseWriter, request []byte, honest *httptest.ResponseRecorder) {
		asked++
		block, err := wire.ParseRoutingBlock(request[:wire.RoutingBlockSize])
		if err != nil || block.Payment != wire.PaymentNone || block.Spend != (wire.Spend{}) {
			t.Errorf("%+v, %v", block, err)
		}
		with(rw, honest, honest.Body.Bytes())
	})
	mustAsk(t, c)
	if len(wl.Owed()) != 0 || asked != 1 {
		t.Errorf("owed %d, asked %d", len(wl.Owed()), asked)
	}
}

// TestCloseWaits: Close ends the reading of change and leaves nothing behind;
// what was owed is there when the wallet is used again.
func TestCloseWaits(t *testing.T) {
	w := clienttest.StartPaid(t, 3)
	wl := w.Wallet(coins(2)...)
	release := hold(t, w)
	c := w.Client(clienttest.Pays(wl))
	mustAsk(t, c) // its change is under way
	closed := make(chan struct{})
	go func() { c.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(20 * time.Second):
		t.Fatal("Close waits for a change that does not come")
	}
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	if strings.Contains(string(buf), "client.(*cash)") {
		t.Errorf("a goroutine is left:\n%s", buf)
	}
	if len(wl.Owed()) != 1 {
		t.Errorf("owed %d", len(wl.Owed()))
	}
	// A request that ends after Close is owed, too, and nobody is left to wait for.
	release()
	w.Router.Intercept(nil)
	again := w.Client(clienttest.Pays(wl))
	drained(t, again)
	if s := conserved(t, w, wl, again, 2*coin); s.Owed != 0 || s.Balance != 2*coin-part {
		t.Errorf("%+v", s)
	}
	resp, err := again.RoundTrip(request(t, chatURL, body(canary)))
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Error(err)
	}
	resp.Body.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	again.Drain(ctx)
	if ctx.Err() != nil {
		t.Error("a request that nobody reads the change of is under way for ever")
	}
}

// TestManyAtOnce: every unit is somewhere, no blank is sent twice, and no coin.
func TestManyAtOnce(t *testing.T) {
	const n = 50
	w := clienttest.StartPaid(t, 3)
	w.Answer(func(x *clienttest.Exchange) {
		x.Used = uint8(len(x.Content) % (wire.Parts + 1))
		x.Reply(http.StatusOK, "application/json", `{}`)
	})
	spends := holds(w)
	wl := w.Wallet(coins(3 * n)...)
	c := w.Client(clienttest.Pays(wl))
	for _, node := range w.Nodes {
		node.Busy(10)
	}
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			resp, err := c.RoundTrip(request(t, chatURL, body(strings.Repeat("x", i))).WithContext(ctx))
			if err != nil {
				if client.CodeOf(err) != client.CodeBusy {
					t.Error(err)
				}
				return
			}
			defer resp.Body.Close()
			if i%5 == 0 {
				return // does not read it
			}
			if _, err := io.ReadAll(resp.Body); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	drained(t, c)
	if s := conserved(t, w, wl, c, 3*n*coin); s.Owed != 0 || s.Lost != 0 || c.Caught() != nil {
		t.Errorf("owed %d, lost %d, %v", s.Owed, s.Lost, c.Caught())
	}
	blanks, nonces := map[[32]byte]bool{}, map[[32]byte]bool{}
	list := spends()
	for _, s := range list {
		if nonces[s.Nonce] {
			t.Error("a coin was sent twice")
		}
		nonces[s.Nonce] = true
		for _, b := range s.Blanks {
			if blanks[b] {
				t.Error("a blank was sent twice")
			}
			blanks[b] = true
		}
	}
	if len(list) < n {
		t.Errorf("%d holds", len(list))
	}
}

// TestHostileBank: whatever the bank answers, nothing panics, nothing is kept
// that is not right, and the right answer is taken in the end.
func TestHostileBank(t *testing.T) {
	w := clienttest.StartPaid(t, 3)
	w.Answer(func(x *clienttest.Exchange) {
		x.Used = 21
		x.Reply(http.StatusOK, "application/json", `{"answer":"hello"}`)
	})
	wl := w.Wallet(coins(2)...)
	c := w.Client(clienttest.Pays(wl))
	var right []byte
	atBlock(w, func(b []byte) []byte { right = b; return nil })
	var say []byte
	w.Mint.Bank.Intercept(func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v1/change" {
				h.ServeHTTP(rw, r)
				return
			}
			io.Copy(io.Discard, r.Body)
			rw.Write(say)
		})
	})
	say = []byte("noise")
	mustAsk(t, c)
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	c.Drain(ctx)
	const seed = 7
	rng := mathrand.New(mathrand.NewPCG(seed, seed))
	for i := range 100 {
		b := bytes.Clone(right)
		switch i % 5 {
		case 0:
			b = b[:rng.IntN(len(b))]
		case 1:
			b = append(b, make([]byte, 1+rng.IntN(3000))...)
		case 2:
			for j := range b {
				b[j] = byte(rng.Uint32())
			}
		default:
			for range 1 + rng.IntN(3) {
				b[rng.IntN(183+4*wire.MintedSize)] ^= 1 << rng.IntN(8)
			}
		}
		if bytes.Equal(b, right) {
			continue
		}
		w.Mint.Bank.Intercept(func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body); rw.Write(b) })
		})
		_ = c.Top(t.Context())
		if s := wl.Status(w.Log.Last().Epoch, nil); s.Balance != coin || s.Owed != 1 {
			t.Fatalf("answer %d of seed %d was taken: %+v", i, seed, s)
		}
	}
	if _, last := c.Doubts(); last == nil || c.Caught() != nil {
		t.Errorf("noticed %v, caught %v", last, c.Caught())
	}
	w.Mint.Bank.Intercept(nil)
	_ = c.Top(t.Context())
	if s := conserved(t, w, wl, c, 2*coin); s.Owed != 0 || s.Balance != 2*coin-21*part {
		t.Errorf("%+v", s)
	}
}

// TestHostileSwaps: a swap that was begun takes the right answer and no other.
func TestHostileSwaps(t *testing.T) {
	w := clienttest.StartPaid(t, 3)
	wl := w.Wallet(coins(1)...)
	p := wl.Policy()
	p.Stock = map[uint8]int{class - 1: 2}
	if err := wl.SetPolicy(p); err != nil {
		t.Fatal(err)
	}
	minted := func(f func([]wire.Minted) []wire.Minted) func([]byte) []byte {
		return func(b []byte) []byte {
			list, err := credits.ParseMintedList(b, 2)
			if err != nil {
				t.Error(err)
				return nil
			}
			return credits.AppendMintedList(nil, f(list))
		}
	}
	var c *client.Client
	for _, tt := range []struct {
		name, code string
		caught     bool
		edit       func([]byte) []byte
	}{
		{"nothing", credits.CodeChange, false, func([]byte) []byte { return nil }},
		{"noise", credits.CodeChange, false, func([]byte) []byte { return []byte("noise") }},
		{"cut", credits.CodeChange, false, func(b []byte) []byte { return b[:len(b)-1] }},
		{"one less", credits.CodeChange, false, func(b []byte) []byte { return b[:len(b)-wire.MintedSize] }},
		{"of less worth", credits.CodeChange, false, minted(func(l []wire.Minted) []wire.Minted { l[0].Exponent--; return l })},
		{"CT-14 another's proof", client.CodeConsistency, false, minted(func(l []wire.Minted) []wire.Minted { l[0].Proof = l[1].Proof; return l })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.Mint.Bank.Intercept(func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					honest := httptest.NewRecorder()
					h.ServeHTTP(honest, r)
					with(rw, honest, tt.edit(honest.Body.Bytes()))
				})
			})
			if c != nil {
				c.Close()
			}
			c = w.Client(clienttest.Pays(wl))
			refused(t, c.Top(t.Context()), tt.code)
			if (c.Caught() != nil) != tt.caught {
				t.Errorf("caught: %v", c.Caught())
			}
			if s := conserved(t, w, wl, c, coin); s.Ordered != coin || s.Balance != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
	c.Close()
	w.Mint.Bank.Intercept(nil)
	c = w.Client(clienttest.Pays(wl))
	drained(t, c)
	if s := conserved(t, w, wl, c, coin); s.Ready != coin || s.Denominations[0].Exponent != class-1 || s.Denominations[0].Ready != 2 {
		t.Errorf("%+v", s)
	}
}

// TestACoinOfAnotherClassIsMade: a wallet that has the money has the coin.
func TestACoinOfAnotherClassIsMade(t *testing.T) {
	w := clienttest.StartPaid(t, 3)
	for _, tt := range []struct {
		name    string
		has     []uint8
		tokens  uint64
		class   uint8
		refused bool
	}{
		{"of eight smaller ones", []uint8{class, class, class, class, class, class, class, class}, coin, class + 3, false},
		{"of seven", []uint8{class, class, class, class, class, class, class}, coin, 0, true},
		{"of a larger one", []uint8{class + 6}, 1, class, false},
		{"of smaller ones before a larger one", []uint8{class + 6, class - 1, class - 1}, 1, class, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wl := w.Wallet(tt.has...)
			c := w.Client(clienttest.Pays(wl))
			w.Seen()
			resp, err := c.RoundTrip(request(t, chatURL, fmt.Sprintf(`{"model":"toy","max_tokens":%d,"messages":[]}`, tt.tokens)))
			if tt.refused {
				refused(t, err, credits.CodeFunds)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(resp.Body); err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if seen := w.Seen(); len(seen) != 1 || seen[0].Class != tt.class {
				t.Errorf("paid with %+v, want class %d", seen, tt.class)
			}
			drained(t, c)
			var had uint64
			for _, e := range tt.has {
				had += 1 << e
			}
			st := wl.Status(w.Log.Last().Epoch, nil)
			if got := st.Balance + st.Spent; got != had {
				t.Errorf("had %d units, balance and spent are %d", had, got)
			}
		})
	}
}

// TestEndlessTable: a bank that names as many buckets as a number can say would
// have a restored wallet ask for ever.
func TestEndlessTable(t *testing.T) {
	w := clienttest.StartPaid(t, 3)
	asked := 0
	w.Mint.Bank.Intercept(func(http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if asked++; asked > 10 {
				httpx.Problem(rw, http.StatusNotFound, "path")
				return
			}
			if strings.Count(r.URL.Path, "/") == 3 {
				rw.Write([]byte{0xff, 0xff, 0xff, 0xff})
			}
		})
	})
	c := w.Client()
	err := c.Table(t.Context(), w.Mint.Keys.All()[0].Keyset().ID(), func(credits.TableEntry) error { return nil })
	refused(t, err, client.CodeBank)
	if asked != 1 {
		t.Errorf("%d questions", asked)
	}
}
