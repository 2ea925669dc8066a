// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/sotto-project/sotto/internal/durable"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/log"
	"github.com/sotto-project/sotto/transparency/statement"
)

// keepPacks is how many epochs' packs stay on disk. Statements stay for ever.
const keepPacks = 32

// cosignTimeout bounds one round of asking the witnesses: there is another.
const cosignTimeout = 30 * time.Second

// A Log is a directory that holds keys, statements and the log of them:
//
//	log.key, clock.key    Ed25519, PKCS #8, 0600
//	log-pq.key            ML-DSA-44, PKCS #8 (RFC 9881), 0600; older logs have none
//	log/                  the tile log: [statement.Leaf] by epoch, and what was signed
//	statement/<digest>    a statement's bytes, found by the SHA-256 that its leaf holds
//	pack/<epoch>          a statement.Pack; the newest ones
//	signed/<epoch>        a statement.Signed, as served
//
// One process at a time has it open. A statement is committed when its leaf is
// in the tile log, and its bytes are on disk before that. Nothing is signed
// before its leaf is durable, and a leaf is never replaced, so a crash at any
// step cannot make this log sign two trees: what is missing after the leaf is
// made again by [Log.Finish], what is missing before it never happened.
type Log struct {
	dir    string
	keys   *Keys
	disk   disk
	tiles  *log.Log
	trust  *transparency.Trust                   // what a note must satisfy before it leaves
	cosign Cosign                                // nil: the clock
	asked  func(*transparency.Checkpoint, error) // hears of each round of the witnesses; nil: nobody

	mu      sync.Mutex // guards what follows
	last    *statement.Statement
	leaf    []byte   // bytes of last
	waiting []uint64 // committed, and not yet signed by all who must
	broken  bool     // a write failed: the disk is the truth, memory may not be
}

// A Cosign asks witnesses for their lines under the log's note over size leaves
// and returns the note with them. prove makes the consistency proof from the old
// size that a witness asks for. It may take as long as ctx lets it, and an error
// means that the quorum was not reached; whoever called asks again later.
type Cosign func(ctx context.Context, note []byte, size uint64, prove func(old uint64) ([][32]byte, error)) ([]byte, error)

// Witnesses are who must have cosigned before anything leaves.
type Witnesses struct {
	Keys   []string // verifier keys, as in [transparency.Trust.Witnesses]
	Quorum int
	Cosign Cosign
}

func realDisk() disk {
	return disk{durable.CreateFile, durable.WriteFile, (*log.Log).AppendAt}
}

// OpenLog opens what [CreateLog] made, checks that every statement follows the
// one before it and that the tree still contains what was signed, and finishes a
// commit that a crash cut short. Its only cosigner is the clock. An error that is
// [fs.ErrNotExist] means that no log is there.
func OpenLog(dir, origin string, now time.Time) (*Log, error) {
	return openLog(dir, origin, now, realDisk())
}

func openLog(dir, origin string, now time.Time, d disk) (*Log, error) {
	l, err := openWith(context.Background(), dir, origin, Witnesses{}, d)
	if err != nil {
		return nil, err
	}
	if err := l.Finish(context.Background(), now); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// OpenWitnessedLog is [OpenLog] for a log that independent witnesses cosign.
// Witnesses are not asked here: a log whose witnesses are away serves what it
// has. [Log.Pending] says whether [Log.Finish] is due.
func OpenWitnessedLog(ctx context.Context, dir, origin string, w Witnesses) (*Log, error) {
	if w.Cosign == nil {
		return nil, errors.New("open log: nobody to ask the witnesses")
	}
	return openWith(ctx, dir, origin, w, realDisk())
}

func openWith(ctx context.Context, dir, origin string, w Witnesses, d disk) (*Log, error) {
	keys, err := OpenKeys(dir, origin)
	if err != nil {
		return nil, err
	}
	l := &Log{dir: dir, keys: keys, disk: d, trust: keys.Trust(), cosign: w.Cosign}
	if w.Cosign != nil {
		l.trust.Witnesses, l.trust.Quorum = w.Keys, w.Quorum
	}
	if err := l.trust.Validate(); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	write := func(path string, data []byte, perm fs.FileMode) error { return l.disk.write(path, data, perm) }
	if l.tiles, err = log.Open(ctx, log.Config{Dir: filepath.Join(dir, "log"), Signer: keys.Log, Write: write}); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.load(ctx); err != nil {
		return nil, errors.Join(err, l.tiles.Close())
	}
	return l, nil
}

// Close lets go of the directory.
func (l *Log) Close() error { return l.tiles.Close() }

// load reads everything from the disk. Callers hold mu.
func (l *Log) load(ctx context.Context) error {
	l.last, l.leaf, l.broken = nil, nil, true
	if err := l.tiles.Check(ctx); err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	size, err := l.tiles.Size(ctx)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	index := uint64(0)
	for raw, err := range l.tiles.Leaves(ctx, 0, size) {
		if err != nil {
			return fmt.Errorf("open log: %w", err)
		}
		if err := l.loadLeaf(index, raw); err != nil {
			return fmt.Errorf("open log: leaf %d: %w", index, err)
		}
		index++
	}
	if l.last == nil {
		return fmt.Errorf("open log: %s holds no leaf", l.dir)
	}
	l.waiting = l.unsigned()
	l.broken = false
	return nil
}

// unsigned lists which of the newest two statements lack a file that readers
// accept: never made, or made before there were these witnesses.
func (l *Log) unsigned() (out []uint64) {
	for e := l.last.Epoch - min(l.last.Epoch, 1); e <= l.last.Epoch; e++ {
		if b, err := l.Signed(e); err == nil {
			if s, err := statement.ParseSigned(b); err == nil {
				if _, _, err := s.Verify(l.trust); err == nil {
					continue
				}
			}
		}
		out = append(out, e)
	}
	return out
}

func (l *Log) loadLeaf(index uint64, raw []byte) error {
	leaf, err := statement.ParseLeaf(raw)
	if err != nil {
		return err
	}
	if leaf.Epoch != index {
		return transparency.Refuse(transparency.CodeIndex, "the leaf of epoch %d", leaf.Epoch)
	}
	b, err := os.ReadFile(filepath.Join(l.dir, "statement", hex.EncodeToString(leaf.Statement[:])))
	if err != nil {
		return err
	}
	st, err := leaf.Of(b)
	if err != nil {
		return err
	}
	if l.last != nil {
		if err := st.Follows(l.leaf); err != nil {
			return err
		}
	}
	l.last, l.leaf = st, b
	return nil
}

var (
	errBroken  = errors.New("log: an earlier write failed; Reload first")
	errPending = errors.New("log: the newest statement is not signed yet; Finish first")
)

// Pending reports whether a committed statement lacks signatures, so that
// nobody has seen it.
func (l *Log) Pending() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting) > 0
}

