// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package httpmap_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/ohttp/bhttp"
	"github.com/sotto-project/sotto/ohttp/bhttp/httpmap"
)

func TestFieldsAreCanonicalAndEndToEnd(t *testing.T) {
	h := http.Header{
		"X-B": {"1", " 2 ", "0"}, "X-A": {"\tv\t"}, "x-C": {"lower"}, "X-Empty": {""}, "X-None": {},
		"Connection": {"close, X-Named", "x-also"}, "X-Named": {"gone"}, "X-Also": {"gone"},
		"Keep-Alive": {"gone"}, "Te": {"gone"}, "Transfer-Encoding": {"gone"}, "Upgrade": {"gone"},
		"Proxy-Authorization": {"gone"}, "Proxy-Connection": {"gone"}, "Host": {"gone"}, "Content-Length": {"gone"},
	}
	want := []bhttp.Field{
		{Name: "x-a", Value: "v"}, {Name: "x-b", Value: "1"}, {Name: "x-b", Value: "2"}, {Name: "x-b", Value: "0"},
		{Name: "x-c", Value: "lower"}, {Name: "x-empty", Value: ""},
	}
	for range 20 { // map order must not show
		if got := httpmap.Fields(h); !reflect.DeepEqual(got, want) {
			t.Fatalf("got %v", got)
		}
	}
	if got := httpmap.Fields(nil); got != nil {
		t.Errorf("fields of nothing: %v", got)
	}
	back := httpmap.Header(append(want, bhttp.Field{Name: "host", Value: "a"}, bhttp.Field{Name: "te", Value: "a"}))
	if !reflect.DeepEqual(back, http.Header{"X-A": {"v"}, "X-B": {"1", "2", "0"}, "X-C": {"lower"}, "X-Empty": {""}}) {
		t.Errorf("header %v", back)
	}
}

// TestInjectionSurvivesToTheWriter: what is malformed must be refused there, not
// repaired here.
func TestInjectionSurvivesToTheWriter(t *testing.T) {
	t.Run("CR-21", func(t *testing.T) {
		for _, h := range []http.Header{{"X": {"a\r\nHost: b"}}, {"X": {"a\n"}}, {"X": {"\x00"}}, {"X Y": {"a"}}, {"X:": {"a"}}, {"": {"a"}}, {":path": {"/"}}} {
			_, err := bhttp.NewRequestWriter(io.Discard, &bhttp.RequestHead{
				Method: "GET", Scheme: "https", Authority: "a", Path: "/", Fields: httpmap.Fields(h)})
			var e *bhttp.Error
			if !errors.As(err, &e) || e.Code != bhttp.CodeField {
				t.Errorf("%q: %v", h, err)
			}
		}
	})
}

