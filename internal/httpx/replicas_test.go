// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package httpx_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/internal/httpx"
)

// A service of three addresses, of which one after the other goes away.
func TestReplicas(t *testing.T) {
	var servers []*httptest.Server
	var addrs []string
	for _, name := range []string{"a", "b", "c"} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, name) }))
		defer s.Close()
		servers, addrs = append(servers, s), append(addrs, strings.TrimPrefix(s.URL, "http://"))
	}
	tr, err := httpx.Replicas(httpx.NewTransport(nil), addrs[1:])
	if err != nil {
		t.Fatal(err)
	}
	ask := func() string {
		t.Helper()
		tr.CloseIdleConnections() // each request makes a connection
		resp, err := (&http.Client{Transport: tr}).Get(servers[0].URL)
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return string(b)
	}
	if got := ask() + ask() + ask() + ask(); got != "abca" {
		t.Errorf("connections by turns went to %q", got)
	}
	servers[1].Close()
	for range 6 {
		if got := ask(); got != "a" && got != "c" {
			t.Errorf("with b gone: %q", got)
		}
	}
	servers[0].Close() // whose address is the URL's
	for range 3 {
		if got := ask(); got != "c" {
			t.Errorf("with a and b gone: %q", got)
		}
	}
	servers[2].Close()
	if got := ask(); !strings.Contains(got, "refused") {
		t.Errorf("with all gone: %q", got)
	}
}

func TestReplicasWantAddresses(t *testing.T) {
	for _, bad := range []string{"", "bank", "https://bank:1", "https://bank", ":443", "bank:", "bank:0", "bank:65536"} {
		if _, err := httpx.Replicas(httpx.NewTransport(nil), []string{net.JoinHostPort("ok", "1"), bad}); err == nil {
			t.Errorf("%q: taken for an address", bad)
		}
	}
	one := httpx.NewTransport(nil)
	if got, err := httpx.Replicas(one, nil); got != one || err != nil {
		t.Errorf("without replicas: %v, %v", got, err)
	}
}
