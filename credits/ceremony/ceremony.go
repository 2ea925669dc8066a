// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package ceremony makes the keysets of a mint period: private key files for the
// two ports of a bank, the public list that a publisher puts into its
// statements, and a transcript of who made what.
//
// It runs once a mint period, by hand or from a timer, and serves nobody.
package ceremony

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/issue"
	"github.com/sotto-project/sotto/internal/durable"
	"github.com/sotto-project/sotto/internal/wire"
)

// ListFile is the public list, in the directory of keys.
const ListFile = "keysets.list"

// A Plan is the keysets that one ceremony makes.
type Plan struct {
	// First to Last are the epochs in which tokens are sold, and SpendLast is the
	// last in which they can be spent.
	First, Last, SpendLast uint64
	// The denominations, as exponents, ascending. Empty: no such keyset.
	Coins, Vouchers, Passes []uint8
	// PassName is what passes are called, for people.
	PassName string
	// Entitlements are names by tier.
	Entitlements map[uint8]string
}

// A Transcript says what a ceremony made. There is nothing secret in it.
type Transcript struct {
	Version  int      `json:"version"` // 1
	At       string   `json:"at"`      // RFC 3339, UTC
	Who      string   `json:"who"`
	Program  string   `json:"program"` // module version, or the commit it was built from
	Go       string   `json:"go"`
	Keysets  []Keyset `json:"keysets"`
	ListHash string   `json:"list_sha256"` // of the public list as it was written
}

// A Keyset is one that was made.
type Keyset struct {
	ID        string `json:"id"`
	Type      string `json:"type"`
	Tier      uint8  `json:"tier,omitempty"`
	Name      string `json:"name,omitempty"`
	First     uint64 `json:"first"`
	Last      uint64 `json:"last"`
	SpendLast uint64 `json:"spend_last"`
	Keys      []Key  `json:"keys"`
	File      string `json:"file"`
}

// A Key is a public key.
type Key struct {
	Exponent uint8  `json:"exponent"`
	Key      string `json:"key"` // hexadecimal
}

func (p *Plan) templates() ([]credits.Keyset, [][]uint8) {
	var sets []credits.Keyset
	var exponents [][]uint8
	add := func(k credits.Keyset, e []uint8) {
		if len(e) == 0 {
			return
		}
		k.First, k.Last, k.SpendLast = p.First, p.Last, p.SpendLast
		sets, exponents = append(sets, k), append(exponents, e)
	}
	add(credits.Keyset{Type: wire.TokenCoin}, p.Coins)
	add(credits.Keyset{Type: wire.TokenVoucher}, p.Vouchers)
	add(credits.Keyset{Type: wire.TokenPass, Name: p.PassName}, p.Passes)
	for tier := range 256 {
		if name, ok := p.Entitlements[uint8(tier)]; ok {
			add(credits.Keyset{Type: wire.TokenEntitlement, Tier: uint8(tier), Name: name}, []uint8{0})
		}
	}
	return sets, exponents
}

// ErrOverlap is a plan whose keysets would be on sale together with some that are
// there.
var ErrOverlap = errors.New("ceremony: two keysets of a type would be on sale at once")

// Run makes the keysets of a plan in a directory: one private file for each, the
// transcript, and last the public list, anew. A plan that does not fit to what is
// there is refused before anything is written; files that were there stay. What
// a crash leaves is key files that no list has: [Publish] lists them, or they are
// deleted before they are.
func Run(dir string, p Plan, who string, now time.Time, random io.Reader) (t *Transcript, file string, err error) {
	have, err := load(dir)
	if err != nil {
		return nil, "", err
	}
	sets, exponents := p.templates()
	if len(sets) == 0 {
		return nil, "", errors.New("ceremony: nothing to make")
	}
	made := make([]*issue.Keys, len(sets))
	for i := range sets {
		if made[i], err = issue.Generate(random, sets[i], exponents[i]); err != nil {
			return nil, "", fmt.Errorf("ceremony: %v", err)
		}
	}
	if _, err := check(slices.Concat(have, made)); err != nil {
		return nil, "", err
	}
	t = &Transcript{Version: 1, At: now.UTC().Truncate(time.Second).Format(time.RFC3339), Who: who, Program: program(), Go: runtime.Version()}
	for _, k := range made {
		row := describe(k.Keyset())
		if err := issue.CreateFile(filepath.Join(dir, row.File), k); err != nil {
			return nil, "", err
		}
		t.Keysets = append(t.Keysets, row)
	}
	list := credits.AppendList(nil, public(slices.Concat(have, made)))
	hash := sha256.Sum256(list)
	t.ListHash = hex.EncodeToString(hash[:])
	text, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return nil, "", fmt.Errorf("ceremony: %v", err)
	}
	text = append(text, '\n')
	digest := sha256.Sum256(text)
	file = filepath.Join(dir, fmt.Sprintf("ceremony-%d-%x.json", p.First, digest[:4]))
	if err := durable.CreateFile(file, text, 0o644); err != nil {
		return nil, "", err
	}
	return t, file, durable.WriteFile(filepath.Join(dir, ListFile), list, 0o644)
}

