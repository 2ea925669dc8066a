// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bhttp_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/ohttp/bhttp"
)

// TestRefusals is named after the rows of the attack list.
func TestRefusals(t *testing.T) {
	t.Run("CR-20", testVarints)
	t.Run("CR-21", testInjection)
	t.Run("CR-23", testForbiddenFields)
	t.Run("CR-25", testStatus)
}

// testVarints: RFC 9000, Section 16 lets integers be longer than they need be.
func testVarints(t *testing.T) {
	wide := []func(n int) string{
		func(n int) string { return string([]byte{byte(n)}) },
		func(n int) string { return string([]byte{0x40, byte(n)}) },
		func(n int) string { return string([]byte{0x80, 0, 0, byte(n)}) },
		func(n int) string { return string([]byte{0xc0, 0, 0, 0, 0, 0, 0, byte(n)}) },
	}
	want, err := bhttp.ParseRequest([]byte("\x00\x03GET\x05https\x01a\x01/\x04\x01b\x01c\x02hi\x00"))
	if err != nil {
		t.Fatal(err)
	}
	canonical, err := bhttp.AppendRequest(nil, want)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range wide {
		line := v(1) + "b" + v(1) + "c"
		control := v(3) + "GET" + v(5) + "https" + v(1) + "a" + v(1) + "/"
		for _, msg := range []string{
			v(0) + control + v(len(line)) + line + v(2) + "hi" + v(0),
			v(2) + control + line + v(0) + v(2) + "hi" + v(0) + v(0),
		} {
			got, err := bhttp.ParseRequest([]byte(msg))
			if err != nil {
				t.Errorf("width %d: %v", 1<<i, err)
				continue
			}
			if out, err := bhttp.AppendRequest(nil, got); err != nil || !bytes.Equal(out, canonical) {
				t.Errorf("width %d: printed %x, %v", 1<<i, out, err)
			}
		}
		for cut := 1; cut < 1<<i; cut++ { // an integer cut off inside
			_, err := bhttp.ParseRequest([]byte(v(0) + control + v(len(line))[:cut]))
			wantCode(t, err, bhttp.CodeTruncated)
		}
	}
	// A wide integer across the end of a known-length section.
	_, err = bhttp.ParseRequest([]byte("\x00\x03GET\x05https\x01a\x01/\x04\x01b\xc0\x00\x00\x00\x00\x00\x00\x01c"))
	wantCode(t, err, bhttp.CodeFormat)
	// The largest there is, where a length stands.
	for _, msg := range []string{
		"\x00\xff\xff\xff\xff\xff\xff\xff\xff",
		"\x00\x03GET\x05https\x01a\x01/\xff\xff\xff\xff\xff\xff\xff\xff",
		"\x02\x03GET\x05https\x01a\x01/\xff\xff\xff\xff\xff\xff\xff\xff",
	} {
		_, err = bhttp.ParseRequest([]byte(msg))
		wantCode(t, err, bhttp.CodeLimit)
	}
	_, err = bhttp.ParseRequest([]byte("\x00\x03GET\x05https\x01a\x01/\x00\xff\xff\xff\xff\xff\xff\xff\xff"))
	wantCode(t, err, bhttp.CodeTruncated)
	_, err = bhttp.ParseRequest([]byte("\x02\x03GET\x05https\x01a\x01/\x00\x01x\xff\xff\xff\xff\xff\xff\xff\xff"))
	wantCode(t, err, bhttp.CodeTruncated)
	for _, f := range []string{"\x04", "\x3f", "\x40\x04", "\xc0\x00\x00\x00\x00\x00\x01\x00"} {
		_, err = bhttp.ParseRequest([]byte(f))
		wantCode(t, err, bhttp.CodeFormat)
	}
}

// refused demands that reader and writer both refuse a request with this line.
func refused(t *testing.T, name, value string) {
	t.Helper()
	_, err := bhttp.ParseRequest(get(name, value))
	if code(err) != "bhttp.field" {
		t.Errorf("read %q: %q: %v", name, value, err)
	}
	_, err = bhttp.NewRequestWriter(io.Discard, &bhttp.RequestHead{
		Method: "GET", Scheme: "https", Authority: "a.example", Path: "/",
		Fields: []bhttp.Field{{Name: name, Value: value}},
	})
	if code(err) != "bhttp.field" {
		t.Errorf("wrote %q: %q: %v", name, value, err)
	}
	_, err = bhttp.AppendResponse(nil, &bhttp.Response{
		ResponseHead: bhttp.ResponseHead{Status: 200},
		Trailers:     []bhttp.Field{{Name: name, Value: value}},
	})
	if code(err) != "bhttp.field" {
		t.Errorf("wrote as trailer %q: %q: %v", name, value, err)
	}
}

