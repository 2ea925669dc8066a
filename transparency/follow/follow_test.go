// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package follow_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/follow"
	"github.com/sotto-project/sotto/transparency/statement"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func key(name string) ed25519.PrivateKey {
	s := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(s[:])
}

// A log is one that signs whatever it is told to.
type log struct {
	tree    transparency.Tree
	leaves  [][]byte
	signer  *transparency.Signer
	witness *transparency.Cosigner
}

func newLog() *log { return newLogOf("log") }

func newLogOf(name string) *log {
	return &log{signer: must(transparency.NewSigner("follow.test/log", key(name))), witness: must(transparency.NewCosigner("w.test", key("witness")))}
}

func (l *log) trust() *transparency.Trust {
	return &transparency.Trust{Origin: "follow.test/log", LogKey: l.signer.VKey(), Witnesses: []string{l.witness.VKey()}, Quorum: 1}
}

// add appends the next statement; edit changes it before.
func (l *log) add(edit func(*statement.Statement)) []byte {
	at := time.Unix(1_800_000_000, 0).UTC()
	s := &statement.Statement{Epoch: uint64(len(l.leaves)), NotBefore: at, NextPublic: at, NotAfter: at, Empty: true}
	if s.Epoch > 0 {
		s.Beacon = statement.LeafHash(l.leaves[s.Epoch-1])
	}
	if edit != nil {
		edit(s)
	}
	leaf := must(s.Append(nil))
	if err := l.tree.Append(statement.LogLeaf(leaf)); err != nil {
		panic(err)
	}
	l.leaves = append(l.leaves, leaf)
	n := l.tree.Size()
	note := must(l.witness.Cosign(l.signer.Sign(n, must(l.tree.Root(n))), at))
	return must((&statement.Signed{Leaf: leaf, Index: n - 1, Proof: must(l.tree.Prove(n-1, n)), Checkpoint: note}).Append(nil))
}

// TestAdmit: what a role takes, and what it does not, whoever serves it.
func TestAdmit(t *testing.T) {
	l := newLog()
	first, second := l.add(nil), l.add(nil)
	odd := l.add(func(s *statement.Statement) { s.Beacon[0] ^= 1 })
	had := map[uint64]*statement.Signed{}
	have := func(n uint64) *statement.Signed { return had[n] }

	if _, _, _, err := follow.Admit(&transparency.Trust{}, first, have); err == nil {
		t.Error("the zero trust took a statement")
	}
	if _, _, _, err := follow.Admit(newLog().trust(), append(bytes.Clone(first), 0), have); err == nil {
		t.Error("a byte left over")
	}
	for n, raw := range [][]byte{first, second} {
		s, st, known, err := follow.Admit(l.trust(), raw, have)
		if err != nil || known || st.Epoch != uint64(n) {
			t.Fatal(st, known, err)
		}
		had[st.Epoch] = s
		if again, st, known, err := follow.Admit(l.trust(), raw, have); again != s || st != nil || !known || err != nil {
			t.Error("it was not known the second time", err)
		}
	}
	if _, _, _, err := follow.Admit(l.trust(), odd, have); err == nil {
		t.Error("a statement that does not follow the one before it")
	}
	fork := newLog()
	fork.add(nil)
	other := fork.add(func(s *statement.Statement) { s.NotAfter = s.NotAfter.Add(time.Hour); s.NextPublic = s.NotAfter })
	if _, _, _, err := follow.Admit(l.trust(), other, have); err == nil {
		t.Error("a second statement of an epoch")
	}
}

// TestGeneration: CT-21, which generation no new database may be given.
func TestGeneration(t *testing.T) {
	names := func(n uint64) func(*statement.Statement) {
		return func(s *statement.Statement) {
			s.Empty, s.Payment, s.MintGeneration, s.TicketKey = false, statement.PaymentCoins, n, make([]byte, 32)
			s.GatewayKeys, s.NotAfter = [][]byte{{1}}, s.NotBefore.Add(time.Hour)
			s.NextPublic = s.NotAfter
		}
	}
	l, files := newLog(), map[string][]byte{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Write(b)
	}))
	defer srv.Close()
	p := follow.NewPublisher(must(url.Parse(srv.URL+"/")), &http.Transport{})
	publish := func(n int, raw []byte, latest bool) {
		files[fmt.Sprint("/v1/statement/", n)] = raw
		if latest {
			files["/v1/statement/latest"] = raw
		}
	}
	want := func(what string, want uint64) {
		t.Helper()
		if n, err := p.Generation(t.Context(), l.trust()); n != want || err != nil {
			t.Errorf("%s: %d, %v", what, n, err)
		}
	}
	if _, err := p.Generation(t.Context(), l.trust()); !errors.Is(err, follow.ErrAbsent) {
		t.Errorf("nothing is published: %v", err)
	}
	publish(0, l.add(nil), true)
	want("nothing was ever named", 0)
	publish(1, l.add(names(4)), true)
	want("in force", 4)
	publish(2, l.add(names(5)), false)
	want("public, and not yet in force", 5)
	publish(3, l.add(nil), true)
	publish(4, l.add(nil), true)
	want("an outage", 5)
	delete(files, "/v1/statement/3")
	if _, err := p.Generation(t.Context(), l.trust()); err == nil {
		t.Error("a statement that is kept back was passed over")
	}
	files["/v1/statement/3"] = files["/v1/statement/1"]
	if _, err := p.Generation(t.Context(), l.trust()); err == nil {
		t.Error("another statement in its place was taken")
	}
	if _, err := p.Generation(t.Context(), newLogOf("another").trust()); err == nil {
		t.Error("a log that is not trusted was believed")
	}
	long := newLog()
	files = map[string][]byte{}
	for n := range 70 {
		publish(n, long.add(nil), true)
	}
	if _, err := p.Generation(t.Context(), long.trust()); err == nil {
		t.Error("looked behind an outage without end")
	}
}

// TestGet: what a publisher's answers may be.
func TestGet(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/at/v1/statement/latest":
			w.Write([]byte("latest"))
		case "/at/v1/statement/7":
			w.Write([]byte("seven"))
		case "/at/moved":
			http.Redirect(w, r, "/at/v1/statement/7", http.StatusFound)
		case "/at/down":
			w.WriteHeader(500)
		default:
			http.NotFound(w, r)
		}
	}))
	defer srv.Close()
	p := follow.NewPublisher(must(url.Parse(srv.URL+"/at/")), &http.Transport{})
	ctx := t.Context()
	if b, err := p.Latest(ctx); string(b) != "latest" || err != nil {
		t.Error(b, err)
	}
	if b, err := p.Statement(ctx, 7); string(b) != "seven" || err != nil {
		t.Error(b, err)
	}
	if _, err := p.Statement(ctx, 8); !errors.Is(err, follow.ErrAbsent) {
		t.Error(err)
	}
	for _, path := range []string{"/moved", "/down"} {
		if _, err := p.Get(ctx, path, 100); err == nil || errors.Is(err, follow.ErrAbsent) {
			t.Errorf("%s: %v", path, err)
		}
	}
	for limit, fits := range map[int64]bool{4: false, 5: true, 6: true} {
		if _, err := p.Get(ctx, "/v1/statement/7", limit); (err == nil) != fits {
			t.Errorf("5 bytes of at most %d: %v", limit, err)
		}
	}
}
