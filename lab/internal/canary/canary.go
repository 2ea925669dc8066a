// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package canary looks for what should not be there: random markers, put into
// prompts, answers and names, in files, in captured packets and in the memory
// of processes, in every spelling that software gives a string by accident.
//
// It is for tests. That it finds nothing says something only beside a control:
// a place where the same search has to find the marker, and does.
package canary

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf16"
)

// Run is a set of markers that share one random stem, so that one search finds
// all of them.
type Run struct {
	stem     string
	names    map[string]string // marker's own part to its name
	patterns []pattern
}

const (
	stemSize = 12 // characters
	ownSize  = 8
)

type pattern struct {
	form  string
	bytes []byte
}

// New draws a stem.
func New() *Run {
	r := &Run{stem: random(stemSize), names: map[string]string{}}
	r.patterns = patterns(r.stem)
	return r
}

// random returns n letters and digits, which no escaping changes.
func random(n int) string { return rand.Text()[:n] }

// Marker makes a marker. The stem stands at both of its ends; between them are
// characters that URLs, JSON and headers escape in different ways.
func (r *Run) Marker(name string) string {
	own := random(ownSize)
	r.names[own] = name
	return r.stem + own + ` "&=/+é<\` + r.stem + own
}

// Word makes a marker that may stand in a header field.
func (r *Run) Word(name string) string {
	own := random(ownSize)
	r.names[own] = name
	return r.stem + own
}

// patterns lists the spellings of s. URL and JSON escaping leave letters and
// digits alone, so the plain spelling covers both.
func patterns(s string) []pattern {
	out := []pattern{{"plain", []byte(s)}, {"lower case", []byte(strings.ToLower(s))}, {"hex", []byte(hex.EncodeToString([]byte(s)))}}
	out = append(out, pattern{"HEX", bytes.ToUpper(out[2].bytes)})
	var le, be []byte
	for _, u := range utf16.Encode([]rune(s)) {
		le, be = binary.LittleEndian.AppendUint16(le, u), binary.BigEndian.AppendUint16(be, u)
	}
	out = append(out, pattern{"UTF-16LE", le}, pattern{"UTF-16BE", be})
	for shift := range 3 {
		// What of the encoding does not depend on the bytes around s.
		b := base64.RawStdEncoding.EncodeToString(append(make([]byte, shift), s...))
		skip := []int{0, 2, 3}[shift]
		whole := (shift + len(s)) / 3 * 4
		std := []byte(b[skip:whole])
		out = append(out, pattern{fmt.Sprintf("base64+%d", shift), std})
		if url := []byte(strings.NewReplacer("+", "-", "/", "_").Replace(string(std))); !bytes.Equal(url, std) {
			out = append(out, pattern{fmt.Sprintf("base64url+%d", shift), url})
		}
	}
	return distinct(out)
}

// distinct leaves out what an earlier spelling is already: a marker without
// letters has no lower case, and one whose hex has no letters no upper.
func distinct(all []pattern) []pattern {
	var out []pattern
	for _, p := range all {
		if !slices.ContainsFunc(out, func(o pattern) bool { return bytes.Equal(o.bytes, p.bytes) }) {
			out = append(out, p)
		}
	}
	return out
}

// A Hit is one place where a marker was found.
type Hit struct {
	Where  string // file, flow, mapping
	Form   string
	Name   string // of the marker, where its own part could be read
	Offset int64
}

func (h Hit) String() string {
	return fmt.Sprintf("%s: %s of %s at %d", h.Where, h.Form, cmp.Or(h.Name, "a marker"), h.Offset)
}

// maxUnzipped bounds what is unpacked of one gzip stream.
const maxUnzipped = 4 << 20

var gzipMagic = []byte{0x1f, 0x8b, 8}

// Find searches b, gzip streams within it included.
func (r *Run) Find(where string, b []byte) []Hit {
	hits := r.find(where, b)
	for at := 0; ; at++ {
		i := bytes.Index(b[at:], gzipMagic)
		if i < 0 {
			return hits
		}
		at += i
		z, err := gzip.NewReader(bytes.NewReader(b[at:]))
		if err != nil {
			continue
		}
		plain, _ := io.ReadAll(io.LimitReader(z, maxUnzipped)) // what came before an error counts
		for _, h := range r.find(where, plain) {
			h.Form, h.Offset = "gzip, "+h.Form, int64(at)
			hits = append(hits, h)
		}
	}
}

func (r *Run) find(where string, b []byte) []Hit {
	var hits []Hit
	for _, p := range r.patterns {
		for at := 0; ; at++ {
			n := bytes.Index(b[at:], p.bytes)
			if n < 0 {
				break
			}
			at += n
			hits = append(hits, Hit{where, p.form, r.name(b[at:]), int64(at)})
		}
	}
	return hits
}

// name reads the marker's own part behind a plain stem.
func (r *Run) name(b []byte) string {
	if n := len(r.stem); len(b) >= n+ownSize {
		return r.names[string(b[n:n+ownSize])]
	}
	return ""
}

// File searches one file.
func (r *Run) File(path string) ([]Hit, error) {
	b, err := os.ReadFile(path)
	return r.Find(path, b), err
}

// Tree searches every file below dir, names included.
func (r *Run) Tree(dir string) (hits []Hit, files int, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone in between
		}
		if err != nil {
			return err
		}
		hits = append(hits, r.Find("name of "+path, []byte(path))...)
		if !d.Type().IsRegular() {
			return nil
		}
		files++
		more, err := r.File(path)
		hits = append(hits, more...)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return hits, files, err
}

// Only keeps the hits of the markers named.
func Only(hits []Hit, names ...string) []Hit {
	return slices.DeleteFunc(slices.Clone(hits), func(h Hit) bool { return !slices.Contains(names, h.Name) })
}

// MinSize is the fewest bytes that [For] searches for: two of them, in one of
// the base64 spellings, are a single letter, which stands everywhere.
const MinSize = 8

// For returns a Run that searches for s itself: an address, say. It panics for
// less than [MinSize] bytes: what such a search finds says nothing.
func For(s string) *Run {
	if len(s) < MinSize {
		panic(fmt.Sprintf("canary: %d bytes stand in any file by chance; a search needs %d", len(s), MinSize))
	}
	return &Run{stem: s, names: map[string]string{}, patterns: patterns(s)}
}
