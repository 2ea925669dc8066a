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

	"github.com/cloudflare/circl/group"
	"github.com/cloudflare/circl/oprf"

	"github.com/sotto-project/sotto/credits"
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

// measured is what something took, by the clock and of the processors.
type measured struct{ wall, cpu time.Duration }

func (m measured) mean(o measured) measured {
	return measured{(m.wall + o.wall) / 2, (m.cpu + o.cpu) / 2}
}

// arithmetic is what a payment has a bank compute: the output of the token, and
// the evaluations of its change with their proofs.
func (w *World) arithmetic(i int, due []uint8, blanks [wire.Blanks][32]byte) error {
	var nonce [32]byte
	binary.BigEndian.PutUint64(nonce[:], uint64(i)+1)
	_, err := w.Coins.Output(Class, nonce)
	for j, x := range due {
		if _, _, e := w.Coins.Evaluate(x, blanks[j:j+1]); e != nil {
			err = e
		}
	}
	return err
}

// circl is the same as circl computes it with keys of its own.
func (w *World) circl(due []uint8) func(i int, blanks [wire.Blanks][32]byte) error {
	servers := make([]oprf.VerifiableServer, len(due)+1)
	for i := range servers {
		k, err := oprf.DeriveKey(credits.Suite, oprf.VerifiableMode, make([]byte, 32), []byte{byte(i)})
		w.must(err)
		k.Public() // computes once, without a lock
		servers[i] = oprf.NewVerifiableServer(credits.Suite, k)
	}
	return func(i int, blanks [wire.Blanks][32]byte) error {
		var nonce [32]byte
		binary.BigEndian.PutUint64(nonce[:], uint64(i)+1)
		_, err := servers[len(due)].FullEvaluate(credits.Input(w.Coins.Keyset().ID(), nonce))
		for j := range due {
			x := group.Ristretto255.NewElement()
			if e := x.UnmarshalBinary(blanks[j][:]); e != nil {
				return e
			}
			out, e := servers[j].Evaluate(&oprf.EvaluationRequest{Elements: []oprf.Blinded{x}})
			if e != nil {
				return e
			}
			if _, e := out.Elements[0].MarshalBinaryCompress(); e != nil {
				return e
			}
		}
		return err
	}
}

// Bench measures a bank over a store with 64 clients, whose own work is done
// before. Each pays, a hold and then its settlement, with a change of three coins
// and without; the rate is put beside that of the curve arithmetic of the same
// payments alone, by as many clients in the same run: as this bank does it, and as
// circl does it by itself. Then holds alone. Run it with -benchtime Nx: it makes N
// payments, and N holds.
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
			holds, settles, blanks := make([][]byte, 2*b.N), make([][]byte, b.N), make([][wire.Blanks][32]byte, b.N)
			each(2*b.N, clients, func(i int) {
				r := w.quick(i, first, c.coins)
				holds[i] = r.Hold(0)
				if i < b.N {
					settles[i], blanks[i] = r.Used(0, c.used), r.Block.Spend.Blanks
				}
			})
			due := wire.Due(Class, c.used)
			arithmetic := func(i int) error { return w.arithmetic(i, due, blanks[i]) }
			circl := w.circl(due)
			took := make([]time.Duration, b.N)
			do := func(f func(i int) error) (m measured) {
				m.cpu = cpu()
				m.wall = each(b.N, clients, func(i int) {
					if err := f(i); err != nil {
						b.Error(err)
					}
				})
				m.cpu = cpu() - m.cpu
				return m
			}
			// What is compared is measured before and after.
			plain, alone := do(func(i int) error { return circl(i, blanks[i]) }), do(arithmetic)
			b.ResetTimer()
			paid := do(func(i int) error {
				if _, err := bank.Hold(b.Context(), holds[i]); err != nil {
					return err
				}
				_, err := bank.Settle(b.Context(), settles[i])
				return err
			})
			b.StopTimer()
			alone = alone.mean(do(arithmetic))
			plain = plain.mean(do(func(i int) error { return circl(i, blanks[i]) }))
			b.StartTimer()
			held := do(func(i int) error {
				start := time.Now()
				_, err := bank.Hold(b.Context(), holds[b.N+i])
				took[i] = time.Since(start)
				return err
			})
			b.StopTimer()
			slices.Sort(took)
			n := float64(b.N)
			b.ReportMetric(n/paid.wall.Seconds(), "payments/s")
			b.ReportMetric(n/held.wall.Seconds(), "holds/s")
			b.ReportMetric(n/alone.wall.Seconds(), "arithmetic/s")
			b.ReportMetric(n/plain.wall.Seconds(), "circl/s")
			b.ReportMetric(float64(paid.cpu.Microseconds())/n, "cpu-us/payment")
			b.ReportMetric(float64(alone.cpu.Microseconds())/n, "cpu-us/arithmetic")
			b.ReportMetric(float64(held.cpu.Microseconds())/n, "cpu-us/hold")
			b.ReportMetric(alone.wall.Seconds()/paid.wall.Seconds(), "of-arithmetic")
			b.ReportMetric(float64(alone.cpu)/float64(max(paid.cpu, 1)), "of-arithmetic-cpu")
			b.ReportMetric(plain.wall.Seconds()/paid.wall.Seconds(), "of-circl")
			b.ReportMetric(float64(plain.cpu)/float64(max(paid.cpu, 1)), "of-circl-cpu")
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
