// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/statement"
	"github.com/sotto-project/sotto/transparency/tiles"
)

// A Mirror is one place that serves a log: a relay, the publisher, a copy of
// files. Nothing that it says is believed for its own sake. For what is not
// there its error is [fs.ErrNotExist].
type Mirror interface {
	Name() string
	Checkpoint(ctx context.Context) ([]byte, error)
	// Tile reads a path of C2SP tlog-tiles.
	Tile(ctx context.Context, path string) ([]byte, error)
	// Statement reads a statement.Signed; which is "latest" or an epoch.
	Statement(ctx context.Context, which string) ([]byte, error)
	Pack(ctx context.Context, epoch uint64) ([]byte, error)
	Freshness(ctx context.Context) ([]byte, error)
}

// errTooLong is the error for an answer that does not end where it must.
var errTooLong = errors.New("longer than anything that was asked for")

// An HTTPMirror reads over HTTP (docs/spec/epoch.md, Section 7).
type HTTPMirror struct {
	base   *url.URL
	client *http.Client
}

// NewHTTPMirror makes a mirror of a base URL. An answer must come within timeout.
func NewHTTPMirror(base string, tc *tls.Config, timeout time.Duration) (*HTTPMirror, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" {
		return nil, fmt.Errorf("mirror %q: want a URL such as https://relay.example", base)
	}
	return &HTTPMirror{u, &http.Client{
		Transport: httpx.NewTransport(tc),
		Timeout:   timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("redirected: mirrors are named by whoever audits")
		},
	}}, nil
}

// Name is the mirror's host.
func (m *HTTPMirror) Name() string { return m.base.Host }

// Checkpoint implements [Mirror].
func (m *HTTPMirror) Checkpoint(ctx context.Context) ([]byte, error) {
	return m.get(ctx, "/v1/checkpoint", transparency.MaxNoteSize)
}

// Tile implements [Mirror].
func (m *HTTPMirror) Tile(ctx context.Context, path string) ([]byte, error) {
	limit := int64(tiles.MaxBundle)
	if p, err := tiles.ParsePath(path); err == nil && !p.Entries {
		limit = tiles.MaxTile
	}
	return m.get(ctx, "/v1/log/"+path, limit)
}

// Statement implements [Mirror].
func (m *HTTPMirror) Statement(ctx context.Context, which string) ([]byte, error) {
	return m.get(ctx, "/v1/statement/"+which, statement.MaxSignedSize)
}

// Pack implements [Mirror].
func (m *HTTPMirror) Pack(ctx context.Context, epoch uint64) ([]byte, error) {
	return m.get(ctx, "/v1/pack/"+strconv.FormatUint(epoch, 10), statement.MaxPackSize)
}

// Freshness implements [Mirror].
func (m *HTTPMirror) Freshness(ctx context.Context) ([]byte, error) {
	return m.get(ctx, "/v1/freshness", statement.MaxFreshnessSize)
}

// busyTries is how often a mirror that says that it is busy is asked, the first
// time after busyPause, then after twice that, and so on.
const (
	busyTries = 6
	busyPause = 100 * time.Millisecond
)

// errBusy is a mirror's that has too much to do just now.
var errBusy = errors.New("busy")

// get asks again where a mirror is busy: relays fetch little at a time.
func (m *HTTPMirror) get(ctx context.Context, path string, limit int64) ([]byte, error) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for i := 0; ; i++ {
		b, err := m.getOnce(ctx, path, limit)
		if !errors.Is(err, errBusy) || i == busyTries {
			return b, err
		}
		pause.Reset(busyPause << i)
		select {
		case <-ctx.Done():
			return nil, err
		case <-pause.C:
		}
	}
}

func (m *HTTPMirror) getOnce(ctx context.Context, path string, limit int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.base.JoinPath(path).String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header = http.Header{"User-Agent": nil}
	resp, err := m.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("mirror %s: %w", m.Name(), err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, fmt.Errorf("mirror %s: %s: %w", m.Name(), path, fs.ErrNotExist)
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return nil, fmt.Errorf("mirror %s: %s: %w", m.Name(), path, errBusy)
	default:
		return nil, fmt.Errorf("mirror %s: %s: status %d", m.Name(), path, resp.StatusCode)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("mirror %s: %s: %w", m.Name(), path, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("mirror %s: %s: %w", m.Name(), path, errTooLong)
	}
	return b, nil
}
