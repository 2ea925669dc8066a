// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package router

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"

	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/wire"
)

const (
	typeResponse = "application/sotto-response"
	typeBusy     = "application/sotto-busy"
	typeProblem  = "application/problem+json"

	// peekSize is how much of a body is held for the next candidate, in bytes.
	peekSize = 64 << 10
	// maxProblem is the longest problem document passed on, in bytes.
	maxProblem = 4 << 10
)

// A job is one request on its way through the candidates.
type job struct {
	epoch   *epoch
	header  *hpke.Header
	out     *hpke.Forwarded // for the candidate being asked
	hash    [32]byte
	block   wire.RoutingBlock
	order   []int    // of candidates, by the public draw
	payment *payment // nil in mode none, and before the first ticket
	record  wire.RouteRecord

	buf    *buffer
	up     *upload // the one that may be reading buf, if any
	peeked int     // bytes of the body in buf, after the forwarded header
	ended  bool    // the body ends with them
	length int64   // of the body, -1 when not known
}

// A buffer holds a forwarded header and the beginning of the body behind it.
type buffer [maxForwarded + peekSize]byte

// maxForwarded is no less than the longest forwarded header, in bytes.
const maxForwarded = 2 << 10

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// request is POST /v1/request.
func (r *Router) request(w http.ResponseWriter, req *http.Request) {
	if r.counts.inFlight.Add(1) > r.config.MaxConcurrent {
		r.counts.inFlight.Add(-1)
		r.refuse(w, http.StatusServiceUnavailable, "overload")
		return
	}
	defer r.counts.inFlight.Add(-1)
	r.counts.requests.Add(1)
	httpx.LimitBody(w, req, r.config.MaxRequest)
	j, p := r.read(req)
	if p != nil {
		r.refuse(w, p.status, p.code)
		return
	}
	defer j.release()
	if p := r.peek(j, req); p != nil {
		r.refuse(w, p.status, p.code)
		return
	}
	ctx, cancel := context.WithTimeout(req.Context(), r.config.Timeout)
	defer cancel()
	whole := false
	if j.block.Payment != wire.PaymentNone {
		// Also when the answer is cut, which is a panic.
		defer func() {
			if whole && j.payment != nil && !j.payment.settled {
				// What the client waits for leaves first. That it has gone is no matter here.
				_ = http.NewResponseController(w).Flush()
			}
			r.collect(req.Context(), j)
		}()
	}
	r.route(ctx, w, req, j)
	whole = true
}

// A problem is an answer that the router gives itself.
type problem struct {
	status int
	code   string
}

// read reads and judges the routing block and the header: everything that can
// be refused without a node.
func (r *Router) read(req *http.Request) (*job, *problem) {
	var raw [wire.RoutingBlockSize]byte
	if _, err := io.ReadFull(req.Body, raw[:]); err != nil {
		return nil, bodyProblem(req)
	}
	block, err := wire.ParseRoutingBlock(raw[:])
	if err != nil {
		return nil, &problem{http.StatusBadRequest, "routing"}
	}
	h, err := hpke.ReadHeader(req.Body)
	switch {
	case errors.Is(err, hpke.ErrSuite):
		return nil, &problem{http.StatusBadRequest, "suite"}
	case errors.Is(err, hpke.ErrHeader):
		return nil, &problem{http.StatusBadRequest, "header"}
	case err != nil:
		return nil, bodyProblem(req)
	}
	k := len(h.Entries)
	if k < r.config.MinCandidates || k > r.config.MaxCandidates {
		return nil, &problem{http.StatusBadRequest, "route.k"}
	}
	e, ok := r.epoch(block.Epoch)
	if !ok || h.Common.Epoch != block.Epoch {
		return nil, &problem{http.StatusConflict, "epoch"}
	}
	if block.Payment != e.statement.Payment {
		return nil, &problem{http.StatusPaymentRequired, "payment"}
	}
	ids := h.CandidateIDs()
	for _, id := range ids {
		if e.keys[id] == nil {
			return nil, &problem{http.StatusBadRequest, "route.candidate"}
		}
	}
	// The entries are hashed once, here, for all that follows.
	out := h.Forward(0)
	hash, err := out.Hash()
	if err != nil {
		return nil, &problem{http.StatusBadRequest, "header"}
	}
	j := &job{
		epoch: e, header: h, out: out, hash: hash, block: block, length: -1,
		order: wire.DrawOrder(block.DrawnOver(hash), e.statement.Beacon, ids),
	}
	if req.ContentLength >= 0 {
		j.length = req.ContentLength - wire.RoutingBlockSize - int64(hpke.HeaderSize(h.Common.Suite, k))
	}
	return j, nil
}

