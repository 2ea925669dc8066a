// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bhttp_test

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/sotto-project/sotto/ohttp/bhttp"
)

const benchContent = 10 << 20

// chunked is a request with 10 MiB of content in chunks of a size.
func chunked(b *testing.B, size int) []byte {
	var out bytes.Buffer
	w := request(b, &out)
	p := bytes.Repeat([]byte("x"), size)
	for n := 0; n < benchContent; n += size {
		if _, err := w.Write(p[:min(size, benchContent-n)]); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Close(nil, 0); err != nil {
		b.Fatal(err)
	}
	return out.Bytes()
}

// plain hides every method but Read and Write, as a layer below would.
type plain struct {
	io.Reader
	io.Writer
}

func BenchmarkRead(b *testing.B) {
	for _, size := range []int{64, 1 << 10, 16380, 1 << 20} {
		msg := chunked(b, size)
		for _, way := range []string{"Read", "WriteTo"} {
			b.Run(fmt.Sprintf("%s/%d", way, size), func(b *testing.B) {
				b.SetBytes(benchContent)
				b.ReportAllocs()
				p := make([]byte, 32<<10)
				for b.Loop() {
					r := bhttp.NewReader(plain{Reader: bytes.NewReader(msg)}, bhttp.Limits{})
					if _, err := r.ReadRequest(); err != nil {
						b.Fatal(err)
					}
					if way == "WriteTo" {
						if _, err := r.Body().(io.WriterTo).WriteTo(plain{Writer: io.Discard}); err != nil {
							b.Fatal(err)
						}
						continue
					}
					for err := error(nil); err != io.EOF; {
						if _, err = r.Body().Read(p); err != nil && err != io.EOF {
							b.Fatal(err)
						}
					}
				}
			})
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	for _, size := range []int{64, 1 << 10, 16380, 1 << 20} {
		p := bytes.Repeat([]byte("x"), size)
		b.Run(fmt.Sprintf("Write/%d", size), func(b *testing.B) {
			b.SetBytes(benchContent)
			b.ReportAllocs()
			for b.Loop() {
				w := request(b, plain{Writer: io.Discard})
				for n := 0; n < benchContent; n += size {
					_, _ = w.Write(p)
				}
				if err := w.Close(nil, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	content := bytes.Repeat([]byte("x"), benchContent)
	b.Run("ReadFrom", func(b *testing.B) {
		b.SetBytes(benchContent)
		b.ReportAllocs()
		for b.Loop() {
			w := request(b, plain{Writer: io.Discard})
			if _, err := w.ReadFrom(plain{Reader: bytes.NewReader(content)}); err != nil {
				b.Fatal(err)
			}
			if err := w.Close(nil, 0); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkHead(b *testing.B) {
	msg := get("content-type", "application/json", "accept", "text/event-stream", "user-agent", "sotto")
	b.ReportAllocs()
	for b.Loop() {
		r := bhttp.NewReader(bytes.NewReader(msg), bhttp.Limits{})
		if _, err := r.ReadRequest(); err != nil {
			b.Fatal(err)
		}
		r.Close()
	}
}
