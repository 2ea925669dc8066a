// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package router

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/wire"
)

const (
	// ticketWait is how long the bank may take for a ticket. A request that waits for
	// one has reached nobody yet.
	ticketWait = 5 * time.Second
	// settleWait is how long an answer's change may take after its last byte.
	// What takes longer is asked for by the client.
	settleWait = 5 * time.Second
	// lateWait bounds what is done for a payment when its request is over.
	lateWait = 30 * time.Second
	// usageTries is how often a node is asked what a request used.
	usageTries = 3
)

// A bank is the anonymous port of the operator's bank.
type bank struct {
	hold, turn, settle *url.URL
	upstream           *http.Transport
	replicas           int // how many serve it
}

// validBank says what is wrong with where the bank stands.
func validBank(c *Config) error {
	if err := httpx.CheckReplicas(c.BankReplicas); err != nil {
		return fmt.Errorf("router: bank_replicas: %v", err)
	}
	if c.Bank == "" {
		if len(c.BankReplicas) > 0 {
			return errors.New("router: bank_replicas: they come beside bank, which is missing")
		}
		return nil
	}
	_, err := origin("bank", c.Bank)
	return err
}

func newBank(c *Config) (*bank, error) {
	if err := validBank(c); err != nil {
		return nil, err
	}
	if c.Bank == "" {
		return nil, nil
	}
	base, err := origin("bank", c.Bank)
	if err != nil {
		return nil, err
	}
	tc, err := c.TLS.Client(c.BankName)
	if err != nil {
		return nil, err
	}
	t, err := httpx.Replicas(httpx.NewTransport(tc), c.BankReplicas)
	if err != nil {
		return nil, fmt.Errorf("router: bank_replicas: %v", err)
	}
	return &bank{base.JoinPath("/v1/hold"), base.JoinPath("/v1/turn"), base.JoinPath("/v1/settle"), t, 1 + len(c.BankReplicas)}, nil
}

// ask posts body and returns the answer, which must have size bytes. What the
// bank refuses is a problem with its code. A replica that went away within the
// answer is no reason to give up: the bank answers equal questions equally, and
// so does each of its replicas.
func (b *bank) ask(ctx context.Context, u *url.URL, body []byte, size int) (out []byte, p *problem) {
	for left := b.replicas; left > 0; left-- {
		one, cancel := ctx, context.CancelFunc(func() {})
		if end, ok := ctx.Deadline(); ok { // one that stands still leaves time for the others
			one, cancel = context.WithTimeout(ctx, time.Until(end)/time.Duration(left))
		}
		out, p = b.askOne(one, u, body, size)
		cancel()
		if p != errBankAway || ctx.Err() != nil {
			break
		}
	}
	return out, p
}

func (b *bank) askOne(ctx context.Context, u *url.URL, body []byte, size int) ([]byte, *problem) {
	req := (&http.Request{
		Method: http.MethodPost, URL: u, Host: u.Host, ProtoMajor: 1, ProtoMinor: 1,
		Body: httpx.InMemory(body), ContentLength: int64(len(body)), Header: http.Header{"User-Agent": noAgent},
	}).WithContext(ctx)
	// A connection that had gone stale may be asked over again.
	req.GetBody = func() (io.ReadCloser, error) { return httpx.InMemory(body), nil }
	req.Header["Idempotency-Key"] = nil // not sent; says to net/http that it may
	resp, err := b.upstream.RoundTrip(req)
	if err != nil {
		return nil, errBankAway
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(io.LimitReader(resp.Body, int64(max(size, maxProblem))+1))
	switch {
	case err != nil:
		return nil, errBankAway
	case resp.StatusCode == http.StatusOK && len(out) == size:
		return out, nil
	}
	return nil, bankProblem(resp.StatusCode, out)
}

var (
	errBankAway   = &problem{http.StatusServiceUnavailable, "bank.unreachable"}
	errBankAnswer = &problem{http.StatusBadGateway, "bank.answer"}
	errBankOld    = &problem{http.StatusBadGateway, "bank.generation"}
	errNoBank     = &problem{http.StatusServiceUnavailable, "bank.absent"}
)

// bankCodes is what a bank may say to a router (docs/spec/payment.md, section 7).
// The list is closed: a word of the bank's own choice would be a mark.
var bankCodes = []string{
	"routing", "header", "epoch", "bank.generation", "bank.store", "starting", "credit.epoch", "credit.class", "credit.sig", "credit.rate",
	"credit.spent", "credit.turn", "credit.refund", "credit.absent",
}

// bankProblem passes on the bank's own code, if it is one.
func bankProblem(status int, body []byte) *problem {
	var p struct {
		Code string `json:"code"`
	}
	if status < 400 || status > 599 || json.Unmarshal(body, &p) != nil {
		return errBankAnswer
	}
	if slices.Contains(bankCodes, p.Code) {
		return &problem{status, p.Code}
	}
	return errBankAnswer
}

// A payment is what a paid request has at the bank. The nil payment is mode
// none.
type payment struct {
	ticket  wire.Ticket // for the candidate being asked
	asked   int         // that candidate
	sent    bool        // the request may have reached it
	receipt []byte      // of that candidate, as it came; nil if it is not busy
	said    string      // its usage, if it came with a problem
	settled bool
}

// pay gets the ticket for candidate i: the first against the coin, each other
// against the receipt of the one before.
func (r *Router) pay(ctx context.Context, j *job, i int) *problem {
	if j.block.Payment == wire.PaymentNone {
		return nil
	}
	if r.bank == nil {
		return errNoBank
	}
	u, body := r.bank.hold, j.block.Append(nil)
	if j.payment != nil {
		u, body = r.bank.turn, slices.Clone(j.payment.receipt)
	}
	record := j.epoch.records[j.header.Entries[i].NodeID]
	body = append(binary.BigEndian.AppendUint16(body, uint16(len(record))), record...)
	j.out.Index, j.out.Entry = uint8(i), j.header.Entries[i]
	body = j.out.Append(body)
	ctx, cancel := context.WithTimeout(ctx, ticketWait)
	defer cancel()
	out, p := r.bank.ask(ctx, u, body, wire.TicketSize)
	if p != nil {
		return p
	}
	t, err := wire.ParseTicket(out)
	st := j.epoch.statement
	switch {
	case err != nil || t.Ask() != j.ask(i) || t.Class != j.block.Spend.Class || !t.Verify(st.TicketKey):
		return errBankAnswer
	case t.Generation != st.MintGeneration:
		return errBankOld // a database that everybody was told is not the one (CT-21)
	}
	if j.payment == nil {
		j.payment = new(payment)
	}
	j.payment.ticket, j.payment.asked, j.payment.receipt, j.payment.sent = t, i, nil, false
	return nil
}

// change settles by what the node said that it used, and returns the block that
// goes to the client behind its answer.
func (r *Router) change(ctx context.Context, j *job, said string) []byte {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleWait)
	defer cancel()
	pending := wire.Change{State: wire.ChangePending, Generation: j.payment.ticket.Generation}
	u, err := wire.ParseUsageTrailer(said)
	if said != "" && (err != nil || !r.usageIs(j, &u)) {
		// Whatever it wanted to be paid, or to give back, it is not believed (CT-10).
		r.counts.refunds.Add(1)
		j.payment.settled = true
		pending.State = wire.ChangeRefused
		return pending.Append(nil)
	}
	if said == "" {
		return pending.Append(nil)
	}
	out, p := r.settle(ctx, j, append([]byte{1}, u.Append(nil)...))
	if p != nil {
		if p.code == "credit.refund" {
			pending.State = wire.ChangeRefused
		}
		return pending.Append(nil)
	}
	return out
}

