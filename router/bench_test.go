// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package router_test

import (
	"bytes"
	"io"
	"net/http"
	"testing"

	"github.com/sotto-project/sotto/internal/wire"
)

// BenchmarkShortRequests sends requests of one 8 KiB rung through the router to
// fake nodes that read them and answer 1 KiB: three TLS connections' worth of
// work for each.
func BenchmarkShortRequests(b *testing.B) {
	w := newWorld(b, 3, nil)
	for _, n := range w.nodes {
		answer := make([]byte, 1024)
		n.setAnswer(func(rw http.ResponseWriter, r *http.Request, _ wire.Ask) {
			io.Copy(io.Discard, r.Body)
			rw.Header().Set("Content-Type", "application/sotto-response")
			rw.Write(answer)
		})
	}
	h := w.header(w.epoch, w.ids()...)
	m, err := io.ReadAll(message(h, bytes.NewReader(make([]byte, 4096))))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetParallelism(16)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			resp, err := w.http.Post(w.url+"/v1/request", "x/y", bytes.NewReader(m))
			if err != nil {
				b.Error(err)
				return
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode != 200 {
				b.Errorf("status %d", resp.StatusCode)
				return
			}
		}
	})
}
