// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package canary

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unicode/utf16"
)

// TestFindsEverySpelling: a sweep that cannot find is no sweep.
func TestFindsEverySpelling(t *testing.T) {
	r := New()
	marker := r.Marker("prompt")
	quoted, err := json.Marshal(marker)
	if err != nil {
		t.Fatal(err)
	}
	var wide []byte
	for _, u := range utf16.Encode([]rune(marker)) {
		wide = append(wide, byte(u), byte(u>>8))
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write([]byte(strings.Repeat("x", 1000) + marker))
	z.Close()
	for name, b := range map[string][]byte{
		"plain":           []byte(marker),
		"JSON":            quoted,
		"URL query":       []byte(url.QueryEscape(marker)),
		"URL path":        []byte(url.PathEscape(marker)),
		"hex":             []byte(hex.EncodeToString([]byte(marker))),
		"HEX":             []byte(strings.ToUpper(hex.EncodeToString([]byte(marker)))),
		"base64":          []byte(base64.StdEncoding.EncodeToString([]byte(marker))),
		"base64, shift 1": []byte(base64.StdEncoding.EncodeToString([]byte("\xff" + marker))),
		"base64, shift 2": []byte(base64.URLEncoding.EncodeToString([]byte("\xff\xff" + marker))),
		"UTF-16":          wide,
		"UTF-16, odd":     append([]byte{1}, wide...),
		"gzip":            append([]byte("before \x1f\x8b\x08 "), zipped.Bytes()...),
		"cut off":         []byte(marker[:stemSize]),
		"only its end":    []byte(marker[len(marker)-ownSize-stemSize:]),
		"lower case":      []byte(strings.ToLower(marker)),
	} {
		if len(r.Find(name, append(append([]byte("...."), b...), "...."...))) == 0 {
			t.Errorf("%s: not found", name)
		}
		other := New()
		other.Marker("other")
		if hits := other.Find(name, b); len(hits) > 0 {
			t.Errorf("%s: another run's marker found: %v", name, hits)
		}
	}
	word := r.Word("agent")
	if hits := r.Find("", []byte("sk-"+word)); len(hits) != 1 || hits[0].Name != "agent" || len(Only(hits, "prompt")) != 0 {
		t.Errorf("%v", hits)
	}
}

// TestSpellingsDiffer: a spelling that is there twice would count every find
// twice.
func TestSpellingsDiffer(t *testing.T) {
	for _, s := range []string{"0123456789", "ABCDEFGHI", "abcdefghi", "PQRSTUVWXY"} {
		seen := map[string]string{}
		for _, p := range patterns(s) {
			if form, twice := seen[string(p.bytes)]; twice {
				t.Errorf("%s is %s over again: %q", p.form, form, p.bytes)
			}
			seen[string(p.bytes)] = p.form
		}
	}
}

func TestTree(t *testing.T) {
	r := New()
	marker, dir := r.Word("file"), t.TempDir()
	if hits, files, err := r.Tree(dir); err != nil || len(hits)+files > 0 {
		t.Errorf("an empty tree: %v %d %v", hits, files, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte(hex.EncodeToString([]byte(marker))), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, marker), 0o700); err != nil {
		t.Fatal(err)
	}
	if hits, files, err := r.Tree(dir); err != nil || files != 1 || len(hits) != 2 {
		t.Errorf("%v %d %v", hits, files, err)
	}
}

func TestMemoryOfThisProcess(t *testing.T) {
	r := New()
	held := []byte(strings.Repeat(r.Marker("memory"), 1000))
	hits, searched, err := r.Memory(os.Getpid())
	if errors.Is(err, ErrMemory) {
		t.Skip(err)
	}
	if err != nil || len(Only(hits, "memory")) < 1000 || searched < 1<<20 {
		t.Errorf("%d hits in %d bytes, %v", len(hits), searched, err)
	}
	runtime.KeepAlive(held)
}

// A search for next to nothing found it in every file, and the sweep of money
// failed whenever the secret of an API key had an underscore near its end.
func TestForRefusesWhatStandsEverywhere(t *testing.T) {
	for n := range MinSize {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%d bytes: searched for", n)
				}
			}()
			For("12345678"[:n])
		}()
	}
	r := For("12345678")
	for _, p := range r.patterns {
		if len(p.bytes) < MinSize {
			t.Errorf("%s: %d bytes", p.form, len(p.bytes))
		}
	}
}
