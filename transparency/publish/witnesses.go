// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/sotto-project/sotto/transparency"
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

// tellEach is how often a wait for witnesses is told again when nothing about it
// has changed.
const tellEach = time.Minute

// A wait is for a quorum that is missing. The zero wait is none.
type wait struct {
	since, told time.Time
	rounds      int // without a quorum, since the last one with it
	what        string
}

// countRound hears of each round of asking the witnesses.
func (p *Publisher) countRound(c *transparency.Checkpoint, err error) {
	if err != nil {
		if p.wait.rounds == 0 {
			p.wait.since = p.now()
		}
		p.wait.rounds++
		p.meters.notCosigned.Inc()
		var few *feed.QuorumError
		if errors.As(err, &few) {
			p.meters.signed.Store(int64(few.Signed))
		}
		return
	}
	p.meters.cosigned.Inc()
	p.meters.signed.Store(int64(len(c.Cosignatures)))
	if p.wait.rounds > 0 {
		p.slog.Info("the quorum signs again", "after", p.now().Sub(p.wait.since).Round(time.Second), "rounds", p.wait.rounds)
	}
	p.wait = wait{}
}

// tellWaiting says for whom the publisher waits: when that is news, and each
// minute. It waits by itself, and serves meanwhile what it has.
func (p *Publisher) tellWaiting(err error) {
	what := err.Error()
	var few *feed.QuorumError
	if errors.As(err, &few) {
		var who []string
		for _, f := range few.Failed {
			who = append(who, f.Name+": "+f.Err.Error())
		}
		what = fmt.Sprintf("%d of %d: %s", few.Signed, few.Quorum, strings.Join(who, "; "))
	}
	now := p.now()
	if what == p.wait.what && now.Sub(p.wait.told) < tellEach {
		return
	}
	p.wait.what, p.wait.told = what, now
	p.slog.Error("waiting for witnesses", "signed", what, "since", now.Sub(p.wait.since).Round(time.Second))
}

// askLater puts the next refresh off, or forward, to a time.
func (p *Publisher) askLater(at time.Time) { p.refreshed = at.Add(-p.cfg.Freshness) }
