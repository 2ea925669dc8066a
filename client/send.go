// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"math/big"
	"net/http"
	"strings"
	"time"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/hpke/sender"
	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/ohttp/bhttp"
	"github.com/sotto-project/sotto/ohttp/encap"
)

// attempts is how often one request may be sealed: once, and at most two
// retries (design rule 6). More would let failure steer the choice of nodes.
const attempts = 3

// RoundTrip verifies, seals and sends req, and streams the answer. The body of
// the response returns io.EOF only once its end was verified; an answer cut
// short ends in an [Error] with code "stream.truncated".
//
// It takes POST requests for [Host] on the paths that nodes serve. Headers
// outside a short allow-list do not leave, nor do the members of the body that
// name a person (see docs/spec/canonical-request.md).
func (c *Client) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		defer req.Body.Close()
	}
	call, err := newCall(req)
	if err != nil {
		return nil, err
	}
	if err := c.steer.ready(); err != nil {
		return nil, err
	}
	ctx := req.Context()
	w, err := c.current(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.steer.permits(); err != nil {
		return nil, err
	}
	if err := c.payable(w); err != nil {
		return nil, err
	}
	if err := call.spool(w.onlyModel()); err != nil {
		return nil, err
	}
	// The body may have taken its time, and that world may be over.
	if w, err = c.current(ctx); err != nil {
		return nil, err
	}
	draw, err := c.draw(w, call.model)
	if err != nil {
		return nil, err
	}
	sent := false
	h := c.newChoice(w, draw)
	for n := range attempts {
		resp, err := c.attempt(ctx, h, call)
		if err == nil {
			resp.Request = req
			if len(call.removed) > 0 {
				resp.Header.Set(RemovedHeader, strings.Join(call.removed, ", "))
			}
			return resp, nil
		}
		again := n < attempts-1 && call.rewind() && retryable(err)
		var own *Error
		// An attempt that ended with the context may have been sent.
		h.sent = h.sent || errors.As(err, &own) && own.Sent || errors.Is(err, context.DeadlineExceeded)
		if sent = sent || errors.As(err, &own) && own.Sent; sent {
			err = afterSending(err) // it was an earlier attempt that sent, if not this one
		}
		if !again || pause(ctx, n) != nil {
			h.ended(err)
			return nil, err
		}
		next, anew, rerr := c.renew(ctx, h.world, h.draw, call.model, CodeOf(err))
		if rerr != nil {
			h.ended(err)
			if sent {
				rerr = afterSending(rerr)
			}
			return nil, rerr
		}
		if next.statement.Epoch == h.world.statement.Epoch {
			h.world, h.draw = next, anew
		} else {
			// Other candidates: a draw of its own, and the one before has failed.
			h.ended(err)
			h = c.newChoice(next, anew)
		}
	}
	panic("client: internal error: attempts ended without an answer")
}

// renew returns what a request is sealed against again, after a refusal with
// code. In a world that is over, or may be, everything is checked anew first.
// While the epoch stays, so do the candidates: whoever could have them drawn
// again by saying no could choose them (design rule 6).
func (c *Client) renew(ctx context.Context, w *world, d *draw, model, code string) (*world, *draw, error) {
	if code != "epoch" && code != "node.rekeyed" && c.usable(w) == nil {
		return w, d, nil
	}
	next, err := c.refresh(ctx, w)
	if err != nil {
		return nil, nil, err
	}
	if next.statement.Epoch == w.statement.Epoch {
		d, err = c.redraw(next, d)
	} else {
		d, err = c.draw(next, model)
	}
	return next, d, err
}

// afterSending marks a refusal that follows an attempt of the same request:
// sealed bytes of it have left.
func afterSending(err error) error {
	var own *Error
	if !errors.As(err, &own) {
		return err
	}
	sent := *own
	sent.Sent = true
	return &sent
}

// retryable reports whether a request that ended in err did not run: only then
// may it be sealed again.
func retryable(err error) bool {
	var own *Error
	switch CodeOf(err) {
	case CodeRelay: // a connection that broke later may have carried the request
		return errors.As(err, &own) && !own.Sent
	case CodeBusy, "node.unreachable", "node.rekeyed", "node.draining", "node.starting", "epoch", "rate",
		"busy", "overload", "gateway.unreachable", "bank.unreachable", credits.CodeSpent:
		return true
	}
	return false
}

