// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package clienttest

import (
	"context"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sotto-project/sotto/client"
)

// A Meter opens a client's connections and counts what leaves by them.
type Meter struct {
	mu    sync.Mutex
	conns []*meteredConn
	// Route, if set, says where an address leads: a name server.
	Route func(addr string) string
}

type meteredConn struct {
	net.Conn
	addr string
	out  atomic.Int64
}

func (c *meteredConn) Write(b []byte) (int, error) {
	c.out.Add(int64(len(b)))
	return c.Conn.Write(b)
}

// Dial is for client.Config.
func (m *Meter) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c := &meteredConn{addr: addr}
	m.mu.Lock()
	m.conns = append(m.conns, c)
	route := m.Route
	m.mu.Unlock()
	to := addr
	if route != nil {
		to = route(addr)
	}
	var d net.Dialer
	var err error
	c.Conn, err = d.DialContext(ctx, network, to)
	return c, err
}

// Dials returns the addresses dialled so far.
func (m *Meter) Dials() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, c := range m.conns {
		out = append(out, c.addr)
	}
	return out
}

func (m *Meter) counts() []int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]int64, len(m.conns))
	for i, c := range m.conns {
		out[i] = c.out.Load()
	}
	return out
}

// smallest is the size of the smallest sealed request. Statement, pack and
// freshness are asked for in less.
const smallest = 8 << 10

// NoSend calls f and fails the test if a connection carried as much as the
// smallest sealed request meanwhile, or led anywhere but to a relay. It returns
// how many bytes left in all.
func (w *World) NoSend(t testing.TB, f func()) (total int64) {
	t.Helper()
	w.Seen()
	before := w.Meter.counts()
	f()
	dials := w.Meter.Dials()
	for i, n := range w.Meter.counts() {
		if i < len(before) {
			n -= before[i]
		}
		total += n
		if n >= smallest {
			t.Errorf("%d bytes went to %s: a sealed request may have been sent", n, dials[i])
		}
		if i >= len(before) && !w.isRelay(dials[i]) {
			t.Errorf("%s was dialled", dials[i])
		}
	}
	if seen := w.Seen(); len(seen) > 0 {
		t.Errorf("%d requests were opened by nodes", len(seen))
	}
	return total
}

func (w *World) isRelay(addr string) bool {
	for _, r := range w.Relays {
		if strings.TrimPrefix(r.URL, "https://") == addr {
			return true
		}
	}
	return strings.HasPrefix(addr, "relay-") && w.Meter.Route != nil
}

// Code is the code of an error, for messages that compare.
func Code(err error) string { return client.CodeOf(err) }
