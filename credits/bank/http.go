// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bank

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/redeem"
	"github.com/sotto-project/sotto/internal/httpx"
)

// statuses has the HTTP status of every code of the port.
var statuses = map[string]int{
	redeem.CodeRouting: http.StatusBadRequest, redeem.CodeHeader: http.StatusBadRequest, credits.CodeRefund: http.StatusBadRequest,
	redeem.CodeEpoch: http.StatusConflict, credits.CodeSpent: http.StatusConflict, credits.CodeTurn: http.StatusConflict,
	credits.CodeGeneration: http.StatusServiceUnavailable, redeem.CodeStarting: http.StatusServiceUnavailable, redeem.CodeStore: http.StatusServiceUnavailable,
	credits.CodeEpoch: http.StatusPaymentRequired, credits.CodeClass: http.StatusPaymentRequired, credits.CodeSig: http.StatusPaymentRequired,
	credits.CodeRate: http.StatusTooManyRequests, credits.CodeAbsent: http.StatusNotFound,
}

// Handler serves what router and gateway may ask.
func (b *Bank) Handler() http.Handler {
	mux := http.NewServeMux()
	router := func(pattern string, h http.HandlerFunc) { mux.Handle(pattern, httpx.RequirePeer(b.config.Routers, h)) }
	gateway := func(pattern string, h http.HandlerFunc) { mux.Handle(pattern, httpx.RequirePeer(b.config.Gateways, h)) }
	router("POST /v1/hold", b.post(redeem.MaxAsk, "application/sotto-ticket", b.hold))
	router("POST /v1/turn", b.post(redeem.MaxAsk, "application/sotto-ticket", b.turn))
	router("POST /v1/settle", b.post(redeem.MaxSettle, "application/sotto-change", b.settle))
	gateway("POST /v1/change", b.post(32, "application/sotto-change", b.change))
	gateway("POST /v1/swap", b.post(redeem.MaxSwap, "application/sotto-minted", b.swap))
	gateway("GET /v1/table/{keyset}", b.buckets)
	gateway("GET /v1/table/{keyset}/{n}", b.bucket)
	either := slices.Concat(b.config.Routers, b.config.Gateways)
	mux.Handle("GET /v1/health", httpx.RequirePeer(either, http.HandlerFunc(b.health)))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { b.refuse(w, http.StatusNotFound, "path") })
	return mux
}

// post reads a body of at most max bytes, and answers what f makes of it.
func (b *Bank) post(max int64, kind string, f func(ctx context.Context, body []byte) ([]byte, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		httpx.LimitBody(w, r, max)
		body, err := io.ReadAll(r.Body)
		if err != nil {
			b.meters.requests.Inc("truncated")
			httpx.BodyProblem(w, err)
			return
		}
		// What is begun is finished, whether or not the peer waits for it.
		out, err := f(context.WithoutCancel(r.Context()), body)
		b.answer(w, kind, out, err)
	}
}

func (b *Bank) answer(w http.ResponseWriter, kind string, out []byte, err error) {
	if err != nil {
		code := codeOf(err)
		if code == redeem.CodeStore {
			b.log.Warn("database", "err", err)
		}
		b.refuse(w, statuses[code], code)
		return
	}
	b.meters.requests.Inc("ok")
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(out)))
	w.Write(out)
}

func codeOf(err error) string {
	if r := (*credits.Refusal)(nil); errors.As(err, &r) {
		return r.Code
	}
	return redeem.CodeStore
}

func (b *Bank) refuse(w http.ResponseWriter, status int, code string) {
	b.meters.requests.Inc(code)
	httpx.Problem(w, status, code)
}

func (b *Bank) hold(ctx context.Context, body []byte) ([]byte, error) {
	t, err := b.engine.Hold(ctx, body)
	if err != nil {
		return nil, err
	}
	return t.Append(nil), nil
}

func (b *Bank) turn(ctx context.Context, body []byte) ([]byte, error) {
	t, err := b.engine.Turn(ctx, body)
	if err != nil {
		return nil, err
	}
	return t.Append(nil), nil
}

func (b *Bank) settle(ctx context.Context, body []byte) ([]byte, error) {
	c, err := b.engine.Settle(ctx, body)
	if err != nil {
		return nil, err
	}
	return c.Append(nil), nil
}

func (b *Bank) change(ctx context.Context, body []byte) ([]byte, error) {
	if len(body) != 32 {
		return nil, &credits.Refusal{Code: redeem.CodeRouting, Why: "no header hash"}
	}
	c, err := b.engine.Change(ctx, [32]byte(body))
	if err != nil {
		return nil, err
	}
	return c.Append(nil), nil
}

func (b *Bank) swap(ctx context.Context, body []byte) ([]byte, error) {
	list, err := b.engine.Swap(ctx, body)
	if err != nil {
		return nil, err
	}
	return credits.AppendMintedList(nil, list), nil
}

// keysetOf reads a path's keyset: 64 lower-case hexadecimal digits.
func keysetOf(r *http.Request) (id [32]byte, ok bool) {
	s := r.PathValue("keyset")
	n, err := hex.Decode(id[:], []byte(s[:min(len(s), 64)]))
	return id, err == nil && n == 32 && hex.EncodeToString(id[:]) == s
}

func (b *Bank) buckets(w http.ResponseWriter, r *http.Request) {
	id, ok := keysetOf(r)
	if !ok {
		b.refuse(w, http.StatusNotFound, "path")
		return
	}
	n, err := b.engine.Buckets(r.Context(), id)
	b.answer(w, "application/octet-stream", binary.BigEndian.AppendUint32(nil, n), err)
}

func (b *Bank) bucket(w http.ResponseWriter, r *http.Request) {
	id, ok := keysetOf(r)
	n, err := strconv.ParseUint(r.PathValue("n"), 10, 32)
	if !ok || err != nil || strconv.FormatUint(n, 10) != r.PathValue("n") {
		b.refuse(w, http.StatusNotFound, "path")
		return
	}
	list, err := b.engine.Bucket(r.Context(), id, uint32(n))
	b.answer(w, "application/sotto-table", credits.AppendTable(nil, list), err)
}

// Health is what GET /v1/health answers.
type Health struct {
	State      string `json:"state"` // "ready", "starting" or a code
	Epoch      uint64 `json:"epoch"`
	Generation uint64 `json:"generation"`
	Reason     string `json:"reason,omitempty"` // for people
}

// Health says whether the bank serves, and why not.
func (b *Bank) Health() Health {
	s := b.engine.State()
	return Health{s.Code, s.Epoch, s.Generation, b.reason.get()}
}

func (b *Bank) health(w http.ResponseWriter, _ *http.Request) {
	out, err := json.Marshal(b.Health())
	if err != nil {
		b.refuse(w, http.StatusServiceUnavailable, redeem.CodeStarting)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Write(append(out, '\n'))
}

// reason is why the bank does not serve, or not as it should.
type reason struct{ p atomic.Pointer[string] }

func (r *reason) set(s string) { r.p.Store(&s) }

func (r *reason) get() string {
	if s := r.p.Load(); s != nil {
		return *s
	}
	return ""
}
