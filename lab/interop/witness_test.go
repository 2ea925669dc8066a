// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	fnote "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	theirclient "github.com/transparency-dev/witness/client/http"
	"github.com/transparency-dev/witness/persistence/inmemory"
	theirs "github.com/transparency-dev/witness/witness"
	"golang.org/x/mod/sumdb/note"

	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/witness"
	"github.com/sotto-project/sotto/transparency/witness/feed"
)

const logName = "log.example/sotto"

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A grownLog is a log of ours.
type grownLog struct {
	*transparency.Signer
	tree transparency.Tree
}

func newLog() *grownLog {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return &grownLog{Signer: must(transparency.NewSigner(logName, key))}
}

func (l *grownLog) grow(n int, leaf string) {
	for range n {
		if err := l.tree.Append(fmt.Appendf(nil, "%s %d", leaf, l.tree.Size())); err != nil {
			panic(err)
		}
	}
}

func (l *grownLog) note() []byte { return l.Sign(l.tree.Size(), must(l.tree.Root(l.tree.Size()))) }

// startTheirs serves transparency-dev/witness with an Ed25519 and an ML-DSA-44
// key of one name, and returns its verifier keys.
func startTheirs(t *testing.T, l *grownLog) feed.WitnessConfig {
	t.Helper()
	edKey, edVKey, err := note.GenerateKey(rand.Reader, "theirs.example/w")
	if err != nil {
		t.Fatal(err)
	}
	pqKey, pqVKey, err := fnote.GenerateMLDSAKey("theirs.example/w")
	if err != nil {
		t.Fatal(err)
	}
	logKey := must(note.NewVerifier(l.VKey()))
	w, err := theirs.New(t.Context(), theirs.Opts{
		Persistence: inmemory.New(),
		Signers:     []note.Signer{must(fnote.NewSignerForCosignatureV1(edKey)), must(fnote.NewSignerForCosignatureV1(pqKey))},
		VerifierForLog: func(_ context.Context, origin string) (note.Verifier, bool, error) {
			return logKey, origin == logName, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /add-checkpoint", theirs.NewHTTPHandler(w).AddCheckpoint)
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return feed.WitnessConfig{URL: s.URL, Keys: []string{must(fnote.VKeyToCosignatureV1(edVKey)), pqVKey}}
}

// startOurs serves our witness for logs.
func startOurs(t *testing.T, logs ...witness.Log) (*witness.Witness, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "w")
	var origins []string
	for _, l := range logs {
		origins = append(origins, l.Origin)
	}
	if err := witness.Create(dir, "ours.example/w", origins...); err != nil {
		t.Fatal(err)
	}
	store := must(witness.OpenFileStore(dir))
	t.Cleanup(func() { store.Close() })
	w := must(witness.New(witness.Setup{Cosigners: must(witness.OpenCosigners(dir, "ours.example/w", true)), Logs: logs, Store: store}))
	s := httptest.NewServer(w.Handler())
	t.Cleanup(s.Close)
	return w, s.URL
}

// TestTheirWitnessOurLog: transparency-dev/witness cosigns our log through our
// feeder, beside our own witness; both keys of each are wanted.
func TestTheirWitnessOurLog(t *testing.T) {
	l := newLog()
	ours, url := startOurs(t, witness.Log{Origin: logName, LogKey: l.VKey()})
	cfg := feed.Config{Quorum: 2, Witnesses: []feed.WitnessConfig{startTheirs(t, l), {URL: url, Keys: ours.VKeys()}}}
	f := must(feed.New(cfg, nil))
	defer f.Close()
	trust := transparency.Trust{Origin: logName, LogKey: l.VKey(), Witnesses: f.VKeys(), Quorum: 2}
	ask := func(f *feed.Feeder) error {
		t.Helper()
		r, err := f.Cosign(t.Context(), l.note(), l.tree.Size(), l.tree.ProveConsistency)
		if err != nil {
			return err
		}
		c, err := trust.ParseCheckpoint(r.Note)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Failed) != 0 || len(c.Cosignatures) != 2 {
			t.Errorf("%v, %v", r.Failed, c.Cosignatures)
		}
		return c.CheckAge(time.Now(), time.Minute)
	}
	for i := range 8 {
		l.grow(i, "leaf") // 0: a checkpoint of the empty tree; and twice the same one
		for range 2 {
			if err := ask(f); err != nil {
				t.Fatalf("%d leaves: %v", l.tree.Size(), err)
			}
		}
	}
	again := must(feed.New(cfg, nil)) // knows no size: 409 and again
	defer again.Close()
	l.grow(3, "leaf")
	if err := ask(again); err != nil {
		t.Fatal(err)
	}
	l.tree = transparency.Tree{}
	l.grow(5, "leaf")
	if err := ask(f); !errors.Is(err, feed.ErrAhead) {
		t.Errorf("rolled back: %v", err)
	}
	l.grow(40, "another world")
	var q *feed.QuorumError
	if err := ask(f); !errors.As(err, &q) || q.Signed != 0 || !errors.Is(q.Failed[0], feed.ErrConflict) || !errors.Is(q.Failed[1], feed.ErrConflict) {
		t.Errorf("another world: %v", err)
	}
}

// TestTheirClientOurWitness: the client of transparency-dev/witness understands
// every answer of ours.
func TestTheirClientOurWitness(t *testing.T) {
	l := newLog()
	w, base := startOurs(t, witness.Log{Origin: logName, LogKey: l.VKey()})
	c := theirclient.NewWitness(must(url.Parse(base)), http.DefaultClient)
	proof := func(old, size uint64) (out [][]byte) {
		for _, h := range must(l.tree.ProveConsistency(old, size)) {
			out = append(out, h[:])
		}
		return out
	}
	sign := func(want int, old uint64, proof [][]byte) {
		t.Helper()
		lines, _, err := c.Update(t.Context(), old, l.note(), proof)
		if err != nil {
			t.Fatal(err)
		}
		var vs []note.Verifier
		for _, vkey := range w.VKeys() {
			vs = append(vs, must(fnote.NewVerifierForCosignatureV1(vkey)))
		}
		if n, err := note.Open(append(l.note(), lines...), note.VerifierList(vs...)); err != nil || len(n.Sigs) != want {
			t.Errorf("%+v, %v", n, err)
		}
	}
	l.grow(5, "leaf")
	sign(2, 0, nil)
	l.grow(4, "leaf")
	sign(2, 5, proof(5, 9))
	sign(2, 9, nil)

	_, size, err := c.Update(t.Context(), 5, l.note(), proof(5, 9))
	if !errors.Is(err, theirs.ErrCheckpointStale) || size != 9 {
		t.Errorf("%d, %v", size, err)
	}
	stranger, other := newLog(), must(transparency.NewSigner("other.example", ed25519.NewKeyFromSeed(make([]byte, 32))))
	for name, x := range map[string]struct {
		old  uint64
		note []byte
		want error
	}{
		"unknown log":  {0, other.Sign(0, sha256.Sum256(nil)), theirs.ErrUnknownLog},
		"unknown key":  {0, stranger.note(), theirs.ErrNoValidSignature},
		"old above":    {10, l.note(), theirs.ErrOldSizeInvalid},
		"no proof":     {9, l.Sign(10, [32]byte{1}), theirs.ErrInvalidProof},
		"another root": {9, l.Sign(9, [32]byte{1}), theirs.ErrRootMismatch},
	} {
		if _, _, err := c.Update(t.Context(), x.old, x.note, nil); !errors.Is(err, x.want) {
			t.Errorf("%s: %v, want %v", name, err, x.want)
		}
	}
}

// TestTesseraOurWitness: a log of Tessera publishes nothing before our witness
// has signed it, by the key of either kind.
func TestTesseraOurWitness(t *testing.T) {
	skey, vkey, err := note.GenerateKey(rand.Reader, logName)
	if err != nil {
		t.Fatal(err)
	}
	w, base := startOurs(t, witness.Log{Origin: logName, LogKey: vkey})
	for i, kind := range []string{"Ed25519", "ML-DSA-44"} {
		t.Run(kind, func(t *testing.T) {
			if i == 1 { // another log, so another witness's memory
				w, base = startOurs(t, witness.Log{Origin: logName, LogKey: vkey})
			}
			ctx := t.Context()
			driver, err := posix.New(ctx, posix.Config{Path: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			one := must(tessera.NewWitness(w.VKeys()[i], must(url.Parse(base))))
			appender, shutdown, reader, err := tessera.NewAppender(ctx, driver, tessera.NewAppendOptions().
				WithCheckpointSigner(must(note.NewSigner(skey))).
				WithCheckpointInterval(100*time.Millisecond).
				WithBatching(4, 10*time.Millisecond).
				WithWitnesses(tessera.NewWitnessGroup(1, one), nil))
			if err != nil {
				t.Fatal(err)
			}
			await := tessera.NewPublicationAwaiter(ctx, reader.ReadCheckpoint, 20*time.Millisecond)
			var cp []byte
			for n := range 9 {
				if _, cp, err = await.Await(ctx, appender.Add(ctx, tessera.NewEntry(fmt.Appendf(nil, "entry %d", n)))); err != nil {
					t.Fatal(err)
				}
			}
			trust := transparency.Trust{Origin: logName, LogKey: vkey, Witnesses: w.VKeys()[i : i+1], Quorum: 1}
			c, err := trust.ParseCheckpoint(cp)
			if err != nil || c.Size < 9 {
				t.Fatalf("%+v, %v\n%s", c, err, cp)
			}
			if err := shutdown(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}
