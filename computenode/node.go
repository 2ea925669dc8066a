// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package computenode

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/collect"
	"github.com/sotto-project/sotto/attestation/collect/tpm"
	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/computenode/internal/engine"
	"github.com/sotto-project/sotto/computenode/internal/rek"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/metrics"
)

// Hardware is what the machine gives the node.
type Hardware struct {
	TPM      *tpm.TPM         // the node is its only user; who opened it closes it, after Serve
	Reporter collect.Reporter // the platform's firmware
	EventLog []byte           // TCG event log of this boot
	CCEL     []byte           // a TD's own event log; nil on other platforms
	// IMALog, IMAGrowth and GPU are as in [collect.Collector]; nil where the
	// machine has none.
	IMALog    func() ([]byte, error)
	IMAGrowth func(entries []byte) error
	GPU       func(ctx context.Context, nonce [32]byte) ([]byte, error)
	// Check says whether the platform is still fit to serve, beyond what
	// [collect.Collector.SelfCheck] looks at. It may be nil. An error drains the
	// node for good.
	Check func(ctx context.Context) error
}

// ErrConfigMeasured: the configuration's register holds something else than
// this configuration. Another was measured since boot; only a reboot helps.
var ErrConfigMeasured = errors.New("node: att.config: another configuration was measured since boot")

// A Node is one node. New makes it, Serve runs it.
type Node struct {
	cfg      Config
	hw       Hardware
	log      *slog.Logger
	measured []byte
	engine   *engine.Client
	keys     *rek.Keys
	gate     *gate
	bucket   *bucket
	attests  *bucket             // of quotes for callers' challenges
	opening  chan struct{}       // bounds who waits for the TPM
	peers    *peers              // nil: judges nobody
	own      *attestation.Policy // nil: the node does not judge its own evidence
	tickets  []ed25519.PublicKey // of the bank; nil: nobody pays
	memo     *attestation.Memo   // of judging it
	meters   meters
	reg      *prometheus.Registry
	handler  http.Handler

	making sync.Mutex // held while keys and evidence of an epoch are made

	// Written by Start, before anything is served.
	collector *collect.Collector
	id        [32]byte

	mu      sync.RWMutex // guards what follows
	started bool
	drained bool
	epochs  map[uint64]*epoch
	highest uint64 // newest epoch there ever was
}

// New checks cfg and returns a node that has touched nothing yet but its peers'
// policy file.
func New(cfg Config, hw Hardware, log *slog.Logger) (*Node, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if hw.TPM == nil || hw.Reporter == nil || log == nil {
		return nil, errors.New("node: hardware: TPM, reporter and a log are required")
	}
	measured, err := cfg.Measured()
	if err != nil {
		return nil, fmt.Errorf("node: %v", err)
	}
	e, err := engine.New(cfg.Engine.Address, cfg.engineOptions())
	if err != nil {
		return nil, fmt.Errorf("node: %v", err)
	}
	n := &Node{
		cfg: cfg, hw: hw, log: log, measured: measured, engine: e,
		keys:    rek.New(hw.TPM, evidence.SealPCRs()),
		gate:    newGate(cfg.Running, cfg.Queued),
		bucket:  newBucket(cfg.Rate, cfg.Burst),
		attests: newBucket(attestRate, attestBurst),
		opening: make(chan struct{}, 64),
		memo:    attestation.NewMemo(1 << 10),
		reg:     prometheus.NewRegistry(),
		epochs:  make(map[uint64]*epoch),
	}
	if n.peers, err = newPeers(cfg.Peers); err != nil {
		return nil, err
	}
	if n.own, err = readPolicy("own_policy", cfg.OwnPolicy, cfg.Own); err != nil {
		return nil, err
	}
	if n.tickets, err = cfg.ticketKeys(); err != nil {
		return nil, err
	}
	n.meters = newMeters(n.reg, n)
	n.handler = n.routes()
	return n, nil
}

// Handler is the node's one HTTP face. Peers are told by their certificates.
func (n *Node) Handler() http.Handler { return n.handler }

func (n *Node) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /v1/request", httpx.RequirePeer(n.cfg.Routers, http.HandlerFunc(n.serveRequest)))
	mux.Handle("GET /v1/health", httpx.RequirePeer(slices.Concat(n.cfg.Routers, n.cfg.Publishers), http.HandlerFunc(n.serveHealth)))
	if n.tickets != nil {
		mux.Handle("POST /v1/usage", httpx.RequirePeer(n.cfg.Routers, http.HandlerFunc(n.serveUsage)))
	}
	mux.Handle("POST /v1/attest", httpx.RequirePeer(n.cfg.Routers, http.HandlerFunc(n.serveAttest)))
	if n.peers != nil {
		mux.Handle("POST /v1/peers", httpx.RequirePeer(n.cfg.Routers, http.HandlerFunc(n.servePeers)))
	}
	mux.Handle("POST /v1/epoch", httpx.RequirePeer(n.cfg.Publishers, http.HandlerFunc(n.serveEpoch)))
	mux.Handle("POST /v1/freshness", httpx.RequirePeer(n.cfg.Publishers, http.HandlerFunc(n.serveFreshness)))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { httpx.Problem(w, http.StatusNotFound, "target") })
	return mux
}

