// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"sync"
	"time"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/wallet"
	"github.com/sotto-project/sotto/internal/wire"
)

// An Issuer sells coins to one account, at the identified port of the bank. It
// shares no connection with anything that sends requests.
type Issuer interface {
	// Issue has a purchase evaluated: an element for each of its tokens, and for
	// each exponent one proof over all of them. The same purchase again is not
	// paid again. An [Error] with a code of the bank ends the purchase.
	Issue(ctx context.Context, b *wallet.Buy) (elements [][32]byte, proofs map[uint8][64]byte, err error)
	// Redeem puts vouchers on the account.
	Redeem(ctx context.Context, r *wallet.Redeem) error
}

// Payments says how a client pays. Without a wallet, epochs that ask for coins
// are refused.
type Payments struct {
	Wallet *wallet.Wallet
	// Class is the smallest class that a request is paid with: a coin of 2^Class
	// units, of which the rest comes back. One that may cost more is paid with a
	// class 3 above, or 6, and so on: few classes say little. 0 means 16.
	Class uint8
	// Tokens is how long an answer may be if the request does not say, in tokens;
	// 0 means 1024. It decides the class and nothing else.
	Tokens int
	// Tier is the entitlement to show; 0 shows none.
	Tier uint8
	// Wait has a coin that was bought keep its time though there is no other to pay
	// with: such a request is refused. Without it the coin is used at once, which
	// somebody with both of the bank's ports and a clock may match with the purchase.
	Wait bool
	// Issuer, when set, is asked for coins when the wallet's policy wants some.
	Issuer Issuer
	// Source, where there is no Wallet, opens wallet and issuer when the client is
	// made, and Close closes them: a wallet is open in one process at a time, so
	// what reads a configuration must not open it yet.
	Source Source
}

// A Source opens a wallet, and the account that fills it: a nil Issuer if there
// is none.
type Source interface {
	Open() (*wallet.Wallet, Issuer, error)
}

// DefaultClass is the class of [Payments] that names none.
const DefaultClass = 16

const (
	defaultTokens = 1024
	classStep     = 3
	// changeWait is how long the bank's block may take after an answer; what
	// takes longer is asked for.
	changeWait = 10 * time.Second
	// keepPause is the longest pause before what is owed is asked for again.
	keepPause = time.Minute
	// aheadOf is how many payments of a class are prepared: so many may begin at
	// once without one that waits for the disk. After a crash so many coins have to
	// be swapped before they are spent.
	aheadOf = 4
)

// cash is a client's side of paying. Its one goroutine, started with the first
// request, asks for what is owed and keeps the wallet's stock; close waits for
// it, for the change that is being read, and for payments that are being prepared.
type cash struct {
	Payments
	client *Client

	start sync.Once
	wake  chan struct{} // holds one token: there is something to do
	turn  chan struct{} // holds one token while a round is made
	ctx   context.Context
	stop  context.CancelFunc
	wg    sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	own       bool                                        // the wallet was opened here
	drain     []chan struct{}                             // closed when no request is under way
	using     uint8                                       // the class of the last payment
	world     *world                                      // that payments were prepared for
	paid      uint64                                      // units charged to requests of this client
	refused   *Error                                      // the last purchase that the bank refused
	again     bool                                        // somebody asks for what was refused to be tried again
	refusedIn uint64                                      // its epoch
	caught    *Error                                      // the bank was caught; nothing is paid any more
	doubt     *Error                                      // the last that somebody on the way said and nobody had signed
	doubts    int                                         // how often
	by        map[[32]byte][32]byte                       // by header hash, the candidate that answered
	keys      map[[32]byte]map[[32]byte]ed25519.PublicKey // by header hash, of the candidates; while the change is not there
	away      map[[32]byte]bool                           // header hashes of requests under way
	asks      map[[32]byte]question                       // by header hash, of what is owed
	askAgain  time.Time                                   // before that nobody is asked: nobody answered
}

