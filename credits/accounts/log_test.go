// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package accounts_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/accounts"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/httpx/httpxtest"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/statement"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func seeded(name string) ed25519.PrivateKey {
	s := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(s[:])
}

// A publisher signs whatever statements a test wants.
type publisher struct {
	signer  *transparency.Signer
	witness *transparency.Cosigner

	mu     sync.Mutex // guards what follows
	tree   transparency.Tree
	leaves [][]byte
	latest []byte
}

const logName = "bank.test/SIMULATED"

func newPublisher() *publisher {
	return &publisher{signer: must(transparency.NewSigner(logName, seeded("log"))), witness: must(transparency.NewCosigner("witness.test", seeded("witness")))}
}

func (p *publisher) trust() transparency.Trust {
	return transparency.Trust{Origin: logName, LogKey: p.signer.VKey(), Witnesses: []string{p.witness.VKey()}, Quorum: 1}
}

// publish appends a statement, or an empty leaf for nil, and returns it as served.
func (p *publisher) publish(s *statement.Statement) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := time.Unix(1_800_000_000+3600*int64(len(p.leaves)), 0).UTC()
	if s == nil {
		s = &statement.Statement{Empty: true}
	}
	s.Epoch, s.NotBefore, s.NotAfter, s.NextPublic = uint64(len(p.leaves)), at, at.Add(time.Hour), at.Add(time.Hour)
	if s.Epoch > 0 {
		s.Beacon = statement.LeafHash(p.leaves[s.Epoch-1])
	}
	leaf := must(s.Append(nil))
	if err := p.tree.Append(statement.LogLeaf(leaf)); err != nil {
		panic(err)
	}
	p.leaves = append(p.leaves, leaf)
	n := p.tree.Size()
	note := must(p.witness.Cosign(p.signer.Sign(n, must(p.tree.Root(n))), time.Now()))
	p.latest = must((&statement.Signed{Leaf: leaf, Index: n - 1, Proof: must(p.tree.Prove(n-1, n)), Checkpoint: note}).Append(nil))
	return p.latest
}

func (p *publisher) serve(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.latest = b
}

func (p *publisher) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.URL.Path != "/v1/statement/latest" || p.latest == nil {
		http.NotFound(w, r)
		return
	}
	w.Write(p.latest)
}

// TestFollowsTheLog: the bank's time and its keysets are those of the newest
// statement that verifies, and of nothing else.
func TestFollowsTheLog(t *testing.T) {
	dir := t.TempDir()
	ca := must(httpxtest.CreateCA(dir, "test"))
	id := must(ca.Issue("log.test", "127.0.0.1"))
	pub := newPublisher()
	srv := httptest.NewUnstartedServer(pub)
	srv.TLS = must(id.Server(false))
	srv.StartTLS()
	t.Cleanup(srv.Close)
	w := newWorld(t, func(c *accounts.Config) {
		c.Source, c.Publisher, c.PublisherCA, c.Trust = nil, srv.URL, ca.File(), pub.trust()
	})
	var listed []statement.Keyset
	for _, l := range must(credits.ParseList(credits.AppendList(nil, w.set.All()))) {
		listed = append(listed, statement.Keyset(l))
	}
	paid := func(generation uint64) *statement.Statement {
		return &statement.Statement{Payment: statement.PaymentCoins, MintGeneration: generation, TicketKey: make([]byte, 32), CoinKeysets: listed,
			GatewayKeys: [][]byte{{1}}}
	}
	state := func(ok bool, want string, epoch uint64) {
		t.Helper()
		if err := w.bank.Poll(context.Background()); (err == nil) != ok {
			t.Errorf("poll: %v", err)
		}
		_, _, b := ask(w.bank.Handler(), "GET", "/v1/health", "", nil)
		h := into[struct {
			State string
			Epoch uint64
		}](t, b)
		if h.State != want || h.Epoch != epoch {
			t.Errorf("%s, want %s in epoch %d", b, want, epoch)
		}
	}
	state(false, "starting", 0) // no statement at all
	pub.publish(nil)
	state(true, "starting", 0) // an outage first
	for range 9 {
		pub.publish(nil)
	}
	ten := pub.publish(paid(1))
	state(true, "ready", 10)
	u := w.user(100)
	eleven := pub.publish(paid(1))
	state(true, "ready", 11)
	pub.serve(ten)
	state(true, "ready", 11) // a mirror that is behind
	broken := append([]byte(nil), eleven...)
	broken[len(broken)/2] ^= 1
	pub.serve(broken)
	state(false, "ready", 11)
	pub.serve(eleven)
	pub.publish(nil)
	state(true, "ready", 12) // an outage: what was said stands, time goes on
	pub.publish(paid(1))
	state(true, "ready", 13)
	r, _ := u.want(1, 0)
	if s, c, _ := u.ask("POST", "/v1/issue", r); s != 200 {
		t.Error(c)
	}
	pub.publish(paid(2))
	state(true, credits.CodeGeneration, 0)
	t.Run("another log", func(t *testing.T) {
		other := newPublisher()
		other.signer = must(transparency.NewSigner(logName, seeded("another")))
		for range 15 {
			other.publish(nil)
		}
		pub.serve(other.publish(paid(1)))
		if err := w.bank.Poll(context.Background()); err == nil {
			t.Error("believed")
		}
	})
	t.Run("two worlds", func(t *testing.T) {
		other := newPublisher()
		for range 14 {
			other.publish(nil)
		}
		pub.serve(other.publish(paid(1))) // epoch 14 again
		if err := w.bank.Poll(context.Background()); err == nil {
			t.Error("believed")
		}
	})
}

