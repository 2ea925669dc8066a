// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package feed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/witness"
)

// Why a witness did not sign, for [errors.Is].
var (
	// ErrAhead: the witness has signed more leaves than this log has. If it is
	// true, this log was rolled back, and signing on would be a fork. A size is
	// not signed, so one witness's word is a reason to look, not a proof.
	ErrAhead = errors.New("the witness has signed a larger tree than ours: this log may have been rolled back")
	// ErrConflict: the witness holds another tree of a size that this log has.
	ErrConflict = errors.New("the witness has signed a tree that ours does not extend: this log may have been rolled back, or signs two worlds")
	// ErrAnswer: the answer is not what the protocol says, or does not verify.
	ErrAnswer = errors.New("unusable answer")
	// ErrRefused: the witness does not know this log or its key, or cannot sign now.
	ErrRefused = errors.New("refused")
	// ErrTime: the witness's time is not ours; one of the two clocks is wrong.
	ErrTime = errors.New("the witness's clock and ours differ")
	// ErrUnreachable: no answer at all.
	ErrUnreachable = errors.New("unreachable")
	// ErrSlow: no answer yet when the quorum was there and the grace over.
	ErrSlow = errors.New("slower than the quorum and the grace")
)

// A WitnessError says why one witness did not sign.
type WitnessError struct {
	Name string
	Err  error
}

func (e *WitnessError) Error() string { return fmt.Sprintf("witness %q: %v", e.Name, e.Err) }
func (e *WitnessError) Unwrap() error { return e.Err }

// A QuorumError says that too few witnesses signed, and why each did not.
type QuorumError struct {
	Signed, Quorum int
	Failed         []*WitnessError
}

func (e *QuorumError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "feed: %d witnesses signed, want %d", e.Signed, e.Quorum)
	for _, f := range e.Failed {
		fmt.Fprintf(&b, "; %v", f)
	}
	return b.String()
}

// Unwrap lets [errors.Is] look at every witness's reason.
func (e *QuorumError) Unwrap() []error {
	var out []error
	for _, f := range e.Failed {
		out = append(out, f)
	}
	return out
}

// attempts bounds how often a witness may name another size in one Cosign: once
// for what we did not know, once for another feeder that was quicker, and no more.
const attempts = 3

// cosign asks one witness until it signs, or for as long as it names a size
// that we can prove from.
func (p *peer) cosign(ctx context.Context, note []byte, size uint64, prove Prover, now func() time.Time) ([]byte, error) {
	p.mu.Lock()
	old := p.last
	p.mu.Unlock()
	if old > size {
		old = 0 // a note of an earlier tree; the witness will say what it has
	}
	for range attempts {
		req := &witness.Request{Old: old, Note: note}
		if 0 < old && old < size {
			var err error
			if req.Proof, err = prove(old, size); err != nil {
				return nil, fmt.Errorf("no proof from %d to %d leaves: %w", old, size, err)
			}
			if len(req.Proof) > witness.MaxProof {
				return nil, fmt.Errorf("a proof of %d hashes", len(req.Proof))
			}
		}
		status, kind, body, err := p.post(ctx, req.Append(nil))
		if err != nil {
			return nil, err
		}
		switch {
		case status == http.StatusOK:
			return p.accept(note, body, size, now())
		case status == http.StatusConflict && kind == "text/x.tlog.size":
			theirs, ok := parseSize(body)
			switch {
			case !ok:
				return nil, fmt.Errorf("%w: status 409 without a size", ErrAnswer)
			case theirs > size:
				return nil, fmt.Errorf("%w (%d leaves there, %d here)", ErrAhead, theirs, size)
			case theirs == old:
				return nil, fmt.Errorf("%w: %d leaves", ErrConflict, old)
			}
			old = theirs
			p.remember(theirs)
		case status == http.StatusConflict, status == http.StatusUnprocessableEntity:
			return nil, fmt.Errorf("%w (status %d, from %d to %d leaves)", ErrConflict, status, old, size)
		default:
			return nil, fmt.Errorf("%w: status %d", ErrRefused, status)
		}
	}
	return nil, fmt.Errorf("%w: %d other sizes in a row", ErrAnswer, attempts)
}

// accept verifies the lines of all of the witness's keys, in the order of the
// configuration.
func (p *peer) accept(note, body []byte, size uint64, now time.Time) ([]byte, error) {
	var lines []byte
	for _, k := range p.keys {
		line, at, err := k.Pick(note, body)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrAnswer, err)
		}
		// Readers judge by these times. A cosignature from another time is of no
		// use to them, and may be an old one played back.
		if d := at.Sub(now); d.Abs() > transparency.MaxClockSkew {
			return nil, fmt.Errorf("%w by %v", ErrTime, d.Round(time.Second))
		}
		lines = append(lines, line...)
	}
	p.remember(size)
	return lines, nil
}

func (p *peer) remember(size uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = size
}

func (p *peer) post(ctx context.Context, body []byte) (status int, kind string, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, nil)
	if err != nil {
		return 0, "", nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	req.Body, req.ContentLength = httpx.InMemory(body), int64(len(body))
	req.GetBody = func() (io.ReadCloser, error) { return httpx.InMemory(body), nil }
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	resp, err := p.client.Do(req)
	if err != nil {
		return 0, "", nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, transparency.MaxNoteSize+1))
	if err != nil {
		return 0, "", nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), answer, nil
}

// parseSize reads a size in decimal and a line feed.
func parseSize(b []byte) (uint64, bool) {
	digits, ok := bytes.CutSuffix(b, []byte("\n"))
	n, err := strconv.ParseUint(string(digits), 10, 64)
	return n, ok && err == nil && strconv.FormatUint(n, 10) == string(digits)
}
