// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package computenode

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sotto-project/sotto/attestation/attestationtest/simtpm"
	"github.com/sotto-project/sotto/attestation/collect/tpm"
	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/hpke/recipient"
	"github.com/sotto-project/sotto/hpke/sender"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/ohttp/bhttp"
	"github.com/sotto-project/sotto/transparency/statement"
)

// firmware is a Reporter whose report says nothing: judging evidence is not
// this package's business.
type firmware struct{ err faults }

// faults is an error that tests set while a node asks for it.
type faults struct{ p atomic.Pointer[error] }

func (f *faults) set(err error) { f.p.Store(&err) }

func (f *faults) get() error {
	if err := f.p.Load(); err != nil {
		return *err
	}
	return nil
}

func (f *firmware) Report(context.Context, [64]byte) ([]evidence.Piece, error) {
	return []evidence.Piece{
		{Kind: evidence.KindSNPReport, Data: make([]byte, 1184)},
		{Kind: evidence.KindSNPCert, Data: []byte("cert")},
		{Kind: evidence.KindSNPCRL, Data: []byte("crl")},
	}, f.err.get()
}

// A fixture is a node in the test's process, with a TPM simulator and a fake
// engine on loopback.
type fixture struct {
	t      *testing.T
	node   *Node
	sim    *simtpm.Simulator
	tpm    *tpm.TPM
	fw     *firmware
	url    string
	log    *syncBuffer
	engine atomic.Pointer[http.HandlerFunc]
	bodies chan []byte // whole bodies that reached the engine
	calls  atomic.Int64
	record *statement.Record // of the newest epoch made by epoch()
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

const testModel = "toy"

func testConfig(engine string) Config {
	return Config{
		Model: testModel, Weights: strings.Repeat("ab", 32), Payment: "none", Simulated: true,
		Engine: EngineConfig{Address: engine, Kind: "vllm", Model: "toy-gguf"},
	}
}

func newFixture(t *testing.T, change func(*Config)) *fixture {
	t.Helper()
	f := unstarted(t, change)
	if err := f.node.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.epoch(7)
	return f
}

func unstarted(t *testing.T, change func(*Config)) *fixture {
	t.Helper()
	f := &fixture{t: t, log: new(syncBuffer), bodies: make(chan []byte, 1000), fw: new(firmware)}
	e := httptest.NewServer(http.HandlerFunc(f.serveEngine))
	t.Cleanup(e.Close)
	var err error
	if f.sim, err = simtpm.OpenSimulator(); err != nil {
		t.Fatal(err)
	}
	f.tpm = tpm.New(f.sim)
	cfg := testConfig(e.URL)
	if change != nil {
		change(&cfg)
	}
	hw := Hardware{TPM: f.tpm, Reporter: f.fw, EventLog: []byte("log")}
	if f.node, err = New(cfg, hw, slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))); err != nil {
		t.Fatal(err)
	}
	// The same server as in service, behind a stand-in for mutual TLS.
	s := httptest.NewUnstartedServer(nil)
	s.Config = httpx.NewServer(asPeer(f.node.Handler()))
	s.Start()
	f.url = s.URL
	t.Cleanup(func() {
		s.Close()
		f.node.erase()
		_ = f.tpm.Close()
		_ = f.sim.Close()
	})
	return f
}

// asPeer gives a request the certificate named by the header Peer.
func asPeer(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name := r.Header.Get("Peer"); name != "" {
			r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{DNSNames: []string{name}}}}}
		}
		h.ServeHTTP(w, r)
	})
}

func (f *fixture) serveEngine(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	f.calls.Add(1)
	f.bodies <- b
	if h := f.engine.Load(); h != nil {
		(*h)(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	io.WriteString(w, `{"choices":[{"message":{"content":"blue"}}]}`)
}

func (f *fixture) answerWith(h http.HandlerFunc) { f.engine.Store(&h) }

// events streams s, flushing after each.
func events(s ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, e := range s {
			io.WriteString(w, "data: "+e+"\n\n")
			http.NewResponseController(w).Flush()
		}
	}
}

func (f *fixture) post(peer, path string, body io.Reader, header ...string) *http.Response {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), "POST", f.url+path, body)
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header.Set("Peer", peer)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// epoch has the node make an epoch and remembers its record.
func (f *fixture) epoch(number uint64) epochAnswer {
	f.t.Helper()
	q, _ := json.Marshal(epochQuestion{number, []byte("a checkpoint")})
	resp := f.post(defaultPublisher, "/v1/epoch", bytes.NewReader(q))
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		f.t.Fatalf("epoch %d: %d %s %v", number, resp.StatusCode, b, err)
	}
	var a epochAnswer
	if err := json.Unmarshal(b, &a); err != nil {
		f.t.Fatal(err)
	}
	if f.record, err = statement.ParseRecord(a.Record); err != nil {
		f.t.Fatal(err)
	}
	return a
}

// A sealedRequest is what a client made and a router forwards.
type sealedRequest struct {
	t     testing.TB
	req   *sender.Request
	f     *hpke.Forwarded
	bytes []byte
	head  int // bytes of the forwarded header
	ask   wire.Ask
}

