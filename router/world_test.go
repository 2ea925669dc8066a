// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package router_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/httpx/httpxtest"
	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/router"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/statement"
)

const logOrigin = "log.test/sotto"

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func key(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("test key " + name))
	return ed25519.NewKeyFromSeed(seed[:])
}

// serve runs f on a fresh listener for the length of the test.
func serve(t testing.TB, f func(context.Context, net.Listener) error) (addr string, stop func()) {
	t.Helper()
	ln := must(net.Listen("tcp", "127.0.0.1:0"))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx, ln) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(stop)
	return ln.Addr().String(), stop
}

func serveTLS(t testing.TB, id httpx.TLS, mutual bool, h http.Handler) (string, func()) {
	t.Helper()
	s := httpx.NewServer(h)
	s.TLSConfig = must(id.Server(mutual))
	return serve(t, func(ctx context.Context, ln net.Listener) error { return httpx.Serve(ctx, ln, s) })
}

// hardware is the SIMULATED root of all nodes; its keys take longer than all else.
var hardware = sync.OnceValue(func() *attestationtest.Root { return must(attestationtest.GenerateRoot()) })

var weights = sha256.Sum256([]byte("SIMULATED weights"))

// A node is a fake: it checks what it is given and answers with hashes of it.
// Its evidence is that of SIMULATED hardware.
type node struct {
	hw   *attestationtest.Node
	id   [32]byte
	key  ed25519.PrivateKey
	url  string
	stop func()

	claim atomic.Pointer[[32]byte] // the id that health claims, when not its own
	busy  atomic.Bool              // answer with a receipt
	ran   atomic.Int32
	// answer, when set, replaces everything after the header was read.
	answer atomic.Pointer[func(w http.ResponseWriter, r *http.Request, ask wire.Ask)]
	heads  chan http.Header
	attest atomic.Pointer[http.HandlerFunc]
	peers  atomic.Pointer[http.HandlerFunc]
	usage  atomic.Pointer[http.HandlerFunc]
}

func newNode(t testing.TB, ca *httpxtest.CA, n int, takes ed25519.PublicKey) *node {
	name := fmt.Sprintf("node%d.sotto", n)
	measured := attestationtest.Config("toy", weights)
	if takes != nil {
		measured.Payment, measured.Settings = "coins", map[string]string{evidence.SettingTicketKeys: hex.EncodeToString(takes)}
	}
	config := must(measured.Append(nil))
	hw := must(attestationtest.NewNode(hardware(), attestationtest.NodeSpec{Name: name, Config: config}))
	nd := &node{hw: hw, id: hw.ID(), key: hw.NodeKey, heads: make(chan http.Header, 100)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/health", func(w http.ResponseWriter, r *http.Request) {
		id := nd.id
		if c := nd.claim.Load(); c != nil {
			id = *c
		}
		json.NewEncoder(w).Encode(map[string]any{"state": "ready", "node": hex.EncodeToString(id[:]), "epoch": 1})
	})
	mux.HandleFunc("POST /v1/request", nd.request)
	for path, h := range map[string]*atomic.Pointer[http.HandlerFunc]{"POST /v1/attest": &nd.attest, "POST /v1/peers": &nd.peers, "POST /v1/usage": &nd.usage} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if f := h.Load(); f != nil {
				(*f)(w, r)
				return
			}
			httpx.Problem(w, http.StatusNotFound, "target")
		})
	}
	addr, stop := serveTLS(t, must(ca.Issue(name, "127.0.0.1")), true, httpx.RequirePeer([]string{"router.sotto"}, mux))
	nd.url, nd.stop = "https://"+addr, stop
	return nd
}

