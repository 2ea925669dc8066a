// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bhttp_test

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/sotto-project/sotto/ohttp/bhttp"
)

func seed(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.bytes(f))
	}
	for _, s := range samples() {
		f.Add([]byte(s.msg))
	}
	f.Add(get("content-length", "0", "x", "y"))
	f.Add(interim(3))
	f.Add([]byte{})
	f.Add([]byte("\x02\xc0\x00\x00\x00\x00\x00\x00\x03GET\x05https\x00\x01/\x04host\x01a\x00\x40\x01x\x00"))
}

// FuzzParseRequest: what is accepted prints canonically, and the print parses
// back equal and prints the same.
func FuzzParseRequest(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := bhttp.ParseRequest(in)
		if err != nil {
			mustBeTyped(t, err)
			return
		}
		out, err := bhttp.AppendRequest(nil, r)
		if err != nil {
			t.Fatalf("accepted %x, cannot print it: %v", in, err)
		}
		again, err := bhttp.ParseRequest(out)
		if err != nil || !reflect.DeepEqual(r, again) {
			t.Fatalf("%+v printed and parsed is %+v, %v", r, again, err)
		}
		var stream bytes.Buffer
		w, err := bhttp.NewRequestWriter(&stream, &r.RequestHead)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(r.Content); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(r.Trailers, len(in)%5); err != nil {
			t.Fatal(err)
		}
		streamed, err := bhttp.ParseRequest(stream.Bytes())
		if err != nil || !reflect.DeepEqual(r, streamed) {
			t.Fatalf("%+v streamed and parsed is %+v, %v", r, streamed, err)
		}
	})
}

// FuzzParseResponse is FuzzParseRequest's twin.
func FuzzParseResponse(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := bhttp.ParseResponse(in)
		if err != nil {
			mustBeTyped(t, err)
			return
		}
		out, err := bhttp.AppendResponse(nil, r)
		if err != nil {
			t.Fatalf("accepted %x, cannot print it: %v", in, err)
		}
		again, err := bhttp.ParseResponse(out)
		if err != nil || !reflect.DeepEqual(r, again) {
			t.Fatalf("%+v printed and parsed is %+v, %v", r, again, err)
		}
		var stream bytes.Buffer
		w, err := bhttp.NewResponseWriter(&stream, &r.ResponseHead, r.Informational...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.ReadFrom(bytes.NewReader(r.Content)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(r.Trailers, len(in)%5); err != nil {
			t.Fatal(err)
		}
		streamed, err := bhttp.ParseResponse(stream.Bytes())
		if err != nil || !reflect.DeepEqual(r, streamed) {
			t.Fatalf("%+v streamed and parsed is %+v, %v", r, streamed, err)
		}
	})
}

// FuzzReadSizes feeds the same bytes through different read sizes, above and
// below, and demands equal heads, content, trailers and errors.
func FuzzReadSizes(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, in []byte) { checkReadSizes(t, "input", in) })
}

func mustBeTyped(t *testing.T, err error) {
	t.Helper()
	switch bhttp.Code(code(err)) {
	case bhttp.CodeField, bhttp.CodeFormat, bhttp.CodeTruncated, bhttp.CodeLimit:
	default:
		t.Fatalf("untyped error %v", err)
	}
}
