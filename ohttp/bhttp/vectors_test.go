// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bhttp_test

import (
	"bytes"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/sotto-project/sotto/ohttp/bhttp"
)

func TestVectorsParse(t *testing.T) {
	v := vectors(t)
	crlf := &bhttp.Response{
		ResponseHead: bhttp.ResponseHead{Status: 200},
		Content:      []byte("This content contains CRLF.\r\n"),
		Trailers:     []bhttp.Field{{Name: "trailer", Value: "text"}},
	}
	// The field named "trailer" stands among the trailers of RFC 9292's own
	// example, which HTTP (RFC 9110, Section 6.5.1) does not forbid by name.
	for _, i := range []int{0, 1} {
		got, err := bhttp.ParseResponse(v[i].bytes(t))
		if err != nil || !reflect.DeepEqual(got, crlf) {
			t.Errorf("%s: %+v, %v", v[i].Name, got, err)
		}
	}
	hello := &bhttp.Request{RequestHead: bhttp.RequestHead{Method: "GET", Scheme: "https", Path: "/hello.txt", Fields: []bhttp.Field{
		{Name: "user-agent", Value: "curl/7.16.3 libcurl/7.16.3 OpenSSL/0.9.7l zlib/1.2.3"},
		{Name: "host", Value: "www.example.com"},
		{Name: "accept-language", Value: "en, mi"},
	}}}
	got, err := bhttp.ParseRequest(v[2].bytes(t))
	if err != nil || !reflect.DeepEqual(got, hello) {
		t.Errorf("%s: %+v, %v", v[2].Name, got, err)
	}
	small := &bhttp.Request{RequestHead: bhttp.RequestHead{Method: "GET", Scheme: "https", Authority: "example.com", Path: "/"}}
	got, err = bhttp.ParseRequest(v[3].bytes(t))
	if err != nil || !reflect.DeepEqual(got, small) {
		t.Errorf("%s: %+v, %v", v[3].Name, got, err)
	}
	ok, err := bhttp.ParseResponse(v[4].bytes(t))
	if err != nil || !reflect.DeepEqual(ok, &bhttp.Response{ResponseHead: bhttp.ResponseHead{Status: 200}}) {
		t.Errorf("%s: %+v, %v", v[4].Name, ok, err)
	}
}

func TestVectorsPrint(t *testing.T) {
	v := vectors(t)
	for i, cut := range []int{0, -1, 0, 3, 3} { // what canonical printing adds to the truncated ones
		in := v[i].bytes(t)
		var out []byte
		var err error
		if in[0]&1 == 0 {
			var r *bhttp.Request
			if r, err = bhttp.ParseRequest(in); err == nil {
				out, err = bhttp.AppendRequest(nil, r)
			}
		} else {
			var r *bhttp.Response
			if r, err = bhttp.ParseResponse(in); err == nil {
				out, err = bhttp.AppendResponse(nil, r)
			}
		}
		want := append(in, make([]byte, max(cut, 0))...)
		if cut < 0 { // the indeterminate one prints as its known-length twin
			want = v[0].bytes(t)
		}
		if err != nil || !bytes.Equal(out, want) {
			t.Errorf("%s: printed %x, %v; want %x", v[i].Name, out, err, want)
		}
	}
}

func TestVectorWrittenAsStream(t *testing.T) {
	v := vectors(t)[1]
	var out bytes.Buffer
	w, err := bhttp.NewResponseWriter(&out, &bhttp.ResponseHead{Status: 200})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("This content contains CRLF.\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close([]bhttp.Field{{Name: "trailer", Value: "text"}}, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), v.bytes(t)) || w.Written() != int64(out.Len()) {
		t.Errorf("wrote %x (%d), want %s", out.Bytes(), w.Written(), v.Bytes)
	}
}

