// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sotto-project/sotto/attestation/attestationtest/simtpm"
	"github.com/sotto-project/sotto/attestation/collect/tpm"
)

// openTPM makes what a node has, on a simulator of this process.
func (s *session) openTPM(ctx context.Context) error {
	sim, err := simtpm.OpenSimulator()
	if err != nil {
		return err
	}
	s.tpm = tpm.New(sim)
	s.key, err = s.tpm.CreateSealKey(ctx, []int{0, 2, 4, 7, 9, 11, 12, 13})
	return err
}

// idleTPM times what a node asks its TPM for each request: PolicyPCR and
// ECDH_ZGen. It is called again and again, because the speed of a shared
// machine changes within a run, while nothing else runs.
func (s *session) idleTPM() error {
	var took []time.Duration
	for range s.size.tpm {
		remote, err := ecdh.P256().GenerateKey(rand.Reader)
		if err != nil {
			return err
		}
		began := time.Now()
		if _, err := s.key.ECDH(remote.PublicKey()); err != nil {
			return err
		}
		took = append(took, time.Since(began))
	}
	s.tpmRuns = append(s.tpmRuns, millis(took))
	s.result.TPM = median(slices.Clone(s.tpmRuns))
	return nil
}

// first times new clients: no connection, nothing fetched, nothing verified.
func (s *session) first(ctx context.Context) error {
	var took []time.Duration
	for range s.size.firsts {
		began := time.Now()
		w, err := s.newClient("off")
		if err != nil {
			return err
		}
		_, err = w.once(ctx)
		took = append(took, time.Since(began))
		w.close()
		if err != nil {
			return err
		}
	}
	s.result.First = millis(took)
	return nil
}

// three does something with each way in turn, so that what else the machine
// does meets all of them alike.
func (s *session) three(do func(w *way) error) error {
	for _, w := range []*way{s.direct, s.plain, s.sotto} {
		if err := do(w); err != nil {
			return err
		}
	}
	return nil
}

