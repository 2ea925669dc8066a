// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package follow learns from the public log which epoch it is, which keysets
// there are, and which generation of a bank's databases counts. The two ports of
// a bank use it, each in its own process; it is all that they have in common.
//
// It believes what the log signed and the witnesses cosigned, reads no clock,
// and goes only forward. It knows no money.
package follow

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/statement"
)

// An Epoch is one verified statement and the keysets that it lists.
type Epoch struct {
	Signed    *statement.Signed
	Statement *statement.Statement
	Set       *credits.Set
}

// Config says where statements come from and whose they must be.
type Config struct {
	// Publisher is the base of the publisher's public address, as
	// "https://log.example". Not trusted: every statement is verified.
	Publisher string `yaml:"publisher"`
	// PublisherCA names a PEM file of the roots for Publisher's certificate;
	// the system's when empty.
	PublisherCA string `yaml:"publisher_ca"`
	// Trust is the log, and the witnesses, whose statements count.
	Trust transparency.Trust `yaml:"trust"`
}

// A Follower has the newest statement that it verified. Poll is for one caller
// at a time, Newest for everybody.
type Follower struct {
	trust  transparency.Trust
	base   *url.URL
	client *http.Client
	newest atomic.Pointer[Epoch]
}

// Validate reports what is wrong with c, without touching what it names.
func (c *Config) Validate() error {
	if _, err := c.origin(); err != nil {
		return err
	}
	if err := c.Trust.Validate(); err != nil {
		return fmt.Errorf("trust: %w", err)
	}
	return nil
}

// origin accepts an absolute https URL of scheme, host and path alone.
func (c *Config) origin() (*url.URL, error) {
	u, err := url.Parse(c.Publisher)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
		return nil, fmt.Errorf("publisher: want an https URL, have %q", c.Publisher)
	}
	if u.Path == "" {
		u.Path = "/" // JoinPath onto an empty path gives a relative one, which no server takes
	}
	return u, nil
}

// New checks c and reads the roots that it names. It dials nobody.
func New(c Config) (*Follower, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("follow: %w", err)
	}
	base, err := c.origin()
	if err != nil {
		return nil, fmt.Errorf("follow: %w", err)
	}
	tc, err := httpx.TLS{CA: c.PublisherCA}.Client("")
	if err != nil {
		return nil, fmt.Errorf("follow: publisher: %w", err)
	}
	return &Follower{trust: c.Trust, base: base, client: &http.Client{
		Transport: httpx.NewTransport(tc), Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Newest returns the newest statement that was verified, nil before the first.
func (f *Follower) Newest() *Epoch { return f.newest.Load() }

// Poll looks at the publisher once. What it has it keeps, whatever fails.
func (f *Follower) Poll(ctx context.Context) error {
	raw, err := f.get(ctx, "/v1/statement/latest")
	if err != nil {
		return fmt.Errorf("follow: publisher: %v", err)
	}
	return f.Admit(raw)
}

// Admit verifies a signed statement and, if it is newer than what is there, puts
// it in place. One that is older changes nothing.
func (f *Follower) Admit(raw []byte) error {
	s, err := statement.ParseSigned(raw)
	if err != nil {
		return fmt.Errorf("follow: statement: %w", err)
	}
	had := f.newest.Load()
	if had != nil && had.Signed.Index == s.Index && bytes.Equal(had.Signed.Leaf, s.Leaf) {
		return nil
	}
	st, _, err := s.Verify(&f.trust)
	if err != nil {
		return fmt.Errorf("follow: statement: %w", err)
	}
	if had != nil {
		switch {
		case st.Epoch == had.Statement.Epoch:
			return fmt.Errorf("follow: statement: %w", statement.Agree(had.Signed, s))
		case st.Epoch < had.Statement.Epoch:
			return nil
		case st.Epoch == had.Statement.Epoch+1:
			if err := st.Follows(had.Signed.Leaf); err != nil {
				return fmt.Errorf("follow: statement: %w", err)
			}
		}
	}
	var list []credits.Listed
	for _, k := range st.CoinKeysets {
		list = append(list, credits.Listed{ID: k.ID, Data: k.Data})
	}
	set, err := credits.NewSet(list)
	if err != nil {
		return fmt.Errorf("follow: statement %d: %w", st.Epoch, err)
	}
	f.newest.Store(&Epoch{s, st, set})
	return nil
}

func (f *Follower) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.base.JoinPath(path).String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: status %d", path, resp.StatusCode)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, statement.MaxSignedSize+1))
	if err != nil {
		return nil, err
	}
	if len(b) > statement.MaxSignedSize {
		return nil, fmt.Errorf("%s: longer than %d bytes", path, statement.MaxSignedSize)
	}
	return b, nil
}
