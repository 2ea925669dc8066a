// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tiles

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Shapes of C2SP tlog-tiles.
const (
	Width    = 256 // hashes in a full tile, entries in a full bundle
	HashSize = 32  // SHA-256
	MaxEntry = 1<<16 - 1
	maxLevel = 5       // 2^48 leaves, the most a checkpoint of ours can hold, fill six levels
	maxIndex = 1 << 40 // 2^48 leaves in bundles of 2^8
	height   = 8       // levels of the tree in a tile
)

// MaxTile and MaxBundle are the largest answers to a fetch; whoever fetches need
// not read on.
const (
	MaxTile   = Width * HashSize
	MaxBundle = Width * (2 + MaxEntry)
)

// A Path names one tile or one bundle of entries, relative to the log's prefix:
//
//	tile/<L>/<N>[.p/<W>]
//	tile/entries/<N>[.p/<W>]
//
// <N> is in groups of three digits, all but the last with an x in front:
// x001/x234/067.
type Path struct {
	Entries bool   // a bundle; Level is 0
	Level   int    // 0: hashes of leaves; L: hashes of full tiles of level L-1
	N       uint64 // position in the level
	Width   int    // 1 to 256; 256 is a full one, which has no .p/
}

var errPath = errors.New("tiles: not the path of a tile or bundle")

// ParsePath reads what [Path.String] prints, and nothing else.
func ParsePath(s string) (Path, error) {
	p := Path{Width: Width}
	rest, ok := strings.CutPrefix(s, "tile/")
	if !ok || len(rest) > 64 {
		return Path{}, errPath
	}
	level, rest, ok := strings.Cut(rest, "/")
	if !ok {
		return Path{}, errPath
	}
	if p.Entries = level == "entries"; !p.Entries {
		n, ok := decimal(level)
		if !ok || n > maxLevel {
			return Path{}, errPath
		}
		p.Level = int(n)
	}
	if n, w, ok := strings.Cut(rest, ".p/"); ok {
		width, ok := decimal(w)
		if !ok || width < 1 || width >= Width {
			return Path{}, errPath
		}
		p.Width, rest = int(width), n
	}
	groups := strings.Split(rest, "/")
	for i, g := range groups {
		digits, x := strings.CutPrefix(g, "x")
		n, err := strconv.ParseUint(digits, 10, 64)
		if err != nil || len(digits) != 3 || strings.ContainsAny(digits, "+-_") || x != (i < len(groups)-1) {
			return Path{}, errPath
		}
		p.N = p.N*1000 + n
	}
	if p.N >= maxIndex || p.String() != s { // a group of zeros too many, say
		return Path{}, errPath
	}
	return p, nil
}

func decimal(s string) (uint64, bool) {
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil && strconv.FormatUint(n, 10) == s
}

func (p Path) String() string {
	n := fmt.Sprintf("%03d", p.N%1000)
	for rest := p.N / 1000; rest > 0; rest /= 1000 {
		n = fmt.Sprintf("x%03d/%s", rest%1000, n)
	}
	level := "entries"
	if !p.Entries {
		level = strconv.Itoa(p.Level)
	}
	if p.Width < Width {
		n += ".p/" + strconv.Itoa(p.Width)
	}
	return "tile/" + level + "/" + n
}

// In reports whether a log of size leaves has what p names: a part of a tile that
// the tree does not fill yet may still change, so nobody should see it.
func (p Path) In(size uint64) bool {
	return p.N*Width+uint64(p.Width) <= size>>(height*p.Level)
}

// Widest names the same tile or bundle as wide as a tree of size leaves has it,
// if it has it at all.
func (p Path) Widest(size uint64) (Path, bool) { return at(p.Entries, p.Level, p.N, size) }

// at is the widest path for position n of a level in a tree of size leaves.
func at(entries bool, level int, n, size uint64) (Path, bool) {
	have := size >> (height * level)
	if n*Width >= have {
		return Path{}, false
	}
	return Path{Entries: entries, Level: level, N: n, Width: int(min(Width, have-n*Width))}, true
}
