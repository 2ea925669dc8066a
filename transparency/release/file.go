// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package release

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"

	"github.com/sotto-project/sotto/transparency/bundle"
)

// Caps. A release of this repository has about ten statements and 100 kB.
const (
	MaxFile        = 8 << 20
	maxIndex       = 32 << 10
	maxItems       = 64
	maxAttachments = 128
)

// Version of the file format.
const Version = 1

// Kinds of items in an index.
const (
	KindImage      = "image"
	KindModel      = "model"
	KindProvenance = "provenance"
	KindSBOM       = "sbom"
)

// A File is a release as it travels: lines of JSON, each ended by a line feed.
//
//	index
//	one bundle for each item of the index, in its order
//	any number of further bundles: endorsements and revocations, ascending by SHA-256
//
// The first line, without its line feed, is what endorsements are about: its
// SHA-256 is the release's ID. The SHA-256 of everything is the file's digest.
type File struct {
	Index       Index
	Bundles     [][]byte // of the items, in their order
	Attachments [][]byte
	index       []byte // as it stands in the file
}

// An Index says what belongs to a release. It names statements by what they say
// and not by who signed where: whoever rebuilds a release gets the same index.
type Index struct {
	Version    int    `json:"version"`
	Repository string `json:"repository"` // URL
	Commit     string `json:"commit"`     // 40 or 64 hex digits
	Tag        string `json:"tag"`        // "v1.2.3"
	Items      []Item `json:"items"`      // ascending by kind, then by digest
}

// An Item is one statement: SHA-256 of the DSSE payload.
type Item struct {
	Kind   string `json:"kind"`
	SHA256 Hash   `json:"sha256"`
}

func compareItems(a, b Item) int {
	if c := strings.Compare(a.Kind, b.Kind); c != 0 {
		return c
	}
	return bytes.Compare(a.SHA256[:], b.SHA256[:])
}

// check says what is wrong with an index; "" if nothing.
func (x *Index) check() string {
	switch {
	case x.Version != Version:
		return "version"
	case !repositoryURL(x.Repository):
		return "repository"
	case !lowerHex(x.Commit, 40) && !lowerHex(x.Commit, 64):
		return "commit"
	case !semver(x.Tag):
		return "tag"
	case len(x.Items) == 0 || len(x.Items) > maxItems:
		return "number of items"
	}
	for i, it := range x.Items {
		if i > 0 && compareItems(x.Items[i-1], it) >= 0 {
			return "order of items"
		}
		if !slices.Contains([]string{KindImage, KindModel, KindProvenance, KindSBOM}, it.Kind) {
			return "kind of item"
		}
	}
	return ""
}

// Append prints the one line that is the index, without its line feed.
func (x *Index) Append(b []byte) ([]byte, error) {
	if what := x.check(); what != "" {
		return nil, refuse(CodeFormat, "index: %s", what)
	}
	line, err := json.Marshal(x)
	return append(b, line...), err
}

// ParseIndex reads exactly what [Index.Append] prints.
func ParseIndex(line []byte) (*Index, error) {
	x := new(Index)
	if len(line) > maxIndex || json.Unmarshal(line, x) != nil {
		return nil, refuse(CodeFormat, "index: not JSON, or over its cap")
	}
	back, err := x.Append(nil)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(back, line) {
		return nil, refuse(CodeFormat, "index: unknown members, or another spelling than its own")
	}
	return x, nil
}

// ID is the SHA-256 of the index line.
func (f *File) ID() [32]byte { return sha256.Sum256(f.index) }

// NewFile puts a release together: bundles in any order, sorted into items and
// attachments by what their statements are. It verifies nothing.
func NewFile(repository, commit, tag string, bundles [][]byte) (*File, error) {
	f := &File{Index: Index{Version: Version, Repository: repository, Commit: commit, Tag: tag}}
	type part struct {
		item   Item
		bundle []byte
	}
	var parts []part
	for _, b := range bundles {
		b, err := oneLine(b)
		if err != nil {
			return nil, err
		}
		payload, kind, err := peek(b)
		if err != nil {
			return nil, err
		}
		if kind == "" {
			f.Attachments = append(f.Attachments, b)
			continue
		}
		parts = append(parts, part{Item{kind, sha256.Sum256(payload)}, b})
	}
	slices.SortFunc(parts, func(a, b part) int { return compareItems(a.item, b.item) })
	for _, p := range parts {
		f.Index.Items, f.Bundles = append(f.Index.Items, p.item), append(f.Bundles, p.bundle)
	}
	slices.SortFunc(f.Attachments, byDigest)
	f.Attachments = slices.CompactFunc(f.Attachments, bytes.Equal)
	var err error
	f.index, err = f.Index.Append(nil)
	return f, err
}

