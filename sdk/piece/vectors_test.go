// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sotto-project/sotto/attestation/piece"
)

const (
	examplesDir = "../../docs/spec/verify/examples"
	bundles     = "sigstore-bundle" // judged by another package, which is not part of these builds
)

// A vector is a request, in a file.
type vector struct {
	name, kind, path string
	golden           string // the published response, if there is one
}

// examples are the published requests, and of each some that are spoiled.
func examples(t *testing.T) []vector {
	t.Helper()
	files, err := filepath.Glob(examplesDir + "/*.request.json")
	if err != nil || len(files) <= len(piece.Kinds()) {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	dir := t.TempDir()
	var out []vector
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".request.json")
		kind, _, _ := strings.Cut(name, ".")
		if kind == bundles {
			continue
		}
		out = append(out, vector{name, kind, f, strings.Replace(f, ".request.", ".response.", 1)})
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		spoiled := [][]byte{b[:len(b)/2], bytes.Replace(b, []byte("{"), []byte(`{"time":null,`), 1)}
		var document map[string]any
		if err := json.Unmarshal(b, &document); err != nil {
			t.Fatal(err)
		}
		spoil(document, func() { spoiled = append(spoiled, marshal(t, document)) })
		for i, s := range spoiled {
			out = append(out, write(t, dir, fmt.Sprintf("%s, spoiled %d", name, i), kind, s))
		}
	}
	return out
}

// spoil walks a document, changes one text at a time in its middle, and calls
// then while it is changed.
func spoil(v any, then func()) {
	change := func(text string, set func(string)) {
		b := []byte(text)
		if at := len(b) / 2; b[at] == 'a' {
			b[at] = 'b'
		} else {
			b[at] = 'a'
		}
		set(string(b))
		then()
		set(text)
	}
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			if text, ok := inner.(string); ok && text != "" {
				change(text, func(s string) { v[k] = s })
			}
			spoil(inner, then)
		}
	case []any:
		for i, inner := range v {
			if text, ok := inner.(string); ok && text != "" {
				change(text, func(s string) { v[i] = s })
			}
			spoil(inner, then)
		}
	}
}

// suite are the requests that the tests of attestation/piece judge: recorded
// evidence under the vendors' own roots, and the attacks.
func suite(t *testing.T) []vector {
	t.Helper()
	from, to := t.TempDir(), t.TempDir()
	c := exec.Command("go", "test", "-count=1", "-short", "./attestation/piece")
	c.Dir, c.Env = "../..", append(os.Environ(), "SOTTO_PIECE_REQUESTS="+from)
	if b, err := c.CombinedOutput(); err != nil {
		t.Fatalf("the tests of attestation/piece: %v\n%s", err, b)
	}
	files, err := filepath.Glob(from + "/*.json")
	if err != nil || len(files) < 100 {
		t.Fatalf("%d requests from the tests of attestation/piece (%v)", len(files), err)
	}
	var out []vector
	for _, f := range files {
		var asked struct {
			Test, Kind string
			Request    []byte
		}
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &asked); err != nil {
			t.Fatal(err)
		}
		if asked.Kind == bundles || strings.Contains(asked.Kind, "\x00") { // NUL: no command line carries it
			continue
		}
		out = append(out, write(t, to, asked.Test, asked.Kind, asked.Request))
	}
	return out
}

// edges are where builds differ most easily: nothing, sizes at the limit, which
// a word of 32 bits could cut, and names.
func edges(t *testing.T) []vector {
	t.Helper()
	good, err := os.ReadFile(examplesDir + "/event-log.request.json")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	padded := append(bytes.Clone(good), bytes.Repeat([]byte(" "), piece.MaxRequest-len(good)+1)...)
	return []vector{
		write(t, dir, "nothing", "tdx", nil),
		write(t, dir, "as large as may be", "event-log", padded[:piece.MaxRequest]),
		write(t, dir, "a byte too large", "event-log", padded),
		write(t, dir, "a byte after NUL", "event-log", append(bytes.Clone(good), 0, '{')),
		write(t, dir, "no kind", "sgx", good),
		write(t, dir, "kind in capitals", "TDX", good),
		write(t, dir, "a long kind", strings.Repeat("ü", 100), good),
		write(t, dir, "an empty kind", "", good),
	}
}

// write puts a request into a file of dir.
func write(t *testing.T, dir, name, kind string, request []byte) vector {
	t.Helper()
	f, err := os.CreateTemp(dir, "*.json")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(request); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return vector{name: name, kind: kind, path: f.Name()}
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