// bodyProblem says why a body ended too soon.
func bodyProblem(req *http.Request) *problem {
	switch err := httpx.BodyErr(req); {
	case httpx.TooLarge(err):
		return &problem{http.StatusRequestEntityTooLarge, "size"}
	case httpx.TooSlow(err):
		return &problem{http.StatusRequestTimeout, "slow"}
	}
	return &problem{http.StatusBadRequest, "truncated"}
}

// peek reads the beginning of the body into the job's buffer. A body that ends
// within it can be given to another candidate when one is busy.
func (r *Router) peek(j *job, req *http.Request) *problem {
	j.buf = buffers.Get().(*buffer)
	b := j.buf[j.forwardedSize():][:peekSize]
	for j.peeked < len(b) && !j.ended {
		n, err := req.Body.Read(b[j.peeked:])
		j.peeked += n
		switch {
		case err == io.EOF:
			j.ended = true
		case err != nil:
			return bodyProblem(req)
		}
	}
	if j.ended {
		j.length = int64(j.peeked)
	}
	return nil
}

func (j *job) forwardedSize() int {
	return hpke.ForwardedSize(j.header.Common.Suite, len(j.header.Entries))
}

// release gives the buffer back, once nobody reads it.
func (j *job) release() {
	if j.up != nil {
		j.up.stop()
	}
	if j.buf != nil {
		buffers.Put(j.buf)
		j.buf = nil
	}
}

// route offers the request to the candidates in the order of the draw. The
// next one is asked only against the signed receipt of the one before; a
// candidate that cannot be reached ends the request, because no receipt proves
// that it did not take it, and a client refuses a skip without one.
func (r *Router) route(ctx context.Context, w http.ResponseWriter, req *http.Request, j *job) {
	for _, i := range j.order {
		if p := r.pay(ctx, j, i); p != nil {
			r.refuse(w, p.status, p.code)
			return
		}
		resp, err := r.send(ctx, j, i, req.Body)
		if err != nil {
			if j.payment != nil && unsent(err) {
				j.payment.sent = false
			}
			r.unanswered(ctx, w, req, err)
			return
		}
		if resp.StatusCode != http.StatusServiceUnavailable || !typed(resp, typeBusy) {
			r.answer(w, req, resp, j, i)
			return
		}
		receipt, ok := r.receipt(resp, j, i)
		if !ok {
			r.refuse(w, http.StatusBadGateway, "node.receipt")
			return
		}
		if j.payment != nil {
			j.payment.receipt = receipt.Append(nil)
		}
		r.counts.skipped.Add(1)
		j.record.Skipped = append(j.record.Skipped, receipt)
		if !j.whole() {
			break // the client has to send it again
		}
	}
	r.refuse(w, http.StatusServiceUnavailable, "node.busy")
}

// errNoAddress is also for a node that does not prove itself: to requests it is
// not there.
var errNoAddress = errors.New("router: node has no address")

func (j *job) ask(i int) wire.Ask {
	return wire.Ask{HeaderHash: j.hash, Epoch: j.block.Epoch, Index: uint8(i), Attempt: j.block.Attempt}
}

// send gives candidate i what is for it: the common part, the hashes, its own
// entry, the body. No header of the client's travels: these are all there are.
func (r *Router) send(ctx context.Context, j *job, i int, body io.Reader) (*http.Response, error) {
	id := j.header.Entries[i].NodeID
	at := (*r.byID.Load())[id]
	if at == nil || !r.vetted(j.block.Epoch, id) {
		return nil, errNoAddress
	}
	u := at.request
	out := &http.Request{
		Method: http.MethodPost, URL: u, Host: u.Host, ProtoMajor: 1, ProtoMinor: 1,
		Body: j.upload(i, body), ContentLength: -1,
		Header: http.Header{
			"Content-Type": requestType,
			"User-Agent":   noAgent,
			wire.AskHeader: {j.ask(i).String()},
		},
	}
	if j.length >= 0 {
		out.ContentLength = int64(j.forwardedSize()) + j.length
	}
	if j.payment != nil {
		out.Header[wire.TicketHeader] = []string{j.payment.ticket.String()}
		j.payment.sent = true
	}
	if !j.ended {
		out.Header["Expect"] = expect
	}
	return r.upstream.RoundTrip(out.WithContext(ctx))
}

