// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bhttp_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/sotto-project/sotto/ohttp/bhttp"
)

type vector struct{ Name, Bytes string }

func (v vector) bytes(t testing.TB) []byte {
	t.Helper()
	b, err := hex.DecodeString(v.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// vectors are those of testdata/rfc9292.json, in its order.
func vectors(t testing.TB) []vector {
	t.Helper()
	b, err := os.ReadFile("testdata/rfc9292.json")
	if err != nil {
		t.Fatal(err)
	}
	var f struct{ Vectors []vector }
	if err := json.Unmarshal(b, &f); err != nil || len(f.Vectors) != 5 {
		t.Fatalf("vectors: %d, %v", len(f.Vectors), err)
	}
	return f.Vectors
}

// outcome is everything a reader can tell about a message.
type outcome struct {
	Request  *bhttp.RequestHead
	Response *bhttp.ResponseHead
	Info     []bhttp.Informational
	Framing  bhttp.Framing
	Length   int64
	Content  string
	Trailers []bhttp.Field
	Err      string // code, or the error's text if it is not a *bhttp.Error
}

// consume reads src to its end, as a request or response by its first byte. buf
// is the size of the reads of content; 0 copies by WriteTo.
func consume(src io.Reader, request bool, l bhttp.Limits, buf int) (o outcome) {
	r := bhttp.NewReader(src, l)
	defer r.Close()
	var err error
	if request {
		o.Request, err = r.ReadRequest()
	} else {
		o.Response, o.Info, err = r.ReadResponse()
	}
	o.Framing, o.Length = r.Framing(), r.ContentLength()
	if err == nil {
		var content []byte
		content, err = drain(r.Body(), buf)
		o.Content = string(content)
		o.Trailers = r.Trailers()
	}
	o.Err = code(err)
	return o
}

type sink struct{ b []byte }

func (s *sink) Write(p []byte) (int, error) { s.b = append(s.b, p...); return len(p), nil }

func drain(body io.Reader, buf int) ([]byte, error) {
	if buf == 0 {
		var s sink
		_, err := body.(io.WriterTo).WriteTo(&s)
		return s.b, err
	}
	var all []byte
	p := make([]byte, buf)
	for {
		n, err := body.Read(p)
		all = append(all, p[:n]...)
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
	}
}

func code(err error) string {
	var e *bhttp.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return string(e.Code)
	}
	return err.Error()
}

func wantCode(t *testing.T, err error, want bhttp.Code) {
	t.Helper()
	if got := code(err); got != string(want) {
		t.Errorf("error %v, code %q; want %q", err, got, want)
	}
}

// lp is a length-prefixed string of less than 64 bytes.
func lp(s string) string {
	if len(s) > 63 {
		panic("too long for one byte")
	}
	return string(rune(len(s))) + s
}

// get is a request of indeterminate length with these field lines and no content.
func get(fields ...string) []byte {
	s := "\x02" + lp("GET") + lp("https") + lp("a.example") + lp("/")
	for _, f := range fields {
		s += lp(f)
	}
	return []byte(s + "\x00\x00\x00")
}
