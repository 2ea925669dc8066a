// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// FuzzTilePath holds the parser against the expression by which nginx decides:
// both relays let the same paths through, and nothing else reaches the publisher.
func FuzzTilePath(f *testing.F) {
	conf, err := os.ReadFile("../deploy/relay/nginx.conf")
	if err != nil {
		f.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(conf), `|log/tile/`)
	expr, _, ok2 := strings.Cut(rest, `)$" {`)
	const ahead = "(?!x000/)" // Go's expressions do not look ahead
	if !ok || !ok2 || strings.Count(expr, ahead) != 1 {
		f.Fatal("nginx.conf has no expression for tiles")
	}
	nginx := regexp.MustCompile(`\Atile/` + strings.Replace(expr, ahead, "", 1) + `\z`)
	zeros := regexp.MustCompile(`\Atile/[^/]*/x000/`)
	for _, s := range []string{"tile/0/000", "tile/5/x001/234.p/255", "tile/entries/000", "tile/entries/x001/000.p/9", "tile/entries/x000/001", "tile/entries/000.p/256",
		"tile/6/000", "tile/0/x000/001", "tile/entries/0/000", "tile/0/entries/000", "tile/0/000.p/01", "tile/0/x001/x001/x001/x001/x001/001", "tile/entries/", "checkpoint"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		limit, ok := tilePath(s)
		if want := nginx.MatchString(s) && !zeros.MatchString(s); ok != want {
			t.Errorf("%q: %v, nginx says %v", s, ok, want)
		}
		if !ok {
			return
		}
		if level, last := tileEnd(s); level > 5 || last >= 256_000_000_000_000_000 {
			t.Errorf("%q ends at %d, %d", s, level, last)
		}
		if limit != maxTile && limit != maxEntries {
			t.Errorf("%q may have %d bytes", s, limit)
		}
	})
}
