// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package accounts_test

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"github.com/sotto-project/sotto/credits/accounts/api"
	"github.com/sotto-project/sotto/internal/wire"
)

// BenchmarkIssue1000 has 1,000 coins of 3 denominations issued over HTTP's
// handler: parsing, arithmetic, proofs, a durable commit, the answer. cpu-ms/op
// is the processor time of the whole process; the client's side is prepared.
func BenchmarkIssue1000(b *testing.B) {
	w := newWorld(b, nil)
	u := w.user(api.MaxBalance)
	exponents := make([]uint8, 1000)
	for i := range exponents {
		exponents[i] = []uint8{0, 6, 10}[i%3]
	}
	r, _ := u.want(wire.TokenCoin, exponents...)
	var bodies []string
	for range b.N {
		r.Request = newID() // another request to the bank; the arithmetic is the same
		body, err := json.Marshal(r)
		if err != nil {
			b.Fatal(err)
		}
		bodies = append(bodies, string(body))
	}
	before := cpu(b)
	b.ResetTimer()
	for _, body := range bodies {
		req := httptest.NewRequest("POST", "/v1/issue", strings.NewReader(body))
		req.Header.Set("Authorization", "Bearer "+u.key)
		req.Header.Set("Content-Type", "application/json")
		if s, c, _ := do(w.bank.Handler(), req); s != 200 {
			b.Fatal(s, c)
		}
	}
	b.StopTimer()
	b.ReportMetric((cpu(b)-before)/float64(b.N), "cpu-ms/op")
}

// BenchmarkWork does a proof of work of 16 bits, each for another request.
func BenchmarkWork(b *testing.B) {
	r := &api.IssueRequest{Tokens: []api.Want{{Exponent: 6}}}
	for b.Loop() {
		r.Request = newID()
		if err := r.DoWork(b.Context(), api.Account{}, 16); err != nil {
			b.Fatal(err)
		}
	}
}

// cpu is the process's processor time, in milliseconds.
func cpu(b *testing.B) float64 {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	ms := func(t syscall.Timeval) float64 { return float64(t.Sec)*1e3 + float64(t.Usec)/1e3 }
	return ms(r.Utime) + ms(r.Stime)
}
