// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package metrics_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sotto-project/sotto/internal/metrics"
)

func scrape(t *testing.T, reg *prometheus.Registry) string {
	t.Helper()
	s := httptest.NewServer(metrics.Handler(reg))
	defer s.Close()
	resp, err := http.Get(s.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%d %v", resp.StatusCode, err)
	}
	return string(b)
}

func TestNamesAndValues(t *testing.T) {
	reg := prometheus.NewRegistry()
	s := metrics.NewSet(reg, "relay")
	s.Counter("a_total", "A.").Add(2)
	s.CounterFunc("b_total", "B.", func() uint64 { return 7 })
	s.GaugeFunc("c", "C.", func() float64 { return 1.5 })
	s.Histogram("d_seconds", "D.", []float64{1, 10}).Observe(3)
	codes := s.Codes("e_total", "E.", "replay", "target")
	codes.Inc("replay")
	codes.Inc("anything a peer sends")
	out := scrape(t, reg)
	for _, line := range []string{
		"sotto_relay_a_total 2\n", "sotto_relay_b_total 7\n", "sotto_relay_c 1.5\n", `sotto_relay_d_seconds_bucket{le="10"} 1` + "\n",
		`sotto_relay_e_total{code="replay"} 1` + "\n", `sotto_relay_e_total{code="target"} 0` + "\n", `sotto_relay_e_total{code="other"} 1` + "\n",
	} {
		if !strings.Contains(out, line) {
			t.Errorf("no %q in\n%s", line, out)
		}
	}
	if strings.Contains(out, "anything") {
		t.Error("a peer's words became a label")
	}
}

func TestServeRefusesNoAddress(t *testing.T) {
	if err := metrics.Serve(context.Background(), "", prometheus.NewRegistry()); err == nil {
		t.Error("served nowhere")
	}
}

func TestServeNamesATakenPort(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	addr := s.Listener.Addr().String()
	if err := metrics.Serve(context.Background(), addr, prometheus.NewRegistry()); err == nil || !strings.Contains(err.Error(), addr) {
		t.Errorf("got %v", err)
	}
}

// TestBeside: whatever ends first ends all, and nothing that is said is lost.
func TestBeside(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	one, two := errors.New("one"), errors.New("two")
	ends := func(err error) func(context.Context) error { return func(context.Context) error { return err } }
	for name, c := range map[string]struct {
		addr  string
		first func(context.Context) error // nil: the caller ends all
		last  error                       // of a job that ends only when it has to
		want  []error
	}{
		"the caller ends all":       {},
		"one is done":               {first: ends(nil)},
		"one fails":                 {first: ends(one), want: []error{one}},
		"both fail":                 {first: ends(one), last: two, want: []error{one, two}},
		"the last fails":            {first: ends(nil), last: two, want: []error{two}},
		"no port for metrics":       {addr: taken.Addr().String(), want: []error{syscall.EADDRINUSE}},
		"a port for metrics":        {addr: "127.0.0.1:0", first: ends(one), want: []error{one}},
		"the caller ends all three": {addr: "127.0.0.1:0"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := false
			jobs := []func(context.Context) error{func(ctx context.Context) error {
				<-ctx.Done()
				ended = true
				return c.last
			}}
			if c.first != nil {
				jobs = append(jobs, c.first)
			} else if c.want == nil {
				cancel()
			}
			err := metrics.Beside(ctx, c.addr, prometheus.NewRegistry(), jobs...)
			if !ended {
				t.Error("a job goes on")
			}
			for _, want := range c.want {
				if !errors.Is(err, want) {
					t.Errorf("%v, want %v", err, want)
				}
			}
			if c.want == nil && err != nil {
				t.Error(err)
			}
		})
	}
}