func newCash(c *Client, p *Payments) (*cash, error) {
	if p == nil {
		return nil, nil
	}
	k := &cash{Payments: *p, client: c, wake: make(chan struct{}, 1), turn: make(chan struct{}, 1),
		keys: map[[32]byte]map[[32]byte]ed25519.PublicKey{}, by: map[[32]byte][32]byte{}, away: map[[32]byte]bool{}, asks: map[[32]byte]question{}}
	if k.Class == 0 {
		k.Class = DefaultClass
	}
	k.using = k.Class
	if k.Tokens == 0 {
		k.Tokens = defaultTokens
	}
	if k.Class < wire.MinClass || k.Class > wire.MaxClass || k.Tokens < 1 {
		return nil, errors.New("payments: a class of 6 to 40, and at least one token")
	}
	if k.Wallet == nil && k.Source == nil {
		return nil, errors.New("payments without a wallet")
	}
	k.ctx, k.stop = context.WithCancel(context.Background())
	return k, nil
}

// open opens the wallet, if there is none yet.
func (k *cash) open() (err error) {
	if k == nil || k.Wallet != nil {
		return nil
	}
	k.Wallet, k.Issuer, err = k.Source.Open()
	k.own = err == nil
	return err
}

func (k *cash) close() {
	if k == nil {
		return
	}
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.stop()
	k.wg.Wait()
	if !k.own {
		return
	}
	k.noteWallet(k.Wallet.Close())
	if i, ok := k.Issuer.(interface{ Close() }); ok {
		i.Close()
	}
}

// run has f run beside, unless the client is closed: then nobody would wait for
// it.
func (k *cash) run(f func()) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.closed {
		k.wg.Go(f)
	}
	return !k.closed
}

// ready refuses a request that cannot be paid, before anything of it is sealed.
func (c *Client) payable(w *world) error {
	if w.statement.Payment == wire.PaymentNone {
		return nil
	}
	if c.cash == nil {
		return refuse(CodePayment, "epoch %d asks for payment by coins, and there is no wallet", w.statement.Epoch).
			hint("`sotto wallet create` makes one; the trust file names it")
	}
	c.cash.mu.Lock()
	caught, known := c.cash.caught, c.cash.world
	c.cash.mu.Unlock()
	if caught != nil {
		again := *caught
		again.Sent = false // of this request nothing was
		return &again
	}
	if known != w {
		c.cash.prepare(w)
	}
	return nil
}

// prepare has the wallet write down coins and blanks for the next payments, while
// a request is still being sealed, or when it is over. It asks nobody. What it
// could not do is done on the way of a request.
func (k *cash) prepare(w *world) {
	k.mu.Lock()
	k.world = w
	p := wallet.Payment{Epoch: w.statement.Epoch, Class: k.using, Sets: w.sets, Hurry: !k.Wait}
	k.mu.Unlock()
	// What is in doubt since a crash may be in a payment's way: keep resolves it.
	k.start.Do(func() { k.run(k.keep) })
	if k.Tier == 0 { // what is shown beside a coin is never prepared
		k.run(func() { _ = k.Wallet.Prepare(p, aheadOf) })
	}
}

// class is what a request is paid with: the first of the ladder that holds the
// most it can cost at any of the candidates.
func (k *cash) class(d *draw, call *call) (uint8, error) {
	tokens, size := uint64(k.Tokens), uint64(len(call.whole))
	if call.rest != nil {
		size = uint64(steps[len(steps)-1]) // not known: it streams
	}
	var said struct {
		Max        uint64 `json:"max_tokens"`
		Completion uint64 `json:"max_completion_tokens"`
	}
	if call.whole != nil && json.Unmarshal(call.whole, &said) == nil && max(said.Max, said.Completion) > 0 {
		tokens = max(said.Max, said.Completion)
	}
	var need uint64
	for _, n := range d.nodes {
		need = max(need, n.cost(size, tokens))
	}
	for c := k.Class; c <= wire.MaxClass; c += classStep {
		if need <= 1<<c {
			return c, nil
		}
	}
	return 0, refuse(credits.CodeClass, "the request may cost %d units, more than the largest class holds", need).hint("ask for a shorter answer (max_tokens)")
}

