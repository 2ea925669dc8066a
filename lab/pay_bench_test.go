// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// BenchmarkPaying measures what paying adds to a short request, with two labs in
// one run, asked in turn: the halves of each pair met the same machine. A lab's
// wallet has 32 coins to begin with: with more requests than that some wait for
// new ones, so run it with -benchtime 30x.
func BenchmarkPaying(b *testing.B) {
	paid, free := startLab(b), startLab(b, "--payment", "none")
	ask := func(l *labProcess) time.Duration {
		body := `{"model":"sotto-tiny","max_tokens":1,"messages":[{"role":"user","content":"Hi"}]}`
		start := time.Now()
		resp, err := http.Post(l.ready.OpenAI+"/chat/completions", "application/json", strings.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		defer resp.Body.Close()
		a := readAnswer(resp)
		if took := time.Since(start); a.done {
			return took
		}
		b.Fatalf("%+v", a)
		return 0
	}
	ask(paid)
	ask(free)
	var with, without, more []time.Duration
	for b.Loop() {
		p, f := ask(paid), ask(free)
		with, without, more = append(with, p), append(without, f), append(more, p-f)
	}
	p50 := func(d []time.Duration) float64 {
		slices.Sort(d)
		return float64(d[len(d)/2]) / float64(time.Millisecond)
	}
	b.ReportMetric(p50(with), "paid-p50-ms")
	b.ReportMetric(p50(without), "free-p50-ms")
	b.ReportMetric(p50(more), "added-p50-ms")
	b.ReportMetric(p50(with)/p50(without), "ratio")
	b.ReportMetric(0, "ns/op")
}