// Attach returns the file with further endorsements or revocations.
func (f *File) Attach(bundles ...[]byte) (*File, error) {
	return NewFile(f.Index.Repository, f.Index.Commit, f.Index.Tag, slices.Concat(f.Bundles, f.Attachments, bundles))
}

func byDigest(a, b []byte) int {
	x, y := sha256.Sum256(a), sha256.Sum256(b)
	return bytes.Compare(x[:], y[:])
}

// oneLine takes the white space out of a bundle, so that it is one line.
func oneLine(b []byte) ([]byte, error) {
	var out bytes.Buffer
	if err := json.Compact(&out, b); err != nil {
		return nil, refuse(CodeFormat, "bundle: %v", err)
	}
	return out.Bytes(), nil
}

// Append prints the file.
func (f *File) Append(b []byte) ([]byte, error) {
	index, err := f.Index.Append(nil)
	if err != nil {
		return nil, err
	}
	if len(f.Bundles) != len(f.Index.Items) || len(f.Attachments) > maxAttachments {
		return nil, refuse(CodeFormat, "%d bundles for %d items, %d attachments", len(f.Bundles), len(f.Index.Items), len(f.Attachments))
	}
	for _, line := range slices.Concat([][]byte{index}, f.Bundles, f.Attachments) {
		b = append(append(b, line...), '\n')
	}
	return b, nil
}

// ParseFile reads exactly one release file: what it accepts, [File.Append]
// prints again. It verifies no signature; what it checks is that the bundles
// are those that the index names. Lines share b's memory.
func ParseFile(b []byte) (*File, error) {
	if len(b) == 0 || len(b) > MaxFile || b[len(b)-1] != '\n' {
		return nil, refuse(CodeFormat, "release file of %d bytes, or without its final line feed", len(b))
	}
	lines := bytes.Split(b[:len(b)-1], []byte{'\n'})
	x, err := ParseIndex(lines[0])
	if err != nil {
		return nil, err
	}
	f := &File{Index: *x, index: lines[0]}
	rest := lines[1:]
	if len(rest) < len(x.Items) || len(rest) > len(x.Items)+maxAttachments {
		return nil, refuse(CodeFormat, "%d lines for %d items", len(rest), len(x.Items))
	}
	f.Bundles, f.Attachments = rest[:len(x.Items)], rest[len(x.Items):]
	for i, line := range f.Bundles {
		payload, kind, err := peek(line)
		if err != nil {
			return nil, err
		}
		if it := x.Items[i]; it.Kind != kind || it.SHA256 != sha256.Sum256(payload) {
			return nil, refuse(CodeFormat, "line %d is not the item that the index names", i+2)
		}
	}
	for i, line := range f.Attachments {
		if _, kind, err := peek(line); err != nil || kind != "" {
			return nil, refuse(CodeFormat, "line %d is no endorsement or revocation", len(x.Items)+i+2)
		}
		if i > 0 && byDigest(f.Attachments[i-1], line) >= 0 {
			return nil, refuse(CodeFormat, "order of endorsements and revocations")
		}
	}
	if len(f.Attachments) == 0 {
		f.Attachments = nil
	}
	return f, nil
}

// peek reads, unverified, what a bundle's statement is: the kind of item, or ""
// for an attachment. bundle.Verify reads the bundle again, in full.
func peek(line []byte) (payload []byte, kind string, err error) {
	if len(line) > bundle.MaxBundle || bytes.IndexByte(line, '\n') >= 0 {
		return nil, "", refuse(CodeFormat, "bundle of %d bytes, or not one line", len(line))
	}
	if err := unambiguous(line); err != nil {
		return nil, "", refuse(CodeFormat, "bundle: %v", err)
	}
	var b struct {
		Envelope struct {
			Payload string `json:"payload"`
		} `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(line, &b); err != nil {
		return nil, "", refuse(CodeFormat, "bundle: %v", err)
	}
	if payload, err = base64.StdEncoding.DecodeString(b.Envelope.Payload); err != nil || len(payload) == 0 {
		return nil, "", refuse(CodeFormat, "bundle without a statement")
	}
	h, err := parseHead(payload)
	if err != nil {
		return nil, "", err
	}
	kind, known := kindOf[h.PredicateType]
	if !known {
		return nil, "", refuse(CodeFormat, "statement of type %q has no place in a release", h.PredicateType)
	}
	return payload, kind, nil
}