// cost is the most that a request can cost at the node, in units
// (docs/spec/payment.md, section 4).
func (n *node) cost(size, tokens uint64) uint64 {
	return uint64(n.prices[0]) + times(n.prices[1], (size+1023)/1024) + (times(n.prices[2], tokens)+999)/1000
}

// times stops at what is over any class a thousand times: no sum overflows.
func times(price uint32, n uint64) uint64 {
	const most = 1 << 60
	high, low := bits.Mul64(uint64(price), n)
	if high != 0 || low > most {
		return most
	}
	return low
}

// pay takes a coin for one sealed request. From here on the wallet counts it as
// sent, until it is told otherwise.
func (k *cash) pay(ctx context.Context, w *world, d *draw, call *call, headerHash [32]byte) (wire.Spend, error) {
	class, err := k.class(d, call)
	if err != nil {
		return wire.Spend{}, err
	}
	keys := map[[32]byte]ed25519.PublicKey{}
	for _, n := range d.nodes {
		keys[n.id] = n.signing
	}
	// Before the wallet has the payment: the bank must not be asked about a request
	// that it has not seen.
	k.mu.Lock()
	k.keys[headerHash], k.away[headerHash] = keys, true
	k.using = class
	k.mu.Unlock()
	p := wallet.Payment{Epoch: w.statement.Epoch, HeaderHash: headerHash, Class: class, Tier: k.Tier, Sets: w.sets, AllowPass: true, Hurry: !k.Wait}
	s, err := k.Wallet.Pay(p)
	if none := (*wallet.NoCoinError)(nil); errors.As(err, &none) {
		// A wallet that keeps a stock has none of this class yet, or has run out:
		// getting it now, on the way of a request, is better than refusing it.
		_ = k.top(ctx, true, false) // what it could not do shows in what is there
		if caught := k.client.Caught(); caught != nil {
			k.forget(headerHash)
			return s, caught
		}
		if s, err = k.Wallet.Pay(p); errors.As(err, &none) && none.Tier == 0 {
			k.make(ctx, w, class)
			s, err = k.Wallet.Pay(p)
		}
	}
	if err != nil {
		k.forget(headerHash)
		return s, payError(err)
	}
	return s, nil
}

// payError gives a wallet's error its code.
func payError(err error) error {
	var none *wallet.NoCoinError
	var limit *wallet.LimitError
	var bad *credits.Refusal
	switch {
	case errors.As(err, &none):
		return refuse(none.Code(), "%v", err).hint("`sotto wallet status` shows what is there; `sotto wallet buy` gets more")
	case errors.As(err, &limit):
		return refuse("credit.limit", "%v", err).hint("the limit is your own, in the wallet's policy file")
	case errors.As(err, &bad):
		return refuse(bad.Code, "%s", bad.Why)
	}
	return refuse("wallet", "%v", err)
}

// unpaid is told how an attempt ended that brought no sealed answer. Where no
// byte left, the coin is as before; otherwise the bank is asked what became of
// it.
func (k *cash) unpaid(headerHash [32]byte, err error) {
	var own *Error
	if errors.As(err, &own) && !own.Sent {
		k.noteWallet(k.Wallet.Unsent(headerHash))
		k.forget(headerHash)
		k.refill()
		return
	}
	k.noteWallet(k.Wallet.Failed(headerHash, CodeOf(err)))
	k.landed(headerHash)
}

// landed says that a request is over: what it is owed may be asked for.
func (k *cash) landed(headerHash [32]byte) {
	k.mu.Lock()
	delete(k.away, headerHash)
	k.asks[headerHash] = question{} // now: beside its own request
	k.idle()
	k.mu.Unlock()
	k.refill()
	k.nudge()
}

