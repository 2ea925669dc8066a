// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package proxy is the local face of Sotto: an OpenAI-compatible HTTP endpoint
// on this machine, in front of a verifying [client.Client]. An application
// changes its base URL and nothing else.
//
// It trusts the programs of this machine's user and nobody else: it listens on
// loopback, refuses foreign Host and Origin headers (DNS rebinding, requests
// forged by web pages), and takes a wider bind only together with a token. It
// decides nothing about trust; the client does.
package proxy

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/internal/httpx"
)

// Config says how the proxy is reached.
type Config struct {
	// Client verifies, seals and sends. Required.
	Client *client.Client
	// Token, when set, must come as "Authorization: Bearer TOKEN" with every
	// request. Required for a listener that is not on loopback.
	Token string
	// Wide drops the loopback Host check, for a listener on another address.
	// Only honoured together with Token.
	Wide bool
}

// A Proxy serves the OpenAI routes and, on a handler of its own, the control
// routes.
type Proxy struct {
	cfg Config
}

// New checks cfg; it does not listen or dial.
func New(cfg Config) (*Proxy, error) {
	if cfg.Client == nil {
		return nil, errors.New("proxy: no client")
	}
	if cfg.Wide && cfg.Token == "" {
		return nil, errors.New("proxy: an address beyond loopback needs a token: anybody who reaches the port could spend your requests")
	}
	return &Proxy{cfg: cfg}, nil
}

// CheckListen refuses a listen address beyond loopback without a token.
func CheckListen(addr, token string) (wide bool, err error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false, err
	}
	if ip, err := netip.ParseAddr(host); host == "localhost" || err == nil && ip.IsLoopback() {
		return false, nil
	}
	if token == "" {
		return true, errors.New("listening on " + addr + " would open the proxy to other machines; set a token (--token-file) or listen on 127.0.0.1")
	}
	return true, nil
}

// Paths lists what the proxy serves under /v1.
var Paths = []string{"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/models", "/v1/attest"}

// Handler serves the OpenAI-compatible routes.
func (p *Proxy) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, path := range []string{"/v1/chat/completions", "/v1/completions", "/v1/embeddings"} {
		mux.HandleFunc("POST "+path, p.forward)
	}
	mux.HandleFunc("POST /v1/attest", p.attest)
	mux.HandleFunc("GET /v1/models", p.models)
	mux.HandleFunc("GET /v1/models/{id...}", p.model)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeError(w, http.StatusNotFound, "invalid_request_error", "target",
			"Sotto serves "+strings.Join(Paths, ", ")+"; not "+r.Method+" on this path.")
	})
	return p.guard(mux)
}

// guard lets through this machine's own programs only. A web page can make a
// browser send requests here; its Origin gives it away. A rebound DNS name
// shows in Host.
func (p *Proxy) guard(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !p.cfg.Wide && !loopbackHost(r.Host) {
			writeError(w, http.StatusForbidden, "invalid_request_error", "proxy.host", "The Host header must name this machine's loopback address.")
			return
		}
		if o := r.Header.Get("Origin"); o != "" && !loopbackOrigin(o) {
			writeError(w, http.StatusForbidden, "invalid_request_error", "proxy.origin", "Requests from web pages of other origins are refused.")
			return
		}
		if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" {
			writeError(w, http.StatusForbidden, "invalid_request_error", "proxy.origin", "Requests from web pages of other sites are refused.")
			return
		}
		if p.cfg.Token != "" {
			got, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
			if !ok || subtle.ConstantTimeCompare([]byte(got), []byte(p.cfg.Token)) != 1 {
				writeError(w, http.StatusUnauthorized, "authentication_error", "proxy.token", "This proxy needs its token as the API key.")
				return
			}
		}
		h.ServeHTTP(w, r)
	})
}

func loopbackHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func loopbackOrigin(origin string) bool {
	u, err := url.Parse(origin)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && loopbackHost(u.Host)
}

func (p *Proxy) models(w http.ResponseWriter, r *http.Request) {
	list, err := p.cfg.Client.Models(r.Context())
	if err != nil {
		p.fail(w, err)
		return
	}
	data := make([]modelJSON, len(list))
	for i, m := range list {
		data[i] = newModelJSON(m)
	}
	writeJSON(w, http.StatusOK, map[string]any{"object": "list", "data": data})
}