// waits reports whether nobody may see the statement of an epoch yet.
func (l *Log) waits(epoch uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Contains(l.waiting, epoch)
}

// Finish makes what follows from the last leaf and is not there yet: everybody's
// signatures over it.
func (l *Log) Finish(ctx context.Context, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken {
		return errBroken
	}
	return l.finish(ctx, now)
}

func (l *Log) finish(ctx context.Context, now time.Time) error {
	if missing := l.unsigned(); len(missing) > 0 {
		note, c, err := l.checkpoint(ctx, now)
		if err != nil {
			return err
		}
		for _, e := range missing {
			if err := l.sign(ctx, e, note, c.Size); err != nil {
				return err
			}
		}
	}
	l.waiting = nil
	return nil
}

// sign writes signed/<epoch> under a note.
func (l *Log) sign(ctx context.Context, epoch uint64, note []byte, size uint64) error {
	leaf, err := l.statement(ctx, epoch)
	if err != nil {
		return err
	}
	proof, err := l.tiles.Prove(ctx, epoch, size)
	if err != nil {
		return err
	}
	signed, err := (&statement.Signed{Leaf: leaf, Index: epoch, Proof: proof, Checkpoint: note}).Append(nil)
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	return l.write(l.path("signed", epoch), signed)
}

// write replaces a file; if that fails, only the disk knows what it holds.
func (l *Log) write(path string, b []byte) error {
	err := l.disk.write(path, b, 0o644)
	l.broken = l.broken || err != nil
	return err
}

