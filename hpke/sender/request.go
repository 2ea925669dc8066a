// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"sync/atomic"

	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/hpke/internal/fresh"
	"github.com/sotto-project/sotto/hpke/internal/stream"
)

// The refusals of this package, which are those of package hpke.
var (
	ErrRefused    = hpke.ErrRefused
	ErrTruncated  = hpke.ErrTruncated
	ErrShort      = hpke.ErrShort
	ErrLimit      = hpke.ErrLimit
	ErrRandomness = hpke.ErrRandomness
	ErrSuite      = hpke.ErrSuite
)

var (
	errClosed  = errors.New("sealed body: closed")
	errAborted = errors.New("sealed body: aborted")
	errOneBody = errors.New("sealed body: a request has one body")
)

// A Candidate is a node that may run the request.
type Candidate struct {
	NodeID [32]byte
	Key    *hpke.PublicKey // its request encryption key of the request's epoch
}

// Params say what is sealed, and to whom. The zero Params are refused.
type Params struct {
	Epoch      uint64
	MediaType  uint8       // of the body, [hpke.MediaBinaryHTTP]; 0 is refused
	Policy     uint8       // one of hpke.PolicyOff, PolicyFrames, PolicyConstant
	Candidates []Candidate // 1 to hpke.MaxCandidates, in the order of their entries

	// Hedge is mixed into the data encryption key and the body's nonce. It may be
	// empty, and may be anything that differs between two requests, such as the
	// prompt: a client whose machine was cloned while it ran, random number
	// generator and all, then still draws two keys for two prompts.
	Hedge []byte
}

// A Request is one sealed request: a header, one body, one response. Body and
// OpenResponse may be called by different goroutines.
type Request struct {
	header  *hpke.Header
	hash    [32]byte
	secrets [][]byte // by entry, exported for the response
	body    *stream.Key
	limit   uint64 // frames; 0 but in tests

	begun       atomic.Bool
	requestHash atomic.Pointer[[32]byte] // set before the final frame is written
}

// Seal draws a data encryption key and seals it to every candidate. The errors
// are [ErrSuite] for a candidate without a key of hpke.NodeSuite,
// [ErrRandomness], or plain ones for Params that no request has.
func Seal(p Params) (*Request, error) {
	return seal(p, fresh.System)
}

func seal(p Params, source *fresh.Source) (*Request, error) {
	ids, err := p.check()
	if err != nil {
		return nil, err
	}
	common := hpke.Common{
		Suite: hpke.NodeSuite, Epoch: p.Epoch, K: uint8(len(ids)), MediaType: p.MediaType, Policy: p.Policy,
		CandidatesHash: hpke.CandidatesHash(ids),
	}
	dek, err := source.Draw("sotto sr v1 draw dek", p.Epoch, p.Hedge)
	if err != nil {
		return nil, err
	}
	defer clear(dek[:])
	if common.BodyNonce, err = source.Draw("sotto sr v1 draw body", p.Epoch, p.Hedge); err != nil {
		return nil, err
	}
	return sealEntries(common, p.Candidates, dek[:])
}

// sealEntries makes the request of given secrets.
func sealEntries(common hpke.Common, to []Candidate, dek []byte) (*Request, error) {
	schedule, err := stream.NewSchedule(dek, common.BodyNonce)
	if err != nil {
		return nil, err
	}
	if common.Commitment, err = schedule.Commitment(); err != nil {
		return nil, err
	}
	r := &Request{
		header:  &hpke.Header{Common: common, Entries: make([]hpke.Entry, len(to))},
		secrets: make([][]byte, len(to)),
	}
	commonHash := common.Hash()
	// One after the other: side by side was no faster on two busy cores, and had a
	// longer tail.
	for i, c := range to {
		if err := r.sealEntry(i, c, commonHash, dek); err != nil {
			return nil, err
		}
	}
	r.hash = r.header.Hash()
	if r.body, err = schedule.Body(r.hash); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Request) sealEntry(i int, c Candidate, commonHash [32]byte, dek []byte) error {
	enc, ctx, err := Setup(r.header.Common.Suite, c.Key, stream.EntryInfo(uint8(i), c.NodeID, commonHash))
	if err != nil {
		return err
	}
	sealed, err := ctx.Seal(commonHash[:], dek)
	if err != nil {
		return err
	}
	r.header.Entries[i] = hpke.Entry{NodeID: c.NodeID, Enc: enc, SealedDEK: sealed}
	r.secrets[i], err = ctx.Export([]byte(stream.ExportLabel), stream.SecretSize)
	return err
}

