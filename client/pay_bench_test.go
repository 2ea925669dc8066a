// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/client/internal/clienttest"
)

// BenchmarkLastByte measures how long the end of an answer waits for its change.
// For every other request the bank takes a tenth of a second to settle: whatever
// of that an application felt would be the difference of the medians. Run it with
// -benchtime 60x: a coin a request.
func BenchmarkLastByte(b *testing.B) {
	const late = 100 * time.Millisecond
	w := clienttest.StartPaid(b, 3)
	wl := w.Wallet(coins(256)...)
	c := w.Client(clienttest.Pays(wl))
	slow := make(chan bool, 1)
	w.Mint.Bank.Intercept(func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/v1/settle") && <-slow {
				time.Sleep(late)
			}
			h.ServeHTTP(rw, r)
		})
	})
	ask := func(delayed bool) time.Duration {
		slow <- delayed
		begin := time.Now()
		resp, err := c.RoundTrip(request(b, chatURL, body("hello")))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadAll(resp.Body); err != nil {
			b.Fatal(err)
		}
		took := time.Since(begin)
		resp.Body.Close()
		drained(b, c) // the next request meets nothing of this one
		return took
	}
	ask(false)
	var prompt, delayed []time.Duration
	for b.Loop() {
		prompt, delayed = append(prompt, ask(false)), append(delayed, ask(true))
	}
	p50 := func(d []time.Duration) float64 {
		slices.Sort(d)
		return float64(d[len(d)/2]) / float64(time.Millisecond)
	}
	b.ReportMetric(p50(prompt), "p50-ms")
	b.ReportMetric(p50(delayed), "late-p50-ms")
	b.ReportMetric(p50(delayed)-p50(prompt), "felt-ms")
	b.ReportMetric(0, "ns/op")
}
