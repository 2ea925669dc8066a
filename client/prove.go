// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"

	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/fork"
	"github.com/sotto-project/sotto/transparency/tiles"
)

// recentTiles is how many of the newest tiles of leaf hashes are read for any
// proof, needed or not: 1024 epochs, six weeks of hours, at 8 KiB a tile. A
// relay then sees the same requests from everybody who looked within that time.
const recentTiles = 4

// A prover makes the proofs of one comparison from tiles that relays serve. Any
// relay may serve them: they are believed only where they lead to a root that
// was signed. What one has answered is not asked again, so that the number of
// requests does not tell the number of proofs.
type prover struct {
	c       *Client
	order   []int // of relays
	got     []map[string]answered
	silent  []error // by relay: it did not answer in time once, and is not asked again
	largest uint64  // of the checkpoints shown
}

// An answered is what a relay said to a path.
type answered struct {
	tile []byte
	err  error
}

func (c *Client) newProver() *prover {
	return &prover{c: c, order: rand.Perm(len(c.relays)), got: make([]map[string]answered, len(c.relays)), silent: make([]error, len(c.relays))}
}

func (p *prover) shown(point *transparency.Checkpoint) { p.largest = max(p.largest, point.Size) }

// prove demands a proof that large contains small.
func (p *prover) prove(ctx context.Context, small, large *transparency.Checkpoint, by string) error {
	var why error
	for _, i := range p.order {
		grown := tiles.New(large.Size, large.Root, p.tiles(i))
		var root [32]byte
		var proof [][32]byte
		err := p.recent(ctx, i, large.Size)
		if err == nil {
			root, err = grown.Root(ctx, small.Size)
		}
		if err == nil {
			proof, err = grown.ProveConsistency(ctx, small.Size)
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			why = err
		case root != small.Root:
			e := fork.New(fork.Trees, small.Note, large.Note)
			e.Root, e.Proof = root, proof
			return p.c.convict(e, CodeFork, fmt.Sprintf("%s shows a log of %d and one of %d leaves was seen, and the larger does not contain the smaller", by, large.Size, small.Size))
		default:
			line := p.c.log.line
			if len(line) >= maxLine {
				clear(line)
			}
			line[treeOf(small)], line[treeOf(large)] = true, true
			return nil
		}
	}
	return refuse(CodeUnproven, "no mirror proved that the log of %d leaves contains that of %d: %s", large.Size, small.Size, scrub(why)).
		hint("it could not be checked yet whether the log was rewritten, and nothing is sent before it is; try again, or add a relay to the trust file")
}

// recent reads the newest tiles of leaf hashes of a log of size leaves, in one
// order, before the proof reads those it needs.
func (p *prover) recent(ctx context.Context, relay int, size uint64) error {
	fetch := p.tiles(relay)
	last := (size - 1) / tiles.Width // size > 0: something is smaller
	for n := last; n+recentTiles > last; n-- {
		path, _ := (tiles.Path{N: n}).Widest(size)
		_, err := fetch(ctx, path.String())
		if err != nil && path.Width < tiles.Width { // the full one may have taken its place
			path.Width = tiles.Width
			_, err = fetch(ctx, path.String())
		}
		if err != nil || n == 0 {
			return err
		}
	}
	return nil
}

// tiles fetches tiles of hashes from a relay's mirror of the log, each once.
func (p *prover) tiles(relay int) tiles.Fetch {
	return func(ctx context.Context, path string) ([]byte, error) {
		if a, ok := p.got[relay][path]; ok {
			return a.tile, a.err
		}
		if p.silent[relay] != nil {
			return nil, p.silent[relay]
		}
		b, err := p.c.get(ctx, p.c.relays[relay], "/v1/log/"+path, tiles.MaxTile)
		if silent := (*silentError)(nil); errors.As(err, &silent) {
			p.silent[relay] = err
			return nil, err
		}
		if err != nil {
			// A relay says why in the clear, if at all: the full tile may be there.
			err = fmt.Errorf("%w: %w", fs.ErrNotExist, err)
		}
		if p.got[relay] == nil {
			p.got[relay] = map[string]answered{}
		}
		p.got[relay][path] = answered{b, err}
		return b, err
	}
}