func (n *node) request(w http.ResponseWriter, r *http.Request) {
	httpx.LimitBody(w, r, 1<<30)
	h := r.Header.Clone()
	if r.ContentLength >= 0 {
		h.Set("Content-Length", fmt.Sprint(r.ContentLength))
	}
	select {
	case n.heads <- h:
	default:
	}
	ask, err := wire.ParseAsk(r.Header.Get(wire.AskHeader))
	if err != nil {
		httpx.Problem(w, 400, "ask")
		return
	}
	if f := n.answer.Load(); f != nil {
		(*f)(w, r, ask)
		return
	}
	if n.busy.Load() {
		n.sign(w, ask)
		return
	}
	f, err := hpke.ReadForwarded(r.Body)
	if err != nil {
		httpx.Problem(w, 400, "header")
		return
	}
	hash, err := f.Hash()
	if err != nil || hash != ask.HeaderHash || f.Index != ask.Index || f.Entry.NodeID != n.id {
		httpx.Problem(w, 400, "header")
		return
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, r.Body); err != nil {
		httpx.Problem(w, 400, "truncated")
		return
	}
	n.ran.Add(1)
	w.Header().Set("Content-Type", "application/sotto-response")
	fmt.Fprintf(w, "%x", sum.Sum(nil))
}

func (n *node) sign(w http.ResponseWriter, ask wire.Ask) {
	b := ask.Receipt(n.id)
	b.Sign(n.key)
	w.Header().Set("Content-Type", "application/sotto-busy")
	w.WriteHeader(http.StatusServiceUnavailable)
	w.Write(b.Append(nil))
}

// setAnswer replaces what the node does with a request; nil restores it.
func (n *node) setAnswer(f func(w http.ResponseWriter, r *http.Request, ask wire.Ask)) {
	if f == nil {
		n.answer.Store(nil)
		return
	}
	n.answer.Store(&f)
}

// A publisher serves what its maps hold.
type publisher struct {
	mu    sync.Mutex
	files map[string][]byte
	down  bool

	tree    transparency.Tree
	leaves  [][]byte
	listed  []listed
	signer  *transparency.Signer
	witness *transparency.Cosigner
	edit    func(*statement.Statement) // changes an epoch with nodes before it is signed
}

// listed is one node in one epoch, with its evidence's digest.
type listed struct {
	epoch  uint64
	node   *node
	digest [32]byte
}

func newPublisher() *publisher {
	return &publisher{
		files:   map[string][]byte{},
		signer:  must(transparency.NewSigner(logOrigin, key("log"))),
		witness: must(transparency.NewCosigner("witness.test", key("witness"))),
	}
}

func (p *publisher) trust() transparency.Trust {
	return transparency.Trust{Origin: logOrigin, LogKey: p.signer.VKey(), Witnesses: []string{p.witness.VKey()}, Quorum: 1}
}

func (p *publisher) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b, ok := p.files[r.URL.Path]
	switch {
	case p.down:
		http.Error(w, "down", 500)
	case !ok:
		http.NotFound(w, r)
	default:
		w.Write(b)
	}
}

// sign makes the Signed of the newest leaf.
func (p *publisher) sign() []byte {
	n := p.tree.Size()
	note := must(p.witness.Cosign(p.signer.Sign(n, must(p.tree.Root(n))), time.Now()))
	s := statement.Signed{Leaf: p.leaves[n-1], Index: n - 1, Proof: must(p.tree.Prove(n-1, n)), Checkpoint: note}
	return must(s.Append(nil))
}

// note is a checkpoint of the log as it stands, cosigned at a time.
func (p *publisher) note(at time.Time) []byte {
	n := p.tree.Size()
	return must(p.witness.Cosign(p.signer.Sign(n, must(p.tree.Root(n))), at))
}

// refresh publishes freshness evidence over a checkpoint cosigned at a time, of
// all nodes but those left out.
func (p *publisher) refresh(at time.Time, but ...*node) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refreshLocked(at, but...)
}

func (p *publisher) refreshLocked(at time.Time, but ...*node) {
	list := &statement.Freshness{Checkpoint: p.note(at)}
	for _, l := range p.listed {
		if slices.Contains(but, l.node) {
			continue
		}
		b := must(must(l.node.hw.Freshness(l.digest, sha256.Sum256(list.Checkpoint))).Append(nil))
		list.Items = append(list.Items, statement.Fresh{Epoch: l.epoch, NodeID: l.node.id, Bundle: b})
	}
	slices.SortFunc(list.Items, func(a, b statement.Fresh) int {
		return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), bytes.Compare(a.NodeID[:], b.NodeID[:]))
	})
	p.files["/v1/freshness"] = must(list.Append(nil))
}