// pause waits a short random time before a retry, so that retries of many
// clients do not arrive together and one client's do not arrive on a beat.
func pause(ctx context.Context, n int) error {
	d := time.Duration(50<<n) * time.Millisecond
	jitter, err := rand.Int(rand.Reader, big.NewInt(int64(d)))
	if err != nil {
		return err
	}
	t := time.NewTimer(d/2 + time.Duration(jitter.Int64()))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// attempt seals call afresh and sends it once.
func (c *Client) attempt(ctx context.Context, h *choice, call *call) (*http.Response, error) {
	w := h.world
	sealed, err := sender.Seal(sender.Params{
		Epoch:      w.statement.Epoch,
		MediaType:  hpke.MediaBinaryHTTP,
		Policy:     c.shaping,
		Candidates: h.draw.candidates,
		Hedge:      call.whole,
	})
	if err != nil {
		return nil, refuse("rng", "sealing: %v", err)
	}
	n, origin := h.attempted(sealed.HeaderHash())
	p := &parcel{world: w, call: call, sealed: sealed, attempt: n, origin: origin}
	if w.statement.Payment == wire.PaymentNone {
		return c.deliver(ctx, h, p)
	}
	if err := c.payable(w); err != nil { // a retry may be in another world
		return nil, err
	}
	if p.spend, err = c.cash.pay(ctx, w, h.draw, call, sealed.HeaderHash()); err != nil {
		return nil, err
	}
	// The exchange does not end with the application's context but with what
	// follows the answer: change is read when the application has gone.
	paid, release := context.WithCancel(context.WithoutCancel(ctx))
	p.release, p.detach = release, context.AfterFunc(ctx, release)
	resp, err := c.deliver(paid, h, p)
	if err != nil {
		release()
		c.cash.unpaid(sealed.HeaderHash(), err)
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, err
	}
	return resp, nil
}

// deliver sends a parcel and opens the answer as far as its head.
func (c *Client) deliver(ctx context.Context, h *choice, p *parcel) (*http.Response, error) {
	answer, err := c.exchange(ctx, p.world, p)
	if err != nil {
		return nil, err
	}
	h.sent = true
	resp, err := answer.open(h, p)
	if err != nil {
		answer.Close()
		return nil, err
	}
	if p.release != nil {
		resp.Body.(*body).cash = c.cash
	}
	return resp, nil
}

// A parcel is one sealed request on its way out.
type parcel struct {
	world   *world
	call    *call
	sealed  *sender.Request
	attempt uint8
	origin  [32]byte

	// Of a paid request; else zero and nil.
	spend   wire.Spend
	release func()      // ends its exchange
	detach  func() bool // keeps the application's context from ending it
}

// streams reports whether the body is too large to be made in memory.
func (p *parcel) streams() bool { return p.call.rest != nil }

// produce writes the whole request through its layers: inner message, sealed
// body, router content, outer message; padded to its rung.
func (p *parcel) produce(outer *encap.Request) error {
	msg, err := bhttp.NewRequestWriter(outer, outerHead)
	if err != nil {
		return refuse(CodeRequest, "%v", err)
	}
	block := wire.RoutingBlock{Payment: p.world.statement.Payment, Epoch: p.world.statement.Epoch, Attempt: p.attempt, Origin: p.origin, Spend: p.spend}
	// The router's part is shorter than a block, whatever k: it begins the first.
	content := &blocks{w: msg, buf: block.Append(make([]byte, 0, firstStep))}
	content.buf = p.sealed.Header().Append(content.buf)
	body := p.sealed.Body(content)
	rung, err := p.produceInner(body)
	if err != nil {
		body.Abort()
		return err
	}
	if err := body.Close(); err != nil {
		return err
	}
	if err := content.flush(); err != nil {
		return err
	}
	return msg.Close(nil, int(rung.message-msg.Written()-messageTail))
}

// produceInner writes the message that only the node reads, padded to the
// lowest rung that takes it.
func (p *parcel) produceInner(body io.Writer) (step, error) {
	inner, err := bhttp.NewRequestWriter(body, p.call.head)
	if err != nil {
		return step{}, refuse(CodeRequest, "%v", err)
	}
	if err := inner.Flush(); err != nil { // counted by Written even if no content follows
		return step{}, err
	}
	if err := p.call.copyBody(inner); err != nil {
		return step{}, err
	}
	rung, ok := p.world.shape.rung(inner.Written() + messageTail)
	if !ok {
		return step{}, refuse(CodeTooLarge, "the request is over the largest size class of %d MiB", steps[len(steps)-1]>>20)
	}
	return rung, inner.Close(nil, int(rung.plain-inner.Written()-messageTail))
}

// contentChunk is the size of a chunk of outer content: with its length it
// fills one chunk of the encapsulation.
const contentChunk = 16<<10 - 4

// blocks regroups writes into chunks of one size, so that the outer message's
// length depends on nothing but the content's.
type blocks struct {
	w   io.Writer
	buf []byte
}

func (b *blocks) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		n := min(len(p), contentChunk-len(b.buf))
		b.buf = append(b.buf, p[:n]...)
		p = p[n:]
		if len(b.buf) == contentChunk {
			if err := b.flush(); err != nil {
				return 0, err
			}
		}
	}
	return total, nil
}

func (b *blocks) flush() error {
	_, err := b.w.Write(b.buf)
	b.buf = b.buf[:0]
	return err
}