// ID is the node's identifier, once Start has returned.
func (n *Node) ID() [32]byte { return n.id }

// Start measures the configuration and makes the attestation key. Nothing is
// served before: evidence of a node that served first would not hold its
// configuration (AT-39). It is called once, by Serve, or by tests.
func (n *Node) Start(ctx context.Context) error {
	if err := n.measure(ctx); err != nil {
		return err
	}
	ak, err := n.hw.TPM.CreateAK(ctx)
	if err != nil {
		return fmt.Errorf("node: attestation key: %v", err)
	}
	n.collector = &collect.Collector{
		TPM: n.hw.TPM, AK: ak, Reporter: n.hw.Reporter, EventLog: n.hw.EventLog, CCEL: n.hw.CCEL, Config: n.measured,
		IMALog: n.hw.IMALog, IMAGrowth: n.hw.IMAGrowth, GPU: n.hw.GPU,
	}
	// The first self check takes the values that all later ones compare with.
	if err := n.check(ctx); err != nil {
		return fmt.Errorf("node: self check: %w", err)
	}
	n.id = n.collector.NodeID()
	n.mu.Lock()
	n.started = true
	n.mu.Unlock()
	n.log.Info("node started", "node", fmt.Sprintf("%x", n.id[:8]), "model", n.cfg.Model, "payment", n.cfg.Payment, "simulated", n.cfg.Simulated)
	return nil
}

// measure extends the configuration into its register, once a boot. A process
// that starts again in the same boot finds its own measurement there.
func (n *Node) measure(ctx context.Context) error {
	want := evidence.ConfigPCRValue(sha256.Sum256(n.measured))
	values, err := n.hw.TPM.ReadPCRs(ctx, []int{evidence.ConfigPCR})
	if err != nil {
		return fmt.Errorf("node: %v", err)
	}
	if values[evidence.ConfigPCR] == [32]byte{} {
		if err := collect.MeasureConfig(ctx, n.hw.TPM, n.measured); err != nil {
			return fmt.Errorf("node: %v", err)
		}
		if values, err = n.hw.TPM.ReadPCRs(ctx, []int{evidence.ConfigPCR}); err != nil {
			return fmt.Errorf("node: %v", err)
		}
	}
	if values[evidence.ConfigPCR] != want {
		return ErrConfigMeasured
	}
	return nil
}

// Serve starts the node and serves until ctx ends; then it lets running
// requests end, for 10 s at most, and erases its keys. A port that is taken is
// an error that names it.
func (n *Node) Serve(ctx context.Context) error {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", n.cfg.Listen)
	if err != nil {
		return fmt.Errorf("node: %w", err)
	}
	return n.ServeOn(ctx, ln)
}

// ServeOn is [Node.Serve] on a listener of plain TCP, which it closes.
func (n *Node) ServeOn(ctx context.Context, ln net.Listener) error {
	defer ln.Close()
	tc, err := n.cfg.TLS.Server(true)
	if err != nil {
		return fmt.Errorf("node: %v", err)
	}
	if err := n.Start(ctx); err != nil {
		return err
	}
	defer n.erase()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var broken error // of the metrics port
	var helpers sync.WaitGroup
	helpers.Go(func() { n.watch(ctx) })
	helpers.Go(func() { n.watchGPUs(ctx) })
	if n.cfg.Metrics != "" {
		helpers.Go(func() {
			if err := metrics.Serve(ctx, n.cfg.Metrics, n.reg); err != nil {
				broken = fmt.Errorf("node: %w", err)
				stop()
			}
		})
	}
	s := httpx.NewServer(n.handler)
	s.TLSConfig = tc
	err = httpx.Serve(ctx, ln, s)
	stop()
	helpers.Wait()
	return errors.Join(err, broken)
}

// erase ends every key. Running answers have what they need already.
func (n *Node) erase() {
	n.mu.Lock()
	n.drained = true
	for _, e := range n.epochs {
		clear(e.sign)
	}
	clear(n.epochs)
	n.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := n.keys.Close(ctx); err != nil {
		n.log.Error("keys were erased from memory; the TPM did not confirm its halves", "error", err)
	}
	n.engine.Close()
}

// Drain takes no more requests and erases the keys; requests that were opened
// run to their end. There is no way back but a new node. The channel is closed
// when the last has ended.
func (n *Node) Drain() <-chan struct{} {
	done := n.gate.close()
	n.erase()
	return done
}