func testInjection(t *testing.T) {
	for b := range 256 {
		c := string([]byte{byte(b)})
		lower := strings.Contains("abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~", c)
		for _, name := range []string{"x" + c + "y", "x" + c, c + "x"} {
			if _, err := bhttp.ParseRequest(get(name, "v")); lower && err != nil {
				t.Errorf("name %q: %v", name, err)
			}
			if !lower {
				refused(t, name, "v")
			}
		}
		inside := b == '\t' || b >= ' ' && b != 0x7f
		if _, err := bhttp.ParseRequest(get("x", "a"+c+"b")); inside && err != nil {
			t.Errorf("value with %#x: %v", b, err)
		}
		if !inside {
			refused(t, "x", "a"+c+"b")
			refused(t, "x", c)
		}
	}
	for _, v := range []string{" a", "a ", "\ta", "a\t", " ", "a\r\nhost: b", "a\nb", "a\x00"} {
		refused(t, "x", v)
	}
	_, err := bhttp.ParseRequest([]byte("\x00\x03GET\x05https\x01a\x01/\x03\x00\x01v"))
	wantCode(t, err, bhttp.CodeField)

	for name, h := range map[string]bhttp.RequestHead{
		"method with space":       {Method: "GET /", Scheme: "https", Authority: "a", Path: "/"},
		"no method":               {Scheme: "https", Authority: "a", Path: "/"},
		"method with CRLF":        {Method: "GET\r\n", Scheme: "https", Authority: "a", Path: "/"},
		"no scheme":               {Method: "GET", Authority: "a", Path: "/"},
		"scheme with colon":       {Method: "GET", Scheme: "https:", Authority: "a", Path: "/"},
		"scheme from digit":       {Method: "GET", Scheme: "1s", Authority: "a", Path: "/"},
		"authority with user":     {Method: "GET", Scheme: "https", Authority: "u@a", Path: "/"},
		"authority with slash":    {Method: "GET", Scheme: "https", Authority: "a/b", Path: "/"},
		"authority with NUL":      {Method: "GET", Scheme: "https", Authority: "a\x00", Path: "/"},
		"authority not ASCII":     {Method: "GET", Scheme: "https", Authority: "аpple.example", Path: "/"},
		"no path":                 {Method: "GET", Scheme: "https", Authority: "a"},
		"relative path":           {Method: "GET", Scheme: "https", Authority: "a", Path: "x"},
		"absolute form":           {Method: "GET", Scheme: "https", Authority: "a", Path: "http://b/"},
		"asterisk with GET":       {Method: "GET", Scheme: "https", Authority: "a", Path: "*"},
		"path with space":         {Method: "GET", Scheme: "https", Authority: "a", Path: "/ HTTP/1.1"},
		"path with LF":            {Method: "GET", Scheme: "https", Authority: "a", Path: "/\n"},
		"path with fragment":      {Method: "GET", Scheme: "https", Authority: "a", Path: "/#f"},
		"path with DEL":           {Method: "GET", Scheme: "https", Authority: "a", Path: "/\x7f"},
		"path not ASCII":          {Method: "GET", Scheme: "https", Authority: "a", Path: "/é"},
		"CONNECT with path":       {Method: "CONNECT", Authority: "a:443", Path: "/"},
		"CONNECT with scheme":     {Method: "CONNECT", Scheme: "https", Authority: "a:443"},
		"CONNECT without a where": {Method: "CONNECT"},
	} {
		_, err := bhttp.AppendRequest(nil, &bhttp.Request{RequestHead: h})
		if code(err) != "bhttp.field" {
			t.Errorf("wrote %s: %v", name, err)
		}
		msg := "\x02" + lp(h.Method) + lp(h.Scheme) + lp(h.Authority) + lp(h.Path)
		if _, err := bhttp.ParseRequest([]byte(msg)); code(err) != "bhttp.field" {
			t.Errorf("read %s: %v", name, err)
		}
	}
	for _, h := range []bhttp.RequestHead{
		{Method: "CONNECT", Authority: "a:443"},
		{Method: "OPTIONS", Scheme: "https", Authority: "[::1]:8", Path: "*"},
		{Method: "M-SEARCH", Scheme: "urn", Path: ""},
		{Method: "GET", Scheme: "https", Authority: "router.sotto", Path: "//x?y=\"{}|"},
	} {
		if _, err := bhttp.AppendRequest(nil, &bhttp.Request{RequestHead: h}); err != nil {
			t.Errorf("%+v: %v", h, err)
		}
	}
}