// refill prepares for the next what the last payment has used.
func (k *cash) refill() {
	k.mu.Lock()
	w := k.world
	k.mu.Unlock()
	if w != nil {
		k.prepare(w)
	}
}

// idle tells who waits for it that no request is under way. The caller holds mu.
func (k *cash) idle() {
	if len(k.away) > 0 {
		return
	}
	for _, c := range k.drain {
		close(c)
	}
	k.drain = nil
}

func (k *cash) forget(headerHash [32]byte) {
	k.mu.Lock()
	delete(k.away, headerHash)
	delete(k.keys, headerHash)
	delete(k.by, headerHash)
	delete(k.asks, headerHash)
	k.idle()
	k.mu.Unlock()
}

func (k *cash) nudge() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// collect reads the change behind an answer that was read to its verified end.
// The application has that end already; this goes on beside it.
func (k *cash) collect(b *body) {
	headerHash := b.parcel.sealed.HeaderHash()
	read := func() {
		defer b.release()
		t := time.AfterFunc(changeWait, b.release)
		defer t.Stop()
		stopped := context.AfterFunc(k.ctx, b.release)
		defer stopped()
		raw := make([]byte, wire.ChangeSize)
		_, err := io.ReadFull(b.answer.msg.Body(), raw)
		for _, l := range b.layers[2:] {
			if err == nil {
				err = atEnd(l)
			}
		}
		if err == nil {
			var c *wire.Change
			if c, err = wire.ParseChange(raw); err == nil {
				k.answered(headerHash, b.choice.draw.ids[b.choice.index])
				k.take(headerHash, c, b.parcel.world)
			}
		}
		k.landed(headerHash)
	}
	if !k.run(read) {
		b.release()
		k.landed(headerHash)
	}
}

// answered says which candidate answered.
func (k *cash) answered(headerHash, id [32]byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.keys[headerHash] != nil {
		k.by[headerHash] = id
	}
}

// take checks a change completely and gives it to the wallet. It reports whether
// the payment has ended.
//
// Router, gateway and node could write a block of their own. So only what the
// bank signed counts, for it and against it; of anything else nothing is
// believed but that it came, and the bank is asked.
func (k *cash) take(headerHash [32]byte, c *wire.Change, w *world) (ended bool) {
	switch {
	case c.State == wire.ChangeRefused:
		// The node wanted what it was not due, or to give back what it could not; or
		// somebody says so. The hold ends by itself.
		k.suspect(refuse(credits.CodeRefund, "it was said that the node's word on what the request used was refused; the coin comes back when its hold ends"))
		k.noteWallet(k.Wallet.Failed(headerHash, credits.CodeRefund))
		return false
	case !c.Ended():
		return false
	case !c.Verify(w.statement.TicketKey, headerHash):
		k.suspect(refuse(credits.CodeChange, "change came that the bank had not signed; the bank is asked for it"))
		k.noteWallet(k.Wallet.Failed(headerHash, credits.CodeChange))
		return false
	case c.Generation > w.statement.MintGeneration:
		return false // the next statement may name it already: seen again with that one
	}
	proof := &proof{headerHash, w.statement.TicketKey, c}
	if c.Generation < w.statement.MintGeneration {
		k.prove(refuse(credits.CodeGeneration, "the bank answered from generation %d of its database; everybody was told %d", c.Generation, w.statement.MintGeneration).
			hint("its list of spent coins may be an old one; ask the operator"), proof)
		return false
	}
	if err := k.usage(headerHash, c); err != nil {
		k.prove(err, proof)
		return false
	}
	r, err := k.Wallet.Settle(headerHash, c)
	var bad *credits.Refusal
	switch {
	case errors.Is(err, wallet.ErrUnknown): // its time is over, and the wallet has forgotten it
		k.forget(headerHash)
		return true
	case errors.As(err, &bad):
		k.prove(refuse(bad.Code, "the bank's change: %s", bad.Why).hint("change that is not exactly as it must be is a way to mark whoever spends it; nothing more is paid with this wallet until you have looked"), proof)
	case err != nil:
		k.noteWallet(err)
	case !r.Pending:
		k.charge(r)
		k.forget(headerHash)
		return true
	}
	return false
}