func describe(k *credits.Keyset) Keyset {
	id := k.ID()
	name := credits.TypeName(k.Type)
	row := Keyset{ID: hex.EncodeToString(id[:]), Type: name, Tier: k.Tier, Name: k.Name, First: k.First, Last: k.Last, SpendLast: k.SpendLast,
		File: fmt.Sprintf("%s-%d-%x%s", name, k.First, id[:4], issue.KeySuffix)}
	for _, x := range k.Keys {
		row.Keys = append(row.Keys, Key{x.Exponent, hex.EncodeToString(x.Element[:])})
	}
	return row
}

// program says what this was built from.
func program() string {
	b, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range b.Settings {
		if s.Key == "vcs.revision" {
			return b.Main.Version + " " + s.Value
		}
	}
	return b.Main.Version
}

func load(dir string) ([]*issue.Keys, error) {
	r := issue.NewRing(dir)
	if err := r.Load(); err != nil {
		return nil, fmt.Errorf("ceremony: %w", err)
	}
	return r.All(), nil
}

// Open reads the key files of a directory and judges whether they go together.
func Open(dir string) (*credits.Set, error) {
	keys, err := load(dir)
	if err != nil {
		return nil, err
	}
	return check(keys)
}

func public(keys []*issue.Keys) []*credits.Keyset {
	var sets []*credits.Keyset
	for _, k := range keys {
		sets = append(sets, k.Keyset())
	}
	return sets
}

// check judges keysets as everybody will who reads the statement.
func check(keys []*issue.Keys) (*credits.Set, error) {
	sets := public(keys)
	for i, a := range sets {
		for _, b := range sets[:i] {
			if a.Type == b.Type && a.Tier == b.Tier && a.First <= b.Last && b.First <= a.Last {
				return nil, fmt.Errorf("%w: %s, epoch %d", ErrOverlap, credits.TypeName(a.Type), max(a.First, b.First))
			}
		}
	}
	list, err := credits.ParseList(credits.AppendList(nil, sets))
	if err != nil {
		return nil, fmt.Errorf("ceremony: %w", err)
	}
	return credits.NewSet(list)
}

// Check reads a directory: its key files, whether they go together, and whether
// the public list is theirs. epoch is as in [Publish].
func Check(dir string, epoch uint64) (*credits.Set, error) {
	keys, err := load(dir)
	if err != nil {
		return nil, err
	}
	set, err := check(keys)
	if err != nil {
		return nil, err
	}
	have, err := os.ReadFile(filepath.Join(dir, ListFile))
	if err != nil {
		return nil, fmt.Errorf("ceremony: %w", err)
	}
	want := credits.AppendList(nil, public(keys))
	if !bytes.Equal(have, want) && !bytes.Equal(have, credits.AppendList(nil, public(live(keys, epoch)))) {
		return nil, fmt.Errorf("ceremony: %s is not the list of the key files; `sotto-bank keys publish` writes it", ListFile)
	}
	return set, nil
}

func live(keys []*issue.Keys, epoch uint64) []*issue.Keys {
	return slices.DeleteFunc(slices.Clone(keys), func(k *issue.Keys) bool { return k.Keyset().SpendLast < epoch })
}

// Publish writes the public list anew, of those keysets that somebody can still
// spend in an epoch; with epoch 0, of all.
func Publish(dir string, epoch uint64) (int, error) {
	keys, err := load(dir)
	if err != nil {
		return 0, err
	}
	keys = live(keys, epoch)
	if _, err := check(keys); err != nil {
		return 0, err
	}
	return len(keys), durable.WriteFile(filepath.Join(dir, ListFile), credits.AppendList(nil, public(keys)), 0o644)
}
