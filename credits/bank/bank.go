// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package bank is the anonymous port of the bank: it serves credits/redeem to
// the operator's router and gateway over mutual TLS, and follows the log so
// that the engine knows the epoch.
//
// It has no account, sees no client's address, and shares neither process nor
// database with the identified port (credits/accounts). It counts by code and
// never by token, request or time. The specification is docs/spec/payment.md,
// section 7.
package bank

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sotto-project/sotto/credits/issue"
	"github.com/sotto-project/sotto/credits/redeem"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/metrics"
	"github.com/sotto-project/sotto/transparency/follow"
	"github.com/sotto-project/sotto/transparency/statement"
)

// A Bank is the port. Make one with [New], close it when done.
type Bank struct {
	config    Config
	log       *slog.Logger
	store     redeem.Store
	engine    *redeem.Bank
	ring      *issue.Ring
	publisher *follow.Publisher
	transport *http.Transport
	reg       *prometheus.Registry
	meters    meters

	polling sync.Mutex        // one Poll at a time; guards what follows
	known   map[uint64]*known // the newest statements
	told    string            // what the log was last told is wrong

	reason reason
}

// known is a statement that was verified.
type known struct {
	signed *statement.Signed
	epoch  *redeem.Epoch
}

// New checks c, reads the keys and opens the database. It dials the database
// only. A nil log is none.
func New(c Config, log *slog.Logger) (*Bank, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c.defaults()
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	base, err := c.origin()
	if err != nil {
		return nil, err
	}
	key, err := OpenTicketKey(c.TicketKey)
	if err != nil {
		return nil, err
	}
	b := &Bank{config: c, log: log, ring: issue.NewRing(c.Keys), known: map[uint64]*known{}, reg: prometheus.NewRegistry()}
	if err := b.ring.Load(); err != nil {
		return nil, fmt.Errorf("bank: keys: %w", err)
	}
	pc, err := httpx.TLS{CA: c.PublisherCA}.Client("")
	if err != nil {
		return nil, fmt.Errorf("bank: publisher_ca: %w", err)
	}
	b.transport = httpx.NewTransport(pc)
	b.publisher = follow.NewPublisher(base, b.transport)
	if b.store, err = c.openStore(context.Background()); err != nil {
		return nil, err
	}
	rates := map[uint8]uint64{}
	for name, n := range c.Rates {
		rates[types[name]] = n
	}
	b.engine, err = redeem.New(redeem.Config{Store: b.store, Keys: b.ring.Of, Ticket: key, Rates: rates, Away: c.Away})
	if err != nil {
		return nil, errors.Join(err, b.store.Close())
	}
	b.reason.set("no statement yet")
	b.meters = newMeters(b.reg, b)
	return b, nil
}

// Close lets go of the database.
func (b *Bank) Close() error {
	b.transport.CloseIdleConnections()
	return b.store.Close()
}

// Registry has the bank's metrics.
func (b *Bank) Registry() *prometheus.Registry { return b.reg }

// Serve listens on the configured ports and follows the log until ctx ends.
func (b *Bank) Serve(ctx context.Context) error {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", b.config.Listen)
	if err != nil {
		return fmt.Errorf("bank: %w", err)
	}
	return b.ServeOn(ctx, ln)
}

// ServeOn is [Bank.Serve] on a listener that is there already. It closes it.
func (b *Bank) ServeOn(ctx context.Context, ln net.Listener) error {
	tc, err := b.config.TLS.Server(true)
	if err != nil {
		return errors.Join(fmt.Errorf("bank: %w", err), ln.Close())
	}
	srv := httpx.NewServer(b.Handler())
	srv.TLSConfig = tc
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	jobs := []func() error{
		func() error { return httpx.Serve(ctx, ln, srv) },
		func() error { b.follow(ctx); return nil },
		func() error { b.tidy(ctx); return nil },
	}
	if b.config.Metrics != "" {
		jobs = append(jobs, func() error { return metrics.Serve(ctx, b.config.Metrics, b.reg) })
	}
	ends := make(chan error, len(jobs))
	for _, job := range jobs {
		go func() { ends <- job() }() // all of them are waited for below
	}
	var all error
	for range jobs {
		all = errors.Join(all, <-ends)
		stop() // one that ends, ends all
	}
	return all
}

