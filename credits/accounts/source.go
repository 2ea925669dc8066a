// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package accounts

import (
	"context"
	"fmt"
	"net/url"
	"sync/atomic"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/follow"
	"github.com/sotto-project/sotto/transparency/statement"
)

// A View is what the newest verified statement says about money.
type View struct {
	Epoch      uint64
	Generation uint64
	Set        *credits.Set
}

// A Source has the newest verified statement's view. Its errors mean that there
// is none.
type Source interface{ View() (View, error) }

// log is the source that follows a publisher. poll is for one caller at a time.
type log struct {
	trust     transparency.Trust
	publisher *follow.Publisher
	newest    atomic.Pointer[admitted]
}

type admitted struct {
	signed *statement.Signed
	view   View
	empty  bool // an outage, and nothing is known from before it
}

func newLog(c *Config) (*log, error) {
	base, err := origin(c.Publisher)
	if err != nil {
		return nil, err
	}
	tc, err := httpx.TLS{CA: c.PublisherCA}.Client("")
	if err != nil {
		return nil, fmt.Errorf("accounts: publisher: %w", err)
	}
	return &log{trust: c.Trust, publisher: follow.NewPublisher(base, httpx.NewTransport(tc))}, nil
}

// Named returns the highest mint generation that statements name now: see
// [follow.Publisher.Generation].
func (c *Config) Named(ctx context.Context) (uint64, error) {
	l, err := newLog(c)
	if err != nil {
		return 0, err
	}
	return l.publisher.Generation(ctx, &l.trust)
}

// View is of the statement in force.
func (l *log) View() (View, error) {
	a := l.newest.Load()
	if a == nil || a.empty {
		return View{}, errStarting
	}
	return a.view, nil
}

// poll looks at the publisher once. What is there stays, whatever fails, and an
// older statement changes nothing.
func (l *log) poll(ctx context.Context) error {
	raw, err := l.publisher.Latest(ctx)
	if err != nil {
		return fmt.Errorf("accounts: %w", err)
	}
	had := l.newest.Load()
	s, st, known, err := follow.Admit(&l.trust, raw, func(epoch uint64) *statement.Signed {
		if had != nil && had.signed.Index == epoch {
			return had.signed
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("accounts: %w", err)
	}
	if known || had != nil && st.Epoch < had.signed.Index {
		return nil
	}
	var list []credits.Listed
	for _, k := range st.CoinKeysets {
		list = append(list, credits.Listed(k))
	}
	set, err := credits.NewSet(list)
	if err != nil {
		return fmt.Errorf("accounts: statement %d: %w", st.Epoch, err)
	}
	a := &admitted{s, View{st.Epoch, st.MintGeneration, set}, st.Empty}
	if st.Empty && had != nil {
		// It names nothing: what was said before stands, and time goes on.
		a.view.Generation, a.view.Set, a.empty = had.view.Generation, had.view.Set, had.empty
	}
	l.newest.Store(a)
	return nil
}

// origin accepts an absolute https URL of scheme, host and path alone.
func origin(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
		return nil, fmt.Errorf("accounts: publisher: want an https URL, have %q", s)
	}
	if u.Path == "" {
		u.Path = "/" // JoinPath onto an empty path gives a relative one, which no server takes
	}
	return u, nil
}