func (p *Proxy) model(w http.ResponseWriter, r *http.Request) {
	list, err := p.cfg.Client.Models(r.Context())
	if err != nil {
		p.fail(w, err)
		return
	}
	for _, m := range list {
		if m.Name == r.PathValue("id") {
			writeJSON(w, http.StatusOK, newModelJSON(m))
			return
		}
	}
	writeError(w, http.StatusNotFound, "invalid_request_error", client.CodeModel, "No node in this epoch's statement serves this model; GET /v1/models lists those that are.")
}

type modelJSON struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
	Weights string `json:"weights_sha256"`
	Nodes   int    `json:"nodes"`
}

func newModelJSON(m client.Model) modelJSON {
	return modelJSON{ID: m.Name, Object: "model", OwnedBy: "sotto", Weights: m.Weights, Nodes: m.Nodes}
}

// errorBody is the shape OpenAI clients parse; type is stable, code is ours.
type errorBody struct {
	Error struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    string  `json:"code"`
	} `json:"error"`
}

func newErrorBody(typ, code, message string) errorBody {
	var b errorBody
	b.Error.Type, b.Error.Code, b.Error.Message = typ, code, message
	return b
}

func writeError(w http.ResponseWriter, status int, typ, code, message string) {
	writeJSON(w, status, newErrorBody(typ, code, message))
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic("proxy: internal error: " + err.Error()) // the types above always marshal
	}
	b = append(b, '\n')
	w.Header().Set("Content-Type", "application/json")
	// With its length an answer is whole even where the connection ends with
	// it, because the request's rest did not come.
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	w.Write(b)
}

func statusOf(code string) int {
	switch client.Type(code) {
	case "invalid_request_error":
		return http.StatusBadRequest
	case "node_busy", "service_unavailable":
		return http.StatusServiceUnavailable
	}
	return http.StatusBadGateway
}

func (p *Proxy) fail(w http.ResponseWriter, err error) {
	code := client.CodeOf(err)
	if code == "" {
		code = "internal"
	}
	writeError(w, statusOf(code), client.Type(code), code, err.Error())
}

// forward sends one request and streams its answer.
func (p *Proxy) forward(w http.ResponseWriter, r *http.Request) {
	httpx.LimitBody(w, r, client.MaxStep)
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host, out.Host = "https", client.Host, client.Host
	out.RequestURI = ""
	resp, err := p.cfg.Client.RoundTrip(out)
	if err != nil {
		p.fail(w, err)
		return
	}
	defer resp.Body.Close()
	if ct := resp.Header.Get("Content-Type"); strings.HasPrefix(ct, "text/event-stream") {
		p.stream(w, resp)
		return
	}
	p.whole(w, resp)
}

// stream passes events on as they come. An answer cut short ends in an error
// event and without the closing [DONE], never in silence.
func (p *Proxy) stream(w http.ResponseWriter, resp *http.Response) {
	copyHeader(w, resp)
	w.WriteHeader(resp.StatusCode)
	src := &lastError{r: resp.Body}
	if err := httpx.Stream(w, src); err == nil {
		return
	}
	if src.err == nil {
		return // the application went away
	}
	code := client.CodeOf(src.err)
	b, _ := json.Marshal(newErrorBody(client.Type(code), code, src.err.Error()))
	io.WriteString(w, "\n\ndata: "+string(b)+"\n\n")
}

// holdSmall is how much of an answer that is no event stream is held until its
// verified end: such an answer is delivered complete, with its length, or as
// an error.
const holdSmall = 64 << 10

func (p *Proxy) whole(w http.ResponseWriter, resp *http.Response) {
	head, err := io.ReadAll(io.LimitReader(resp.Body, holdSmall))
	if err != nil {
		p.fail(w, err)
		return
	}
	copyHeader(w, resp)
	w.WriteHeader(resp.StatusCode)
	if _, err := w.Write(head); err != nil || len(head) < holdSmall {
		return
	}
	if err := httpx.Stream(w, resp.Body); err != nil {
		// The status has gone out; a broken connection is the only way left
		// to say that this answer is not complete.
		panic(http.ErrAbortHandler)
	}
}

func copyHeader(w http.ResponseWriter, resp *http.Response) {
	for k, v := range resp.Header {
		w.Header()[k] = v
	}
}

// lastError remembers the error of its reader, to tell a fault of the answer
// from an application that stopped reading.
type lastError struct {
	r   io.Reader
	err error
}

func (l *lastError) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if err != nil && err != io.EOF {
		l.err = err
	}
	return n, err
}