var (
	requestType = []string{"application/sotto-request"}
	noStore     = []string{"no-store"}
	noAgent     = []string{""}
	expect      = []string{"100-continue"}
)

func typed(resp *http.Response, want string) bool {
	ct := resp.Header["Content-Type"]
	return len(ct) == 1 && ct[0] == want
}

// receipt reads and verifies the busy receipt of candidate i, and closes resp.
func (r *Router) receipt(resp *http.Response, j *job, i int) (b wire.BusyReceipt, ok bool) {
	defer resp.Body.Close()
	var raw [wire.BusyReceiptSize + 1]byte
	n, err := io.ReadFull(resp.Body, raw[:])
	if err != io.ErrUnexpectedEOF || n != wire.BusyReceiptSize {
		return b, false
	}
	b, err = wire.ParseBusyReceipt(raw[:n])
	id := j.header.Entries[i].NodeID
	return b, err == nil && b.Answers(j.ask(i), id) && b.Verify(j.epoch.keys[id])
}

// unanswered answers for a node that did not.
func (r *Router) unanswered(ctx context.Context, w http.ResponseWriter, req *http.Request, err error) {
	switch {
	case httpx.BodyErr(req) != nil:
		p := bodyProblem(req)
		r.refuse(w, p.status, p.code)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		r.refuse(w, http.StatusGatewayTimeout, "node.timeout")
	case errors.Is(err, errNoAddress) || unsent(err):
		r.refuse(w, http.StatusBadGateway, "node.unreachable")
	default:
		// It may have run: nobody else gets it.
		r.refuse(w, http.StatusBadGateway, "node.failed")
	}
}

// answer passes on the answer of candidate i, and closes resp.
func (r *Router) answer(w http.ResponseWriter, req *http.Request, resp *http.Response, j *job, i int) {
	defer resp.Body.Close()
	limit, prefix := r.config.MaxAnswer, wire.RouteRecordSize
	sealed := resp.StatusCode == http.StatusOK
	switch {
	case sealed && typed(resp, typeResponse):
	case resp.StatusCode >= 400 && resp.StatusCode <= 599 && typed(resp, typeProblem):
		limit, prefix = maxProblem, 0
	default:
		r.refuse(w, http.StatusBadGateway, "node.answer")
		return
	}
	if resp.ContentLength > limit {
		r.refuse(w, http.StatusBadGateway, "node.answer")
		return
	}
	h := w.Header()
	h["Content-Type"] = resp.Header["Content-Type"]
	h["Cache-Control"] = noStore
	if j.payment != nil {
		if j.payment.said = resp.Header.Get(wire.UsageTrailer); sealed {
			prefix += wire.ChangeSize
		}
	}
	if resp.ContentLength >= 0 {
		h["Content-Length"] = []string{strconv.FormatInt(resp.ContentLength+int64(prefix), 10)}
	}
	w.WriteHeader(resp.StatusCode)
	if sealed {
		j.record.Index = uint8(i)
		var raw [wire.RouteRecordSize]byte
		if _, err := w.Write(j.record.Append(raw[:0])); err != nil {
			httpx.Abort()
		}
	}
	if j.up == nil || j.up.spent() {
		j.release() // a long answer need not hold it
	}
	if err := httpx.Stream(w, &capped{resp.Body, limit}); err != nil {
		r.counts.cut.Add(1)
		httpx.Abort()
	}
	if sealed && j.payment != nil {
		// The answer is whole and leaves now: change must not delay it.
		if err := http.NewResponseController(w).Flush(); err != nil {
			httpx.Abort()
		}
		if _, err := w.Write(r.change(req.Context(), j, resp.Trailer.Get(wire.UsageTrailer))); err != nil {
			httpx.Abort()
		}
	}
	if sealed {
		r.counts.answered.Add(1)
	} else {
		r.counts.refusedByNode.Add(1)
	}
}
