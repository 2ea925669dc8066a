// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/ohttp/gateway"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/publish"
	"github.com/sotto-project/sotto/transparency/statement"
)

// Faults of the log: an operator that shows some readers another world than
// others. The log's keys are the operator's own. In all of these but one the
// witnesses are its accomplices, for honest ones would not sign: what is refused
// here is refused by what clients see and remember themselves.

// turnFile, in the lab's directory, says that clients have seen the honest log.
const turnFile = "turn"

// cosign signs as the fault has it: by the accomplices at once, or by asking.
func (p *publisherTwin) cosign(ctx context.Context, note []byte, size uint64, prove func(uint64) ([][32]byte, error)) ([]byte, error) {
	if !p.fault.collude {
		return p.honest(ctx, note, size, prove)
	}
	return p.collude(note, time.Now().Add(-p.lag))
}

// collude has every witness sign, whatever it is.
func (p *publisherTwin) collude(note []byte, at time.Time) (_ []byte, err error) {
	for _, c := range p.accomplices {
		if note, err = c.Cosign(note, at); err != nil {
			return nil, err
		}
	}
	return note, nil
}

// maybeTurn commits the fault that waits until clients have seen the log.
func (p *publisherTwin) maybeTurn(ctx context.Context, now time.Time) error {
	if p.fault.turned == nil || p.turned || len(p.rosters) == 0 {
		return nil
	}
	if _, err := os.Stat(p.turn); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := p.fault.turned(ctx, p, now); err != nil {
		return err
	}
	p.turned = true
	return nil
}

// leaves are those of the log, in order.
func (p *publisherTwin) leaves() ([][]byte, error) {
	var out [][]byte
	for e := range p.log.Last().Epoch + 1 {
		st, err := p.log.Statement(e)
		if err != nil {
			return nil, err
		}
		b, err := st.Append(nil)
		if err != nil {
			return nil, err
		}
		out = append(out, statement.LogLeaf(b))
	}
	return out, nil
}

// signTree signs a tree that is not the log's, and has the accomplices cosign.
func (p *publisherTwin) signTree(leaves [][]byte, at time.Time) (*transparency.Tree, []byte, error) {
	tree := new(transparency.Tree)
	for _, l := range leaves {
		if err := tree.Append(l); err != nil {
			return nil, nil, err
		}
	}
	root, err := tree.Root(tree.Size())
	if err != nil {
		return nil, nil, err
	}
	note, err := p.collude(p.log.Keys().Log.Sign(tree.Size(), root), at)
	return tree, note, err
}

// signed is a statement at an index of another tree than the log's.
func (p *publisherTwin) signed(st *statement.Statement, leaves [][]byte, index uint64) ([]byte, error) {
	b, err := st.Append(nil)
	if err != nil {
		return nil, err
	}
	leaves = append(leaves[:index:index], statement.LogLeaf(b))
	tree, note, err := p.signTree(leaves, time.Now())
	if err != nil {
		return nil, err
	}
	proof, err := tree.Prove(index, tree.Size())
	if err != nil {
		return nil, err
	}
	return (&statement.Signed{Leaf: b, Index: index, Proof: proof, Checkpoint: note}).Append(nil)
}

// serveForkingPublisher shows the readers of its second port another gateway
// key.
func serveForkingPublisher(ctx context.Context, path string, lns []net.Listener, log *slog.Logger) error {
	return servePublisherTwin(ctx, path, lns, log, publisherFault{collude: true, shown: func(p *publisherTwin, st *statement.Statement) error {
		k, err := gateway.GenerateKey(77, hpke.KEMXWing)
		if err != nil {
			return err
		}
		b, err := k.Config().Append(nil)
		if err != nil {
			return err
		}
		other := *st
		other.GatewayKeys = append([][]byte{b}, st.GatewayKeys...)
		leaves, err := p.leaves()
		if err != nil {
			return err
		}
		signed, err := p.signed(&other, leaves, st.Epoch)
		if err != nil {
			return err
		}
		pack, err := p.log.Pack(st.Epoch)
		if err != nil {
			return err
		}
		p.boards[1].Post(st.Epoch, signed, pack)
		deed(p.slog, "signed a second statement for epoch %d, with a gateway key of its own, for the readers of its second port", st.Epoch)
		return nil
	}})
}

// anotherPast are the log's leaves with another first one.
func (p *publisherTwin) anotherPast() ([][]byte, error) {
	leaves, err := p.leaves()
	if err != nil {
		return nil, err
	}
	first, err := p.log.Statement(0)
	if err != nil {
		return nil, err
	}
	other := *first
	other.NotBefore = first.NotBefore.Add(-time.Second)
	b, err := other.Append(nil)
	leaves[0] = statement.LogLeaf(b)
	return leaves, err
}

