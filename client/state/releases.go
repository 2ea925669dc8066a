// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sotto-project/sotto/internal/durable"
)

// maxKnown is how many releases are remembered; the oldest go first.
const maxKnown = 256

const knownHeader = "sotto-releases/v1\n"

// A Known is a release that was accepted, and when that was first. ID is the
// SHA-256 of its index: words that are added to a release leave it the same.
type Known struct {
	ID    [32]byte
	Since time.Time
}

func (d *Dir) releasesPath() string { return filepath.Join(d.path, "releases") }

// Releases returns what was accepted before, oldest first.
func (d *Dir) Releases() ([]Known, error) {
	b, err := readFile(d.releasesPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, d.unreadable(err.Error())
	}
	known, ok := parseKnown(b)
	if !ok {
		return nil, d.unreadable("its list of releases is damaged")
	}
	return known, nil
}

// Accept adds releases to those accepted before, and returns all. Of two clients
// at once the last one counts: at worst a release is said to be new twice.
func (d *Dir) Accept(ids [][32]byte, now time.Time) ([]Known, error) {
	known, err := d.Releases()
	if err != nil {
		return nil, err
	}
	before := len(known)
	for _, id := range ids {
		if Find(known, id) == nil {
			known = append(known, Known{id, now.UTC().Truncate(time.Second)})
		}
	}
	if len(known) == before {
		return known, nil
	}
	known = known[max(0, len(known)-maxKnown):]
	if err := d.disk.mkdir(d.path, 0o700); err != nil {
		return nil, d.unwritable(err)
	}
	if err := durable.WriteFile(d.releasesPath(), printKnown(known), 0o600); err != nil {
		return nil, d.unwritable(err)
	}
	return known, nil
}

// Find returns a release of a list, or nil.
func Find(known []Known, id [32]byte) *Known {
	for i := range known {
		if known[i].ID == id {
			return &known[i]
		}
	}
	return nil
}

// printKnown writes a line "<ID, hex> <seconds since 1970>" for each.
func printKnown(known []Known) []byte {
	b := []byte(knownHeader)
	for _, k := range known {
		b = fmt.Appendf(b, "%x %d\n", k.ID, k.Since.Unix())
	}
	return b
}

// parseKnown reads exactly what printKnown writes.
func parseKnown(b []byte) (known []Known, ok bool) {
	body, found := bytes.CutPrefix(b, []byte(knownHeader))
	if !found {
		return nil, false
	}
	for line := range strings.Lines(string(body)) {
		id, seconds, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		raw, err := hex.DecodeString(id)
		n, err2 := strconv.ParseInt(seconds, 10, 64)
		if err != nil || err2 != nil || len(raw) != 32 || len(known) == maxKnown || Find(known, [32]byte(raw)) != nil {
			return nil, false
		}
		known = append(known, Known{[32]byte(raw), time.Unix(n, 0).UTC()})
	}
	return known, bytes.Equal(printKnown(known), b)
}
