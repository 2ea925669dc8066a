// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package fetch asks hardware vendors for the collateral that travels with
// evidence: certificates, revocation lists, reference values. It is for
// operators, who put it beside their nodes, and auditors. Clients and nodes never
// reach it: a client that asks a vendor about a chip tells it when it uses which,
// and a node dials nobody.
//
// Nothing fetched is trusted, nor is it verified here beyond its shape, so that
// an error page replaces no good file: verifiers check all of it against the
// vendors' roots. The package writes nothing; it returns files under the names
// that attestation/collect reads them by.
//
// It was written from the vendors' documents and tested against servers of its
// own. It was not run against the vendors' services.
package fetch

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// Caps on answers, in bytes. A revocation list may have grown; what is larger is
// none that a verifier would read.
const (
	maxSmall    = 64 << 10
	maxList     = 1 << 20
	maxManifest = 256 << 10
)

// A File is one file of collateral. Name is relative, with slashes.
type File struct {
	Name string
	Data []byte
}

// A StatusError is an answer other than 200. A vendor that knows nothing of a
// chip or manifest answers 404, one that is asked too often 429.
type StatusError struct {
	URL    string
	Status int
}

func (e *StatusError) Error() string { return fmt.Sprintf("fetch: %s: status %d", e.URL, e.Status) }

// A ShapeError is an answer that is not what was asked for.
type ShapeError struct {
	URL string
	Err error
}

func (e *ShapeError) Error() string { return fmt.Sprintf("fetch: %s: %v", e.URL, e.Err) }

// Unwrap returns the cause.
func (e *ShapeError) Unwrap() error { return e.Err }

// ErrSize: an answer is larger than anything that a verifier would read.
var ErrSize = errors.New("answer too large")

// ErrArgument wraps what is wrong with what was asked; nothing was sent.
var ErrArgument = errors.New("fetch: argument")

func argument(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrArgument, fmt.Sprintf(format, args...))
}

// A Fetcher asks vendors. Make it with [New].
type Fetcher struct{ client *http.Client }

// New returns a fetcher over a client of the caller's, whose transport and
// timeouts decide how vendors are reached. Redirects are not followed: no vendor
// makes any, and a URL names the chip.
func New(c *http.Client) *Fetcher {
	own := *c
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	own.Jar = nil
	return &Fetcher{&own}
}

// get returns the answer to a GET, and its header.
func (f *Fetcher) get(ctx context.Context, address string, limit int64) ([]byte, http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, nil, argument("%v", err)
	}
	return f.do(req, limit)
}

func (f *Fetcher) do(req *http.Request, limit int64) ([]byte, http.Header, error) {
	address := req.URL.String()
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, nil, fmt.Errorf("fetch: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, nil, &StatusError{address, resp.StatusCode}
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("fetch: %s: %w", address, err)
	case int64(len(b)) > limit:
		return nil, nil, &ShapeError{address, ErrSize}
	case len(b) == 0:
		return nil, nil, &ShapeError{address, errors.New("an empty answer")}
	}
	return b, resp.Header, nil
}

// crl gets a revocation list in DER.
func (f *Fetcher) crl(ctx context.Context, address string) ([]byte, http.Header, error) {
	b, header, err := f.get(ctx, address, maxList)
	if err != nil {
		return nil, nil, err
	}
	if _, err := x509.ParseRevocationList(b); err != nil {
		return nil, nil, &ShapeError{address, err}
	}
	return b, header, nil
}

// issuers reads a chain from a header, where Intel puts it percent-encoded.
func issuers(address string, header http.Header, name string) ([]byte, error) {
	text, err := url.PathUnescape(header.Get(name))
	if err == nil {
		err = chain([]byte(text), 2)
	}
	if err != nil {
		return nil, &ShapeError{address, fmt.Errorf("header %s: %w", name, err)}
	}
	return []byte(text), nil
}

// chain checks that b is PEM of n certificates and nothing else.
func chain(b []byte, n int) error {
	for range n {
		block, rest := pem.Decode(b)
		if block == nil || block.Type != "CERTIFICATE" {
			return fmt.Errorf("want %d certificates in PEM", n)
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return err
		}
		b = rest
	}
	if len(bytes.TrimSpace(b)) != 0 {
		return fmt.Errorf("want %d certificates in PEM, and nothing after them", n)
	}
	return nil
}
