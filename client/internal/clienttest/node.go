// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package clienttest

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/sotto-project/sotto/attestation/attestationtest"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakegpu"
	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/hpke/recipient"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/ohttp/bhttp"
	"github.com/sotto-project/sotto/transparency/publish"
	"github.com/sotto-project/sotto/transparency/roster"
	"github.com/sotto-project/sotto/transparency/roster/rostertest"
	"github.com/sotto-project/sotto/transparency/statement"
)

// A Node opens requests as a real one does, with keys in memory, and answers
// what its test says.
type Node struct {
	Name string

	hw     *attestationtest.Node
	hop    *Hop
	digest [32]byte // of its epoch evidence
	world  *World

	mu     sync.Mutex
	key    *recipient.PrivateKey
	seen   []*Exchange
	answer func(*Exchange)
	busy   int // requests still to be answered with a receipt
	till   till
}

// An Exchange is one request as the node sees it.
type Exchange struct {
	Head    *bhttp.RequestHead
	Content []byte
	Policy  uint8
	Attempt uint8

	// Of a paid request: its class, what the node says that it used, in 64ths of
	// the class, and what it says in the trailer, where that is not its usage.
	Class uint8
	Used  uint8
	Usage func(wire.Usage) string

	req *recipient.Request
	w   http.ResponseWriter
	ctx context.Context
}

func (w *World) newNode(i int) *Node {
	n := &Node{Name: fmt.Sprintf("node-%d", i+1), world: w, till: till{usages: map[[32]byte]*wire.Usage{}}}
	measured := attestationtest.Config(Model, weights)
	if w.Mint != nil {
		w.Mint.paidConfig(measured)
	}
	config, err := measured.Append(nil)
	w.must(err)
	spec := attestationtest.NodeSpec{Name: n.Name, Config: config}
	if !w.Policy.AllowNoGPU {
		spec.IMA, spec.GPU = true, &fakegpu.Spec{First: i, NoTokens: true, Short: true}
	}
	n.hw, err = attestationtest.NewNode(w.Roots, spec)
	w.must(err)
	n.hop = w.serve(n.Name+".sotto", true, http.HandlerFunc(n.serve))
	return n
}

// ID is the node's identifier.
func (n *Node) ID() [32]byte { return n.hw.ID() }

// Hop is where the router reaches the node.
func (n *Node) Hop() *Hop { return n.hop }

// Answer sets what the node does with the next requests; nil: it says "hello".
func (n *Node) Answer(f func(*Exchange)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.answer = f
}

// Busy makes the node answer the next times requests with a busy receipt.
func (n *Node) Busy(times int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.busy = times
}

// Seen returns the requests that the node opened, and forgets them.
func (n *Node) Seen() []*Exchange {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := n.seen
	n.seen = nil
	return out
}

// Seen returns what all nodes opened since the last call.
func (w *World) Seen() []*Exchange {
	var out []*Exchange
	for _, n := range w.Nodes {
		out = append(out, n.Seen()...)
	}
	return out
}

// Answer sets what all nodes do.
func (w *World) Answer(f func(*Exchange)) {
	for _, n := range w.Nodes {
		n.Answer(f)
	}
}

func (n *Node) rekey(w *World) {
	w.t.Helper()
	w.must(n.hw.Rekey())
	k, err := recipient.NewHybridKey(n.hw.PQ, n.hw.EC)
	w.must(err)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.key = k
}

func (n *Node) listing(w *World, epoch uint64, b *evidence.Bundle, edit func(*statement.Record)) publish.Listing {
	w.t.Helper()
	raw, err := b.Append(nil)
	w.must(err)
	n.digest = b.Digest()
	r := &statement.Record{NodeID: n.ID(), Epoch: epoch, REK: n.hw.REK(), NodeKey: n.hw.Public(), EvidenceDigest: n.digest}
	if w.Mint != nil {
		r.Prices = prices()
	}
	if edit != nil {
		edit(r)
	}
	return publish.Listing{Record: r, Model: Model, Evidence: raw}
}

