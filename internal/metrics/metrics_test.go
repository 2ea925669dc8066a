// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package metrics_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
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
