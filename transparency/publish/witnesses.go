// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/sotto-project/sotto/transparency/witness/feed"
)

// NewFeeder makes what asks the witnesses of a configuration. It dials nobody.
func (c *Config) NewFeeder() (*feed.Feeder, error) {
	cfg := feed.Config{Quorum: c.Quorum}
	for _, w := range c.Witnesses {
		cfg.Witnesses = append(cfg.Witnesses, feed.WitnessConfig{URL: w.URL, Keys: w.Keys, CA: w.CA})
	}
	return feed.New(cfg, nil)
}

// AskWitnesses is a [Cosign] that asks over HTTP. Who did not sign, and why, is
// logged when it is news: a checkpoint is cosigned each minute. A witness that
// has seen more than this log holds, or something else, is said as an error even
// when the others make a quorum: one of the two has lost its memory.
func AskWitnesses(f *feed.Feeder, log *slog.Logger) Cosign {
	var mu sync.Mutex // guards told
	told := map[string]string{}
	return func(ctx context.Context, note []byte, size uint64, prove func(old uint64) ([][32]byte, error)) ([]byte, error) {
		r, err := f.Cosign(ctx, note, size, func(old, _ uint64) ([][32]byte, error) { return prove(old) })
		if r == nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		for _, name := range r.Signed {
			if told[name] != "" {
				log.Info("witness signs again", "witness", name)
			}
			delete(told, name)
		}
		for _, e := range r.Failed {
			why := e.Err.Error()
			if told[e.Name] == why || ctx.Err() != nil {
				continue
			}
			told[e.Name] = why
			level := slog.LevelWarn
			if errors.Is(e, feed.ErrAhead) || errors.Is(e, feed.ErrConflict) {
				level = slog.LevelError
			}
			log.Log(ctx, level, "witness did not sign", "witness", e.Name, "error", why)
		}
		if err != nil {
			return nil, err
		}
		return r.Note, nil
	}
}
