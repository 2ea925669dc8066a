// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/client/state"
	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/ohttp"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/release"
	"github.com/sotto-project/sotto/transparency/roster"
	"github.com/sotto-project/sotto/transparency/statement"
)

// A world is one epoch as this client verified it: the statement that every
// mirror agrees on, the pack it names, the youngest freshness evidence.
// Requests are sealed against one world from start to end.
type world struct {
	statement  *statement.Statement
	signed     *statement.Signed        // as it was served
	leaf       [32]byte                 // SHA-256 of the statement
	checkpoint *transparency.Checkpoint // the statement's
	mirrors    int                      // how many served the same statement
	log        *LogReport               // nil where saved
	saved      bool                     // read from a file, not from mirrors
	gateway    *ohttp.KeyConfig
	suite      hpke.Suite
	shape      *shape

	pack       *statement.Pack
	epochPoint *transparency.Checkpoint // that all epoch evidence was made over
	freshness  *statement.Freshness
	fresh      *transparency.Checkpoint // that all freshness evidence was made over

	sets *credits.Set // coin keysets; nil where nobody pays

	releases *release.Set  // nil: nobody asked
	known    []state.Known // accepted so far, these included

	listed []*listed
	judge  *roster.Judge
}

// A listed node is a row of the roster; it becomes a [node] by verification,
// at most once per world.
type listed struct {
	id  [32]byte
	row statement.Node

	once   sync.Once
	node   *node
	report *attestation.Report
	err    error

	refused atomic.Bool // err is set: may be asked without waiting for once
}

// A node was verified and may be sealed to.
type node struct {
	id      [32]byte
	key     *hpke.PublicKey
	signing ed25519.PublicKey // for busy receipts and verdicts on peers
	fresh   [32]byte          // SHA-256 of the freshness evidence it was verified by
	prices  [3]uint32         // units by meter
}

func (w *world) modelName(l *listed) string { return w.statement.Models[l.row.Model].Name }

func (w *world) models() []Model {
	out := make([]Model, len(w.statement.Models))
	for i, m := range w.statement.Models {
		out[i] = Model{Name: m.Name, Weights: hex.EncodeToString(m.Weights[:]), Nodes: len(w.serving(m.Name))}
	}
	return out
}

// onlyModel is the model's name if the statement has just one.
func (w *world) onlyModel() string {
	if len(w.statement.Models) == 1 {
		return w.statement.Models[0].Name
	}
	return ""
}

func (w *world) serving(model string) []*listed {
	var out []*listed
	for _, l := range w.listed {
		if w.modelName(l) == model {
			out = append(out, l)
		}
	}
	return out
}

// verified verifies a listed node, once.
func (w *world) verified(l *listed, now time.Time) (*node, error) {
	l.once.Do(func() {
		l.node, l.report, l.err = w.verify(l, now)
		l.refused.Store(l.err != nil)
	})
	return l.node, l.err
}

func (w *world) verify(l *listed, now time.Time) (*node, *attestation.Report, error) {
	c, err := w.view().Case(l.row)
	if err != nil {
		return nil, nil, worldError(err)
	}
	res, err := w.judge.Judge(c, now)
	if err != nil {
		return nil, reportOf(err), worldError(err)
	}
	key, err := hpke.ParsePublicKey(hpke.NodeSuite.KEM, res.REK)
	if err != nil {
		return nil, res.Report, refuse("att.rek.kind", "node %s: %v", short(l.id), err)
	}
	n := &node{id: l.id, key: key, signing: res.NodeKey, fresh: c.FreshDigest()}
	if record, _, err := w.pack.Node(l.row); err == nil { // Case has found it
		for _, p := range record.Prices {
			if int(p.Class) < len(n.prices) {
				n.prices[p.Class] = p.Units
			}
		}
	}
	return n, res.Report, nil
}

// view is what the nodes of this world are judged by.
func (w *world) view() *roster.View {
	v := &roster.View{Statement: w.statement, Pack: w.pack, EpochPoint: w.epochPoint, Freshness: w.freshness, FreshPoint: w.fresh}
	if w.releases != nil {
		v.Released = w.releases.Released
	}
	return v
}

// accepted remembers, for all clients of this process, which evidence was
// accepted under which policy: the next world lists mostly the same.
var accepted = roster.NewCache(1 << 13)

func reportOf(err error) *attestation.Report {
	var r *attestation.RefusalError
	if errors.As(err, &r) {
		return r.Report
	}
	return nil
}

// worldError carries the codes of the packages beneath over into [Error].
func worldError(err error) error {
	var own *Error
	var att *attestation.RefusalError
	var tr *transparency.Error
	var st *state.Error
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &att):
		e := &Error{Code: string(att.Code), Detail: att.Detail, Hint: att.Hint}
		if att.Node != [32]byte{} {
			e.Detail = "node " + short(att.Node) + ": " + att.Detail
		}
		return e
	case errors.As(err, &st):
		return &Error{Code: st.Code, Detail: st.Detail, Hint: st.Hint}
	case errors.As(err, &tr):
		return &Error{Code: string(tr.Code), Detail: tr.Detail}
	}
	return err
}

// Verify fetches the world anew, verifies every listed node, and returns the
// report. The error is that of the first node refused, if any; the report is
// complete all the same. [Config.Progress] hears how far it is.
func (c *Client) Verify(ctx context.Context) (*Report, error) {
	w, err := c.refresh(ctx, nil)
	if err != nil {
		return nil, err
	}
	first := c.verifyAll(w)
	c.note(w, w.listed)
	return c.Report(), first
}

// verifyAll verifies every node of a world, as many at a time as there are
// processors. The error is that of the first in the statement's order.
func (c *Client) verifyAll(w *world) error {
	if len(w.listed) == 0 {
		return refuse(CodeSmallSet, "the statement of epoch %d lists no node", w.statement.Epoch)
	}
	now := c.cfg.Now()
	var mu sync.Mutex // for calls of Progress one at a time, in order
	done := 0
	roster.Each(len(w.listed), func(i int) {
		w.verified(w.listed[i], now)
		if c.cfg.Progress != nil {
			mu.Lock()
			defer mu.Unlock()
			done++
			c.cfg.Progress(done, len(w.listed))
		}
	})
	for _, l := range w.listed {
		if l.err != nil {
			return l.err
		}
	}
	return nil
}