func (n *Node) serve(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/v1/health":
		id := n.ID()
		json.NewEncoder(w).Encode(map[string]any{"state": "ready", "node": hex.EncodeToString(id[:]), "epoch": 1})
	case "/v1/request":
		n.request(w, r)
	case "/v1/usage":
		n.usage(w, r)
	case "/v1/attest":
		n.attest(w, r)
	case "/v1/peers":
		n.judge(w, r)
	default:
		httpx.Problem(w, http.StatusNotFound, "target")
	}
}

func (n *Node) request(w http.ResponseWriter, r *http.Request) {
	httpx.LimitBody(w, r, 64<<20)
	ask, err := wire.ParseAsk(r.Header.Get(wire.AskHeader))
	if err != nil {
		httpx.Problem(w, http.StatusBadRequest, "header")
		return
	}
	ticket, ok := n.admit(r, ask)
	if !ok {
		httpx.Problem(w, http.StatusPaymentRequired, "ticket")
		return
	}
	n.mu.Lock()
	key, answer, busy := n.key, n.answer, n.busy > 0
	if busy {
		n.busy--
	}
	n.mu.Unlock()
	if busy {
		receipt := ask.Receipt(n.ID())
		receipt.Sign(n.hw.NodeKey)
		w.Header().Set("Content-Type", "application/sotto-busy")
		w.WriteHeader(http.StatusServiceUnavailable)
		w.Write(receipt.Append(nil))
		return
	}
	x, code := open(r, key)
	if code != "" {
		httpx.Problem(w, http.StatusBadRequest, code)
		return
	}
	x.w, x.ctx, x.Attempt = w, r.Context(), ask.Attempt
	n.mu.Lock()
	n.seen = append(n.seen, x)
	n.mu.Unlock()
	if answer == nil {
		answer = func(x *Exchange) { x.Reply(http.StatusOK, "application/json", `{"answer":"hello"}`) }
	}
	if ticket != nil {
		x.Class, x.Used = ticket.Class, 1
	}
	n.begin(w, ticket)
	defer n.end(w, ticket, x)
	w.Header().Set("Content-Type", "application/sotto-response")
	answer(x)
}

// Quote is freshness evidence over a challenge, and an epoch's evidence.
func (n *Node) Quote(challenge, digest [32]byte) []byte {
	b, err := rostertest.Challenge(n.hw, digest, challenge)
	if err != nil {
		panic(err)
	}
	return b
}

// Digest is that of the node's evidence of the newest epoch.
func (n *Node) Digest() [32]byte { return n.digest }

// Key is the node's signing key of the newest epoch.
func (n *Node) Key() ed25519.PrivateKey { return n.hw.NodeKey }

// Harm changes the node's software while it runs.
func (n *Node) Harm() {
	if err := n.hw.TPM.Extend(context.Background(), 11, [32]byte{1}); err != nil {
		panic(err)
	}
}

// An AttestQuestion is the body of POST /v1/attest, an AttestAnswer the answer.
type (
	AttestQuestion struct {
		Epoch     uint64 `json:"epoch"`
		Challenge []byte `json:"challenge"`
	}
	AttestAnswer struct {
		Epoch     uint64 `json:"epoch"`
		Evidence  []byte `json:"evidence"`
		Freshness []byte `json:"freshness"`
	}
)

func (n *Node) attest(w http.ResponseWriter, r *http.Request) {
	var q AttestQuestion
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil || len(q.Challenge) != 32 {
		httpx.Problem(w, http.StatusBadRequest, "attest.format")
		return
	}
	Answer(w, AttestAnswer{q.Epoch, n.digest[:], n.Quote([32]byte(q.Challenge), n.digest)})
}

// Answer sends JSON with its length.
func Answer(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.Write(b)
}

