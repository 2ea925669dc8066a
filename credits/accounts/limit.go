// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package accounts

import (
	"sync"
	"time"

	"github.com/sotto-project/sotto/credits/accounts/api"
)

// A limiter bounds how often one account asks: a bucket for each that asked
// lately. Nobody without an account has one.
type limiter struct {
	rules Rules

	mu      sync.Mutex // guards buckets
	buckets map[api.Account]bucket
}

type bucket struct {
	left float64
	at   time.Time
}

// allow takes one request from an account's bucket, if there is one in it.
func (l *limiter) allow(a api.Account, now time.Time) bool {
	rate, burst := float64(l.rules.RequestsPerHour)/3600, float64(l.rules.Burst)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.buckets == nil {
		l.buckets = map[api.Account]bucket{}
	}
	fill := func(b bucket) float64 { return min(burst, b.left+rate*max(0, now.Sub(b.at).Seconds())) }
	if len(l.buckets) >= 65536 {
		for k, b := range l.buckets { // full ones say nothing
			if fill(b) >= burst {
				delete(l.buckets, k)
			}
		}
	}
	b, ok := l.buckets[a]
	if !ok {
		b = bucket{burst, now}
	}
	b = bucket{fill(b), now}
	ok = b.left >= 1
	if ok {
		b.left--
	}
	l.buckets[a] = b
	return ok
}
