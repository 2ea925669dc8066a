// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package bank_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/bank"
	"github.com/sotto-project/sotto/credits/blind"
	"github.com/sotto-project/sotto/credits/issue"
	"github.com/sotto-project/sotto/credits/redeem/storetest"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/httpx/httpxtest"
	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/statement"
)

// A publisher signs whatever statements a test wants.
type publisher struct {
	t       testing.TB
	mu      sync.Mutex
	tree    transparency.Tree
	leaves  [][]byte
	files   map[string][]byte
	signer  *transparency.Signer
	witness *transparency.Cosigner
}

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

const origin = "bank.test/SIMULATED"

func newPublisher(t testing.TB) *publisher {
	p := &publisher{t: t, files: map[string][]byte{}, signer: must(transparency.NewSigner(origin, seeded("log"))), witness: must(transparency.NewCosigner("witness.test", seeded("witness")))}
	at := time.Unix(1_800_000_000, 0).UTC()
	p.publish(&statement.Statement{Empty: true, NotBefore: at, NextPublic: at, NotAfter: at})
	return p
}

func (p *publisher) publish(s *statement.Statement) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Epoch = uint64(len(p.leaves))
	if s.Epoch > 0 {
		s.Beacon = statement.LeafHash(p.leaves[s.Epoch-1])
	}
	leaf := must(s.Append(nil))
	if err := p.tree.Append(statement.LogLeaf(leaf)); err != nil {
		p.t.Fatal(err)
	}
	p.leaves = append(p.leaves, leaf)
	n := p.tree.Size()
	note := must(p.witness.Cosign(p.signer.Sign(n, must(p.tree.Root(n))), time.Now()))
	b := must((&statement.Signed{Leaf: leaf, Index: n - 1, Proof: must(p.tree.Prove(n-1, n)), Checkpoint: note}).Append(nil))
	p.files[fmt.Sprint("/v1/statement/", s.Epoch)], p.files["/v1/statement/latest"] = b, b
}

func (p *publisher) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b, ok := p.files[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Write(b)
}

// A port is a bank that runs, with its neighbours.
type port struct {
	t       *testing.T
	w       *storetest.World
	pub     *publisher
	conf    bank.Config
	bank    *bank.Bank
	log     syncBuffer
	url     string
	clients map[string]*http.Client
}

// syncBuffer is a buffer for a logger.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func newPort(t *testing.T, tune func(*bank.Config)) *port {
	t.Helper()
	p := &port{t: t, w: storetest.NewWorld(t), pub: newPublisher(t), clients: map[string]*http.Client{}}
	dir := t.TempDir()
	ca := must(httpxtest.CreateCA(dir, "SIMULATED bank CA"))
	tls := must(ca.Issue("bank.sotto", "127.0.0.1"))
	pubTLS := must(ca.Issue("log.sotto", "127.0.0.1"))
	server := httptest.NewUnstartedServer(p.pub)
	server.TLS = must(pubTLS.Server(false))
	server.StartTLS()
	t.Cleanup(server.Close)

	keys := filepath.Join(dir, "keys")
	if err := os.Mkdir(keys, 0o700); err != nil {
		t.Fatal(err)
	}
	for i, k := range []*issue.Keys{p.w.Coins, p.w.Later, p.w.Passes, p.w.Vouchers, p.w.Entitlements} {
		if err := issue.CreateFile(filepath.Join(keys, fmt.Sprint(i, issue.KeySuffix)), k); err != nil {
			t.Fatal(err)
		}
	}
	ticket := filepath.Join(dir, "ticket.key")
	must(bank.CreateTicketKey(ticket, rand.Reader))
	p.w.Ticket = must(bank.OpenTicketKey(ticket))
	p.conf = bank.Config{
		Listen: "127.0.0.1:0", TLS: tls, Publisher: server.URL, PublisherCA: ca.File(),
		Trust:  transparency.Trust{Origin: origin, LogKey: p.pub.signer.VKey(), Witnesses: []string{p.pub.witness.VKey()}, Quorum: 1},
		SQLite: filepath.Join(dir, "bank.db"), Keys: keys, TicketKey: ticket, Poll: 10 * time.Millisecond,
	}
	if tune != nil {
		tune(&p.conf)
	}
	if err := bank.CreateStore(t.Context(), p.conf, p.w.Generation); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"router.sotto", "gateway.sotto", "relay.sotto"} {
		id := must(ca.Issue(name))
		p.clients[name] = &http.Client{Transport: httpx.NewTransport(must(id.Client("bank.sotto")))}
	}
	p.clients["nobody"] = &http.Client{Transport: httpx.NewTransport(must(httpx.TLS{CA: ca.File()}.Client("bank.sotto")))}
	return p
}