func TestRequestThereAndBack(t *testing.T) {
	r, err := http.NewRequest("POST", "https://router.sotto/v1/a%2Fb//c/../d?x=1&y=%20", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Connection", "close")
	r.Header.Set("Zeta", "z")
	h, err := httpmap.RequestFromHTTP(r)
	if err != nil {
		t.Fatal(err)
	}
	want := &bhttp.RequestHead{Method: "POST", Scheme: "https", Authority: "router.sotto", Path: "/v1/a%2Fb//c/../d?x=1&y=%20",
		Fields: []bhttp.Field{{Name: "content-length", Value: "5"}, {Name: "content-type", Value: "application/json"}, {Name: "zeta", Value: "z"}}}
	if !reflect.DeepEqual(h, want) {
		t.Fatalf("got %+v", h)
	}
	var msg bytes.Buffer
	w, err := bhttp.NewRequestWriter(&msg, h)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(w, r.Body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(nil, 0); err != nil {
		t.Fatal(err)
	}
	rd := bhttp.NewReader(&msg, bhttp.Limits{})
	h, err = rd.ReadRequest()
	if err != nil {
		t.Fatal(err)
	}
	back, err := httpmap.RequestToHTTP(h, rd.Body())
	if err != nil {
		t.Fatal(err)
	}
	if back.URL.String() != r.URL.String() || back.Host != "router.sotto" || back.ContentLength != 5 || back.Method != "POST" ||
		back.RequestURI != "" || !reflect.DeepEqual(back.Header, http.Header{"Content-Type": {"application/json"}, "Zeta": {"z"}}) {
		t.Errorf("got %+v", back)
	}
	if b, err := io.ReadAll(back.Body); string(b) != "hello" || err != nil {
		t.Errorf("body %q, %v", b, err)
	}
	if err := back.Body.Close(); err != nil {
		t.Error(err)
	}
	if _, ok := back.Body.(io.WriterTo); !ok {
		t.Error("the body lost its WriteTo")
	}
}

// TestRequestIsServable hands the result to a handler and to a client's writer.
func TestRequestIsServable(t *testing.T) {
	h := &bhttp.RequestHead{Method: "GET", Scheme: "https", Path: "/v1/x?q", Fields: []bhttp.Field{{Name: "host", Value: "a.example"}}}
	r, err := httpmap.RequestToHTTP(h, nil)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET a.example/v1/x", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
	rec := httptest.NewRecorder()
	mux.ServeHTTP(rec, r)
	var wire bytes.Buffer
	if err := r.Write(&wire); err != nil || rec.Code != 204 {
		t.Error(rec.Code, err)
	}
	if !strings.HasPrefix(wire.String(), "GET /v1/x?q HTTP/1.1\r\nHost: a.example\r\n") || strings.Contains(wire.String(), "Length") {
		t.Errorf("wrote %q", wire.String())
	}
}

func TestTargetsWithoutACanonicalURL(t *testing.T) {
	t.Run("CR-27", func(t *testing.T) {
		for _, h := range []bhttp.RequestHead{
			{Method: "GET", Scheme: "https", Authority: "a", Path: "http://b/"},
			{Method: "GET", Scheme: "https", Authority: "a", Path: "x"},
			{Method: "GET", Scheme: "https", Authority: "a", Path: ""},
			{Method: "GET", Scheme: "https", Authority: "a", Path: "/%zz"},
			{Method: "GET", Scheme: "https", Authority: "a", Path: "/\"<>"},
			{Method: "GET", Scheme: "https", Path: "/"},
			{Method: "GET", Authority: "a", Path: "/"},
			{Method: "CONNECT", Authority: "a:443"},
		} {
			if r, err := httpmap.RequestToHTTP(&h, nil); err == nil {
				t.Errorf("%+v became %v", h, r.URL)
			}
		}
		// Two slashes are a path, not a host.
		r, err := httpmap.RequestToHTTP(&bhttp.RequestHead{Method: "GET", Scheme: "https", Authority: "a", Path: "//b/c"}, nil)
		if err != nil || r.URL.Host != "a" || r.URL.Path != "//b/c" {
			t.Errorf("%+v, %v", r, err)
		}
		for _, u := range []*url.URL{
			nil, {Scheme: "https", Opaque: "a/b"}, {Scheme: "https", Host: "a", User: url.User("u")},
			{Host: "a", Path: "/"}, {Scheme: "https", Path: "/"},
		} {
			if h, err := httpmap.RequestFromHTTP(&http.Request{URL: u}); err == nil {
				t.Errorf("%v became %+v", u, h)
			}
		}
		if _, err := httpmap.RequestFromHTTP(&http.Request{Method: "CONNECT", URL: &url.URL{Scheme: "https", Host: "a"}}); err == nil {
			t.Error("CONNECT became a head")
		}
	})
}

func TestResponseThereAndBack(t *testing.T) {
	for _, c := range []struct {
		r      http.Response
		fields []bhttp.Field
		length int64
	}{
		{http.Response{StatusCode: 200, ContentLength: -1, Header: http.Header{"Content-Type": {"text/event-stream"}, "Connection": {"close"}}},
			[]bhttp.Field{{Name: "content-type", Value: "text/event-stream"}}, -1},
		{http.Response{StatusCode: 503, ContentLength: 2, Header: http.Header{"Zeta": {"z"}, "A": {"a"}}},
			[]bhttp.Field{{Name: "a", Value: "a"}, {Name: "content-length", Value: "2"}, {Name: "zeta", Value: "z"}}, 2},
		{http.Response{StatusCode: 204, ContentLength: 0}, nil, -1},
		{http.Response{StatusCode: 599, ContentLength: 0}, []bhttp.Field{{Name: "content-length", Value: "0"}}, 0},
	} {
		h := httpmap.ResponseFromHTTP(&c.r)
		if h.Status != c.r.StatusCode || !reflect.DeepEqual(h.Fields, c.fields) {
			t.Errorf("got %+v, want %v", h, c.fields)
		}
		closed := &closer{Reader: strings.NewReader("ok")}
		back, err := httpmap.ResponseToHTTP(h, closed)
		if err != nil || back.StatusCode != h.Status || back.ContentLength != c.length {
			t.Errorf("got %+v, %v", back, err)
			continue
		}
		if !reflect.DeepEqual(httpmap.Fields(back.Header), httpmap.Fields(c.r.Header)) {
			t.Errorf("header %v", back.Header)
		}
		if _ = back.Body.Close(); !closed.closed {
			t.Error("a body that can be closed was not")
		}
	}
	bad := &bhttp.ResponseHead{Status: 200, Fields: []bhttp.Field{{Name: "content-length", Value: "x"}}}
	if _, err := httpmap.ResponseToHTTP(bad, nil); err == nil {
		t.Error("bad content-length accepted")
	}
}

type closer struct {
	io.Reader
	closed bool
}

func (c *closer) Close() error { c.closed = true; return nil }

// FuzzRequest: a head that maps to net/http and back names the same target and
// carries the same fields, and mapping it once more changes nothing.
func FuzzRequest(f *testing.F) {
	f.Add("GET", "https", "router.sotto", "/v1/request?x", "x-b", "1")
	f.Add("POST", "https", "[::1]:443", "//a/../%2e%2e/;x", "content-length", "0")
	f.Add("OPTIONS", "http", "a", "*", "connection", "x")
	f.Fuzz(func(t *testing.T, method, scheme, authority, path, name, value string) {
		h := &bhttp.RequestHead{Method: method, Scheme: scheme, Authority: authority, Path: path,
			Fields: []bhttp.Field{{Name: name, Value: value}}}
		if _, err := bhttp.NewRequestWriter(io.Discard, h); err != nil {
			return
		}
		r, err := httpmap.RequestToHTTP(h, strings.NewReader(""))
		if err != nil {
			return
		}
		again, err := httpmap.RequestFromHTTP(r)
		if err != nil {
			t.Fatalf("%+v cannot go back: %v", h, err)
		}
		if again.Method != method || again.Scheme != scheme || again.Authority != authority || again.Path != path {
			t.Fatalf("%+v came back as %+v", h, again)
		}
		if want := httpmap.Fields(httpmap.Header(h.Fields)); !reflect.DeepEqual(httpmap.Fields(r.Header), want) {
			t.Fatalf("%+v came back as %+v", h, again)
		}
		if _, err := bhttp.NewRequestWriter(io.Discard, again); err != nil {
			t.Fatalf("%+v cannot be written: %v", again, err)
		}
	})
}
