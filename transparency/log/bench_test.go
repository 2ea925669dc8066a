// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package log

import (
	"fmt"
	"sync"
	"testing"
)

// Durable appends: each has returned, so is on the disk. Alone, an append waits
// for its own batch; many at once share one.
func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("%d writers", writers), func(b *testing.B) {
			l, _ := newLog(b)
			work := make(chan uint64)
			var wg sync.WaitGroup
			for range writers {
				wg.Go(func() {
					for i := range work {
						if _, err := l.Append(b.Context(), leaf(i)); err != nil {
							b.Error(err)
						}
					}
				})
			}
			b.ResetTimer()
			for i := range b.N {
				work <- uint64(i)
			}
			close(work)
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

func BenchmarkAppendAt(b *testing.B) {
	l, _ := newLog(b)
	b.ResetTimer()
	for i := range uint64(b.N) {
		if err := l.AppendAt(b.Context(), i, leaf(i)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}

func BenchmarkProve(b *testing.B) {
	l, _ := newLog(b)
	grow(b, l, 300)
	for b.Loop() {
		if _, err := l.Prove(b.Context(), 7, 300); err != nil {
			b.Fatal(err)
		}
	}
}