func (r *Router) usageIs(j *job, u *wire.Usage) bool {
	id := j.header.Entries[j.payment.asked].NodeID
	return u.Of(&j.payment.ticket, id) && u.Verify(j.epoch.keys[id])
}

func (r *Router) settle(ctx context.Context, j *job, body []byte) ([]byte, *problem) {
	out, p := r.bank.ask(ctx, r.bank.settle, body, wire.ChangeSize)
	if p == nil {
		if _, err := wire.ParseChange(out); err != nil {
			p = errBankAnswer
		}
	}
	if p == nil || p.code == "credit.refund" {
		j.payment.settled = true
	}
	if p != nil {
		r.counts.unsettled.Add(1)
	}
	return out, p
}

// collect ends the payment of a request that is over and was not settled with
// its answer: what the last candidate used is asked of it, and if it was busy its
// receipt gives everything back. What cannot be ended here ends by itself at
// the bank, in the client's favour.
func (r *Router) collect(ctx context.Context, j *job) {
	p := j.payment
	if p == nil || p.settled {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lateWait)
	defer cancel()
	if p.receipt != nil {
		r.settle(ctx, j, append([]byte{2}, p.receipt...))
		return
	}
	if !p.sent {
		return // no node was reached, so none can say that nothing ran
	}
	u, err := wire.ParseUsageTrailer(p.said)
	if err != nil {
		asked := r.usage(ctx, j)
		if asked == nil {
			return
		}
		u = *asked
	}
	if !r.usageIs(j, &u) {
		r.counts.refunds.Add(1)
		return
	}
	r.settle(ctx, j, append([]byte{1}, u.Append(nil)...))
}

// usage asks the node that was given the request what it used. A node whose
// answer was cut needs a moment to notice.
func (r *Router) usage(ctx context.Context, j *job) *wire.Usage {
	for try := range usageTries {
		if try > 0 {
			select {
			case <-time.After(time.Duration(try*try) * 200 * time.Millisecond):
			case <-ctx.Done():
				return nil
			}
		}
		at := (*r.byID.Load())[j.header.Entries[j.payment.asked].NodeID]
		if at == nil {
			continue
		}
		req := (&http.Request{
			Method: http.MethodPost, URL: at.usage, Host: at.usage.Host, ProtoMajor: 1, ProtoMinor: 1,
			Body: httpx.InMemory(bytes.Clone(j.hash[:])), ContentLength: 32, Header: http.Header{"User-Agent": noAgent},
		}).WithContext(ctx)
		resp, err := r.upstream.RoundTrip(req)
		if err != nil {
			continue
		}
		b, err := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
		resp.Body.Close()
		switch {
		case err != nil || resp.StatusCode == http.StatusConflict: // it runs still
			continue
		case resp.StatusCode == http.StatusNotFound:
			return nil
		}
		if u, err := wire.ParseUsage(b); err == nil {
			return &u
		}
	}
	return nil
}
