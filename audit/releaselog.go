// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"github.com/sotto-project/sotto/transparency/bundle"
	"github.com/sotto-project/sotto/transparency/release"
	"github.com/sotto-project/sotto/transparency/tiles"
)

// releasePage is how many entries of the release log are read at a time.
const releasePage = 4 * tiles.Width

// maxCheckpoint is more than the checkpoint of a release log has.
const maxCheckpoint = 64 << 10

// A RekorLog is a release log in tiles, as Rekor's second version serves it
// (/api/v2/checkpoint, /api/v2/tile/...). Every entry is proven to be in the tree
// of a checkpoint that the log signed, before anything is made of it.
type RekorLog struct {
	m *HTTPMirror
	w *release.Watcher
}

// NewRekorLog makes the log at a base URL, watched for what is signed as the
// publisher in t.
func NewRekorLog(base string, tc *tls.Config, t *release.Trust, timeout time.Duration) (*RekorLog, error) {
	m, err := NewHTTPMirror(base, tc, timeout)
	if err != nil {
		return nil, fmt.Errorf("release log: %w", err)
	}
	w, err := t.Watch()
	if err != nil {
		return nil, err
	}
	return &RekorLog{m, w}, nil
}

// Entries implements [ReleaseLog].
func (l *RekorLog) Entries(ctx context.Context, from uint64, seen []byte) (*ReleasePage, error) {
	note, err := l.m.get(ctx, "/api/v2/checkpoint", maxCheckpoint)
	if err != nil {
		return nil, err
	}
	head, err := l.w.Head(note)
	if err != nil {
		return nil, err
	}
	tree := tiles.New(head.Size, head.Root, func(ctx context.Context, path string) ([]byte, error) {
		limit := int64(tiles.MaxBundle)
		if p, err := tiles.ParsePath(path); err == nil && !p.Entries {
			limit = tiles.MaxTile
		}
		return l.m.get(ctx, "/api/v2/"+path, limit)
	})
	if from, err = l.goOn(ctx, tree, head, note, from, seen); err != nil {
		return nil, err
	}
	page := &ReleasePage{Next: min(head.Size, (from/releasePage+1)*releasePage), Note: note}
	page.More = page.Next < head.Size
	for leaf, err := range tree.Leaves(ctx, from, page.Next) {
		if err != nil {
			return nil, err
		}
		if s := l.w.Signed(leaf); s != nil {
			page.Entries = append(page.Entries, ReleaseEntry{Index: from, Identity: s.By, Digests: [][32]byte{s.Digest}})
		}
		from++
	}
	return page, nil
}

// goOn checks that a tree goes on from what was seen, and says where.
func (l *RekorLog) goOn(ctx context.Context, tree *tiles.Tree, head *bundle.Head, note []byte, from uint64, seen []byte) (uint64, error) {
	if len(seen) == 0 {
		return 0, nil
	}
	old, err := l.w.Head(seen)
	if err != nil {
		return 0, fmt.Errorf("what was seen of the release log does not verify under this trust file: %w", err)
	}
	if old.Log != head.Log {
		return 0, nil // the next log, from its beginning
	}
	if head.Size < old.Size {
		return 0, fmt.Errorf("it shows %d entries, and has shown %d", head.Size, old.Size)
	}
	root, err := tree.Root(ctx, old.Size)
	if err != nil {
		return 0, err
	}
	if root != old.Root {
		return 0, &ReleaseForkError{First: seen, Second: note}
	}
	return min(from, head.Size), nil
}
