// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"database/sql"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	coin "github.com/sotto-project/sotto/credits/blind"
	"github.com/sotto-project/sotto/credits/issue"
	"github.com/sotto-project/sotto/credits/wallet"
	"github.com/sotto-project/sotto/internal/redact"
	"github.com/sotto-project/sotto/lab/internal/canary"
)

// A purse is what is secret about the proxy's money, and what ties it together.
type purse struct {
	secrets map[string][]string // what nobody but its owner writes down, by name
	nonces  []string            // of coins that were bought
	account string              // the account's id at the identified port
	hashes  []string            // of paid requests
	key     string
}

// purse reads them where they may be.
func (s *sweep) purse(t *testing.T) *purse {
	t.Helper()
	dir := s.lab.ready.Dir
	read := func(path ...string) []byte {
		b, err := os.ReadFile(filepath.Join(append([]string{dir}, path...)...))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	file := read("wallet-proxy", "seed")
	raw := file[len(file)-coin.SeedSize:]
	seed := redact.New(raw)
	words, err := wallet.Words(seed)
	if err != nil {
		t.Fatal(err)
	}
	key := strings.TrimSpace(string(read("bank", "account.key")))
	// sotto_<16 hexadecimal digits>_<secret>; an underscore is one of its secret's own characters.
	parts := strings.SplitN(key, "_", 3)
	if len(parts) != 3 || len(parts[2]) != 43 {
		t.Fatal("the API key is not written as credits/accounts/api says")
	}
	p := &purse{key: key, secrets: map[string][]string{"seed": {string(raw)}, "words": {string(words.Bytes())}, "API key": {parts[2]}}}
	files, _ := filepath.Glob(filepath.Join(dir, "bank", "keys", "*"+issue.KeySuffix))
	for _, path := range files {
		k, err := issue.OpenFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if k.Keyset().Type != 1 {
			continue
		}
		// The wallet's first purchase begins with the two coins of its largest class.
		for i := range uint64(2) {
			nonce := coin.Nonce(seed, k.Keyset().ID(), 0, i)
			out, err := k.Output(22, nonce)
			if err != nil {
				t.Fatal(err)
			}
			p.nonces = append(p.nonces, string(nonce[:]))
			p.secrets["coins"] = append(p.secrets["coins"], string(out))
		}
	}
	query := func(name, q string) (list []string) {
		db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "bank", name)+"?mode=ro")
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		rows, err := db.Query(q)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var b []byte
			if err := rows.Scan(&b); err != nil {
				t.Fatal(err)
			}
			list = append(list, string(b))
		}
		return list
	}
	if ids := query("accounts.db", "SELECT id FROM accounts"); len(ids) == 1 {
		p.account = ids[0]
	}
	for _, table := range query("spent.db", "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'ops_%'") {
		p.hashes = append(p.hashes, query("spent.db", "SELECT key FROM "+table)...)
	}
	if len(p.nonces) == 0 || len(p.account) < canary.MinSize || len(p.hashes) == 0 {
		t.Fatalf("nothing to look for: %d nonces, account of %d bytes, %d paid requests", len(p.nonces), len(p.account), len(p.hashes))
	}
	return p
}

// money looks for what is secret about a wallet wherever it must not be, and in
// each of the bank's databases for what belongs to the other (CT-25, H-04). The
// controls are the places where each may be.
func (s *sweep) money(t *testing.T) {
	p := s.purse(t)
	dir := s.lab.ready.Dir
	home := filepath.Join(dir, "wallet-proxy") + string(filepath.Separator)
	for name, list := range p.secrets {
		found := 0
		for i, secret := range list {
			r := canary.For(secret)
			hits, files, err := r.Tree(s.temp)
			if err != nil || files < 30 {
				t.Errorf("%d files searched, %v", files, err)
			}
			hits = append(hits, r.Find("stderr", []byte(s.lab.stderr.String()))...)
			for _, u := range s.lab.ready.Metrics {
				hits = append(hits, r.Find(u, []byte(get(t, u)))...)
			}
			for _, c := range []string{"/report", "/wallet"} {
				hits = append(hits, r.Find(c, []byte(get(t, s.lab.ready.Control+c)))...)
			}
			if s.wire != nil {
				for _, u := range []string{s.lab.ready.OpenAI, s.lab.ready.Control, s.lab.ready.Gateway, s.lab.ready.Router} {
					for flow, b := range s.wire.captured(port(t, u)) {
						hits = append(hits, r.Find(flow, b)...)
					}
				}
			}
			var stray []canary.Hit
			for _, h := range hits {
				switch {
				case strings.HasPrefix(h.Where, home) && name != "API key", name == "API key" && h.Where == filepath.Join(dir, "bank", "account.key"):
					found++
				default:
					stray = append(stray, h)
				}
			}
			clean(t, name, stray)
			if i == 0 && name != "words" { // which the seed stands for
				s.strangers(t, name, r)
			}
		}
		if found == 0 && name != "words" { // which nobody writes down but their owner
			t.Errorf("control: %s: not found where it may be", name)
		}
	}
	s.databases(t, p)
}

// strangers are the processes that have nothing to do with a wallet. The bank
// computes what it is paid with, and the identified port hears API keys.
func (s *sweep) strangers(t *testing.T, name string, r *canary.Run) {
	t.Helper()
	for seat, pid := range rolesIn(s.lab.ready.Dir) {
		if seat == "proxy" || seat == "bank" && name == "coins" || seat == "accounts" && name == "API key" || strings.HasPrefix(seat, "witness-") {
			continue // a witness hears of nothing but the log
		}
		hits, _, err := r.Memory(pid)
		if errors.Is(err, canary.ErrMemory) {
			return
		}
		if err != nil {
			t.Error(err)
		}
		clean(t, name+" in the memory of "+seat, hits)
	}
}

// databases: neither of the two has what would join them.
func (s *sweep) databases(t *testing.T, p *purse) {
	t.Helper()
	search := func(database string, wants bool, what string, list ...string) {
		paths, _ := filepath.Glob(filepath.Join(s.lab.ready.Dir, "bank", database+"*"))
		found := 0
		for _, path := range paths { // with its log
			b, err := os.ReadFile(path)
			if err != nil {
				continue // a checkpoint took it away
			}
			for _, x := range list {
				hits := canary.For(x).Find(path, b)
				if found += len(hits); !wants {
					clean(t, what, hits)
				}
			}
		}
		if wants && found == 0 {
			t.Errorf("control: %s: not found in %s", what, database)
		}
	}
	search("accounts.db", true, "account", p.account)
	search("spent.db", false, "account", p.account, hex.EncodeToString([]byte(p.account)))
	search("spent.db", false, "API key", p.key)
	search("spent.db", true, "header hash", p.hashes[0])
	search("accounts.db", false, "header hash", p.hashes...)
	search("accounts.db", false, "nonce", p.nonces...)
	search("spent.db", false, "nonce", p.nonces...)
}
