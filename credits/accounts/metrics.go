// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package accounts

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/accounts/api"
	"github.com/sotto-project/sotto/internal/metrics"
)

// counts are sums over everybody: nothing in them belongs to an account.
type counts struct {
	tokens, vouchers atomic.Uint64
	answers          *metrics.Codes
}

func (b *Bank) count(code string) { b.counts.answers.Inc(code) }

// Registry has the bank's metrics.
func (b *Bank) Registry() *prometheus.Registry { return b.reg }

func (b *Bank) register() {
	s := metrics.NewSet(b.reg, "accounts")
	s.CounterFunc("tokens_total", "Tokens answered to POST /v1/issue, repeated answers included.", b.counts.tokens.Load)
	s.CounterFunc("vouchers_total", "Vouchers answered to POST /v1/redeem, repeated answers included.", b.counts.vouchers.Load)
	b.counts.answers = s.Codes("answers_total", "Answers of the identified and the admin port, by code.",
		"ok", "path", "peer", "size", "slow", "truncated", "type", "store", "starting",
		api.CodeAuth, api.CodeRequest, api.CodeFrozen, api.CodeRate, api.CodeLimit, api.CodeWork, api.CodeGrant, api.CodeAbsent, api.CodePayment,
		credits.CodeEpoch, credits.CodeClass, credits.CodeSig, credits.CodeFunds, credits.CodeRate, credits.CodeSpent, credits.CodeGeneration)
}
