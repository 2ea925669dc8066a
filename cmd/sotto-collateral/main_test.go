// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/internal/daemon"
)

// noVendor answers 404 and remembers whom it stood in for.
type noVendor struct{ asked []string }

func (v *noVendor) RoundTrip(r *http.Request) (*http.Response, error) {
	v.asked = append(v.asked, r.URL.Host)
	return &http.Response{StatusCode: http.StatusNotFound, Body: io.NopCloser(strings.NewReader("")), Request: r}, nil
}

func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	kept := filepath.Join(dir, "tdx-root.crl")
	empty := filepath.Join(dir, "empty")
	if err := errors.Join(os.WriteFile(kept, []byte("good"), 0o600), os.WriteFile(empty, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args  string
		code  int
		asked int
	}{
		{"-h", daemon.ExitOK, 0},
		{"", daemon.ExitUsage, 0},
		{"-out " + dir, daemon.ExitUsage, 0},
		{"-gpu-rim a", daemon.ExitUsage, 0},
		{"-out " + dir + " -gpu-rim a extra", daemon.ExitUsage, 0},
		{"-out " + dir + " -tdx-fmspc 00", daemon.ExitUsage, 0},
		{"-out " + dir + " -snp-report " + dir + "/missing", daemon.ExitUsage, 0},
		{"-out " + dir + " -snp-report " + empty, daemon.ExitFailed, 0},
		{"-out " + dir + " -gpu-chain " + empty, daemon.ExitFailed, 0},
		{"-out " + dir + " -tdx-fmspc 00906ed50000 -tdx-ca x", daemon.ExitFailed, 0},
		{"-out " + dir + " -tdx-fmspc 00906ed50000 -gpu-rim a -gpu-rim b", daemon.ExitFailed, 3},
	} {
		v, stderr := new(noVendor), new(bytes.Buffer)
		code := run(t.Context(), strings.Fields(tc.args), &http.Client{Transport: v}, io.Discard, stderr)
		if code != tc.code || len(v.asked) != tc.asked || stderr.Len() == 0 {
			t.Errorf("%q: exit %d, asked %v, said %s", tc.args, code, v.asked, stderr)
		}
	}
	if b, err := os.ReadFile(kept); err != nil || string(b) != "good" {
		t.Errorf("what no vendor answered replaced a file: %q, %v", b, err)
	}
}