// serveUnwitnessedLog shows the readers of its second port the same statement in a
// log with another past, beside honest witnesses, who sign the first log only.
func serveUnwitnessedLog(ctx context.Context, path string, lns []net.Listener, log *slog.Logger) error {
	return servePublisherTwin(ctx, path, lns, log, publisherFault{shown: func(p *publisherTwin, st *statement.Statement) error {
		leaves, err := p.anotherPast()
		if err != nil {
			return err
		}
		var tree transparency.Tree
		for _, l := range leaves {
			if err := tree.Append(l); err != nil {
				return err
			}
		}
		root, err := tree.Root(tree.Size())
		if err != nil {
			return err
		}
		note := p.log.Keys().Log.Sign(tree.Size(), root)
		_, refused := p.honest(ctx, note, tree.Size(), func(old uint64) ([][32]byte, error) { return tree.ProveConsistency(old, tree.Size()) })
		if refused == nil {
			return errors.New("honest witnesses signed two logs")
		}
		b, err := st.Append(nil)
		if err != nil {
			return err
		}
		proof, err := tree.Prove(st.Epoch, tree.Size())
		if err != nil {
			return err
		}
		signed, err := (&statement.Signed{Leaf: b, Index: st.Epoch, Proof: proof, Checkpoint: note}).Append(nil)
		if err != nil {
			return err
		}
		pack, err := p.log.Pack(st.Epoch)
		if err != nil {
			return err
		}
		p.boards[1].Post(st.Epoch, signed, pack)
		deed(p.slog, "signed a second log of %d leaves, with another past, for the readers of its second port; no quorum of witnesses signed it", tree.Size())
		return nil
	}})
}

// serveTwoStatements puts a second statement for the epoch behind the first, as
// the next leaf. Witnesses do not look at leaves.
func serveTwoStatements(ctx context.Context, path string, lns []net.Listener, log *slog.Logger) error {
	return servePublisherTwin(ctx, path, lns, log, publisherFault{collude: true, shown: func(p *publisherTwin, st *statement.Statement) error {
		leaves, err := p.leaves()
		if err != nil {
			return err
		}
		other := *st
		other.GatewayKeys = st.GatewayKeys[:1] // one that not everybody is to be told
		signed, err := p.signed(&other, leaves, st.Epoch+1)
		if err != nil {
			return err
		}
		pack, err := p.log.Pack(st.Epoch)
		if err != nil {
			return err
		}
		p.boards[1].Post(st.Epoch, signed, pack)
		deed(p.slog, "put a second statement for epoch %d into the log, as leaf %d, and shows it to the readers of its second port", st.Epoch, st.Epoch+1)
		return nil
	}})
}

// serveRollback shows, once clients have seen a log of three leaves, the same
// log as it was with two.
func serveRollback(ctx context.Context, path string, lns []net.Listener, log *slog.Logger) error {
	return servePublisherTwin(ctx, path, lns, log, publisherFault{
		collude: true,
		shown:   announceOutage(1),
		turned: func(ctx context.Context, p *publisherTwin, now time.Time) error {
			r := p.rosters[len(p.rosters)-1]
			leaves, err := p.leaves()
			if err != nil {
				return err
			}
			if now.Unix() <= p.refreshed.Unix()+1 {
				return errors.New("it has to be newer than what was shown")
			}
			size := r.epoch + 1
			_, note, err := p.signTree(leaves[:size], now)
			if err != nil {
				return err
			}
			cp, err := p.log.Trust().ParseCheckpoint(note)
			if err != nil {
				return err
			}
			p.rosters = p.rosters[len(p.rosters)-1:]
			if err := p.freshen(ctx, now, note, cp); err != nil {
				return err
			}
			deed(p.slog, "showed a log of %d leaves as the newest, after one of %d", size, len(leaves))
			return nil
		},
	})
}

// serveWithholding goes on with its log and serves none of the new statements.
func serveWithholding(ctx context.Context, path string, lns []net.Listener, log *slog.Logger) error {
	return servePublisherTwin(ctx, path, lns, log, publisherFault{collude: true, shown: func(p *publisherTwin, st *statement.Statement) error {
		if err := announceOutage(2)(p, st); err != nil {
			return err
		}
		deed(p.slog, "put epochs %d and %d into the log and goes on serving epoch %d as the latest", st.Epoch+1, st.Epoch+2, st.Epoch)
		return nil
	}})
}

// announceOutage appends the leaves of n outages after a statement, which nobody
// is shown.
func announceOutage(n int) func(*publisherTwin, *statement.Statement) error {
	return func(p *publisherTwin, st *statement.Statement) error {
		for range n {
			last := p.log.Last()
			next := publish.Epoch{Number: last.Epoch + 1, NotBefore: last.NotAfter, NotAfter: last.NotAfter, Beacon: p.log.Beacon()}
			if err := p.log.Commit(publish.Empty(next), nil, time.Now()); err != nil {
				return fmt.Errorf("announce an outage: %w", err)
			}
		}
		return nil
	}
}