// start runs the bank until the test ends, or until what it returns is called.
func (p *port) start() (stop func()) {
	p.t.Helper()
	b, err := bank.New(p.conf, slog.New(slog.NewTextHandler(&p.log, nil)))
	if err != nil {
		p.t.Fatal(err)
	}
	p.bank = b
	ln := must(net.Listen("tcp", "127.0.0.1:0"))
	p.url = "https://" + ln.Addr().String()
	ctx, cancel := context.WithCancel(p.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.ServeOn(ctx, ln) }()
	stop = sync.OnceFunc(func() {
		cancel()
		for _, c := range p.clients {
			c.CloseIdleConnections()
		}
		if err := <-ended; err != nil {
			p.t.Error(err)
		}
		if err := b.Close(); err != nil {
			p.t.Error(err)
		}
	})
	p.t.Cleanup(stop)
	return stop
}

func (p *port) ask(who, method, path string, body []byte) (int, []byte) {
	p.t.Helper()
	req := must(http.NewRequest(method, p.url+path, bytes.NewReader(body)))
	resp, err := p.clients[who].Do(req)
	if err != nil {
		p.t.Fatalf("%s: %v", path, err)
	}
	defer resp.Body.Close()
	return resp.StatusCode, must(io.ReadAll(resp.Body))
}

func (p *port) refused(who, method, path string, body []byte, status int, code string) {
	p.t.Helper()
	got, b := p.ask(who, method, path, body)
	var doc struct{ Code string }
	json.Unmarshal(b, &doc)
	if got != status || doc.Code != code {
		p.t.Errorf("%s %s: %d %q, want %d %q", method, path, got, b, status, code)
	}
}