type option struct {
	policy       uint8
	conversation string
	path         string
	method       string
	fields       []bhttp.Field
	padding      int
	raw          []byte // instead of a binary HTTP message
}

// seal seals a body for this node, second of three candidates.
func (f *fixture) seal(body string, o option) *sealedRequest {
	f.t.Helper()
	var to []sender.Candidate
	for i := range 3 {
		key, err := recipient.GenerateKey(hpke.KEMMLKEM768P256)
		if err != nil {
			f.t.Fatal(err)
		}
		to = append(to, sender.Candidate{NodeID: [32]byte{byte(i + 1)}, Key: key.PublicKey()})
	}
	own, err := hpke.ParsePublicKey(hpke.KEMMLKEM768P256, f.record.REK)
	if err != nil {
		f.t.Fatal(err)
	}
	to[1] = sender.Candidate{NodeID: f.record.NodeID, Key: own}
	r, err := sender.Seal(sender.Params{Epoch: f.record.Epoch, MediaType: hpke.MediaBinaryHTTP, Policy: o.policy, Candidates: to})
	if err != nil {
		f.t.Fatal(err)
	}
	s := &sealedRequest{t: f.t, req: r, f: r.Header().Forward(1)}
	s.ask = wire.Ask{HeaderHash: r.Header().Hash(), Epoch: f.record.Epoch, Index: 1}
	out := bytes.NewBuffer(s.f.Append(nil))
	s.head = out.Len()
	bw := r.Body(out)
	if o.raw != nil {
		bw.Write(o.raw)
	} else {
		writeInner(f.t, bw, body, o)
	}
	if err := bw.Close(); err != nil {
		f.t.Fatal(err)
	}
	s.bytes = out.Bytes()
	return s
}

func writeInner(t testing.TB, w io.Writer, body string, o option) {
	t.Helper()
	head := &bhttp.RequestHead{Method: "POST", Scheme: "https", Authority: "node.sotto", Path: "/v1/chat/completions",
		Fields: []bhttp.Field{{Name: "content-type", Value: "application/json"}}}
	if o.path != "" {
		head.Path = o.path
	}
	if o.method != "" {
		head.Method = o.method
	}
	if o.fields != nil {
		head.Fields = o.fields
	}
	if o.conversation != "" {
		head.Fields = append(head.Fields, bhttp.Field{Name: "sotto-conversation", Value: o.conversation})
	}
	m, err := bhttp.NewRequestWriter(w, head)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(m, body); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(nil, o.padding); err != nil {
		t.Fatal(err)
	}
}

// An opened answer.
type opened struct {
	status   int
	ctype    string
	body     string
	trailers []bhttp.Field
	err      error // of reading the body
}

// open opens an answer that must be sealed.
func (s *sealedRequest) open(resp *http.Response) opened {
	s.t.Helper()
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != typeResponse {
		b, _ := io.ReadAll(resp.Body)
		s.t.Fatalf("not a sealed answer: %d %s %s", resp.StatusCode, resp.Header.Get("Content-Type"), b)
	}
	rr, err := s.req.OpenResponse(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	m := bhttp.NewReader(rr, bhttp.Limits{})
	head, _, err := m.ReadResponse()
	if err != nil {
		s.t.Fatal(err)
	}
	var o opened
	o.status = head.Status
	for _, f := range head.Fields {
		if f.Name == "content-type" {
			o.ctype = f.Value
		}
	}
	b, err := io.ReadAll(m.Body())
	o.body, o.err, o.trailers = string(b), err, m.Trailers()
	return o
}

// send sends the request as a router does.
func (f *fixture) send(s *sealedRequest) *http.Response {
	f.t.Helper()
	return f.post(defaultRouter, "/v1/request", bytes.NewReader(s.bytes), wire.AskHeader, s.ask.String())
}

// chat seals, sends and opens.
func (f *fixture) chat(body string, o option) opened {
	f.t.Helper()
	s := f.seal(body, o)
	return s.open(f.send(s))
}

func problemOf(t testing.TB, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.Header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("no problem: %d %q %v", resp.StatusCode, b, err)
	}
	var p struct {
		Status int
		Code   string
	}
	if err := json.Unmarshal(b, &p); err != nil || p.Status != resp.StatusCode {
		t.Fatalf("%q, %v", b, err)
	}
	return p.Code
}

func codeOf(t testing.TB, body string) string {
	t.Helper()
	var e struct {
		Error struct{ Message, Type, Code string }
	}
	if err := json.Unmarshal([]byte(body), &e); err != nil || e.Error.Message == "" || e.Error.Type == "" {
		t.Fatalf("not an OpenAI error: %q, %v", body, err)
	}
	return e.Error.Code
}

func (f *fixture) metrics() string {
	w := httptest.NewRecorder()
	promhttp.HandlerFor(f.node.reg, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

var errTest = errors.New("test")

const hello = `{"model":"toy","messages":[{"role":"user","content":"Why is the sky blue?"}]}`
