// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package computenode

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/sotto-project/sotto/computenode/internal/rek"
	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/hpke/recipient"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/wire"
)

// The media types of the node's answers to a router.
const (
	typeResponse = "application/sotto-response"
	typeBusy     = "application/sotto-busy"
	typeUsage    = "application/sotto-usage"
)

// A problem is a refusal outside the seal: a status and a code, both fixed.
type problem struct {
	status int
	code   string
}

func (p *problem) Error() string { return "node: " + p.code }

// The refusals before a request is open, and of a body that does not open. A
// header that opens with no key of this node has one face whatever the cause:
// sealed to a key that is gone, or altered (CR-18, CR-30).
var (
	errReplay    = &problem{http.StatusConflict, "replay"}
	errRekeyed   = &problem{http.StatusGone, "node.rekeyed"}
	errEpoch     = &problem{http.StatusBadRequest, "epoch"}
	errSuite     = &problem{http.StatusBadRequest, "suite"}
	errHeader    = &problem{http.StatusBadRequest, "header"}
	errRate      = &problem{http.StatusTooManyRequests, "rate"}
	errStarting  = &problem{http.StatusServiceUnavailable, "node.starting"}
	errDraining  = &problem{http.StatusServiceUnavailable, "node.draining"}
	errTruncated = &problem{http.StatusBadRequest, "stream.truncated"}
	errAuth      = &problem{http.StatusBadRequest, "stream.auth"}
	errTooLarge  = &problem{http.StatusRequestEntityTooLarge, "request.size"}
	errTooSlow   = &problem{http.StatusRequestTimeout, "request.slow"}
	errRandom    = &problem{http.StatusInternalServerError, "rng"}
)

const (
	outcomeOK       = "ok"
	outcomeBusy     = "busy"
	outcomeRefused  = "request" // refused inside the seal
	outcomeEngine   = "node.engine"
	outcomeCanceled = "canceled"
)

// outcomes are the values of the one label on the request counter.
func outcomes() []string {
	all := []string{outcomeOK, outcomeBusy, outcomeRefused, outcomeEngine, outcomeCanceled}
	for _, p := range []*problem{errReplay, errRekeyed, errEpoch, errSuite, errHeader, errRate, errStarting, errDraining, errTruncated, errAuth, errTooLarge, errTooSlow, errRandom, errTicket} {
		all = append(all, p.code)
	}
	return all
}

// wireSize is more than any body of an allowed size takes on the wire, padding
// included: the ladder's steps are a factor of 1.5 apart.
func wireSize(maxRequest int64) int64 { return maxRequest + maxRequest/2 + 64<<10 }

func (n *Node) serveRequest(w http.ResponseWriter, r *http.Request) {
	httpx.LimitBody(w, r, wireSize(n.cfg.MaxRequest))
	outcome, err := n.handle(w, r)
	var p *problem
	if errors.As(err, &p) {
		outcome = p.code
		httpx.Problem(w, p.status, p.code)
	}
	n.meters.requests.Inc(outcome)
	if err != nil && p == nil {
		httpx.Abort() // the answer is under way and will not be whole
	}
}

// handle answers one request. A *problem is to be told to the router; any other
// error means that the answer has begun and must be cut.
func (n *Node) handle(w http.ResponseWriter, r *http.Request) (outcome string, err error) {
	ask, asked, err := readAsk(r)
	if err != nil {
		return "", err
	}
	entered := n.gate.enter()
	if entered {
		defer n.gate.leave()
	}
	if asked && !entered {
		return n.busy(w, ask) // without having read a byte of the body
	}
	f, err := hpke.ReadForwarded(r.Body)
	if err != nil {
		return "", headerProblem(err)
	}
	hash, err := f.Hash()
	if err != nil {
		return "", errHeader
	}
	own := wire.Ask{HeaderHash: hash, Epoch: f.Common.Epoch, Index: f.Index, Attempt: ask.Attempt}
	if asked && ask != own || f.Entry.NodeID != n.id {
		return "", errHeader
	}
	ticket, err := n.ticket(r, own)
	if err != nil {
		return "", err
	}
	if !entered {
		return n.busy(w, own)
	}
	e, err := n.admit(f.Common.Epoch)
	if err != nil {
		return "", err
	}
	switch e.seen.mark(hash, f.Entry.Enc) {
	case isReplay:
		return "", errReplay
	case isFull:
		return n.busy(w, own)
	}
	if ticket != nil {
		return n.paid(w, r, e, f, ticket)
	}
	request, err := n.open(r.Context(), f)
	if err != nil {
		e.seen.forget(hash, f.Entry.Enc)
		return "", err
	}
	x := &exchange{n: n, w: w, r: r, request: request}
	return x.run()
}

