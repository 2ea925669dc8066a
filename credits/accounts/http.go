// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package accounts

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sotto-project/sotto/credits/accounts/api"
	"github.com/sotto-project/sotto/internal/httpx"
)

// A route is one thing that can be asked. The tables below are all of them; what
// is not in them is refused, and a test compares them with what answers.
type route struct {
	pattern string
	serve   http.HandlerFunc
}

func (b *Bank) publicTable() []route {
	return []route{
		{"GET /v1/account", b.user(b.account)},
		{"POST /v1/issue", b.user(b.issue)},
		{"GET /v1/issued/{keyset}", b.user(b.issued)},
		{"GET /v1/crowd/{keyset}", b.user(b.crowd)},
		{"POST /v1/redeem", b.user(b.redeem)},
		{"GET /v1/history", b.user(b.history)},
		{"POST /v1/topup", b.topup}, // authenticated by the provider's signature
		{"GET /v1/health", b.health},
	}
}

func (b *Bank) publicRoutes() http.Handler {
	mux := http.NewServeMux()
	for _, r := range b.publicTable() {
		mux.HandleFunc(r.pattern, r.serve)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { b.problem(w, &Refusal{http.StatusNotFound, "path"}) })
	return mux
}

// user lets a handler run for the account that the request's API key opens.
func (b *Bank) user(h func(w http.ResponseWriter, r *http.Request, a api.Account) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a, err := b.authenticate(r)
		if err == nil && !b.limits.allow(a, time.Now()) {
			err = errRate
		}
		if err == nil {
			err = h(w, r, a)
		}
		if err != nil {
			b.problem(w, err)
		}
	}
}

func (b *Bank) authenticate(r *http.Request) (api.Account, error) {
	h := r.Header["Authorization"]
	if len(h) != 1 {
		return api.Account{}, errAuth
	}
	text, ok := strings.CutPrefix(h[0], "Bearer ")
	if !ok {
		return api.Account{}, errAuth
	}
	k, err := api.ParseKey(text)
	if err != nil {
		return api.Account{}, errAuth
	}
	return b.engine.Authenticate(r.Context(), k)
}

func (b *Bank) account(w http.ResponseWriter, r *http.Request, a api.Account) error {
	if err := noQuery(r); err != nil {
		return err
	}
	s, err := b.engine.Account(r.Context(), a)
	if err != nil {
		return err
	}
	return b.answer(w, s)
}

func (b *Bank) issue(w http.ResponseWriter, r *http.Request, a api.Account) error {
	q := new(api.IssueRequest)
	if err := decode(w, r, q); err != nil {
		return err
	}
	out, err := b.engine.Issue(r.Context(), a, q)
	if err != nil {
		return err
	}
	b.counts.tokens.Add(uint64(len(q.Tokens)))
	return b.bytes(w, out)
}

func (b *Bank) issued(w http.ResponseWriter, r *http.Request, a api.Account) error {
	var id api.ID
	if id.UnmarshalText([]byte(r.PathValue("keyset"))) != nil {
		return errRequest
	}
	after, err := after(r)
	if err != nil {
		return err
	}
	out, err := b.engine.Issued(r.Context(), a, id, after)
	if err != nil {
		return err
	}
	return b.bytes(w, out)
}

func (b *Bank) crowd(w http.ResponseWriter, r *http.Request, _ api.Account) error {
	var id api.ID
	if id.UnmarshalText([]byte(r.PathValue("keyset"))) != nil || noQuery(r) != nil {
		return errRequest
	}
	c, err := b.engine.Crowd(r.Context(), id)
	if err != nil {
		return err
	}
	return b.answer(w, c)
}

func (b *Bank) redeem(w http.ResponseWriter, r *http.Request, a api.Account) error {
	q := new(api.RedeemRequest)
	if err := decode(w, r, q); err != nil {
		return err
	}
	out, err := b.engine.Redeem(r.Context(), a, q)
	if err != nil {
		return err
	}
	b.counts.vouchers.Add(uint64(len(q.Vouchers)))
	return b.bytes(w, out)
}

func (b *Bank) history(w http.ResponseWriter, r *http.Request, a api.Account) error {
	after, err := after(r)
	if err != nil {
		return err
	}
	p, err := b.engine.History(r.Context(), a, after)
	if err != nil {
		return err
	}
	return b.answer(w, p)
}

// health is the same for everybody and says nothing of accounts.
func (b *Bank) health(w http.ResponseWriter, r *http.Request) {
	b.write(w, b.state(r))
}

type health struct {
	State      string `json:"state"`
	Epoch      uint64 `json:"epoch"`
	Generation uint64 `json:"generation"`
	// For administrators: note it elsewhere, and a log that was cut shows.
	Log string `json:"log,omitempty"`
}

func (b *Bank) state(r *http.Request) health {
	h := health{State: "ready"}
	if v, err := b.engine.View(r.Context()); err != nil {
		h.State = statusOf(err).Code
	} else {
		h.Epoch = v.Epoch
	}
	if g, _, err := b.store.generation(r.Context()); err == nil {
		h.Generation = g
	}
	return h
}

// decode reads a JSON body strictly. A refusal is one of ours, or was answered.
func decode(w http.ResponseWriter, r *http.Request, v any) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	if api.Decode(body, v) != nil {
		return errRequest
	}
	return nil
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if err := noQuery(r); err != nil {
		return nil, err
	}
	httpx.LimitBody(w, r, api.MaxBody)
	body, err := io.ReadAll(r.Body)
	switch {
	case httpx.TooLarge(err):
		return nil, &Refusal{http.StatusRequestEntityTooLarge, "size"}
	case httpx.TooSlow(err):
		return nil, &Refusal{http.StatusRequestTimeout, "slow"}
	case err != nil:
		return nil, &Refusal{http.StatusBadRequest, "truncated"}
	case r.Header.Get("Content-Type") != "application/json":
		return nil, &Refusal{http.StatusUnsupportedMediaType, "type"}
	}
	return body, nil
}

func noQuery(r *http.Request) error {
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		return errRequest
	}
	return nil
}

// after is the one parameter that pages have.
func after(r *http.Request) (uint64, error) {
	if r.URL.RawQuery == "" {
		return 0, nil
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || len(q) != 1 || len(q["after"]) != 1 {
		return 0, errRequest
	}
	n, err := strconv.ParseUint(q["after"][0], 10, 53)
	if err != nil || strconv.FormatUint(n, 10) != q["after"][0] {
		return 0, errRequest
	}
	return n, nil
}

func (b *Bank) answer(w http.ResponseWriter, v any) error {
	out, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("accounts: %v", err)
	}
	return b.bytes(w, out)
}

func (b *Bank) write(w http.ResponseWriter, v any) {
	if err := b.answer(w, v); err != nil {
		b.problem(w, err)
	}
}

func (b *Bank) bytes(w http.ResponseWriter, out []byte) error {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(out)))
	w.Write(out)
	b.count("ok")
	return nil
}

// problem answers with a code and nothing of the request. What the store said
// stays here.
func (b *Bank) problem(w http.ResponseWriter, err error) {
	r := statusOf(err)
	if r == errStore {
		b.config.Log.Error("store", "err", err)
	}
	b.count(r.Code)
	if r.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	httpx.Problem(w, r.Status, r.Code)
}
