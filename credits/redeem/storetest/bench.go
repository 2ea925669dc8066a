// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sotto-project/sotto/credits/blind"
	"github.com/sotto-project/sotto/internal/redact"
	"github.com/sotto-project/sotto/internal/wire"
)

// clients is how many ask at the same time.
const clients = 64

// quick makes a request as [World.Paid] does, at a price that a benchmark can
// pay: the blanks that are never written on are the same in all.
func (w *World) quick(n int, first *Request, fresh int) *Request {
	w.tb.Helper()
	coin := &blind.Coin{Keyset: w.Coins.Keyset().ID(), Exponent: Class}
	binary.BigEndian.PutUint64(coin.Nonce[:], uint64(n)+1)
	out, err := w.Coins.Output(Class, coin.Nonce)
	w.must(err)
	coin.Output = redact.New(out)
	h := *first.Header
	binary.BigEndian.PutUint64(h.Common.BodyNonce[:], uint64(n)+1)
	r := &Request{w: w, Block: first.Block, Header: &h}
	for i := range fresh {
		r.Block.Spend.Blanks[i] = w.Blank(w.Coins).Element
	}
	r.Pay(coin, wire.TokenCoin, nil)
	return r
}

// each calls f for 0 to n-1 from many goroutines, and returns how long all took.
func each(n, goroutines int, f func(i int)) time.Duration {
	var next atomic.Int64
	var all sync.WaitGroup
	start := time.Now()
	for range goroutines {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	all.Wait()
	return time.Since(start)
}

// Bench measures a bank over a store with 64 clients, whose own work is done
// before: hold and settle with a change of three coins, as a ratio to what the
// curve arithmetic of the same payments takes alone, in the same run; hold and
// settle without change; and holds. Run it with -benchtime Nx: it makes N
// payments.
func Bench(b *testing.B, maker Maker) {
	for _, c := range []struct {
		name  string
		used  uint8
		coins int
	}{{"change of 3 coins", 57, 3}, {"no change", 64, 0}} {
		b.Run(c.name, func(b *testing.B) {
			w := NewWorld(b)
			bank := w.Bank(w.open(maker), 5)
			first := w.Request(5)
			holds, settles, blanks := make([][]byte, b.N), make([][]byte, b.N), make([][wire.Blanks][32]byte, b.N)
			each(b.N, clients, func(i int) {
				r := w.quick(i, first, c.coins)
				holds[i], settles[i], blanks[i] = r.Hold(0), r.Used(0, c.used), r.Block.Spend.Blanks
			})
			// The arithmetic alone, before and after.
			due := wire.Due(Class, c.used)
			arithmetic := func() time.Duration {
				return each(b.N, clients, func(i int) {
					var nonce [32]byte
					binary.BigEndian.PutUint64(nonce[:], uint64(i)+1)
					if _, err := w.Coins.Output(Class, nonce); err != nil {
						b.Error(err)
					}
					for j, x := range due {
						if _, _, err := w.Coins.Evaluate(x, blanks[i][j:j+1]); err != nil {
							b.Error(err)
						}
					}
				})
			}
			took := make([]time.Duration, b.N)
			alone := arithmetic()
			b.ResetTimer()
			before := cpu()
			held := each(b.N, clients, func(i int) {
				start := time.Now()
				if _, err := bank.Hold(b.Context(), holds[i]); err != nil {
					b.Error(err)
				}
				took[i] = time.Since(start)
			})
			middle := cpu()
			settled := each(b.N, clients, func(i int) {
				if _, err := bank.Settle(b.Context(), settles[i]); err != nil {
					b.Error(err)
				}
			})
			b.StopTimer()
			after := cpu()
			alone = (alone + arithmetic()) / 2
			slices.Sort(took)
			n := float64(b.N)
			b.ReportMetric(n/(held+settled).Seconds(), "payments/s")
			b.ReportMetric(n/held.Seconds(), "holds/s")
			b.ReportMetric(float64((middle-before).Microseconds())/n, "cpu-us/hold")
			b.ReportMetric(float64((after-middle).Microseconds())/n, "cpu-us/settle")
			b.ReportMetric(alone.Seconds()/(held+settled).Seconds(), "of-arithmetic")
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "hold-p50-ms")
			b.ReportMetric(0, "ns/op")
		})
	}
	b.Run("one client", func(b *testing.B) {
		w := NewWorld(b)
		s := w.open(maker)
		bank := w.Bank(s, 5)
		first := w.Request(5)
		holds := make([][]byte, b.N)
		for i := range holds {
			holds[i] = w.quick(i, first, 0).Hold(0)
		}
		took, alone := make([]time.Duration, b.N), make([]time.Duration, b.N)
		for i := range b.N {
			start := time.Now()
			if _, err := s.Begin(b.Context(), w.Generation, draft(1<<30+i, 1<<30+i)); err != nil {
				b.Fatal(err)
			}
			alone[i] = time.Since(start)
		}
		b.ResetTimer()
		for i := range b.N {
			start := time.Now()
			if _, err := bank.Hold(b.Context(), holds[i]); err != nil {
				b.Fatal(err)
			}
			took[i] = time.Since(start)
		}
		slices.Sort(took)
		slices.Sort(alone)
		ms := func(d []time.Duration) float64 { return float64(d[len(d)/2].Microseconds()) / 1000 }
		b.ReportMetric(ms(took), "hold-p50-ms")
		b.ReportMetric(ms(alone), "commit-p50-ms")
		b.ReportMetric(0, "ns/op")
	})
}