func testForbiddenFields(t *testing.T) {
	for _, f := range []bhttp.Field{
		{Name: "connection", Value: "close"}, {Name: "te", Value: "trailers"}, {Name: "upgrade", Value: "websocket"},
		{Name: "transfer-encoding", Value: "chunked"}, {Name: "keep-alive", Value: "timeout=5"},
		{Name: "proxy-connection", Value: "close"}, {Name: "proxy-authorization", Value: "x"},
		{Name: "proxy-authenticate", Value: "x"}, {Name: "proxy-anything", Value: "x"},
		{Name: "Content-Type", Value: "text/plain"}, {Name: "Host", Value: "a"},
		{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "x"}, {Name: ":authority", Value: "x"},
		{Name: ":path", Value: "/"}, {Name: ":status", Value: "200"}, {Name: ":protocol", Value: "x"}, {Name: ":", Value: "x"},
		{Name: "host", Value: "a.example"}, // and authority
		{Name: "content-length", Value: "-1"}, {Name: "content-length", Value: "+1"}, {Name: "content-length", Value: ""},
		{Name: "content-length", Value: "0, 0"}, {Name: "content-length", Value: "0x1"},
		{Name: "content-length", Value: "9999999999999999999"},
	} {
		refused(t, f.Name, f.Value)
	}
	for name, msg := range map[string][]byte{
		"content-length twice":       get("content-length", "0", "content-length", "0"),
		"pseudo-field late":          get("a", "b", ":protocol", "x"),
		"pseudo-field twice":         get(":protocol", "x", ":protocol", "x"),
		"two hosts":                  []byte("\x02\x03GET\x05https\x00\x01/\x04host\x01a\x04host\x01a\x00"),
		"host with user information": []byte("\x02\x03GET\x05https\x00\x01/\x04host\x03u@a\x00"),
		"content-length in trailers": []byte("\x02\x03GET\x05https\x01a\x01/\x00\x00\x0econtent-length\x010\x00"),
		"host in trailers":           []byte("\x02\x03GET\x05https\x00\x01/\x00\x00\x04host\x01a\x00"),
	} {
		if _, err := bhttp.ParseRequest(msg); code(err) != "bhttp.field" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, msg := range map[string]string{
		"content-length in interim": "\x03\x40\x66\x0econtent-length\x010\x00\x40\xc8",
		"content-length twice":      "\x03\x40\xc8\x0econtent-length\x010\x0econtent-length\x010\x00",
		"connection in interim":     "\x03\x40\x66\x0aconnection\x01x\x00\x40\xc8",
	} {
		if _, err := bhttp.ParseResponse([]byte(msg)); code(err) != "bhttp.field" {
			t.Errorf("%s: %v", name, err)
		}
	}
	// One host, and a host in a response, which means nothing, are fine.
	if _, err := bhttp.ParseRequest([]byte("\x02\x03GET\x05https\x00\x01/\x04host\x01a\x00")); err != nil {
		t.Error(err)
	}
	if _, err := bhttp.ParseResponse([]byte("\x03\x40\xc8\x04host\x01a\x04host\x01a\x00")); err != nil {
		t.Error(err)
	}
}

// interim is a response with n interim responses.
func interim(n int) []byte {
	return []byte("\x03" + strings.Repeat("\x40\x66\x00", n) + "\x40\xc8\x00\x00\x00")
}

func testStatus(t *testing.T) {
	for n, want := range map[int]bhttp.Code{0: "", 1: "", 7: "", 8: "", 9: bhttp.CodeLimit, 100: bhttp.CodeLimit} {
		r, err := bhttp.ParseResponse(interim(n))
		wantCode(t, err, want)
		if err == nil && len(r.Informational) != n {
			t.Errorf("%d interim responses read as %d", n, len(r.Informational))
		}
		_, err = bhttp.AppendResponse(nil, &bhttp.Response{
			Informational: interims(n), ResponseHead: bhttp.ResponseHead{Status: 200},
		})
		wantCode(t, err, want)
	}
	for status := range 1100 {
		msg := append([]byte{3, 0x40 | byte(status>>8), byte(status)}, "\x00\x40\xc8\x00"...)
		_, err := bhttp.ParseResponse(msg)
		final := status >= 200 && status <= 599
		info := status >= 100 && status < 200 && status != 101
		switch {
		case info && err != nil:
			t.Errorf("interim %d: %v", status, err)
		case !info && !final:
			wantCode(t, err, bhttp.CodeField)
		}
		_, err = bhttp.NewResponseWriter(io.Discard, &bhttp.ResponseHead{Status: status})
		if final != (err == nil) {
			t.Errorf("wrote %d as final: %v", status, err)
		}
		_, err = bhttp.NewResponseWriter(io.Discard, &bhttp.ResponseHead{Status: 200}, bhttp.Informational{Status: status})
		if info != (err == nil) {
			t.Errorf("wrote %d as interim: %v", status, err)
		}
	}
	for _, status := range []int{-1, -200, 600, 999, 1 << 40} {
		if _, err := bhttp.AppendResponse(nil, &bhttp.Response{ResponseHead: bhttp.ResponseHead{Status: status}}); err == nil {
			t.Errorf("wrote %d", status)
		}
	}
	// An interim response alone is no response.
	_, err := bhttp.ParseResponse([]byte("\x03\x40\x66\x00"))
	wantCode(t, err, bhttp.CodeTruncated)
}

func interims(n int) (info []bhttp.Informational) {
	for range n {
		info = append(info, bhttp.Informational{Status: 102})
	}
	return info
}

func TestKindsAreNotMistaken(t *testing.T) {
	_, err := bhttp.ParseRequest([]byte("\x01\x40\xc8"))
	wantCode(t, err, bhttp.CodeFormat)
	_, err = bhttp.ParseResponse([]byte("\x02\x03GET\x05https\x01a\x01/"))
	wantCode(t, err, bhttp.CodeFormat)
	_, err = bhttp.ParseResponse(nil)
	wantCode(t, err, bhttp.CodeTruncated)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error("truncation is not io.ErrUnexpectedEOF")
	}
}

