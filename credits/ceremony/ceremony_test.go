// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package ceremony_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/ceremony"
	"github.com/sotto-project/sotto/credits/issue"
	"github.com/sotto-project/sotto/internal/wire"
)

func plan(first uint64) ceremony.Plan {
	return ceremony.Plan{First: first, Last: first + 9, SpendLast: first + 29, Coins: []uint8{0, 1, 2}, Vouchers: []uint8{1}, Passes: []uint8{2}, PassName: "free",
		Entitlements: map[uint8]string{1: "fast", 3: "large"}}
}

func run(t *testing.T, dir string, p ceremony.Plan) (*ceremony.Transcript, string, error) {
	t.Helper()
	return ceremony.Run(dir, p, "local:test", time.Unix(1_800_000_000, 0), rand.Reader)
}

func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestCeremony(t *testing.T) {
	dir := t.TempDir()
	tr, file, err := run(t, dir, plan(10))
	if err != nil {
		t.Fatal(err)
	}
	if len(tr.Keysets) != 5 || tr.Who != "local:test" || tr.At != "2027-01-15T08:00:00Z" || tr.Go == "" || tr.Program == "" {
		t.Errorf("%+v", tr)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var back ceremony.Transcript
	if err := json.Unmarshal(text, &back); err != nil || len(back.Keysets) != 5 || back.Keysets[0].Keys[1].Exponent != 1 {
		t.Errorf("%s", text)
	}
	list, err := os.ReadFile(filepath.Join(dir, ceremony.ListFile))
	if err != nil {
		t.Fatal(err)
	}
	if h := sha256.Sum256(list); hex.EncodeToString(h[:]) != tr.ListHash {
		t.Error("the transcript has another list")
	}
	// The list is what everybody will judge by.
	parsed, err := credits.ParseList(list)
	if err != nil {
		t.Fatal(err)
	}
	set, err := credits.NewSet(parsed)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []struct{ t, tier uint8 }{{wire.TokenCoin, 0}, {wire.TokenVoucher, 0}, {wire.TokenPass, 0}, {wire.TokenEntitlement, 1}, {wire.TokenEntitlement, 3}} {
		if _, ok := set.Selling(k.t, k.tier, 10); !ok {
			t.Errorf("no keyset of type %d tier %d", k.t, k.tier)
		}
	}
	// Every key file is its owner's, and is in the transcript; nothing of it is.
	for _, k := range tr.Keysets {
		name := filepath.Join(dir, k.File)
		if st, err := os.Stat(name); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v", k.File, err)
		}
		keys, err := issue.OpenFile(name)
		if err != nil {
			t.Fatal(err)
		}
		private, err := keys.Text()
		if err != nil {
			t.Fatal(err)
		}
		fields := strings.Split(strings.TrimSpace(string(private.Bytes())), ":")
		for where, b := range map[string][]byte{"transcript": text, "list": list} {
			if strings.Contains(string(b), fields[len(fields)-1]) {
				t.Errorf("the private keys are in the %s", where)
			}
		}
	}
	if s, err := ceremony.Check(dir, 0); err != nil || len(s.All()) != 5 {
		t.Error(err)
	}
}

// TestOverlap: two keysets of a type on sale at once would be a mark, and are
// refused before anything is written.
func TestOverlap(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := run(t, dir, plan(10)); err != nil {
		t.Fatal(err)
	}
	before := files(t, dir)
	for _, first := range []uint64{1, 9, 10, 19} {
		if _, _, err := run(t, dir, plan(first)); !errors.Is(err, ceremony.ErrOverlap) {
			t.Errorf("from %d: %v", first, err)
		}
	}
	for what, p := range map[string]ceremony.Plan{
		"nothing": {First: 20, Last: 29, SpendLast: 40}, "from epoch 0": {Last: 1, SpendLast: 1, Coins: []uint8{0}},
		"spent before it is sold": {First: 20, Last: 29, SpendLast: 28, Coins: []uint8{0}}, "descending": {First: 20, Last: 29, SpendLast: 40, Coins: []uint8{1, 0}},
		"2^41": {First: 20, Last: 29, SpendLast: 40, Coins: []uint8{41}}, "a pass without a name": {First: 20, Last: 29, SpendLast: 40, Passes: []uint8{0}},
	} {
		if _, _, err := run(t, dir, p); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	if after := files(t, dir); strings.Join(after, " ") != strings.Join(before, " ") {
		t.Errorf("written: %q", after)
	}
	if _, _, err := run(t, dir, plan(20)); err != nil {
		t.Error(err)
	}
}

// TestFailureTable makes each write of a ceremony fail, by a file or a folder
// that is in its way, and looks at what is left: a list is never of keys that
// are not there.
func TestFailureTable(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := run(t, dir, plan(10)); err != nil {
		t.Fatal(err)
	}
	old, err := os.ReadFile(filepath.Join(dir, ceremony.ListFile))
	if err != nil {
		t.Fatal(err)
	}
	// The list cannot be replaced: the new key files are there, and no list has them.
	if err := os.Remove(filepath.Join(dir, ceremony.ListFile)); err != nil {
		t.Fatal(err)
	}
	blocked := filepath.Join(dir, ceremony.ListFile, "x")
	if err := os.MkdirAll(blocked, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, _, err := run(t, dir, plan(20)); err == nil {
		t.Fatal("a list was written over a folder")
	}
	os.RemoveAll(filepath.Join(dir, ceremony.ListFile))
	if err := os.WriteFile(filepath.Join(dir, ceremony.ListFile), old, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ceremony.Check(dir, 0); err == nil {
		t.Error("keys that no list has were not seen")
	}
	if n, err := ceremony.Publish(dir, 0); n != 10 || err != nil {
		t.Error(n, err)
	}
	if _, err := ceremony.Check(dir, 0); err != nil {
		t.Error(err)
	}
	if n, err := ceremony.Publish(dir, 40); n != 5 || err != nil { // the first five are over
		t.Error(n, err)
	}
	if _, err := ceremony.Check(dir, 40); err != nil {
		t.Error(err)
	}
	// Randomness that ends, before anything is written.
	before := files(t, dir)
	if _, _, err := ceremony.Run(dir, plan(50), "x", time.Now(), strings.NewReader("too little")); err == nil {
		t.Error("keys of no randomness")
	}
	if after := files(t, dir); len(after) != len(before) {
		t.Error("written all the same")
	}
	if _, _, err := run(t, filepath.Join(dir, "absent"), plan(50)); err == nil {
		t.Error("a directory sprang into being")
	}
	// A file that others can read.
	for _, name := range before {
		if strings.HasSuffix(name, issue.KeySuffix) {
			if err := os.Chmod(filepath.Join(dir, name), 0o644); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	if _, err := ceremony.Check(dir, 40); err == nil {
		t.Error("a key file that others can read")
	}
}
