// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"net/http"
	"slices"
	"strings"

	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/ohttp/bhttp"
)

// The allow-lists of the gateway. A field that is on none of them is dropped
// and counted; a target that is on none is refused. They are code and not
// configuration: a gateway that can be configured into an open proxy, or into
// passing on what a relay adds, will be.

// outer are the fields of the relay's request that mean anything here. A relay
// that adds others (X-Forwarded-For, Via, Cookie, traceparent) breaks its own
// promise, so each counts as an alarm.
var outer = []string{
	"Accept", "Accept-Encoding", "Connection", "Content-Length", "Content-Type",
	"Date", "Expect", "Incremental", "Transfer-Encoding", "User-Agent",
}

// inner are the fields that a client may send to an origin through us.
var inner = []string{"accept", "content-type"}

// answered are the fields of an origin's answer that go back to the client.
var answered = []string{"Content-Type", "Retry-After"}

// stripOuter removes what is not on the list before any handler sees it, and
// returns how many fields that were.
func stripOuter(h http.Header) int {
	n := 0
	for name := range h {
		if !slices.Contains(outer, name) {
			delete(h, name)
			n++
		}
	}
	return n
}

// innerHeader returns the fields that go on to an origin, and how many do not.
func innerHeader(fields []bhttp.Field) (http.Header, int) {
	h, dropped := http.Header{}, 0
	// A nil User-Agent keeps net/http from adding its own.
	h["User-Agent"] = nil
	for _, f := range fields {
		switch {
		case slices.Contains(inner, f.Name):
			h.Add(f.Name, f.Value)
		case f.Name == "date", f.Name == "content-length":
			// read or implied here; they do not go on
		default:
			dropped++
		}
	}
	return h, dropped
}

func answerFields(h http.Header) []bhttp.Field {
	var fields []bhttp.Field
	for _, name := range answered {
		for _, v := range h[name] {
			fields = append(fields, bhttp.Field{Name: strings.ToLower(name), Value: v})
		}
	}
	return fields
}

// target returns the authority that a request may go to, or "". Everything is
// compared as bytes: nothing is decoded, cleaned, folded or resolved, so there
// is no second reading of a target to disagree with.
func target(h *bhttp.RequestHead) string {
	if h.Scheme != "https" {
		return ""
	}
	switch h.Authority {
	case wire.RouterAuthority:
		if routerPath(h.Method, h.Path) {
			return wire.RouterAuthority
		}
	case wire.BankAuthority:
		if bankPath(h.Method, h.Path) {
			return wire.BankAuthority
		}
	}
	return ""
}

func routerPath(method, path string) bool {
	switch method {
	case http.MethodPost:
		return path == "/v1/request" || path == "/v1/attest"
	case http.MethodGet:
		if path == "/v1/freshness" || path == "/v1/peers" {
			return true
		}
		epoch, ok := strings.CutPrefix(path, "/v1/pack/")
		return ok && decimal(strings.TrimSuffix(epoch, "/delta"))
	}
	return false
}

// bankPath are the requests that a client makes of the bank itself. What moves
// money for a request (hold, turn, settle) is the router's to ask.
func bankPath(method, path string) bool {
	if method == http.MethodPost {
		return path == "/v1/change" || path == "/v1/swap"
	}
	rest, ok := strings.CutPrefix(path, "/v1/table/")
	if method != http.MethodGet || !ok {
		return false
	}
	keyset, bucket, one := strings.Cut(rest, "/")
	return lowerHex(keyset, 64) && (!one || decimal(bucket))
}

// lowerHex reports whether s is n lower-case hexadecimal digits.
func lowerHex(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "0123456789abcdef") == ""
}

// decimal reports whether s is the one decimal spelling of a number below 10^19.
func decimal(s string) bool {
	if len(s) == 0 || len(s) > 19 || len(s) > 1 && s[0] == '0' {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