func (b *Bank) follow(ctx context.Context) {
	follow.Every(ctx, b.config.Poll, func() bool { return b.Poll(ctx) == nil })
}

// tidy ends holds whose time is over and drops what is past, a little at a time:
// requests have the processors first.
func (b *Bank) tidy(ctx context.Context) {
	follow.Every(ctx, b.config.Poll, func() bool {
		more, err := true, error(nil)
		for i := 0; i < expireBatches && more && err == nil && ctx.Err() == nil; i++ {
			var n int
			n, more, err = b.engine.Expire(ctx, expireBatch)
			b.meters.expired.Add(float64(n))
		}
		if err == nil && !more {
			err = b.engine.Drop(ctx)
		}
		if err != nil && ctx.Err() == nil {
			b.log.Warn("holds whose time is over", "err", err)
		}
		return err == nil && !more
	})
}

// expireBatch is how many holds are ended at once, expireBatches how many such
// batches before the bank looks up.
const (
	expireBatch   = 64
	expireBatches = 100
)

// Poll looks at the publisher and at the directory of keys once. What it knows
// already it keeps, whatever fails.
func (b *Bank) Poll(ctx context.Context) error {
	b.polling.Lock()
	defer b.polling.Unlock()
	err := errors.Join(b.ring.Load(), b.statements(ctx))
	if len(b.known) > 0 {
		var epochs []*redeem.Epoch
		for _, k := range b.known {
			epochs = append(epochs, k.epoch)
		}
		why := b.engine.Follow(ctx, epochs...)
		for _, id := range b.engine.Missing() {
			why = errors.Join(why, fmt.Errorf("bank: the keys of keyset %x are not at hand: its tokens are refused", id[:8]))
		}
		b.reason.set("")
		if why != nil {
			b.reason.set(why.Error())
		}
		err = errors.Join(err, why)
	}
	said := ""
	if err != nil {
		said = err.Error()
	}
	if said != b.told && ctx.Err() == nil {
		if b.told = said; err != nil {
			b.log.Warn("following the log", "err", err)
		} else {
			b.log.Info("serving", "epoch", b.engine.State().Epoch)
		}
	}
	return err
}

// statements admits the statement in force, the one after it where it is
// public, and the one before the newest.
func (b *Bank) statements(ctx context.Context) error {
	raw, err := b.publisher.Latest(ctx)
	if err != nil {
		return err
	}
	newest, err := b.admit(raw)
	if err != nil {
		return err
	}
	raw, err = b.publisher.Statement(ctx, newest+1)
	switch {
	case err == nil:
		if newest, err = b.admit(raw); err != nil {
			return err
		}
	case !errors.Is(err, follow.ErrAbsent):
		return err
	}
	for n := range b.known {
		newest = max(newest, n)
	}
	if newest > 0 && b.known[newest-1] == nil {
		raw, err := b.publisher.Statement(ctx, newest-1)
		if err == nil {
			_, err = b.admit(raw)
		}
		if err != nil && !errors.Is(err, follow.ErrAbsent) {
			return err
		}
	}
	for n := range b.known {
		if n+1 < newest {
			delete(b.known, n)
		}
	}
	return nil
}

func (b *Bank) admit(raw []byte) (uint64, error) {
	s, st, has, err := follow.Admit(&b.config.Trust, raw, func(n uint64) *statement.Signed {
		if k := b.known[n]; k != nil {
			return k.signed
		}
		return nil
	})
	if err != nil || has {
		if err == nil {
			return s.Index, nil
		}
		return 0, fmt.Errorf("bank: %w", err)
	}
	e, err := redeem.NewEpoch(st)
	if err != nil {
		return 0, err
	}
	b.known[st.Epoch] = &known{s, e}
	return st.Epoch, nil
}
