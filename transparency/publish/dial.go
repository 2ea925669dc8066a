// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/sotto-project/sotto/internal/httpx"
)

// maxAnswer bounds a node's JSON: a bundle's pieces sum up to less than 2 MiB,
// and base64 adds a third.
const maxAnswer = 8 << 20

// A Dialer asks nodes, over mutual TLS. Nodes dial nobody; this is how they
// learn of time.
type Dialer struct {
	clients map[string]*http.Client // by server name
	timeout time.Duration
}

// NewDialer reads the TLS files of c.
func NewDialer(c Config) (*Dialer, error) {
	c = c.withDefaults()
	d := &Dialer{map[string]*http.Client{}, c.NodeTimeout}
	for _, n := range c.Nodes {
		if d.clients[n.ServerName] != nil {
			continue
		}
		var t *http.Transport
		if c.NodeTLS == (httpx.TLS{}) {
			t = httpx.NewTransport(nil)
		} else {
			tc, err := c.NodeTLS.Client(n.ServerName)
			if err != nil {
				return nil, fmt.Errorf("publish: node_tls: %w", err)
			}
			t = httpx.NewTransport(tc)
		}
		d.clients[n.ServerName] = &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	return d, nil
}

// Close drops idle connections.
func (d *Dialer) Close() {
	for _, c := range d.clients {
		c.CloseIdleConnections()
	}
}

// Epoch asks a node for its keys of an epoch: POST /v1/epoch. The checkpoint is
// a cosigned note of an earlier epoch.
func (d *Dialer) Epoch(ctx context.Context, n NodeConfig, epoch uint64, checkpoint []byte) (record, evidence []byte, err error) {
	var out struct {
		Record   []byte `json:"record"`
		Evidence []byte `json:"evidence"`
	}
	in := struct {
		Epoch      uint64 `json:"epoch"`
		Checkpoint []byte `json:"checkpoint"`
	}{epoch, checkpoint}
	err = d.post(ctx, n, "/v1/epoch", in, &out)
	return out.Record, out.Evidence, err
}

// Freshness asks a node for a quote over a checkpoint and its evidence of an
// epoch: POST /v1/freshness.
func (d *Dialer) Freshness(ctx context.Context, n NodeConfig, epoch uint64, checkpoint []byte) (evidence []byte, err error) {
	var out struct {
		Evidence []byte `json:"evidence"`
	}
	in := struct {
		Epoch      uint64 `json:"epoch"`
		Checkpoint []byte `json:"checkpoint"`
	}{epoch, checkpoint}
	err = d.post(ctx, n, "/v1/freshness", in, &out)
	return out.Evidence, err
}

func (d *Dialer) post(ctx context.Context, n NodeConfig, path string, in, out any) error {
	c := d.clients[n.ServerName]
	if c == nil {
		return refuse("node.unreachable", "node %q is not in the configuration", n.Name)
	}
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	body, err := json.Marshal(in)
	if err != nil {
		return refuse("node.answer", "%v", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(n.URL, "/")+path, bytes.NewReader(body))
	if err != nil {
		return refuse("node.unreachable", "%v", err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.Do(req)
	if err != nil {
		return refuse("node.unreachable", "%v", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return refuse("node.unreachable", "%s: %v", path, err)
	case resp.StatusCode >= 500:
		return refuse("node.unavailable", "%s: status %d", path, resp.StatusCode)
	case resp.StatusCode != http.StatusOK:
		return refuse("node.answer", "%s: status %d", path, resp.StatusCode)
	case len(answer) > maxAnswer:
		return refuse("node.answer", "%s: more than %d bytes", path, maxAnswer)
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return refuse("node.answer", "%s: not the JSON expected", path)
	}
	return nil
}

// A NodeError says why a node was left out: a code of attestation, or one of
// node.unreachable, node.unavailable (it says that it cannot now), node.answer,
// node.record, node.duplicate, node.times (it would erase its keys too early).
type NodeError struct {
	Code   string
	Detail string
}

func (e *NodeError) Error() string { return e.Code + ": " + e.Detail }

func refuse(code, format string, args ...any) *NodeError {
	return &NodeError{code, fmt.Sprintf(format, args...)}
}
