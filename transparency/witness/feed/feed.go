// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package feed is a log's side of C2SP tlog-witness: it shows a signed
// checkpoint to all configured witnesses at once, proves to each that it
// extends what that one signed last, and appends the cosignatures that verify.
//
// It signs nothing and decides nothing about the log. What witnesses answer is
// believed as far as it verifies under the keys of the configuration; a size
// that one of them names is a hint, and may be a lie.
package feed

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/transparency"
)

// A WitnessConfig is one witness to ask.
type WitnessConfig struct {
	// URL is the witness's submission prefix; /add-checkpoint is put behind it.
	URL string `yaml:"url"`
	// Keys are its verifier keys, all with one name: type 0x04, 0x06, or one of
	// each. Each of them must sign: trust files that name them want both.
	Keys []string `yaml:"keys"`
	// CA names a PEM file of the roots for its certificate; the system's when
	// empty.
	CA string `yaml:"ca"`
}

// A Config says whom to ask and how long to wait.
type Config struct {
	// Witnesses are asked all at once; their lines are appended in this order.
	Witnesses []WitnessConfig `yaml:"witnesses"`
	// Quorum is how many witnesses must answer; at least 1. One with two keys
	// is one witness.
	Quorum int `yaml:"quorum"`
	// Timeout is how long one witness may take in all. Default 10s.
	Timeout time.Duration `yaml:"timeout"`
	// Grace is how long the others are waited for once a quorum is there.
	// Default 1s.
	Grace time.Duration `yaml:"grace"`
}

func (c Config) withDefaults() Config {
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	if c.Grace == 0 {
		c.Grace = time.Second
	}
	return c
}

// Validate checks everything that can be checked without touching a file.
func (c Config) Validate() error {
	_, err := c.parse()
	return err
}

func (c Config) parse() ([]*peer, error) {
	c = c.withDefaults()
	switch {
	case len(c.Witnesses) == 0 || c.Quorum < 1 || c.Quorum > len(c.Witnesses):
		return nil, fmt.Errorf("feed: quorum %d of %d witnesses", c.Quorum, len(c.Witnesses))
	case c.Timeout < 0 || c.Grace < 0:
		return nil, errors.New("feed: timeout and grace must be positive")
	}
	var peers []*peer
	names, keys := map[string]bool{}, map[string]bool{}
	for i, w := range c.Witnesses {
		u, err := url.Parse(w.URL)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			return nil, fmt.Errorf("feed: witness %d: url", i+1)
		}
		if u.Scheme == "http" && w.CA != "" {
			return nil, fmt.Errorf("feed: witness %d: ca beside a cleartext url", i+1)
		}
		if len(w.Keys) == 0 {
			return nil, fmt.Errorf("feed: witness %d: no keys", i+1)
		}
		p := &peer{url: strings.TrimSuffix(w.URL, "/") + "/add-checkpoint", ca: w.CA}
		for _, vkey := range w.Keys {
			k, err := transparency.ParseCosignerKey(vkey)
			if err != nil {
				return nil, fmt.Errorf("feed: witness %d: %w", i+1, err)
			}
			key := vkey[strings.LastIndex(vkey, "+")+1:] // whatever its name
			if keys[key] {
				return nil, fmt.Errorf("feed: witness %q: a key is there twice", k.Name())
			}
			keys[key] = true
			if p.name != "" && k.Name() != p.name {
				return nil, fmt.Errorf("feed: witness %d: keys named %q and %q: a witness has one name", i+1, p.name, k.Name())
			}
			p.name, p.keys = k.Name(), append(p.keys, k)
		}
		if names[p.name] {
			return nil, fmt.Errorf("feed: witness %q is there twice: keys with one name are one witness", p.name)
		}
		names[p.name] = true
		peers = append(peers, p)
	}
	return peers, nil
}

// A Feeder asks witnesses. It is safe for concurrent use.
type Feeder struct {
	cfg   Config
	peers []*peer
	now   func() time.Time
}

// A peer is one witness, and what it is known to have signed.
type peer struct {
	name, url, ca string
	keys          []*transparency.CosignerKey
	client        *http.Client

	mu   sync.Mutex
	last uint64 // a hint: what it signed last, as far as we know
}

