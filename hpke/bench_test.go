// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package hpke_test

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/hpke/recipient"
	"github.com/sotto-project/sotto/hpke/sender"
)

// BenchmarkSeal is what a client does per request before its body: k
// encapsulations.
func BenchmarkSeal(b *testing.B) {
	for _, k := range []int{1, 3} {
		w := newWorld(b, k)
		b.Run(fmt.Sprintf("k=%d", k), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := sender.Seal(sender.Params{MediaType: 1, Candidates: w.to}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkForward is what the router does: read a header, name the request,
// print one candidate's part.
func BenchmarkForward(b *testing.B) {
	r, _ := newWorld(b, 3).seal(b, nil)
	header := r.Header().Append(nil)
	b.ReportAllocs()
	for b.Loop() {
		h, err := hpke.ReadHeader(bytes.NewReader(header))
		if err != nil {
			b.Fatal(err)
		}
		h.Hash()
		h.Forward(1).Append(nil)
	}
}

// BenchmarkOpen is what a node does per request before the body, with a key in
// memory.
func BenchmarkOpen(b *testing.B) {
	w := newWorld(b, 3)
	r, _ := w.seal(b, nil)
	f := r.Header().Forward(1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := recipient.Open(f, w.keys[1]); err != nil {
			b.Fatal(err)
		}
	}
}

var sizes = []int{1 << 10, 64 << 10, 10 << 20}

func BenchmarkBodySeal(b *testing.B) {
	w := newWorld(b, 1)
	for _, n := range sizes {
		body := make([]byte, n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				r, err := sender.Seal(sender.Params{MediaType: 1, Candidates: w.to})
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				bw := r.Body(io.Discard)
				bw.Write(body)
				if err := bw.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkBodyOpen(b *testing.B) {
	w := newWorld(b, 1)
	for _, n := range sizes {
		r, sealed := w.seal(b, make([]byte, n))
		f := r.Header().Forward(0)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				opened, err := recipient.Open(f, w.keys[0])
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				if m, err := io.Copy(io.Discard, opened.Body(bytes.NewReader(sealed))); err != nil || m != int64(n) {
					b.Fatal(m, err)
				}
			}
		})
	}
}

// sealAnswer writes n bytes in full frames, as a node does with policy off.
func sealAnswer(b *testing.B, rw *recipient.ResponseWriter, body []byte) {
	for len(body) > hpke.ChunkSize {
		if err := rw.WriteFrame(body[:hpke.ChunkSize], 0, false); err != nil {
			b.Fatal(err)
		}
		body = body[hpke.ChunkSize:]
	}
	if err := rw.WriteFrame(body, 0, true); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkResponseSeal(b *testing.B) {
	w := newWorld(b, 1)
	r, sealed := w.seal(b, nil)
	f := r.Header().Forward(0)
	for _, n := range sizes {
		body := make([]byte, n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				opened, _, err := w.open(f, 0, sealed)
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				rw, err := opened.Respond(io.Discard)
				if err != nil {
					b.Fatal(err)
				}
				sealAnswer(b, rw, body)
			}
		})
	}
}

func BenchmarkResponseOpen(b *testing.B) {
	w := newWorld(b, 1)
	r, sealed := w.seal(b, nil)
	for _, n := range sizes {
		opened, _, err := w.open(r.Header().Forward(0), 0, sealed)
		if err != nil {
			b.Fatal(err)
		}
		var answer bytes.Buffer
		rw, err := opened.Respond(&answer)
		if err != nil {
			b.Fatal(err)
		}
		sealAnswer(b, rw, make([]byte, n))
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				rr, err := r.OpenResponse(bytes.NewReader(answer.Bytes()))
				if err != nil {
					b.Fatal(err)
				}
				if m, err := io.Copy(io.Discard, rr); err != nil || m != int64(n) {
					b.Fatal(m, err)
				}
			}
		})
	}
}

// BenchmarkToken is one frame of a token in a stream of equal frames.
func BenchmarkToken(b *testing.B) {
	w := newWorld(b, 1)
	r, sealed := w.seal(b, nil)
	opened, _, err := w.open(r.Header().Forward(0), 0, sealed)
	if err != nil {
		b.Fatal(err)
	}
	rw, err := opened.Respond(io.Discard)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := rw.WriteFrame([]byte("token"), 512, false); err != nil {
			b.Fatal(err)
		}
	}
}
