// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"bytes"
	"encoding/hex"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/transparency/statement"
)

// TestReleaseFilesTravel: whoever reads a statement has the releases that it
// names, and the newest words about them.
func TestReleaseFilesTravel(t *testing.T) {
	w := newWorld(t, 1)
	w.p.log.Close()
	path := filepath.Join(t.TempDir(), "release.jsonl")
	write := func(s string) [32]byte {
		if err := os.WriteFile(path, []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
		return statement.Digest([]byte(s))
	}
	first := write("release\n")
	w.cfg.Releases = []ReleaseConfig{{Name: "x", File: path}}
	w.open()
	carried := func(want [32]byte) {
		t.Helper()
		st := w.latest()
		_, raw, _ := w.get("/v1/pack/" + name2(st.Epoch))
		pack, err := statement.ParsePack(raw)
		if err != nil || len(st.Releases) != 1 || st.Releases[0].Digest != want || st.Releases[0].Name != "x" {
			t.Fatalf("%v, releases %+v", err, st.Releases)
		}
		if b, ok := pack.Object(want); !ok || !bytes.HasPrefix(b, []byte("release\n")) {
			t.Error("the pack lacks the file")
		}
	}
	w.step(0)
	carried(first)
	second := write("release\nwithdrawn\n")
	w.step(time.Hour)
	w.step(time.Minute)
	carried(second)
	t.Run("AT-42/gone", func(t *testing.T) { // no statement rather than one that names what it does not show
		epoch := w.latest().Epoch
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		w.step(time.Hour)
		w.step(time.Minute)
		if w.p.log.Last().Epoch != epoch || w.p.failures == 0 || !strings.Contains(w.log.String(), "release.jsonl") {
			t.Errorf("epoch %d after %d", w.p.log.Last().Epoch, epoch)
		}
	})
}

func TestReleaseFilesAreThoseNamed(t *testing.T) {
	w := newWorld(t, 1)
	w.p.log.Close()
	path := filepath.Join(t.TempDir(), "release.jsonl")
	if err := os.WriteFile(path, []byte("release\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	d := statement.Digest([]byte("release\n"))
	right := hex.EncodeToString(d[:])
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		releases []ReleaseConfig
		ok       bool
	}{
		"digest given": {[]ReleaseConfig{{Name: "x", File: path, Digest: right}}, true},
		"another file": {[]ReleaseConfig{{Name: "x", File: path, Digest: strings.Repeat("0", 64)}}, false},
		"no file":      {[]ReleaseConfig{{Name: "x", File: path + "x"}}, false},
		"empty":        {[]ReleaseConfig{{Name: "x", File: empty}}, false},
		"twice":        {[]ReleaseConfig{{Name: "x", File: path}, {Name: "y", File: path}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := w.cfg
			cfg.Releases = c.releases
			p, err := Open(cfg, &attestation.Policy{}, slog.New(slog.DiscardHandler))
			if (err == nil) != c.ok {
				t.Errorf("%v", err)
			}
			if err == nil {
				p.log.Close()
			}
		})
	}
}
