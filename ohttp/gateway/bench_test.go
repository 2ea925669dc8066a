// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/ohttp"
	"github.com/sotto-project/sotto/ohttp/bhttp"
)

// The benchmarks include the client's sealing, both TLS legs and a router that
// does nothing: what they measure is an upper bound of the gateway's cost.

func BenchmarkShort(b *testing.B) {
	x := newWorld(b, nil)
	msg := message(b, post("/v1/request"), make([]byte, 6000), 0)
	b.ReportAllocs()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r, sealed := x.seal(msg)
			resp, err := x.relay.Post(x.url+"/ohttp", ohttp.TypeChunkedRequest, bytes.NewReader(sealed))
			if err != nil {
				b.Error(err)
				return
			}
			h, _, err := open(r, resp)
			resp.Body.Close()
			if err != nil || h.Status != 200 {
				b.Error(h, err)
				return
			}
		}
	})
}

func BenchmarkRequest10MB(b *testing.B) {
	x := newWorld(b, nil)
	x.setRouter(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, err)
	})
	msg := message(b, post("/v1/request"), make([]byte, 10<<20), 0)
	b.SetBytes(10 << 20)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		r, sealed := x.seal(msg)
		b.StartTimer()
		resp, err := x.relay.Post(x.url+"/ohttp", ohttp.TypeChunkedRequest, bytes.NewReader(sealed))
		if err != nil {
			b.Fatal(err)
		}
		if _, got, err := open(r, resp); err != nil || got != "10485760 <nil>" {
			b.Fatal(got, err)
		}
		resp.Body.Close()
	}
}

func BenchmarkAnswer10MB(b *testing.B) {
	x := newWorld(b, nil)
	part := make([]byte, 32<<10)
	x.setRouter(func(w http.ResponseWriter, r *http.Request) {
		for range 320 {
			w.Write(part)
		}
	})
	msg := message(b, post("/v1/request"), make([]byte, 100), 0)
	b.SetBytes(10 << 20)
	b.ReportAllocs()
	for b.Loop() {
		r, sealed := x.seal(msg)
		resp, err := x.relay.Post(x.url+"/ohttp", ohttp.TypeChunkedRequest, bytes.NewReader(sealed))
		if err != nil {
			b.Fatal(err)
		}
		rd := bhttp.NewReader(r.Response(resp.Body), bhttp.Limits{})
		if _, _, err := rd.ReadResponse(); err != nil {
			b.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, rd.Body()); n != 10<<20 || err != nil {
			b.Fatal(n, err)
		}
		resp.Body.Close()
	}
}

// BenchmarkPlainAnswer10MB is the same answer without a gateway: one TLS leg
// and nothing else.
func BenchmarkPlainAnswer10MB(b *testing.B) {
	x := newWorld(b, nil)
	part := make([]byte, 32<<10)
	tc, err := x.g.cfg.TLS.Server(false)
	if err != nil {
		b.Fatal(err)
	}
	addr := x.listen(tc, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := httpx.Stream(w, io.LimitReader(zeros{part}, 10<<20)); err != nil {
			httpx.Abort()
		}
	}))
	b.SetBytes(10 << 20)
	for b.Loop() {
		resp, err := x.relay.Get("https://" + addr)
		if err != nil {
			b.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, resp.Body); n != 10<<20 || err != nil {
			b.Fatal(n, err)
		}
		resp.Body.Close()
	}
}

type zeros struct{ b []byte }

func (z zeros) Read(p []byte) (int, error) { return copy(p, z.b), nil }
