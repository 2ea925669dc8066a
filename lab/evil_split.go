// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/publish"
	"github.com/sotto-project/sotto/transparency/statement"
	"github.com/sotto-project/sotto/transparency/tiles"
)

// serveSplitLog signs two logs that go on differently after the statement in
// force, and shows the readers of its second port the other one, tiles and all.
// All evidence is over what both have in common, so that each is a whole world: a
// reader of one port alone sees nothing wrong. Each epoch begins another second
// log: nodes prove themselves over the first one, so that a reader of the second
// port who remembers the epoch before would see that his was left.
func serveSplitLog(ctx context.Context, path string, lns []net.Listener, log *slog.Logger) error {
	return servePublisherTwin(ctx, path, lns, log, publisherFault{collude: true, shown: split})
}

// A world is the log that the readers of the second port are shown.
type world struct {
	leaves [][]byte
	tree   *transparency.Tree
	note   atomic.Pointer[[]byte] // the newest
	common int                    // how many leaves it shares with the log
}

func split(p *publisherTwin, st *statement.Statement) error {
	leaves, err := p.leaves()
	if err != nil {
		return err
	}
	w := &world{common: len(leaves)}
	if err := announceOutage(1)(p, st); err != nil {
		return err
	}
	other := *p.log.Last()
	other.NotAfter = other.NotAfter.Add(time.Second)
	other.NextPublic = other.NotAfter
	b, err := other.Append(nil)
	if err != nil {
		return err
	}
	w.leaves = append(leaves, statement.LogLeaf(b))
	var note []byte
	if w.tree, note, err = p.signTree(w.leaves, time.Now()); err != nil {
		return err
	}
	w.note.Store(&note)
	raw, err := st.Append(nil)
	if err != nil {
		return err
	}
	proof, err := w.tree.Prove(st.Epoch, w.tree.Size())
	if err != nil {
		return err
	}
	second, err := (&statement.Signed{Leaf: raw, Index: st.Epoch, Proof: proof, Checkpoint: note}).Append(nil)
	if err != nil {
		return err
	}
	first, err := p.log.Signed(st.Epoch)
	if err != nil {
		return err
	}
	pack, err := p.log.Pack(st.Epoch)
	if err != nil {
		return err
	}
	p.boards[0].Post(st.Epoch, first, pack)
	p.boards[1].Post(st.Epoch, second, pack)
	p.world.Store(w)
	deed(p.slog, "signed a second log of %d leaves, which goes on differently after leaf %d, for the readers of its second port; the witnesses signed both", len(w.leaves), st.Epoch)
	return nil
}

// refreshSplit has nodes prove themselves over what both logs have in common, and
// shows each port its own checkpoint.
func (p *publisherTwin) refreshSplit(ctx context.Context, now time.Time, w *world) error {
	_, common, err := p.signTree(w.leaves[:w.common], now)
	if err != nil {
		return err
	}
	cp, err := p.log.Trust().ParseCheckpoint(common)
	if err != nil {
		return err
	}
	first, _, err := p.log.Checkpoint(now)
	if err != nil {
		return err
	}
	_, second, err := p.signTree(w.leaves, now)
	if err != nil {
		return err
	}
	w.note.Store(&second)
	return p.freshen(ctx, now, common, cp, first, second)
}

// public is what a port serves: the second one has a log of its own, if there is one.
func (p *publisherTwin) public(port int) http.Handler {
	honest := publish.Public(p.boards[port].Handler(), p.log)
	if port == 0 {
		return honest
	}
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		path, ok := strings.CutPrefix(r.URL.Path, "/v1/log/")
		w := p.world.Load()
		if !ok || w == nil {
			honest.ServeHTTP(rw, r)
			return
		}
		b, err := w.read(path)
		if err != nil {
			http.NotFound(rw, r)
			return
		}
		rw.Write(b)
	})
}

// read reads a path of the second log.
func (w *world) read(path string) ([]byte, error) {
	if path == "checkpoint" {
		return *w.note.Load(), nil
	}
	p, err := tiles.ParsePath(path)
	if err != nil {
		return nil, err
	}
	if !p.In(w.tree.Size()) {
		return nil, errors.New("not there")
	}
	if !p.Entries {
		return tlog.ReadTileData(tlog.Tile{H: 8, L: p.Level, N: int64(p.N), W: p.Width}, w.tree)
	}
	var b []byte
	for _, leaf := range w.leaves[p.N*tiles.Width:][:p.Width] {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(leaf))), leaf...)
	}
	return b, nil
}