// judge answers POST /v1/peers under the world's policy.
func (n *Node) judge(w http.ResponseWriter, r *http.Request) {
	httpx.LimitBody(w, r, 64<<20)
	var q struct {
		Statement, Pack, Freshness []byte
		Peers                      [][]byte
	}
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		httpx.Problem(w, http.StatusBadRequest, "peers.format")
		return
	}
	v, err := n.view(q.Statement, q.Pack, q.Freshness)
	if err != nil {
		httpx.Problem(w, http.StatusBadRequest, "peers.refused")
		return
	}
	judge := roster.NewJudge(n.world.policy(n.world.Roots), nil)
	var list []wire.PeerVerdict
	for _, id := range q.Peers {
		row, _ := v.Statement.Node([32]byte(id))
		p := wire.PeerVerdict{Epoch: v.Statement.Epoch, Verifier: n.ID(), Subject: row.ID, Policy: judge.PolicyDigest(), Time: time.Now().UTC().Truncate(time.Second)}
		c, err := v.Case(row)
		if err == nil {
			p.Evidence, p.Freshness = c.Refs.EvidenceDigest, c.FreshDigest()
			_, err = judge.Judge(c, time.Now())
		}
		p.Code = roster.CodeOf(err)
		p.Sign(n.Key())
		list = append(list, p)
	}
	Answer(w, map[string][]byte{"verdicts": wire.AppendPeerVerdicts(nil, list)})
}

func (n *Node) view(signed, pack, fresh []byte) (*roster.View, error) {
	s, err := statement.ParseSigned(signed)
	if err != nil {
		return nil, err
	}
	v := new(roster.View)
	if v.Statement, _, err = s.Verify(&n.world.Trust); err != nil {
		return nil, err
	}
	if v.Pack, v.EpochPoint, err = roster.OpenPack(&n.world.Trust, v.Statement, pack); err != nil {
		return nil, err
	}
	v.Freshness, v.FreshPoint, err = roster.OpenFreshness(&n.world.Trust, fresh)
	return v, err
}

func open(r *http.Request, key *recipient.PrivateKey) (*Exchange, string) {
	f, err := hpke.ReadForwarded(r.Body)
	if err != nil {
		return nil, "header"
	}
	req, err := recipient.Open(f, key)
	if err != nil {
		return nil, "node.rekeyed"
	}
	x := &Exchange{req: req, Policy: req.Policy()}
	msg := bhttp.NewReader(req.Body(r.Body), bhttp.Limits{})
	defer msg.Close()
	if x.Head, err = msg.ReadRequest(); err != nil {
		return nil, "stream.truncated"
	}
	if x.Content, err = io.ReadAll(msg.Body()); err != nil {
		return nil, "stream.truncated"
	}
	return x, ""
}

// Reply sends a whole answer.
func (x *Exchange) Reply(status int, contentType, body string) {
	s := x.Begin(status, bhttp.Field{Name: "content-type", Value: contentType})
	s.Say(body)
	s.End()
}

// A Stream is an answer under way.
type Stream struct {
	frames *recipient.ResponseWriter
	w      http.ResponseWriter
	msg    *bhttp.Writer
	held   []byte
}

// Begin sends the head of an answer. Its errors are the client's to notice.
func (x *Exchange) Begin(status int, fields ...bhttp.Field) *Stream {
	s := &Stream{w: x.w}
	var err error
	if s.frames, err = x.req.Respond(x.w); err != nil {
		panic(http.ErrAbortHandler)
	}
	if s.msg, err = bhttp.NewResponseWriter(s, &bhttp.ResponseHead{Status: status, Fields: fields}); err != nil {
		panic(http.ErrAbortHandler)
	}
	return s
}

// Write takes what the binary HTTP message is made of.
func (s *Stream) Write(p []byte) (int, error) {
	s.held = append(s.held, p...)
	return len(p), nil
}

// Say sends text in a frame of its own.
func (s *Stream) Say(text string) {
	s.msg.Write([]byte(text))
	s.msg.Flush()
	s.frame(false)
	http.NewResponseController(s.w).Flush()
}

// End sends the end, with trailers.
func (s *Stream) End(trailers ...bhttp.Field) {
	s.msg.Close(trailers, 0)
	s.frame(true)
}

// frame seals what is held. A client that went away is no fault of the node.
func (s *Stream) frame(final bool) {
	for len(s.held) > hpke.ChunkSize {
		s.frames.WriteFrame(s.held[:hpke.ChunkSize], 0, false)
		s.held = s.held[hpke.ChunkSize:]
	}
	s.frames.WriteFrame(s.held, 0, final)
	s.held = nil
}

// Last sends text and the end in one frame.
func (s *Stream) Last(text string) {
	s.msg.Write([]byte(text))
	s.End()
}

// Context ends when the router hangs up.
func (x *Exchange) Context() context.Context { return x.ctx }
