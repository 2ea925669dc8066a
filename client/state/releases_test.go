// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/sotto-project/sotto/transparency"
)

func TestReleasesAreRemembered(t *testing.T) {
	d := New(t.TempDir(), transparency.Trust{Origin: "log.example/sotto"})
	noon := time.Date(2026, 10, 1, 12, 0, 0, 0, time.UTC)
	accept := func(at time.Time, ids ...byte) []Known {
		t.Helper()
		var digests [][32]byte
		for _, id := range ids {
			digests = append(digests, [32]byte{id})
		}
		known, err := d.Accept(digests, at)
		if err != nil {
			t.Fatal(err)
		}
		return known
	}
	if known := accept(noon); known != nil {
		t.Errorf("%v", known)
	}
	if _, err := os.Stat(d.Path()); err == nil {
		t.Error("a folder for nothing")
	}
	accept(noon, 1, 2)
	known := accept(noon.Add(time.Hour), 2, 3)
	if len(known) != 3 || !Find(known, [32]byte{2}).Since.Equal(noon) || !Find(known, [32]byte{3}).Since.Equal(noon.Add(time.Hour)) || Find(known, [32]byte{4}) != nil {
		t.Errorf("%v", known)
	}
	for i := range 300 {
		if _, err := d.Accept([][32]byte{{9, byte(i), byte(i >> 8)}}, noon); err != nil {
			t.Fatal(err)
		}
	}
	if known = accept(noon); len(known) != maxKnown || Find(known, [32]byte{1}) != nil {
		t.Errorf("%d remembered", len(known))
	}
	for name, b := range map[string][]byte{
		"empty": {}, "another header": []byte("sotto-releases/v2\n"), "half a line": append(printKnown(known[:2]), "00"...),
		"twice": printKnown([]Known{known[0], known[0]}), "upper case": bytes.ToUpper(printKnown(known[:1])), "too long": make([]byte, 1<<20),
	} {
		if err := os.WriteFile(d.releasesPath(), b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Accept([][32]byte{{1}}, noon); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := os.Remove(d.releasesPath()); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(d.releasesPath(), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Accept([][32]byte{{1}}, noon); err == nil {
		t.Error("a folder is a list")
	}
}

func FuzzReleases(f *testing.F) {
	f.Add([]byte(knownHeader))
	f.Add(printKnown([]Known{{[32]byte{1}, time.Unix(5, 0)}, {[32]byte{2}, time.Unix(-5, 0)}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if known, ok := parseKnown(b); ok && !bytes.Equal(printKnown(known), b) {
			t.Error("two spellings")
		}
	})
}