func TestConfig(t *testing.T) {
	pub := newPublisher()
	good := accounts.Config{Listen: ":1", TLS: httpx.TLS{Cert: "a", Key: "b"}, Store: "s", Keys: "k", Publisher: "https://log.example", Trust: pub.trust()}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	if err := (accounts.Config{}).Validate(); err == nil {
		t.Error("the zero configuration is accepted")
	}
	for what, change := range map[string]func(*accounts.Config){
		"listen": func(c *accounts.Config) { c.Listen = "" }, "cert": func(c *accounts.Config) { c.TLS.Cert = "" }, "store": func(c *accounts.Config) { c.Store = "" },
		"keys": func(c *accounts.Config) { c.Keys = "" }, "publisher": func(c *accounts.Config) { c.Publisher = "http://log.example" },
		"trust": func(c *accounts.Config) { c.Trust = transparency.Trust{} }, "admin": func(c *accounts.Config) { c.Admin.Listen = ":2" },
		"secret alone": func(c *accounts.Config) { c.TopUp.Secret = "x" }, "units alone": func(c *accounts.Config) { c.TopUp.Units = map[string]uint64{"eur": 1} },
		"no units":             func(c *accounts.Config) { c.TopUp = accounts.Provider{Secret: "x", Units: map[string]uint64{"eur": 0}} },
		"passes without proof": func(c *accounts.Config) { c.Rules.Passes = 1 }, "a proof nobody knows": func(c *accounts.Config) { c.Rules.Passes, c.Rules.PassProof = 1, "captcha" },
		"proof without passes": func(c *accounts.Config) { c.Rules.PassProof = "account" }, "work without bits": func(c *accounts.Config) { c.Rules.Passes, c.Rules.PassProof = 1, "work" },
		"41 bits": func(c *accounts.Config) { c.Rules.Passes, c.Rules.PassProof, c.Rules.WorkBits = 1, "work", 41 },
	} {
		c := good
		change(&c)
		if err := c.Validate(); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	t.Run("files", func(t *testing.T) {
		w := newWorld(t, nil)
		for what, change := range map[string]func(*accounts.Config){
			"a secret that others can read": func(c *accounts.Config) {
				c.TopUp.Secret = filepath.Join(w.dir, "open")
				writeFile(t, c.TopUp.Secret, string(secret), 0o640)
			},
			"a short secret": func(c *accounts.Config) {
				c.TopUp.Secret = filepath.Join(w.dir, "short")
				writeFile(t, c.TopUp.Secret, string(secret[:31]), 0o600)
			},
			"no database":      func(c *accounts.Config) { c.Store = filepath.Join(w.dir, "absent") },
			"another database": func(c *accounts.Config) { c.Store = filepath.Join(w.dir, "text"); writeFile(t, c.Store, "", 0o600) },
			"no keys":          func(c *accounts.Config) { c.Keys = filepath.Join(w.dir, "absent") },
		} {
			c := w.conf
			change(&c)
			if b, err := accounts.New(c); err == nil {
				b.Close()
				t.Errorf("%s: accepted", what)
			}
		}
		if err := accounts.CreateStore(w.conf.Store, 1); err == nil {
			t.Error("a database was made over one that is there")
		}
		if err := accounts.CreateStore(filepath.Join(w.dir, "new.db"), 0); err == nil {
			t.Error("generation 0")
		}
	})
}
