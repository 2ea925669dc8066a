// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package follow is how a role keeps up with a log's statements: it asks the
// publisher's public address and verifies what comes under the role's own
// trust. Nothing that is fetched is believed for where it came from.
//
// It keeps nothing and does not decide what a statement means: the role has
// those that it admitted, and says which.
package follow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/statement"
)

// ErrAbsent is the error of what a publisher does not have.
var ErrAbsent = errors.New("publisher: absent")

// A Publisher is the public address of a log.
type Publisher struct {
	base   *url.URL
	client *http.Client
}

// NewPublisher returns the one at base, which ends in a path, asked over t.
func NewPublisher(base *url.URL, t *http.Transport) *Publisher {
	return &Publisher{base, &http.Client{
		Transport:     t,
		Timeout:       time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Get fetches an object of at most limit bytes. One that is not there is
// [ErrAbsent].
func (p *Publisher) Get(ctx context.Context, path string, limit int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.base.JoinPath(path).String(), nil)
	if err != nil {
		return nil, fmt.Errorf("publisher: %v", err)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("publisher: %v", err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, fmt.Errorf("%w: %s", ErrAbsent, path)
	default:
		return nil, fmt.Errorf("publisher: %s: status %d", path, resp.StatusCode)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("publisher: %s: %v", path, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("publisher: %s: longer than %d bytes", path, limit)
	}
	return b, nil
}

// Latest fetches the statement in force.
func (p *Publisher) Latest(ctx context.Context) ([]byte, error) {
	return p.Get(ctx, "/v1/statement/latest", statement.MaxSignedSize)
}

// Statement fetches the statement of an epoch.
func (p *Publisher) Statement(ctx context.Context, epoch uint64) ([]byte, error) {
	return p.Get(ctx, "/v1/statement/"+strconv.FormatUint(epoch, 10), statement.MaxSignedSize)
}

// outage is how many statements that name nothing are looked behind for one that
// names a mint generation.
const outage = 64

// Generation returns the highest mint generation that the statement in force, the
// one after it, or the last before an outage names: no database may be given that
// one, or a lower one, anew. It is 0 if they name none. Where nothing is
// published yet the error is [ErrAbsent].
func (p *Publisher) Generation(ctx context.Context, trust *transparency.Trust) (uint64, error) {
	none := func(uint64) *statement.Signed { return nil }
	raw, err := p.Latest(ctx)
	if err != nil {
		return 0, err
	}
	_, st, _, err := Admit(trust, raw, none)
	if err != nil {
		return 0, err
	}
	newest := st.Epoch
	var named uint64
	switch raw, err = p.Statement(ctx, newest+1); {
	case errors.Is(err, ErrAbsent):
	case err != nil:
		return 0, err
	default:
		_, next, _, err := Admit(trust, raw, none)
		if err != nil {
			return 0, err
		}
		named = next.MintGeneration
	}
	for n := newest; ; n-- {
		named = max(named, st.MintGeneration)
		if !st.Empty || n == 0 {
			return named, nil
		}
		if newest-n == outage {
			return 0, fmt.Errorf("publisher: no statement of the last %d says anything", outage)
		}
		if raw, err = p.Statement(ctx, n-1); err != nil {
			return 0, err
		}
		if _, st, _, err = Admit(trust, raw, none); err != nil {
			return 0, err
		}
		if st.Epoch != n-1 {
			return 0, fmt.Errorf("publisher: statement %d in the place of %d", st.Epoch, n-1)
		}
	}
}

// Admit verifies a signed statement, unless it is one that the caller has. have
// returns the caller's of an epoch, or nil: one of the same epoch must be the
// same, and one of the epoch before must be what this one follows.
func Admit(trust *transparency.Trust, raw []byte, have func(epoch uint64) *statement.Signed) (s *statement.Signed, st *statement.Statement, known bool, err error) {
	if s, err = statement.ParseSigned(raw); err != nil {
		return nil, nil, false, fmt.Errorf("statement: %w", err)
	}
	if was := have(s.Index); was != nil && bytes.Equal(was.Leaf, s.Leaf) {
		return was, nil, true, nil
	}
	if st, _, err = s.Verify(trust); err != nil {
		return nil, nil, false, fmt.Errorf("statement: %w", err)
	}
	if was := have(st.Epoch); was != nil {
		return nil, nil, false, fmt.Errorf("statement: %w", statement.Agree(was, s))
	}
	if st.Epoch > 0 {
		if before := have(st.Epoch - 1); before != nil {
			if err := st.Follows(before.Leaf); err != nil {
				return nil, nil, false, fmt.Errorf("statement: %w", err)
			}
		}
	}
	return s, st, false, nil
}