// wait waits for a state.
func (p *port) wait(state string, epoch uint64) bank.Health {
	p.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; {
		var h bank.Health
		_, b := p.ask("router.sotto", "GET", "/v1/health", nil)
		if err := json.Unmarshal(b, &h); err != nil {
			p.t.Fatalf("%s: %v", b, err)
		}
		if h.State == state && h.Epoch == epoch {
			return h
		}
		if time.Now().After(end) {
			p.t.Fatalf("%+v, want %s in epoch %d", h, state, epoch)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestPort(t *testing.T) {
	p := newPort(t, nil)
	p.start()
	for h := (bank.Health{}); !strings.Contains(h.Reason, "names no payment"); {
		h = p.wait("starting", 0)
	}
	p.refused("router.sotto", "POST", "/v1/hold", p.w.Request(1).Hold(0), 409, "epoch")
	p.refused("router.sotto", "POST", "/v1/settle", p.w.Request(1).Used(0, 0), 503, "starting")
	p.pub.publish(p.w.Statement(1))
	p.pub.publish(p.w.Statement(2))
	p.wait("ready", 2)
	r := p.w.Request(2)

	t.Run("peers", func(t *testing.T) {
		for who, may := range map[string][]string{"router.sotto": {"hold", "turn", "settle"}, "gateway.sotto": {"change", "swap"}, "relay.sotto": nil, "nobody": nil} {
			for _, path := range []string{"hold", "turn", "settle", "change", "swap"} {
				if who == "nobody" {
					if _, err := p.clients[who].Post(p.url+"/v1/"+path, "", nil); err == nil {
						t.Error("served without a certificate")
					}
					continue
				}
				status, _ := p.ask(who, "POST", "/v1/"+path, []byte("x"))
				if allowed := strings.Contains(strings.Join(may, " "), path); (status != 403) != allowed {
					t.Errorf("%s asks for %s: %d", who, path, status)
				}
			}
		}
		p.refused("router.sotto", "GET", "/v1/table/"+strings.Repeat("0", 64), nil, 403, "peer")
	})
	t.Run("hold to change", func(t *testing.T) {
		status, b := p.ask("router.sotto", "POST", "/v1/hold", r.Hold(0))
		tk, err := wire.ParseTicket(b)
		if status != 200 || err != nil || !tk.Verify(p.w.Ticket.Public().(ed25519.PublicKey)) {
			t.Fatalf("%d %s %v", status, b, err)
		}
		hash := r.Hash()
		_, b = p.ask("gateway.sotto", "POST", "/v1/change", hash[:])
		if c, err := wire.ParseChange(b); err != nil || c.State != wire.ChangePending || c.Generation != 7 {
			t.Fatalf("%v %v", c, err)
		}
		status, b = p.ask("router.sotto", "POST", "/v1/turn", r.Turn(0, 2))
		if tk, err := wire.ParseTicket(b); status != 200 || err != nil || tk.Turn != 1 || tk.Index != 2 {
			t.Fatalf("%d %s", status, b)
		}
		status, b = p.ask("router.sotto", "POST", "/v1/settle", r.Used(2, 57))
		c, err := wire.ParseChange(b)
		if status != 200 || err != nil || len(p.w.Unwrap(p.w.Coins, r.Blanks, c)) != 3 {
			t.Fatalf("%d %s %v", status, b, err)
		}
		if !c.Verify(p.w.Ticket.Public().(ed25519.PublicKey), hash) {
			t.Error("change that the bank did not sign")
		}
		if _, again := p.ask("gateway.sotto", "POST", "/v1/change", hash[:]); !bytes.Equal(again, b) {
			t.Error("another change")
		}
		id := p.w.Coins.Keyset().ID()
		status, b = p.ask("gateway.sotto", "GET", "/v1/table/"+hex.EncodeToString(id[:]), nil)
		if status != 200 || !bytes.Equal(b, []byte{0, 0, 0, 1}) {
			t.Fatalf("%d %x", status, b)
		}
		status, b = p.ask("gateway.sotto", "GET", "/v1/table/"+hex.EncodeToString(id[:])+"/0", nil)
		if list, err := credits.ParseTable(b); status != 200 || err != nil || len(list) != 3 {
			t.Fatalf("%d %v %v", status, err, list)
		}
		p.refused("gateway.sotto", "GET", "/v1/table/"+hex.EncodeToString(id[:])+"/1", nil, 404, "credit.absent")
		p.refused("gateway.sotto", "GET", "/v1/table/"+strings.ToUpper(hex.EncodeToString(id[:])), nil, 404, "path")
		p.refused("gateway.sotto", "GET", "/v1/table/"+hex.EncodeToString(id[:])+"/00", nil, 404, "path")
		p.refused("gateway.sotto", "GET", "/v1/table/"+strings.Repeat("0", 64), nil, 402, "credit.epoch")
	})
	t.Run("swap", func(t *testing.T) {
		blanks := p.w.Blank(p.w.Vouchers)
		body := p.w.Swap(2, []*blind.Coin{p.w.Token(p.w.Coins, 10)}, p.w.Vouchers, []*blind.Blank{blanks}, []uint8{10})
		status, b := p.ask("gateway.sotto", "POST", "/v1/swap", body)
		if list, err := credits.ParseMintedList(b, 1); status != 200 || err != nil || list[0].Exponent != 10 {
			t.Fatalf("%d %s", status, b)
		}
		if _, again := p.ask("gateway.sotto", "POST", "/v1/swap", body); !bytes.Equal(again, b) {
			t.Error("another answer to the same swap")
		}
	})
	t.Run("bodies", func(t *testing.T) {
		whole := p.w.Request(2)
		for _, c := range []struct {
			path, code string
			body       []byte
		}{
			{"hold", "routing", nil},
			{"hold", "routing", whole.Hold(0)[:1023]},
			{"hold", "header", whole.Hold(0)[:1024]},
			{"hold", "header", whole.Hold(0)[:len(whole.Hold(0))-1]},
			{"hold", "header", append(whole.Hold(0), 0)},
			{"turn", "routing", nil},
			{"turn", "header", append(whole.Turn(0, 1), 0)},
			{"settle", "routing", nil},
			{"settle", "routing", whole.Used(0, 1)[:100]},
			{"settle", "routing", append([]byte{3}, whole.Used(0, 1)[1:]...)},
		} {
			p.refused("router.sotto", "POST", "/v1/"+c.path, c.body, 400, c.code)
		}
		p.refused("gateway.sotto", "POST", "/v1/change", make([]byte, 31), 400, "routing")
		p.refused("gateway.sotto", "POST", "/v1/change", make([]byte, 33), 413, "size")
		p.refused("gateway.sotto", "POST", "/v1/change", make([]byte, 32), 404, "credit.absent")
		p.refused("gateway.sotto", "POST", "/v1/swap", []byte{0}, 400, "routing")
		p.refused("router.sotto", "POST", "/v1/settle", append(whole.Used(0, 1), 0), 413, "size")
		p.refused("router.sotto", "GET", "/v1/hold", nil, 404, "path")
	})
	t.Run("CT-25 nothing of a request is logged or counted", func(t *testing.T) {
		rec := httptest.NewRecorder()
		promhttp.HandlerFor(p.bank.Registry(), promhttp.HandlerOpts{}).ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
		if !strings.Contains(rec.Body.String(), `sotto_bank_requests_total{code="ok"}`) {
			t.Error("not counted")
		}
		hash := r.Hash()
		for _, text := range []string{rec.Body.String(), p.log.String()} {
			for _, id := range [][]byte{hash[:], r.Block.Spend.Nonce[:], r.Block.Spend.MAC[:], r.Block.Spend.Blanks[0][:]} {
				if strings.Contains(text, hex.EncodeToString(id[:8])) || strings.Contains(text, base64.StdEncoding.EncodeToString(id[:6])) {
					t.Errorf("an id of a request in %q", text)
				}
			}
		}
	})
	t.Run("an hour later it comes back by itself", func(t *testing.T) {
		r := p.w.Request(2)
		if status, b := p.ask("router.sotto", "POST", "/v1/hold", r.Hold(0)); status != 200 {
			t.Fatalf("%s", b)
		}
		p.pub.publish(p.w.Statement(3))
		p.wait("ready", 3)
		p.pub.publish(p.w.Statement(4))
		p.wait("ready", 4)
		p.refused("router.sotto", "POST", "/v1/hold", p.w.Request(2).Hold(0), 409, "epoch")
		hash := r.Hash()
		_, b := p.ask("gateway.sotto", "POST", "/v1/change", hash[:])
		if c, err := wire.ParseChange(b); err != nil || c.State != wire.ChangeReturned || len(c.Coins) != 1 || c.Coins[0].Exponent != storetest.Class {
			t.Errorf("%+v %v", c, err)
		}
	})
}

// TestGeneration: a bank whose database is not the one that the statement names,
// or may be an old copy, refuses everything and says why.
func TestGeneration(t *testing.T) {
	p := newPort(t, nil)
	p.pub.publish(p.w.Statement(1))
	stop := p.start()
	p.wait("ready", 1)
	stop()
	backup := must(os.ReadFile(p.conf.SQLite)) // nothing is in the WAL after a clean end

	stop = p.start()
	for n := uint64(2); n <= 4; n++ {
		p.pub.publish(p.w.Statement(n))
		p.wait("ready", n)
	}
	stop()

	t.Run("CT-21 yesterday's backup", func(t *testing.T) {
		now := must(os.ReadFile(p.conf.SQLite))
		if err := os.WriteFile(p.conf.SQLite, backup, 0o600); err != nil {
			t.Fatal(err)
		}
		stop := p.start()
		h := p.wait("bank.generation", 4)
		if !strings.Contains(h.Reason, "old copy") {
			t.Errorf("reason %q", h.Reason)
		}
		p.refused("router.sotto", "POST", "/v1/hold", p.w.Request(4).Hold(0), 503, "bank.generation")
		p.refused("router.sotto", "POST", "/v1/settle", p.w.Request(4).Used(0, 0), 503, "bank.generation")
		hash := p.w.Request(4).Hash()
		p.refused("gateway.sotto", "POST", "/v1/change", hash[:], 503, "bank.generation")
		if _, err := bank.Restore(t.Context(), p.conf, 0); err == nil {
			t.Error("restored under a running bank")
		}
		stop()
		g, err := bank.Restore(t.Context(), p.conf, 0)
		if err != nil || g != 8 {
			t.Fatal(g, err)
		}
		stop = p.start()
		p.wait("bank.generation", 4) // no statement names it yet
		next := p.w.Statement(5)
		next.MintGeneration = 8
		p.pub.publish(next)
		p.wait("ready", 5)
		if _, b := p.ask("router.sotto", "POST", "/v1/hold", p.w.Request(5).Hold(0)); len(b) != wire.TicketSize || must(wire.ParseTicket(b)).Generation != 8 {
			t.Errorf("%s", b)
		}
		stop()
		// The copy that went on stops.
		if err := os.WriteFile(p.conf.SQLite, now, 0o600); err != nil {
			t.Fatal(err)
		}
		stop = p.start()
		p.wait("bank.generation", 5)
		stop()
		// The same backup comes back a second time. By its own count it would be the
		// generation that is named, with what was spent since its first return forgotten.
		if err := os.WriteFile(p.conf.SQLite, backup, 0o600); err != nil {
			t.Fatal(err)
		}
		named, err := p.conf.Named(t.Context())
		if err != nil || named != 8 {
			t.Fatal(named, err)
		}
		if g, err := bank.Restore(t.Context(), p.conf, named); err != nil || g != 9 {
			t.Fatal(g, err)
		}
		p.start()
		p.wait("bank.generation", 5)
	})
}

// TestMissingKeys: a statement lists a keyset whose keys this bank has not; it
// says so, and refuses what it could not settle.
func TestMissingKeys(t *testing.T) {
	p := newPort(t, nil)
	files := must(filepath.Glob(filepath.Join(p.conf.Keys, "0*")))
	if err := os.Rename(files[0], p.conf.Keys+"/aside"); err != nil {
		t.Fatal(err)
	}
	p.pub.publish(p.w.Statement(1))
	p.start()
	for h := p.wait("ready", 1); !strings.Contains(h.Reason, "not at hand"); {
		h = p.wait("ready", 1)
	}
	r := p.w.Request(1)
	p.refused("router.sotto", "POST", "/v1/hold", r.Hold(0), 503, "starting")
	if err := os.Rename(p.conf.Keys+"/aside", files[0]); err != nil {
		t.Fatal(err)
	}
	for h := p.wait("ready", 1); h.Reason != ""; {
		h = p.wait("ready", 1)
	}
	if status, b := p.ask("router.sotto", "POST", "/v1/hold", r.Hold(0)); status != 200 {
		t.Errorf("%s", b)
	}
}

func TestConfig(t *testing.T) {
	p := newPort(t, nil)
	if err := p.conf.Validate(); err != nil {
		t.Fatal(err)
	}
	if (bank.Config{}).Validate() == nil {
		t.Error("the zero configuration is accepted")
	}
	for name, change := range map[string]func(*bank.Config){
		"no tls":      func(c *bank.Config) { c.TLS.CA = "" },
		"no store":    func(c *bank.Config) { c.SQLite = "" },
		"two stores":  func(c *bank.Config) { c.Postgres = "x" },
		"no keys":     func(c *bank.Config) { c.Keys = "" },
		"no ticket":   func(c *bank.Config) { c.TicketKey = "" },
		"rates":       func(c *bank.Config) { c.Rates = map[string]uint64{"voucher": 1} },
		"cleartext":   func(c *bank.Config) { c.Publisher = "http://log.example" },
		"no trust":    func(c *bank.Config) { c.Trust = transparency.Trust{} },
		"credentials": func(c *bank.Config) { c.Publisher = "https://a:b@log.example" },
	} {
		c := p.conf
		if change(&c); c.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	t.Run("key files open to others", func(t *testing.T) {
		if err := os.Chmod(p.conf.TicketKey, 0o640); err != nil {
			t.Fatal(err)
		}
		if _, err := bank.New(p.conf, nil); err == nil {
			t.Error("accepted")
		}
	})
	if err := bank.CreateStore(t.Context(), p.conf, 9); err == nil {
		t.Error("a database was made over another")
	}
}