// checkpoint signs the whole tree, has it cosigned, and publishes it once it
// satisfies the trust that readers are given. Callers hold mu: one tree at a
// time.
func (l *Log) checkpoint(ctx context.Context, now time.Time) ([]byte, *transparency.Checkpoint, error) {
	note, own, err := l.tiles.Checkpoint(ctx)
	if err != nil {
		l.broken = true
		return nil, nil, err
	}
	if l.cosign == nil {
		note, err = l.keys.Clock.Cosign(note, now)
	} else {
		ctx, cancel := context.WithTimeout(ctx, cosignTimeout)
		defer cancel()
		note, err = l.cosign(ctx, note, own.Size, func(old uint64) ([][32]byte, error) { return l.tiles.ProveConsistency(ctx, old, own.Size) })
	}
	c, err := l.believed(note, err, own)
	if l.cosign != nil && l.asked != nil {
		l.asked(c, err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("log: %w: %w", errNotCosigned, err)
	}
	if err := l.tiles.Publish(ctx, note); err != nil {
		l.broken = true
		return nil, nil, err
	}
	return note, c, nil
}

// errNotCosigned says that nothing is wrong here: witnesses are missing, and there
// is another round.
var errNotCosigned = errors.New("not cosigned")

// believed reads what the witnesses made of our note.
func (l *Log) believed(note []byte, err error, own *transparency.Checkpoint) (*transparency.Checkpoint, error) {
	if err != nil {
		return nil, err
	}
	c, err := l.trust.ParseCheckpoint(note)
	if err != nil {
		return nil, err
	}
	if c.Size != own.Size || c.Root != own.Root {
		return nil, fmt.Errorf("the witnesses' answer is about %d leaves, not %d", c.Size, own.Size)
	}
	return c, nil
}

// Checkpoint signs the log as it is; the clock, if there is no witness, cosigns
// it at now.
func (l *Log) Checkpoint(now time.Time) ([]byte, *transparency.Checkpoint, error) {
	return l.CheckpointContext(context.Background(), now)
}

// CheckpointContext is [Log.Checkpoint] for as long as ctx lets the witnesses.
func (l *Log) CheckpointContext(ctx context.Context, now time.Time) ([]byte, *transparency.Checkpoint, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken {
		return nil, nil, errBroken
	}
	return l.checkpoint(ctx, now)
}

// Commit appends a statement, with its pack unless it is empty. When it returns
// nil the statement is durable and signed. When it does not, the statement may
// be committed or not: either a write failed, and the Log refuses everything
// until [Log.Reload] has found out; or only signatures are missing, and
// [Log.Finish] gets them.
func (l *Log) Commit(s *statement.Statement, pack *statement.Pack, now time.Time) error {
	return l.CommitContext(context.Background(), s, pack, now)
}

// CommitContext is [Log.Commit] for as long as ctx lets the witnesses.
func (l *Log) CommitContext(ctx context.Context, s *statement.Statement, pack *statement.Pack, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.broken:
		return errBroken
	case len(l.waiting) > 0:
		return errPending
	}
	leaf, err := s.Append(nil)
	if err != nil {
		return err
	}
	if err := s.Follows(l.leaf); err != nil {
		return err
	}
	var packed []byte
	if !s.Empty {
		if packed, err = pack.Append(nil); err != nil {
			return err
		}
	}
	if packed != nil {
		// Not committed yet, so what an earlier attempt left may be replaced.
		if err := l.write(l.path("pack", s.Epoch), packed); err != nil {
			return err
		}
	}
	if err := l.write(filepath.Join(l.dir, "statement", digest(leaf)), leaf); err != nil {
		return err
	}
	// Its index is the epoch. Had an attempt before a crash put another statement
	// there, this would refuse, and loading would have found that one.
	if err := l.disk.appendAt(l.tiles, ctx, s.Epoch, statement.LogLeaf(leaf)); err != nil {
		l.broken = true
		return err
	}
	l.last, l.leaf, l.waiting = s, leaf, []uint64{s.Epoch}
	if err := l.finish(ctx, now); err != nil {
		return err
	}
	if s.Epoch >= keepPacks {
		os.Remove(l.path("pack", s.Epoch-keepPacks)) // tidiness only: a pack left behind harms nobody
	}
	return nil
}

// Reload reads everything from the disk again and, as far as the clock can do
// it, finishes what is not.
func (l *Log) Reload(now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	ctx := context.Background() // local disk only
	if err := l.load(ctx); err != nil || l.cosign != nil {
		return err
	}
	return l.finish(ctx, now)
}

// Broken reports whether a write failed since the last [Log.Reload].
func (l *Log) Broken() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken
}

// Last is the newest statement, public or [Log.Pending]. It is not to be
// changed.
func (l *Log) Last() *statement.Statement {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// Beacon is what the next statement's Beacon must be.
func (l *Log) Beacon() [32]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return statement.LeafHash(l.leaf)
}

// Keys are the log's own.
func (l *Log) Keys() *Keys { return l.keys }

// Trust is what everything that leaves satisfies: the log's keys, and its
// witnesses or, without any, its clock.
func (l *Log) Trust() *transparency.Trust {
	t := *l.trust
	return &t
}

// Tiles serves the tile log, below "/": see [log.Log.Handler].
func (l *Log) Tiles() http.Handler { return l.tiles.Handler() }

// Statement reads the statement of an epoch.
func (l *Log) Statement(epoch uint64) (*statement.Statement, error) {
	b, err := l.statement(context.Background(), epoch)
	if err != nil {
		return nil, err
	}
	return statement.Parse(b)
}

// statement finds the bytes by what the leaf says.
func (l *Log) statement(ctx context.Context, epoch uint64) ([]byte, error) {
	raw, err := l.tiles.Leaf(ctx, epoch)
	if err != nil {
		return nil, err
	}
	leaf, err := statement.ParseLeaf(raw)
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(l.dir, "statement", hex.EncodeToString(leaf.Statement[:])))
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	return b, nil
}

// Signed reads the bytes of an epoch's statement.Signed.
func (l *Log) Signed(epoch uint64) ([]byte, error) { return os.ReadFile(l.path("signed", epoch)) }

// Pack reads the bytes of an epoch's statement.Pack.
func (l *Log) Pack(epoch uint64) ([]byte, error) { return os.ReadFile(l.path("pack", epoch)) }

func (l *Log) path(kind string, epoch uint64) string { return filepath.Join(l.dir, kind, name(epoch)) }

// name sorts like the number it prints.
func name(epoch uint64) string { return fmt.Sprintf("%016d", epoch) }

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
