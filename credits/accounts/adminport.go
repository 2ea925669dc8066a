// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package accounts

import (
	"net/http"
	"slices"

	"github.com/sotto-project/sotto/credits/accounts/api"
	"github.com/sotto-project/sotto/internal/httpx"
)

// Documents of the admin port.
type (
	// NewAccount is the body of POST /v1/accounts.
	NewAccount struct {
		Note string `json:"note,omitempty"`
	}
	// AccountKey answers it, and a rotation. It is the only time that anybody
	// sees the key.
	AccountKey struct {
		Account api.Account `json:"account"`
		Key     string      `json:"key"`
	}
	// Pay is the body of POST /v1/accounts/{account}/topup.
	Pay struct {
		Event string `json:"event"` // counts once
		Units uint64 `json:"units"`
	}
	// Turn is the body of POST /v1/accounts/{account}/rotate.
	Turn struct {
		Overlap uint64 `json:"overlap"` // epochs that the old key opens yet
	}
	// Accounts answers GET /v1/accounts.
	Accounts struct {
		Accounts []Listing `json:"accounts"`
	}
	// Done answers what has no other answer.
	Done struct {
		Account api.Account `json:"account"`
	}
)

// A call is an administrator's call that came through: with a certificate of a
// name that may ask.
type call struct {
	w   http.ResponseWriter
	r   *http.Request
	who string
}

func (b *Bank) adminTable() []route {
	return []route{
		{"GET /v1/health", b.as("", b.adminHealth)},
		{"GET /v1/accounts", b.as("list", b.adminList)},
		{"POST /v1/accounts", b.as("create", b.adminCreate)},
		{"GET /v1/accounts/{account}", b.as("show", b.adminShow)},
		{"GET /v1/accounts/{account}/history", b.as("history", b.adminHistory)},
		{"POST /v1/accounts/{account}/topup", b.as("topup", b.adminTopUp)},
		{"POST /v1/accounts/{account}/freeze", b.as("freeze", b.adminFreeze)},
		{"POST /v1/accounts/{account}/unfreeze", b.as("unfreeze", b.adminUnfreeze)},
		{"POST /v1/accounts/{account}/rotate", b.as("rotate", b.adminRotate)},
		{"POST /v1/accounts/{account}/grant", b.as("grant", b.adminGrant)},
	}
}

// adminRoutes refuses by default: who is not named in Peers reaches no handler,
// and what is not in the table has none. Both are acts that the log has.
func (b *Bank) adminRoutes() http.Handler {
	mux := http.NewServeMux()
	for _, r := range b.adminTable() {
		mux.HandleFunc(r.pattern, r.serve)
	}
	mux.HandleFunc("/", b.as("unknown", func(call) error { return &Refusal{http.StatusNotFound, "path"} }))
	return mux
}

// as runs an act for an administrator. Those that succeed enter the log with
// what they did, in one transaction; those that were refused enter it here.
// Looking at health is no act.
func (b *Bank) as(what string, f func(call) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := call{w, r, httpx.PeerName(r)}
		var err error
		if c.who == "" || !slices.Contains(b.config.Admin.Peers, c.who) {
			err = &Refusal{http.StatusForbidden, "peer"}
		} else {
			err = f(c)
		}
		if err == nil {
			return
		}
		if what != "" {
			act := Act{Who: c.who, What: what, Outcome: statusOf(err).Code}
			if a, ok := c.account(); ok {
				act.Account = a.String()
			}
			if lerr := b.store.LogAct(r.Context(), act); lerr != nil {
				err = lerr
			}
		}
		b.problem(w, err)
	}
}

func (c call) account() (a api.Account, ok bool) {
	return a, a.UnmarshalText([]byte(c.r.PathValue("account"))) == nil
}

func (b *Bank) adminHealth(c call) error {
	s := b.state(c.r)
	h, err := b.store.LogHead()
	if err != nil {
		return err
	}
	s.Log = h.String()
	return b.answer(c.w, s)
}

func (b *Bank) adminList(c call) error {
	var after api.Account
	if q := c.r.URL.Query(); len(q) > 0 {
		if len(q) != 1 || len(q["after"]) != 1 || after.UnmarshalText([]byte(q["after"][0])) != nil {
			return errRequest
		}
	}
	l, err := b.engine.List(c.r.Context(), c.who, after)
	if err != nil {
		return err
	}
	return b.answer(c.w, Accounts{l})
}

func (b *Bank) adminCreate(c call) error {
	n := new(NewAccount)
	if err := decode(c.w, c.r, n); err != nil {
		return err
	}
	a, key, err := b.engine.Create(c.r.Context(), c.who, n.Note)
	if err != nil {
		return err
	}
	return b.answer(c.w, AccountKey{a, key.Text()})
}

func (b *Bank) adminShow(c call) error {
	a, ok := c.account()
	if !ok || noQuery(c.r) != nil {
		return errRequest
	}
	s, err := b.engine.Account(c.r.Context(), a)
	if err != nil {
		return err
	}
	if err := b.store.LogAct(c.r.Context(), Act{Who: c.who, What: "show", Account: a.String(), Outcome: "ok"}); err != nil {
		return err
	}
	return b.answer(c.w, s)
}

func (b *Bank) adminHistory(c call) error {
	a, ok := c.account()
	n, err := after(c.r)
	if !ok || err != nil {
		return errRequest
	}
	p, err := b.engine.History(c.r.Context(), a, n)
	if err != nil {
		return err
	}
	if err := b.store.LogAct(c.r.Context(), Act{Who: c.who, What: "history", Account: a.String(), Outcome: "ok"}); err != nil {
		return err
	}
	return b.answer(c.w, p)
}

func (b *Bank) adminTopUp(c call) error {
	p := new(Pay)
	return b.act(c, p, func(a api.Account) (any, error) {
		err := b.engine.TopUp(c.r.Context(), c.who, p.Event, a, p.Units)
		return api.ToppedUp{Event: p.Event, Units: p.Units}, err
	})
}

func (b *Bank) adminFreeze(c call) error   { return b.freeze(c, true) }
func (b *Bank) adminUnfreeze(c call) error { return b.freeze(c, false) }

func (b *Bank) freeze(c call, frozen bool) error {
	return b.act(c, new(struct{}), func(a api.Account) (any, error) {
		return Done{a}, b.engine.Freeze(c.r.Context(), c.who, a, frozen)
	})
}

func (b *Bank) adminRotate(c call) error {
	t := new(Turn)
	return b.act(c, t, func(a api.Account) (any, error) {
		key, err := b.engine.Rotate(c.r.Context(), c.who, a, t.Overlap)
		if err != nil {
			return nil, err
		}
		return AccountKey{a, key.Text()}, nil
	})
}

func (b *Bank) adminGrant(c call) error {
	g := new(api.Entitlement)
	return b.act(c, g, func(a api.Account) (any, error) {
		return Done{a}, b.engine.Grant(c.r.Context(), c.who, a, *g)
	})
}

// act decodes a body into v, does something with an account, and answers.
func (b *Bank) act(c call, v any, f func(api.Account) (any, error)) error {
	if err := decode(c.w, c.r, v); err != nil {
		return err
	}
	a, ok := c.account()
	if !ok {
		return errRequest
	}
	out, err := f(a)
	if err != nil {
		return err
	}
	return b.answer(c.w, out)
}
