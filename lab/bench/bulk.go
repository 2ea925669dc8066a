// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/sotto-project/sotto/internal/httpx"
)

// response10 fetches an answer of 10 MB and returns its rate.
func (w *way) response10(ctx context.Context) (float64, error) {
	body := request(fmt.Sprintf(`{"bytes":%d}`, body10))
	began := time.Now()
	resp, err := w.post(ctx, strings.NewReader(body), int64(len(body)))
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err == nil && n < body10 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", w.name, err)
	}
	return megabytes(n, time.Since(began)), nil
}

// request10 sends a prompt of 10 MB and returns its rate.
func (w *way) request10(ctx context.Context) (float64, error) {
	head, tail, ok := strings.Cut(request(""), "Why is the sky blue?")
	if !ok {
		panic("bench: internal error: no prompt in the request")
	}
	n := int64(len(head) + body10 + len(tail))
	began := time.Now()
	resp, err := w.post(ctx, io.MultiReader(strings.NewReader(head), io.LimitReader(prose{}, body10), strings.NewReader(tail)), n)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0, fmt.Errorf("%s: %w", w.name, err)
	}
	return megabytes(n, time.Since(began)), nil
}

func megabytes(n int64, d time.Duration) float64 { return float64(n) / 1e6 / d.Seconds() }

// prose is an endless prompt.
type prose struct{}

const sentence = "Sunlight is made of many colors, and air scatters blue light more than red light. "

func (prose) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		n += copy(p[n:], sentence)
	}
	return n, nil
}

func (s *session) bulk(ctx context.Context) error {
	if err := s.warm(ctx); err != nil {
		return err
	}
	if err := s.growth(ctx); err != nil {
		return err
	}
	in, out := map[*way][]float64{}, map[*way][]float64{}
	inCPU, outCPU := newMeter(s), newMeter(s)
	for range s.size.runs * s.size.transfer {
		if err := s.three(func(w *way) error {
			var down, up float64
			err := inCPU.during(w, 1, func() (err error) {
				down, err = w.response10(ctx)
				return err
			})
			if err != nil {
				return err
			}
			err = outCPU.during(w, 1, func() (err error) {
				up, err = w.request10(ctx)
				return err
			})
			in[w], out[w] = append(in[w], down), append(out[w], up)
			return err
		}); err != nil {
			return err
		}
	}
	s.result.ResponseCPU, s.result.PlainResponseCPU = inCPU.each(s.sotto), inCPU.each(s.plain)
	s.result.RequestCPU, s.result.PlainRequestCPU = outCPU.each(s.sotto), outCPU.each(s.plain)
	r, mid := s.result, func(vs []float64) float64 { return round(median(vs), 1) }
	r.DirectResponse, r.PlainResponse, r.Response = mid(in[s.direct]), mid(in[s.plain]), mid(in[s.sotto])
	r.DirectRequest, r.PlainRequest, r.Request = mid(out[s.direct]), mid(out[s.plain]), mid(out[s.sotto])
	return nil
}

// growth looks at what 10 MB do to the memory of each process that they pass:
// once each way through this process as the client, once through the proxy,
// which is one of its own.
func (s *session) growth(ctx context.Context) error {
	t := httpx.NewTransport(nil)
	proxy := &way{name: "proxy", bases: []string{strings.TrimSuffix(s.lab.Ready().OpenAI, "/v1")}, transport: http.RoundTripper(t), close: t.CloseIdleConnections}
	defer proxy.close()
	for range 20 {
		if _, err := proxy.once(ctx); err != nil {
			return err
		}
	}
	for _, w := range []*way{s.sotto, proxy} {
		for _, transfer := range []func(context.Context) (float64, error){w.response10, w.request10} {
			before, err := s.watchMemory()
			if err != nil {
				return err
			}
			if _, err := transfer(ctx); err != nil {
				return err
			}
			peaks, err := s.memoryPeaks()
			if err != nil {
				return err
			}
			for name, peak := range peaks {
				g := round(max(0, peak-before[name]), 2)
				s.result.Growth[name] = max(s.result.Growth[name], g)
				s.result.MaxGrowth = max(s.result.MaxGrowth, g)
			}
		}
	}
	return nil
}