// A proof is what the bank signed and should not have.
type proof struct {
	headerHash [32]byte
	key        ed25519.PublicKey // the statement's ticket key
	change     *wire.Change
}

// text is for whoever it is shown to: three lines, and a check of them needs no
// more than docs/spec/payment.md.
func (p *proof) text() []byte {
	return fmt.Appendf(nil, "sotto-caught-v1\nheader_hash %x\nticket_key %x\nchange %x\n", p.headerHash, []byte(p.key), p.change.Append(nil))
}

func (k *cash) charge(r wallet.Result) {
	if r.Again {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.paid += r.Charged
}

// usage checks that what was charged is the signed word of a candidate. A
// client that was started again has forgotten who they were. That the candidate
// which answered is another one is no doing of the bank's: a router and a node
// that work together can have two of them run a request.
func (k *cash) usage(headerHash [32]byte, c *wire.Change) *Error {
	k.mu.Lock()
	keys := k.keys[headerHash]
	by, known := k.by[headerHash]
	k.mu.Unlock()
	if c.State != wire.ChangeUsed || keys == nil {
		return nil
	}
	u := &c.Usage
	if u.HeaderHash != headerHash || !u.Verify(keys[u.NodeID]) {
		return refuse(credits.CodeRefund, "the usage that was charged is not signed by a node that was asked")
	}
	if known && by != u.NodeID {
		k.suspect(refuse(credits.CodeRefund, "another node than the one that answered says what the request used"))
	}
	return nil
}

// prove is catch with what the bank signed, which is written beside the wallet, to
// be shown to others.
func (k *cash) prove(e *Error, p *proof) {
	if k.client.Caught() != nil {
		return
	}
	path, err := k.Wallet.KeepProof(fmt.Sprintf("caught-%x", p.headerHash[:8]), p.text())
	if err != nil {
		e.Detail += "; what the bank signed could not be written down: " + err.Error()
	} else {
		e.Detail += "; what the bank signed is in " + path
	}
	k.catch(e)
}

// catch keeps the first that the bank itself did falsely: from then on nothing is
// paid.
func (k *cash) catch(e *Error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.caught == nil {
		e.Sent = true // it came to light when a request was over
		k.caught = e
	}
}

// suspect counts what somebody on the way said about money and nobody had signed.
// It proves nothing against anybody and ends nothing: one bad hop must not keep a
// wallet from paying.
func (k *cash) suspect(e *Error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e.Sent = true
	k.doubt, k.doubts = e, k.doubts+1
}

// Doubts returns what was last said about money on the way that nobody had signed
// or that does not fit, and how often something was; 0 and nil if nothing was.
// Nothing of it was believed.
func (c *Client) Doubts() (times int, last error) {
	if c.cash == nil {
		return 0, nil
	}
	c.cash.mu.Lock()
	defer c.cash.mu.Unlock()
	if c.cash.doubt == nil {
		return 0, nil
	}
	return c.cash.doubts, c.cash.doubt
}

// noteWallet keeps an error of the wallet itself, such as a full disk, which
// says the same to the next request.
func (k *cash) noteWallet(err error) {
	if err != nil && !errors.Is(err, wallet.ErrUnknown) {
		k.catch(refuse("wallet", "%v", err).hint("the wallet could not write down what became of a coin; open it again"))
	}
}

// Caught returns why nothing is paid any more, or nil.
func (c *Client) Caught() error {
	if c.cash == nil {
		return nil
	}
	c.cash.mu.Lock()
	defer c.cash.mu.Unlock()
	if c.cash.caught == nil {
		return nil
	}
	return c.cash.caught
}