// warm brings up connections, and what a client fetches once.
func (s *session) warm(ctx context.Context) error {
	return s.three(func(w *way) error {
		for range 20 {
			if _, err := w.once(ctx); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *session) short(ctx context.Context) error {
	if err := s.warm(ctx); err != nil {
		return err
	}
	runs := map[*way][]float64{}
	for range s.size.runs {
		if err := s.idleTPM(); err != nil {
			return err
		}
		took := map[*way][]time.Duration{}
		for range s.size.short {
			if err := s.three(func(w *way) error {
				d, err := w.once(ctx)
				took[w] = append(took[w], d)
				return err
			}); err != nil {
				return err
			}
		}
		for w, ds := range took {
			runs[w] = append(runs[w], millis(ds))
		}
	}
	r := s.result
	r.DirectP50, r.PlainP50, r.SottoP50 = median(runs[s.direct]), median(runs[s.plain]), median(runs[s.sotto])
	r.AddedP50 = round(r.SottoP50-r.PlainP50, 3)
	return nil
}

func (s *session) stream(ctx context.Context) error {
	if err := s.warm(ctx); err != nil {
		return err
	}
	firsts, lags := map[*way][]float64{}, map[*way][]float64{}
	for range s.size.runs {
		took := map[*way][]time.Duration{}
		for range s.size.begins {
			if err := s.three(func(w *way) error {
				f, err := w.tokens(ctx, 1, 0)
				if err == nil {
					took[w] = append(took[w], f.first)
				}
				return err
			}); err != nil {
				return err
			}
		}
		for w, ds := range took {
			firsts[w] = append(firsts[w], millis(ds))
		}
		for _, w := range []*way{s.plain, s.sotto, s.frames} {
			f, err := w.tokens(ctx, s.size.tokens, every)
			if err != nil {
				return err
			}
			lags[w] = append(lags[w], millis(f.lags))
		}
	}
	r := s.result
	r.DirectTTFT, r.PlainTTFT, r.SottoTTFT = median(firsts[s.direct]), median(firsts[s.plain]), median(firsts[s.sotto])
	r.TTFTAdded, r.TTFTAddedDirect = round(r.SottoTTFT-r.PlainTTFT, 3), round(r.SottoTTFT-r.DirectTTFT, 3)
	r.PlainLag, r.Lag, r.LagFrames = median(lags[s.plain]), median(lags[s.sotto]), median(lags[s.frames])
	return nil
}

// volley sends n short requests, 32 at a time, and returns how many were
// answered a second, and how many failed.
func volley(ctx context.Context, w *way, n int) (rate float64, failed int, err error) {
	var next, bad atomic.Int64
	var one atomic.Pointer[error]
	var wg sync.WaitGroup
	began := time.Now()
	for range clients {
		wg.Go(func() {
			for next.Add(1) <= int64(n) && ctx.Err() == nil {
				if _, err := w.once(ctx); err != nil {
					bad.Add(1)
					one.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	wg.Wait()
	failed = int(bad.Load())
	if e := one.Load(); e != nil {
		err = *e
	}
	return float64(n-failed) / time.Since(began).Seconds(), failed, err
}

func (s *session) load(ctx context.Context) error {
	if err := s.warm(ctx); err != nil {
		return err
	}
	r := s.result
	rates := map[*way][]float64{}
	cpu := newMeter(s)
	if err := s.three(func(w *way) error { // the connections
		_, _, err := volley(ctx, w, 4*clients)
		return err
	}); err != nil {
		return err
	}
	for range s.size.runs {
		if err := s.three(func(w *way) error {
			var rate float64
			var failed int
			err := cpu.during(w, s.size.load, func() (err error) {
				rate, failed, err = volley(ctx, w, s.size.load)
				return err
			})
			if w == s.sotto {
				r.Requests, r.Errors = r.Requests+s.size.load, r.Errors+failed
			}
			if err != nil {
				s.say("%d of %d failed: %v", failed, s.size.load, err)
			}
			if failed == s.size.load {
				return err
			}
			rates[w] = append(rates[w], rate)
			return ctx.Err()
		}); err != nil {
			return err
		}
	}
	r.DirectRPS, r.PlainRPS, r.RPS = round(median(rates[s.direct]), 0), round(median(rates[s.plain]), 0), round(median(rates[s.sotto]), 0)
	r.RPSRatio = round(r.RPS/r.PlainRPS, 3)
	r.CPU, r.PlainCPU = cpu.each(s.sotto), cpu.each(s.plain)
	return nil
}

// shaping compares the three policies.
func (s *session) shaping(ctx context.Context) error {
	for _, p := range []struct {
		name string
		w    *way
		n    int
	}{{"off", s.sotto, s.size.short}, {"frames", s.frames, s.size.short}, {"constant", s.constant, s.size.constant}} {
		if _, err := p.w.once(ctx); err != nil {
			return err
		}
		sh, err := s.policy(ctx, p.w, p.n)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		s.result.Shaping[p.name] = sh
	}
	return nil
}

func (s *session) policy(ctx context.Context, w *way, n int) (sh Shaping, err error) {
	var took, begins []time.Duration
	before := w.received.Load()
	for range n {
		d, err := w.once(ctx)
		if err != nil {
			return sh, err
		}
		took = append(took, d)
	}
	sh.P50, sh.Bytes = millis(took), round(float64(w.received.Load()-before)/float64(n), 0)
	for range min(n, s.size.begins) {
		f, err := w.tokens(ctx, 1, 0)
		if err != nil {
			return sh, err
		}
		begins = append(begins, f.first)
	}
	sh.TTFT = millis(begins)
	before = w.received.Load()
	f, err := w.tokens(ctx, s.size.tokens, every)
	if err != nil {
		return sh, err
	}
	sh.Lag, sh.FlowMS, sh.FlowBytes = millis(f.lags), round(float64(f.took)/1e6, 1), float64(w.received.Load()-before)
	if w != s.constant {
		sh.Response, err = w.response10(ctx)
	}
	return sh, err
}