// paid runs a request that has its ticket and was marked as seen, and says what
// it used: in a trailer of the answer, or in a field of a problem. The mark
// stays, whatever happens: a usage was signed for it, and what would run under
// the same ticket again would be free.
func (n *Node) paid(w http.ResponseWriter, r *http.Request, e *epoch, f *hpke.Forwarded, ticket *wire.Ticket) (outcome string, err error) {
	e.seen.bill(ticket.HeaderHash, nil)
	b := n.bill(ticket)
	defer func() {
		if u := n.account(e, ticket, b); u != nil {
			w.Header().Set(wire.UsageTrailer, u.String())
		}
	}()
	request, err := n.open(r.Context(), f)
	if err != nil {
		return "", err
	}
	x := &exchange{n: n, w: w, r: r, request: request, bill: b}
	return x.run()
}

func readAsk(r *http.Request) (ask wire.Ask, asked bool, err error) {
	values := r.Header.Values(wire.AskHeader)
	if len(values) == 0 {
		return ask, false, nil
	}
	if ask, err = wire.ParseAsk(values[0]); err != nil || len(values) > 1 {
		return ask, false, errHeader
	}
	return ask, true, nil
}

// admit returns what is held for the epoch a request is sealed for.
func (n *Node) admit(number uint64) (*epoch, error) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	e := n.epochs[number]
	switch {
	case n.drained:
		return nil, errDraining
	case !n.started:
		return nil, errStarting
	case e != nil:
		return e, nil
	case len(n.epochs) > 0 && number > n.highest:
		return nil, errEpoch // of the future
	}
	return nil, errRekeyed // erased, or of a process before this one
}

// busy answers with a signed receipt. With it the router may turn to another
// candidate, so this node does not run the request any more, whoever sends it
// again, and signs none for a request that it has taken.
func (n *Node) busy(w http.ResponseWriter, a wire.Ask) (string, error) {
	held, err := n.admit(a.Epoch)
	if err != nil {
		return "", err
	}
	switch held.seen.decline(a.HeaderHash) {
	case isReplay:
		return "", errReplay
	case isFull:
		return "", errRate
	}
	receipt := a.Receipt(n.id)
	n.mu.RLock()
	e := n.epochs[a.Epoch]
	if e != nil { // else pruned since admit
		receipt.Sign(e.sign)
	}
	n.mu.RUnlock()
	if e == nil {
		return "", errRekeyed
	}
	b := receipt.Append(nil)
	w.Header().Set("Content-Type", typeBusy)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(http.StatusServiceUnavailable)
	w.Write(b)
	return outcomeBusy, nil
}

// open is the one place where a request costs the TPM anything (DS-01).
func (n *Node) open(ctx context.Context, f *hpke.Forwarded) (*recipient.Request, error) {
	if !n.bucket.take(time.Now()) {
		return nil, errRate
	}
	select {
	case n.opening <- struct{}{}:
		defer func() { <-n.opening }()
	case <-ctx.Done():
		return nil, errTooSlow
	}
	key, err := n.keys.Open(f.Common.Epoch)
	if errors.Is(err, rek.ErrUnknownEpoch) {
		return nil, errRekeyed
	}
	if err != nil {
		return nil, errDraining
	}
	request, err := recipient.Open(f, key)
	if errors.Is(err, recipient.ErrRefused) {
		return nil, errRekeyed
	}
	if err != nil {
		return nil, headerProblem(err)
	}
	return request, nil
}

// headerProblem is the face of a header that was not read, or says something
// that is not spoken here.
func headerProblem(err error) *problem {
	switch {
	case httpx.TooLarge(err):
		return errTooLarge
	case httpx.TooSlow(err):
		return errTooSlow
	case errors.Is(err, hpke.ErrTruncated):
		return errTruncated
	case errors.Is(err, hpke.ErrSuite):
		return errSuite
	}
	return errHeader
}

// streamProblem is the face of a body that did not come to its verified end.
func streamProblem(err error) *problem {
	switch {
	case httpx.TooLarge(err):
		return errTooLarge
	case httpx.TooSlow(err):
		return errTooSlow
	case errors.Is(err, hpke.ErrTruncated):
		return errTruncated
	}
	return errAuth
}
