// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sotto-project/sotto/audit"
	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/internal/config"
	"github.com/sotto-project/sotto/transparency/publish"
)

// A Drilled says how long a withdrawal took to reach a client.
type Drilled struct {
	What    string  `json:"what"`
	Outcome string  `json:"outcome"` // for the client
	Epochs  uint64  `json:"epochs"`  // from the one in force when it was withdrawn
	Seconds float64 `json:"seconds"`
}

// drillBeat is how often a drill looks: it measures no finer.
const drillBeat = 200 * time.Millisecond

// Drill withdraws an image and then a chip, by a reviewer's word attached to the
// release that the publisher lists, and then a node, by leaving it out of the
// statement, and measures until a client no longer uses any of them. What it
// withdrew is back when it ends, the node not.
func (l *Lab) Drill(ctx context.Context) ([]Drilled, error) {
	image, err := l.drillRelease(ctx, "image, by a reviewer's word", withdrawn, func(n int) int { return n })
	if err != nil {
		return nil, fmt.Errorf("drill: image: %w", err)
	}
	chip, err := l.drillRelease(ctx, "chip, by a reviewer's word", chipless, func(int) int { return 1 })
	if err != nil {
		return nil, fmt.Errorf("drill: chip: %w", err)
	}
	node, err := l.drillNode(ctx)
	if err != nil {
		return nil, fmt.Errorf("drill: node: %w", err)
	}
	return []Drilled{*image, *chip, *node}, nil
}

// drillRelease has the publisher list a release's file with a withdrawal in it,
// and looks until a client refuses as many of all nodes as it is about.
func (l *Lab) drillRelease(ctx context.Context, what, file string, about func(int) int) (*Drilled, error) {
	c, err := l.Client()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	r, err := c.Verify(ctx)
	if err != nil {
		return nil, err
	}
	begun, first, all := time.Now(), r.Epoch, len(r.Nodes)
	if err := listRelease(l.dir, file); err != nil {
		return nil, err
	}
	out := &Drilled{What: what, Outcome: "att.image.revoked"}
	err = l.lookUntil(ctx, func() (bool, error) {
		_, err := c.Verify(ctx)
		if err != nil && client.CodeOf(err) != out.Outcome {
			return false, err
		}
		refused := 0
		for _, n := range c.Report().Nodes {
			if n.Code == out.Outcome {
				refused++
			}
		}
		if refused != about(all) {
			return false, fmt.Errorf("%d of %d nodes are refused", refused, all)
		}
		out.Epochs, out.Seconds = c.Report().Epoch-first, time.Since(begun).Seconds()
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	if err := listRelease(l.dir, goodRelease); err != nil {
		return nil, err
	}
	return out, l.lookUntil(ctx, func() (bool, error) {
		r, err := c.Verify(ctx)
		if err != nil {
			return false, err
		}
		return !slices.ContainsFunc(r.Nodes, func(n client.NodeReport) bool { return n.Code != "" }), errors.New("a node is still refused")
	})
}

// lookUntil asks until done, or for as many epochs as nothing should take.
func (l *Lab) lookUntil(ctx context.Context, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, 5*l.opts.Epoch+startTimeout)
	defer cancel()
	for {
		ok, err := done()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within five epochs; the last look: %v", err)
		case <-time.After(drillBeat):
		}
	}
}

// drillNode has the publisher no longer list its last node, and has
// [audit.Drill] watch a relay.
func (l *Lab) drillNode(ctx context.Context) (*Drilled, error) {
	cfg, err := LoadTrust(l.TrustFile())
	if err != nil {
		return nil, err
	}
	c, err := client.New(cfg)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	r, err := c.Verify(ctx)
	if err != nil {
		return nil, err
	}
	before := ids(r)
	mirror, err := audit.NewHTTPMirror(cfg.Relays[0], &tls.Config{RootCAs: cfg.TLS.RootCAs, MinVersion: tls.VersionTLS13}, time.Minute)
	if err != nil {
		return nil, err
	}
	victim, err := l.victim(before)
	if err != nil {
		return nil, err
	}
	var withdrawn time.Time
	var failed error
	d := audit.DrillConfig{Trust: cfg.Trust, Mirror: mirror, Subject: audit.Subject{Kind: "node", ID: victim}, Every: drillBeat}
	ctx, cancel := context.WithTimeout(ctx, 5*l.opts.Epoch+startTimeout)
	defer cancel()
	d.Looked = func(uint64, bool) {
		if withdrawn.IsZero() {
			withdrawn = time.Now()
			if failed = l.unlist(ctx); failed != nil {
				cancel()
			}
		}
	}
	got, err := audit.Drill(ctx, d)
	if err != nil {
		return nil, errors.Join(failed, err)
	}
	out := &Drilled{What: "node, left out of the statement", Outcome: "not in the list", Epochs: got.Epochs, Seconds: got.InForce.Sub(withdrawn).Seconds()}
	if r, err = c.Verify(ctx); err != nil {
		return nil, err
	}
	if slices.Contains(ids(r), hex.EncodeToString(victim[:])) {
		return nil, errors.New("a client still lists the node")
	}
	return out, nil
}

func ids(r *client.Report) (out []string) {
	for _, n := range r.Nodes {
		out = append(out, n.ID)
	}
	return out
}

// victim is the id of the last node, as the publisher knows it.
func (l *Lab) victim(listed []string) (id [32]byte, err error) {
	names, err := filepath.Glob(filepath.Join(l.plan.logDir(), "pack", "*.roster"))
	if err != nil || len(names) == 0 {
		return id, errors.New("the publisher has no roster")
	}
	b, err := os.ReadFile(slices.Max(names))
	if err != nil {
		return id, err
	}
	var ids map[string]string
	if err := json.Unmarshal(b, &ids); err != nil {
		return id, err
	}
	name := nodeName(l.opts.Nodes - 1)
	raw, err := hex.DecodeString(ids[name])
	if err != nil || len(raw) != len(id) || !slices.Contains(listed, ids[name]) {
		return id, fmt.Errorf("%s is not listed", name)
	}
	return [32]byte(raw), nil
}

// unlist starts the publisher again with a configuration that lacks the last node.
func (l *Lab) unlist(ctx context.Context) error {
	s := l.plan.seat("publisher")
	cfg, err := config.Load[publish.Config](s.config)
	if err != nil {
		return err
	}
	cfg.Nodes = cfg.Nodes[:len(cfg.Nodes)-1]
	if err := writeYAML(s.config, cfg); err != nil {
		return err
	}
	for i, p := range l.processes {
		if p.name == s.name {
			p.stop()
			l.processes = slices.Delete(l.processes, i, i+1)
			break
		}
	}
	at := addr(s)
	ln, err := listen(at)
	if err != nil {
		return err
	}
	defer ln.Close()
	again := *s
	again.listeners = []net.Listener{ln}
	p, err := l.prepare(&again)
	if err != nil {
		return err
	}
	return p.awaitServing(ctx)
}
