// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package clienttest is a whole Sotto in one process, for tests of the client
// and its faces: two relays, a gateway, a router and a log as shipped, on
// loopback, and nodes on SIMULATED hardware without a TPM. Every hop can be
// made hostile, and what leaves the client is counted.
package clienttest

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/httpx/httpxtest"
	"github.com/sotto-project/sotto/ohttp"
	"github.com/sotto-project/sotto/ohttp/gateway"
	"github.com/sotto-project/sotto/relay"
	"github.com/sotto-project/sotto/router"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/publish"
	"github.com/sotto-project/sotto/transparency/release/releasetest"
)

// Model is what the nodes of a world serve.
const Model = "toy"

var weights = sha256.Sum256([]byte("SIMULATED weights"))

// A World is a running system. Nothing in it talks but when it is asked.
type World struct {
	t testing.TB

	Trust  transparency.Trust
	Policy *attestation.Policy
	Roots  *attestationtest.Root
	CA     *httpxtest.CA
	Nodes  []*Node
	Meter  *Meter

	// Relays, Gateway and Router are where what passes can be changed. Relay i
	// mirrors Boards[i]; the router reads Boards[0].
	Relays  []*Hop
	Gateway *Hop
	Router  *Hop
	Boards  []*publish.Board

	// Mint is what money there is; nil where nobody pays.
	Mint *Mint

	// Maker makes SIMULATED releases; see Releases.
	Maker *releasetest.Maker

	Log    *publish.Log
	LogDir string
	made   time.Time // of the youngest cosignature
	config publish.Config
	router *router.Router
	policy func(*attestationtest.Root) *attestation.Policy
}

// root is made once: its keys take longer than all else.
var root = sync.OnceValues(attestationtest.GenerateRoot)

// Start starts a world of n nodes with a first epoch that has begun.
func Start(t testing.TB, n int) *World {
	t.Helper()
	return start(t, n, attestationtest.Policy, nil)
}

// StartFull is [Start] with nodes that show complete evidence, a log of what ran
// and a SIMULATED GPU each, and with clients that ask for it.
func StartFull(t testing.TB, n int) *World {
	t.Helper()
	return start(t, n, attestationtest.LabPolicy, nil)
}

func start(t testing.TB, n int, policy func(*attestationtest.Root) *attestation.Policy, with func(*World)) *World {
	t.Helper()
	w := &World{t: t, Meter: &Meter{}, Maker: releasetest.NewMaker(time.Now()), Boards: []*publish.Board{{}, {}}, policy: policy}
	var err error
	w.Roots, err = root()
	w.must(err)
	w.CA, err = httpxtest.CreateCA(t.TempDir(), "SIMULATED test root")
	w.must(err)
	w.Policy = policy(w.Roots)
	if with != nil {
		with(w)
	}
	for i := range n {
		w.Nodes = append(w.Nodes, w.newNode(i))
	}
	w.openLog()
	w.start()
	w.Epoch(time.Now().Add(-time.Minute), time.Hour)
	return w
}

func (w *World) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

const origin = "clienttest.invalid/SIMULATED"

func (w *World) openLog() {
	w.LogDir = filepath.Join(w.t.TempDir(), "log")
	start := time.Now().Add(-time.Hour)
	w.must(publish.CreateLog(w.LogDir, origin, start))
	var err error
	w.Log, err = publish.OpenLog(w.LogDir, origin, start)
	w.must(err)
	w.t.Cleanup(func() { w.Log.Close() })
	w.Trust = *w.Log.Keys().Trust()
}

// start starts gateway, router and relays.
func (w *World) start() {
	keys, published := w.gatewayKeys()
	w.config = publish.Config{
		Payment: "none", GatewayKeys: []string{published},
		Models: []publish.ModelConfig{{Name: Model, Weights: hex.EncodeToString(weights[:]), Context: 512, APIs: []string{"chat", "completions"}}},
	}
	inside := w.identity("gateway.sotto")
	board := w.serve("log.sotto", false, w.Boards[0].Handler())
	var err error
	cfg := router.Config{TLS: w.identity("router.sotto"), Publisher: board.URL, PublisherCA: w.CA.File(), Trust: w.Trust, Machines: w.policy(w.Roots)}
	for _, n := range w.Nodes {
		cfg.Nodes = append(cfg.Nodes, n.hop.URL)
	}
	var money gateway.Origin
	if w.Mint != nil {
		w.openBank(board.URL)
		cfg.Bank, money.URL = w.Mint.Bank.URL, w.Mint.Bank.URL
	}
	w.router, err = router.New(cfg)
	w.must(err)
	w.Router = w.serve("router.sotto", true, w.router.Handler())
	g, err := gateway.New(gateway.Config{Keys: keys, Identity: inside, Router: gateway.Origin{URL: w.Router.URL}, Bank: money}, slog.New(slog.DiscardHandler))
	w.must(err)
	w.must(g.Reload())
	w.Gateway = w.serve("gateway.example", false, g.Handler())
	for i, b := range w.Boards {
		mirror := w.serve("log.sotto", false, publish.Public(b.Handler(), w.Log))
		r, err := relay.New(relay.Config{
			Gateway: w.Gateway.URL + "/ohttp", GatewayCA: w.CA.File(), Mirror: mirror.URL, MirrorCA: w.CA.File(), MirrorAge: time.Nanosecond,
		})
		w.must(err)
		w.Relays = append(w.Relays, w.serve([]string{"relay-1.example", "relay-2.example"}[i], false, r.Handler()))
	}
}