// publish appends the next epoch's statement with the nodes, and its pack.
func (p *publisher) publish(nodes []*node, from, to time.Time) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	epoch := uint64(len(p.leaves))
	st := &statement.Statement{Epoch: epoch, NotBefore: from.UTC().Truncate(time.Second), NotAfter: to.UTC().Truncate(time.Second)}
	st.NextPublic = st.NotAfter
	if epoch > 0 {
		st.Beacon = statement.LeafHash(p.leaves[epoch-1])
	}
	pack := &statement.Pack{Epoch: epoch}
	if epoch > 0 {
		pack.Checkpoint = p.note(time.Now())
	}
	if len(nodes) == 0 {
		st.Empty = true
		st.NextPublic, st.NotAfter = st.NotBefore, st.NotBefore
	} else {
		st.GatewayKeys = [][]byte{{1}}
		st.Models = []statement.Model{{Name: "toy", Weights: weights, Context: 1, APIs: 1}}
		for _, n := range nodes {
			b := must(must(n.hw.Epoch(epoch, sha256.Sum256(pack.Checkpoint))).Append(nil))
			rec := &statement.Record{NodeID: n.id, Epoch: epoch, REK: n.hw.REK(), NodeKey: n.hw.Public(), EvidenceDigest: pack.Add(b)}
			p.listed = append(p.listed, listed{epoch, n, rec.EvidenceDigest})
			st.Nodes = append(st.Nodes, statement.Node{ID: n.id, Record: pack.Add(must(rec.Append(nil)))})
		}
		sortNodes(st.Nodes)
		if p.edit != nil {
			p.edit(st)
		}
	}
	leaf := must(st.Append(nil))
	if err := p.tree.Append(statement.LogLeaf(leaf)); err != nil {
		panic(err)
	}
	p.leaves = append(p.leaves, leaf)
	signed := p.sign()
	p.files[fmt.Sprint("/v1/statement/", epoch)] = signed
	p.files["/v1/statement/latest"] = signed
	p.files[fmt.Sprint("/v1/pack/", epoch)] = must(pack.Append(nil))
	p.refreshLocked(time.Now())
	return epoch
}

func sortNodes(ns []statement.Node) {
	for i := range ns {
		for j := i; j > 0 && bytes.Compare(ns[j].ID[:], ns[j-1].ID[:]) < 0; j-- {
			ns[j], ns[j-1] = ns[j-1], ns[j]
		}
	}
}

// A world is a router with its publisher, its nodes and a gateway's client.
type world struct {
	t      testing.TB
	ca     *httpxtest.CA
	pub    *publisher
	nodes  []*node
	router *router.Router
	url    string
	http   *http.Client
	epoch  uint64
}

func newWorld(t testing.TB, n int, tune func(*router.Config)) *world {
	t.Helper()
	return startWorld(t, n, nil, func(_ *world, c *router.Config) {
		if tune != nil {
			tune(c)
		}
	})
}