func TestContentLengthHolds(t *testing.T) {
	head := "\x03GET\x05https\x01a\x01/"
	line := lp("content-length") + lp("5")
	for name, c := range map[string]struct {
		msg  string
		code bhttp.Code
	}{
		"exact":           {"\x02" + head + line + "\x00" + lp("he") + lp("llo") + "\x00\x00", ""},
		"exact, known":    {"\x00" + head + lp(line) + lp("hello") + "\x00", ""},
		"short":           {"\x02" + head + line + "\x00" + lp("he") + "\x00\x00", bhttp.CodeFormat},
		"short, known":    {"\x00" + head + lp(line) + lp("hell") + "\x00", bhttp.CodeFormat},
		"long":            {"\x02" + head + line + "\x00" + lp("hello") + lp("!") + "\x00\x00", bhttp.CodeFormat},
		"long, known":     {"\x00" + head + lp(line) + lp("hello!") + "\x00", bhttp.CodeFormat},
		"none":            {"\x02" + head + line + "\x00\x00\x00", bhttp.CodeFormat},
		"truncated":       {"\x02" + head + line + "\x00", bhttp.CodeFormat},
		"truncated known": {"\x00" + head + lp(line), bhttp.CodeFormat},
	} {
		_, err := bhttp.ParseRequest([]byte(c.msg))
		if code(err) != string(c.code) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for msg, want := range map[string]bhttp.Code{
		"\x03\x40\xc8" + line + "\x00\x00":                  "", // an answer to HEAD
		"\x03\x40\xc8" + line + "\x00" + lp("hel") + "\x00": bhttp.CodeFormat,
	} {
		_, err := bhttp.ParseResponse([]byte(msg))
		wantCode(t, err, want)
	}
}