func (w *World) gatewayKeys() (files []string, published string) {
	dir := w.t.TempDir()
	k, err := gateway.GenerateKey(1, hpke.KEMXWing)
	w.must(err)
	path := filepath.Join(dir, "gateway.key")
	w.must(gateway.CreateKeyFile(path, k))
	b, err := ohttp.AppendKeyConfigs(nil, []*ohttp.KeyConfig{k.Config()})
	w.must(err)
	published = filepath.Join(dir, "keys")
	w.must(os.WriteFile(published, b, 0o600))
	return []string{path}, published
}

func (w *World) identity(name string) httpx.TLS {
	id, err := w.CA.Issue(name, "127.0.0.1")
	w.must(err)
	return id
}

// A Hop is one server of the world, with a place for somebody in the middle.
type Hop struct {
	URL string

	honest http.Handler
	evil   atomic.Pointer[http.Handler]
}

// Intercept puts f in front of the honest handler; nil takes it away.
func (h *Hop) Intercept(f func(honest http.Handler) http.Handler) {
	if f == nil {
		h.evil.Store(nil)
		return
	}
	evil := f(h.honest)
	h.evil.Store(&evil)
}

func (h *Hop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if evil := h.evil.Load(); evil != nil {
		(*evil).ServeHTTP(w, r)
		return
	}
	h.honest.ServeHTTP(w, r)
}

func (w *World) serve(name string, mutual bool, h http.Handler) *Hop {
	tc, err := w.identity(name).Server(mutual)
	w.must(err)
	return w.serveTLS(tc, h)
}

func (w *World) serveTLS(tc *tls.Config, h http.Handler) *Hop {
	hop := &Hop{honest: h}
	s := httpx.NewServer(hop)
	s.TLSConfig = tc
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		httpx.Serve(ctx, ln, s)
	}()
	w.t.Cleanup(func() {
		cancel()
		s.Close() // tests that hang up in the middle leave connections
		<-done
	})
	hop.URL = "https://" + ln.Addr().String()
	return hop
}

// Config is an ordinary client's configuration in this world.
func (w *World) Config() client.Config {
	tc, err := httpx.TLS{CA: w.CA.File()}.Client("")
	w.must(err)
	return client.Config{
		// Tests break hundreds of answers; those of the alarm ask for it.
		Steering: client.SteeringWarn,
		Relays:   []string{w.Relays[0].URL, w.Relays[1].URL}, TLS: tc, Trust: w.Trust, Policy: w.Policy,
		Shaping: "off", Dial: w.Meter.Dial,
	}
}

// Client makes a client with the changes of tune.
func (w *World) Client(tune ...func(*client.Config)) *client.Client {
	w.t.Helper()
	cfg := w.Config()
	for _, f := range tune {
		f(&cfg)
	}
	c, err := client.New(cfg)
	w.must(err)
	w.t.Cleanup(c.Close)
	return c
}

// Release is a file with the image that the nodes run and the model that they
// serve, public since at and just reviewed.
func (w *World) Release(at time.Time) []byte {
	return w.Maker.Endorse(w.Maker.Make(releasetest.Repository, at, w.Policy.Images, Model, weights), 0, time.Now().Add(-time.Minute))
}

// Releases makes all later epochs name files and carry them.
func (w *World) Releases(files ...[]byte) {
	w.t.Helper()
	w.config.Releases = nil
	for i, b := range files {
		path := filepath.Join(w.t.TempDir(), "release.jsonl")
		w.must(os.WriteFile(path, b, 0o600))
		w.config.Releases = append(w.config.Releases, publish.ReleaseConfig{Name: fmt.Sprintf("release %d", i), File: path})
	}
}