// samples are messages of every shape, and for each the lengths at which it may
// end short of its own (RFC 9292, Section 3.8).
func samples() map[string]struct {
	msg   string
	allow []int
} {
	type s = struct {
		msg   string
		allow []int
	}
	ctl := lp("POST") + lp("https") + lp("a.example") + lp("/x")
	n := 1 + len(ctl)
	return map[string]s{
		"known request":           {"\x00" + ctl + lp("\x01a\x01b") + lp("hello") + lp("\x01t\x01u") + "\x00\x00", []int{n, n + 5, n + 11, n + 16, n + 17}},
		"indeterminate request":   {"\x02" + ctl + "\x01a\x01b\x00" + lp("hel") + lp("lo") + "\x00\x01t\x01u\x00" + "\x00\x00", []int{n, n + 5, n + 13, n + 18, n + 19}},
		"known response":          {"\x01\x40\x66\x00\x40\xc8" + lp("\x01a\x01b") + lp("hello") + "\x00", []int{6, 11, 17}},
		"indeterminate response":  {"\x03\x40\x66\x00\x40\xc8" + "\x01a\x01b\x00" + lp("hello") + "\x00\x00", []int{6, 11, 18}},
		"known, lying length":     {"\x01\x40\xc8\x00" + "\x80\x00\x10\x00short", []int{3, 4}},
		"indeterminate, no tails": {"\x03\x40\xc8\x00\x00\x00", []int{3, 4, 5}},
	}
}

// TestTruncation cuts messages at every offset: CR-01 for this layer.
func TestTruncation(t *testing.T) {
	t.Run("CR-01", func(t *testing.T) {
		for name, s := range samples() {
			for cut := range len(s.msg) {
				want := string(bhttp.CodeTruncated)
				for _, a := range s.allow {
					if a == cut {
						want = ""
					}
				}
				request := s.msg[0]&1 == 0
				for _, buf := range []int{0, 1, 4096} {
					got := consume(strings.NewReader(s.msg[:cut]), request, bhttp.Limits{}, buf)
					if got.Err != want {
						t.Errorf("%s cut at %d of %d: error %q, want %q", name, cut, len(s.msg), got.Err, want)
					}
				}
			}
		}
	})
}

// TestStreamErrorsPassThrough has a stream below that fails otherwise than by
// ending: that must not look like a truncated message, nor like the end of one.
func TestStreamErrorsPassThrough(t *testing.T) {
	for name, s := range samples() {
		for cut := 0; cut <= len(s.msg); cut++ {
			for _, buf := range []int{0, 1, 4096} {
				src := io.MultiReader(strings.NewReader(s.msg[:cut]), iotest.ErrReader(iotest.ErrTimeout))
				got := consume(src, s.msg[0]&1 == 0, bhttp.Limits{}, buf)
				if got.Err != iotest.ErrTimeout.Error() || got.Trailers != nil {
					t.Errorf("%s, failing at %d of %d: %q", name, cut, len(s.msg), got.Err)
				}
			}
		}
	}
	r := bhttp.NewReader(iotest.ErrReader(iotest.ErrTimeout), bhttp.Limits{})
	_, err := r.ReadRequest()
	if _, again := r.Body().Read(make([]byte, 1)); err != iotest.ErrTimeout || again != err {
		t.Errorf("failed with %v, then with %v", err, again)
	}
}

func TestPaddingAtEveryBoundary(t *testing.T) {
	for name, s := range samples() {
		if strings.Contains(name, "lying") {
			continue
		}
		for _, pad := range []int{0, 1, 4095, 4096, 4097, 16383, 16384, 16385, 100000} {
			msg := s.msg + strings.Repeat("\x00", pad)
			request := s.msg[0]&1 == 0
			if got := consume(strings.NewReader(msg), request, bhttp.Limits{}, 512); got.Err != "" {
				t.Errorf("%s padded with %d: %s", name, pad, got.Err)
			}
			if got := consume(strings.NewReader(msg+"\x01"), request, bhttp.Limits{}, 512); got.Err == "" {
				t.Errorf("%s padded with %d: non-zero byte accepted", name, pad)
			}
			if pad == 0 {
				continue
			}
			// After an end of its own (not one read out of the padding) the code is exact.
			if got := consume(strings.NewReader(msg+"\x01\x00"), request, bhttp.Limits{}, 512); got.Err != "bhttp.format" {
				t.Errorf("%s padded with %d: code %q", name, pad, got.Err)
			}
		}
	}
}

// TestVectorEnds is the sentence about cutting in docs/spec/binary-http.md.
func TestVectorEnds(t *testing.T) {
	b := vectors(t)[0].bytes(t)
	var ends []int
	for n := 0; n <= len(b); n++ {
		if _, err := bhttp.ParseResponse(b[:n]); err == nil {
			ends = append(ends, n)
		}
	}
	if want := []int{3, 4, 34, 48}; !reflect.DeepEqual(ends, want) {
		t.Errorf("may end after %v, want %v", ends, want)
	}
}