func startWorld(t testing.TB, n int, edit func(*statement.Statement), tune func(*world, *router.Config)) *world {
	t.Helper()
	w := &world{t: t, ca: must(httpxtest.CreateCA(t.TempDir(), "SIMULATED test root")), pub: newPublisher()}
	var about statement.Statement
	if edit != nil {
		edit(&about)
	}
	for i := range n {
		w.nodes = append(w.nodes, newNode(t, w.ca, i, about.TicketKey))
	}
	now := time.Now()
	w.pub.edit = edit
	w.pub.publish(nil, now.Add(-2*time.Hour), now)
	w.epoch = w.pub.publish(w.nodes, now.Add(-time.Minute), now.Add(time.Hour))
	addr, _ := serveTLS(t, must(w.ca.Issue("log.sotto", "127.0.0.1")), false, w.pub)
	c := router.Config{
		TLS: must(w.ca.Issue("router.sotto", "127.0.0.1")), Publisher: "https://" + addr, PublisherCA: w.ca.File(),
		Trust: w.pub.trust(), Poll: time.Hour, Health: time.Hour, Machines: attestationtest.Policy(hardware()),
	}
	for _, n := range w.nodes {
		c.Nodes = append(c.Nodes, n.url)
	}
	tune(w, &c)
	r, err := router.New(c)
	if err != nil {
		t.Fatal(err)
	}
	w.router = r
	if err := r.Poll(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.Check(context.Background())
	// Without ServeOn's loops: tests poll and check when they mean to.
	raddr, _ := serveTLS(t, c.TLS, true, r.Handler())
	w.url = "https://" + raddr
	w.http = w.client("gateway.sotto")
	return w
}

func (w *world) client(name string) *http.Client {
	tr := httpx.NewTransport(must(must(w.ca.Issue(name)).Client("router.sotto")))
	w.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// header is a sealed request's header to the nodes; nobody can open it.
func (w *world) header(epoch uint64, ids ...[32]byte) *hpke.Header {
	h := &hpke.Header{Common: hpke.Common{Suite: hpke.NodeSuite, Epoch: epoch, K: uint8(len(ids)), MediaType: 1, CandidatesHash: hpke.CandidatesHash(ids)}}
	rand.Read(h.Common.BodyNonce[:])
	for _, id := range ids {
		e := hpke.Entry{NodeID: id, Enc: make([]byte, hpke.NodeSuite.EncSize()), SealedDEK: make([]byte, 48)}
		rand.Read(e.Enc)
		h.Entries = append(h.Entries, e)
	}
	return h
}

func (w *world) ids() (ids [][32]byte) {
	for _, n := range w.nodes {
		ids = append(ids, n.id)
	}
	return ids
}

// draw is what the client knows of a request to all nodes.
func (w *world) draw(h *hpke.Header) *wire.Draw {
	d := &wire.Draw{HeaderHash: h.Hash(), Beacon: statement.LeafHash(w.pub.leaves[h.Common.Epoch-1]), Epoch: h.Common.Epoch, IDs: h.CandidateIDs()}
	for _, id := range d.IDs {
		for _, n := range w.nodes {
			if n.id == id {
				d.Keys = append(d.Keys, n.key.Public().(ed25519.PublicKey))
			}
		}
	}
	return d
}

// order is the draw's order as nodes.
func (w *world) order(h *hpke.Header) (ns []*node) {
	d := w.draw(h)
	for _, i := range wire.DrawOrder(d.HeaderHash, d.Beacon, d.IDs) {
		for _, n := range w.nodes {
			if n.id == d.IDs[i] {
				ns = append(ns, n)
			}
		}
	}
	return ns
}

func message(h *hpke.Header, body io.Reader) io.Reader {
	head := wire.RoutingBlock{Epoch: h.Common.Epoch}.Append(nil)
	return io.MultiReader(bytes.NewReader(h.Append(head)), body)
}

// post sends a message and returns status and body.
func (w *world) post(body io.Reader) (int, []byte, error) {
	w.t.Helper()
	resp, err := w.http.Post(w.url+"/v1/request", "application/sotto-request", body)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, b, err
}

// refused fails unless the message is answered with status and code.
func (w *world) refused(body io.Reader, status int, code string) {
	w.t.Helper()
	got, b, err := w.post(body)
	if err != nil || got != status || !strings.Contains(string(b), `"code":"`+code+`"`) {
		w.t.Errorf("got %d %.100q %v, want %d %s", got, b, err, status, code)
	}
}

// answered fails unless the body reaches a node whole and the route is what
// the client accepts.
func (w *world) answered(h *hpke.Header, body []byte, chunked bool) *wire.RouteRecord {
	w.t.Helper()
	m := message(h, bytes.NewReader(body))
	if !chunked {
		b := must(io.ReadAll(m))
		m = bytes.NewReader(b)
	}
	status, b, err := w.post(m)
	if err != nil || status != 200 || len(b) < wire.RouteRecordSize {
		w.t.Fatalf("got %d %.100q %v", status, b, err)
	}
	rec, err := wire.ParseRouteRecord(b[:wire.RouteRecordSize])
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.draw(h).Check(rec); err != nil {
		w.t.Error(err)
	}
	if got, want := string(b[wire.RouteRecordSize:]), fmt.Sprintf("%x", sha256.Sum256(body)); got != want {
		w.t.Errorf("the node got another body: %q, want %q", got, want)
	}
	return rec
}

func (w *world) ran() (n int32) {
	for _, nd := range w.nodes {
		n += nd.ran.Load()
	}
	return n
}