// New makes a feeder; it reads the files that c names. A nil now is the
// system's clock.
func New(c Config, now func() time.Time) (*Feeder, error) {
	peers, err := c.parse()
	if err != nil {
		return nil, err
	}
	for _, p := range peers {
		var t *http.Transport
		if strings.HasPrefix(p.url, "http://") {
			t = httpx.NewTransport(nil)
		} else {
			tc, err := httpx.TLS{CA: p.ca}.Client("")
			if err != nil {
				return nil, fmt.Errorf("feed: witness %q: %w", p.name, err)
			}
			t = httpx.NewTransport(tc)
		}
		p.client = &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	if now == nil {
		now = time.Now
	}
	return &Feeder{c.withDefaults(), peers, now}, nil
}

// Close drops idle connections.
func (f *Feeder) Close() {
	for _, p := range f.peers {
		p.client.CloseIdleConnections()
	}
}

// VKeys are the verifier keys of all witnesses, for a [transparency.Trust].
func (f *Feeder) VKeys() []string {
	var out []string
	for _, w := range f.cfg.Witnesses {
		out = append(out, w.Keys...)
	}
	return out
}

// Quorum is how many witnesses must answer.
func (f *Feeder) Quorum() int { return f.cfg.Quorum }

// A Prover makes the proof that the first size leaves extend the first old
// ones, 0 < old < size. [transparency.Tree.ProveConsistency] is one.
type Prover func(old, size uint64) ([][32]byte, error)

// A Result is what came of asking.
type Result struct {
	// Note is the note with the cosignatures appended, in the configured order.
	Note []byte
	// Signed are the names of the witnesses that signed, in that order.
	Signed []string
	// Failed says of each of the others why. Look at it although there is a
	// quorum: [ErrAhead] and [ErrConflict] say that this log may have lost leaves.
	Failed []*WitnessError
}

// Cosign shows the log's signed note of size leaves to all witnesses and
// returns when all have answered, or when a quorum has and the grace is over.
// Below the quorum the error is a [*QuorumError]; the result then still says who
// signed. Size must be the note's own.
func (f *Feeder) Cosign(ctx context.Context, note []byte, size uint64, prove Prover) (*Result, error) {
	cp, err := transparency.ReadUnverified(note)
	if err != nil {
		return nil, fmt.Errorf("feed: %w", err)
	}
	if cp.Size != size {
		return nil, fmt.Errorf("feed: the note is of %d leaves, not %d", cp.Size, size)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	type answer struct {
		i     int
		lines []byte
		err   error
	}
	answers := make(chan answer, len(f.peers))
	prove = one(prove)
	for i, p := range f.peers {
		go func() { // ends with its request, which ctx ends; the channel has room
			ctx, cancel := context.WithTimeout(ctx, f.cfg.Timeout)
			defer cancel()
			lines, err := p.cosign(ctx, note, size, prove, f.now)
			answers <- answer{i, lines, err}
		}()
	}
	lines, errs := make([][]byte, len(f.peers)), make([]error, len(f.peers))
	var grace <-chan time.Time
	signed := 0
wait:
	for got := 0; got < len(f.peers); got++ {
		select {
		case a := <-answers:
			lines[a.i], errs[a.i] = a.lines, a.err
			if a.err == nil {
				signed++
			}
			if signed == f.cfg.Quorum && grace == nil {
				t := time.NewTimer(f.cfg.Grace)
				defer t.Stop()
				grace = t.C
			}
		case <-grace:
			break wait
		case <-ctx.Done():
			break wait
		}
	}
	return f.result(ctx, note, lines, errs, signed)
}

func (f *Feeder) result(ctx context.Context, note []byte, lines [][]byte, errs []error, signed int) (*Result, error) {
	r := &Result{Note: slices.Clone(note)}
	for i, p := range f.peers {
		switch {
		case lines[i] != nil:
			r.Note = append(r.Note, lines[i]...)
			r.Signed = append(r.Signed, p.name)
		case errs[i] != nil:
			r.Failed = append(r.Failed, &WitnessError{p.name, errs[i]})
		case ctx.Err() != nil:
			r.Failed = append(r.Failed, &WitnessError{p.name, ctx.Err()})
		default:
			r.Failed = append(r.Failed, &WitnessError{p.name, ErrSlow})
		}
	}
	if signed < f.cfg.Quorum {
		return r, &QuorumError{signed, f.cfg.Quorum, r.Failed}
	}
	if _, err := transparency.ReadUnverified(r.Note); err != nil {
		return r, fmt.Errorf("feed: with the cosignatures: %w", err) // more lines than a note holds
	}
	return r, nil
}

// one lets one goroutine at a time prove: a log's tree need not be made for more.
func one(prove Prover) Prover {
	var mu sync.Mutex
	return func(old, size uint64) ([][32]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		return prove(old, size)
	}
}