func (p *Params) check() (ids [][32]byte, err error) {
	switch {
	case len(p.Candidates) == 0 || len(p.Candidates) > hpke.MaxCandidates:
		return nil, errors.New("seal: number of candidates out of bounds")
	case p.MediaType != hpke.MediaBinaryHTTP:
		return nil, errors.New("seal: media type unknown")
	case p.Policy > hpke.PolicyConstant:
		return nil, errors.New("seal: policy unknown")
	}
	for _, c := range p.Candidates {
		if c.Key == nil || c.Key.KEM() != hpke.NodeSuite.KEM {
			return nil, ErrSuite
		}
		ids = append(ids, c.NodeID)
	}
	if hpke.Duplicates(ids) {
		return nil, errors.New("seal: candidate named twice")
	}
	return ids, nil
}

// Header is what goes before the body. It must not be changed.
func (r *Request) Header() *hpke.Header { return r.header }

// HeaderHash names the request: [hpke.Header.Hash] of the header.
func (r *Request) HeaderHash() [32]byte { return r.hash }

// SealedBodySize is the size in bytes of the sealed body of plain bytes. A
// client that pads knows with it what the padding will become.
func SealedBodySize(plain int64) int64 {
	frames := max(1, (plain+hpke.ChunkSize-1)/hpke.ChunkSize)
	return plain + frames*(hpke.FrameHeader+hpke.TagSize)
}

// PlainBodySize is the largest number of bytes whose sealed body is at most
// sealed bytes, or -1 if even the empty body is larger. Not every sealed size
// exists: a 20-byte gap lies behind each multiple of 16404.
func PlainBodySize(sealed int64) int64 {
	const overhead = hpke.FrameHeader + hpke.TagSize
	full, rest := sealed/(hpke.ChunkSize+overhead), sealed%(hpke.ChunkSize+overhead)
	if rest > overhead || full == 0 {
		return max(-1, full*hpke.ChunkSize+rest-overhead)
	}
	return full * hpke.ChunkSize
}

// Body returns the writer of the request's body, which writes sealed frames to
// w: each in one call, of 16404 bytes but for the last. Close writes the final
// frame and does not close w. A request has one body: a second writer refuses,
// because it would use the first one's key stream.
func (r *Request) Body(w io.Writer) *BodyWriter {
	h := sha256.New()
	b := &BodyWriter{r: r, h: h, s: stream.NewSealer(w, r.body, h, r.limit)}
	if r.begun.Swap(true) {
		b.s.Fail(errOneBody)
	}
	return b
}

// A BodyWriter seals the body of a request in chunks. Its errors are final:
// those of the writer below, or [ErrLimit].
type BodyWriter struct {
	r   *Request
	s   *stream.Sealer
	h   hash.Hash
	buf *stream.Buffer
	n   int // plaintext bytes waiting in buf
}

// Write takes any number of bytes. A full chunk leaves when a byte behind it
// arrives, because the last chunk must be known as such.
func (b *BodyWriter) Write(p []byte) (int, error) {
	if err := b.s.Err(); err != nil {
		return 0, err
	}
	if b.buf == nil {
		b.buf = stream.GetBuffer()
	}
	written := 0
	for len(p) > 0 {
		chunk := b.buf.Plain()[:hpke.ChunkSize]
		if b.n == hpke.ChunkSize {
			if err := b.frame(chunk, false); err != nil {
				return written, err
			}
			b.n = 0
		}
		n := hpke.ChunkSize
		if b.n == 0 && len(p) > n { // a whole inner chunk: no copy
			if err := b.frame(p[:n], false); err != nil {
				return written, err
			}
		} else {
			n = copy(chunk[b.n:], p)
			b.n += n
		}
		p, written = p[n:], written+n
	}
	return written, nil
}

// Close seals what is left as the final frame. A second Close does nothing.
func (b *BodyWriter) Close() error {
	if err := b.s.Err(); err != nil {
		if err == errClosed {
			return nil
		}
		return err
	}
	if b.buf == nil {
		b.buf = stream.GetBuffer()
	}
	err := b.frame(b.buf.Plain()[:b.n], true)
	if err == nil {
		b.fail(errClosed)
	}
	return err
}

// Abort ends the body without its final frame, so that no node will run the
// request, and gives the buffer back. It does nothing after Close.
func (b *BodyWriter) Abort() { b.fail(errAborted) }

func (b *BodyWriter) fail(err error) {
	b.s.Fail(err)
	stream.PutBuffer(b.buf, len(stream.Buffer{}))
	b.buf = nil
}

func (b *BodyWriter) frame(plaintext []byte, final bool) error {
	frame, err := b.s.Seal(b.buf, plaintext, final)
	if err != nil {
		b.fail(err)
		return err
	}
	if final {
		// Before the write: the answer may arrive while it returns.
		sum := [32]byte(b.h.Sum(nil))
		b.r.requestHash.Store(&sum)
	}
	if err := b.s.Write(frame); err != nil {
		b.fail(err)
		return err
	}
	return nil
}
