// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package metrics serves a role's Prometheus registry on a port of its own and
// makes its instruments under one naming rule, sotto_<role>_<name>.
//
// It keeps no default registry and offers no way to label by request: a label
// takes its values from a list fixed when the instrument is made, so that no
// value that a request brings can become a time series.
package metrics

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sotto-project/sotto/internal/httpx"
)

// A Set makes the instruments of one role.
type Set struct {
	role string
	reg  *prometheus.Registry
}

// NewSet returns a Set whose instruments are named sotto_<role>_... and
// registered with reg.
func NewSet(reg *prometheus.Registry, role string) *Set { return &Set{role, reg} }

// Counter makes and registers a counter. name carries its unit and ends in
// _total. It panics when the name is taken, as all of Set's methods do: the
// list of instruments is fixed in code.
func (s *Set) Counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "sotto", Subsystem: s.role, Name: name, Help: help})
	s.reg.MustRegister(c)
	return c
}

// CounterFunc makes and registers a counter that is read from f.
func (s *Set) CounterFunc(name, help string, f func() uint64) {
	s.reg.MustRegister(prometheus.NewCounterFunc(
		prometheus.CounterOpts{Namespace: "sotto", Subsystem: s.role, Name: name, Help: help},
		func() float64 { return float64(f()) }))
}

// GaugeFunc makes and registers a gauge that is read from f.
func (s *Set) GaugeFunc(name, help string, f func() float64) {
	s.reg.MustRegister(prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Namespace: "sotto", Subsystem: s.role, Name: name, Help: help}, f))
}

// Histogram makes and registers a histogram with the given bucket bounds.
// Histograms of times and sizes need coarse bounds: fine ones would describe
// single requests.
func (s *Set) Histogram(name, help string, bounds []float64) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: "sotto", Subsystem: s.role, Name: name, Help: help, Buckets: bounds})
	s.reg.MustRegister(h)
	return h
}

// Codes makes and registers a counter with one label, code, for each of the
// fixed list of codes; counting any other code counts "other".
func (s *Set) Codes(name, help string, codes ...string) *Codes {
	v := prometheus.NewCounterVec(
		prometheus.CounterOpts{Namespace: "sotto", Subsystem: s.role, Name: name, Help: help}, []string{"code"})
	s.reg.MustRegister(v)
	c := &Codes{by: map[string]prometheus.Counter{}, other: v.WithLabelValues("other")}
	for _, code := range codes {
		c.by[code] = v.WithLabelValues(code)
	}
	return c
}

// Codes counts events by a closed list of codes.
type Codes struct {
	by    map[string]prometheus.Counter // never written after the constructor
	other prometheus.Counter
}

// Inc counts one event.
func (c *Codes) Inc(code string) {
	if m, ok := c.by[code]; ok {
		m.Inc()
		return
	}
	c.other.Inc()
}

// Handler returns GET /metrics for reg and nothing else.
func Handler(reg *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		DisableCompression: true, EnableOpenMetrics: false}))
	return mux
}

// Serve serves reg on addr ("127.0.0.1:9100") until ctx ends. The port is for
// the operator's own network: it has no TLS and no authentication.
func Serve(ctx context.Context, addr string, reg *prometheus.Registry) error {
	if addr == "" {
		return errors.New("metrics: no address")
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	return httpx.Serve(ctx, ln, httpx.NewServer(Handler(reg)))
}

// Beside runs jobs until ctx ends and beside them, unless addr is empty, [Serve]. The
// first that ends, well or not, ends all; it returns when all have ended, with what
// each of them says.
func Beside(ctx context.Context, addr string, reg *prometheus.Registry, jobs ...func(context.Context) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if addr != "" {
		jobs = append(slices.Clone(jobs), func(ctx context.Context) error { return Serve(ctx, addr, reg) })
	}
	ends := make(chan error, len(jobs))
	for _, job := range jobs {
		go func() { ends <- job(ctx) }() // all of them are waited for below
	}
	var all error
	for range jobs {
		all = errors.Join(all, <-ends)
		stop()
	}
	return all
}
