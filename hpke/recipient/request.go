// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package recipient

import (
	"crypto/sha256"
	"crypto/subtle"
	"hash"
	"io"

	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/hpke/internal/stream"
)

// The refusals of this package, which are those of package hpke.
var (
	ErrRefused    = hpke.ErrRefused
	ErrTruncated  = hpke.ErrTruncated
	ErrLimit      = hpke.ErrLimit
	ErrRandomness = hpke.ErrRandomness
	ErrSuite      = hpke.ErrSuite
	ErrHeader     = hpke.ErrHeader
)

// A Request is a sealed request that one candidate has opened: one body, one
// response. It is not safe for concurrent use.
type Request struct {
	forwarded *hpke.Forwarded
	hash      [32]byte
	secret    []byte // exported for the response
	key       *stream.Key
	limit     uint64 // frames; 0 but in tests

	body     *BodyReader
	answered bool
}

// Open opens the entry of f with the candidate's key. The node has compared
// entry and epoch with its own and decided that this header hash is new; Open
// does neither.
//
// Before it uses k, which may be slow, it checks that f is whole. A suite that
// is not hpke.NodeSuite, or not the key's, is [ErrSuite]; a media type or policy
// that was sealed but is not known is [ErrHeader]; all else is [ErrRefused].
func Open(f *hpke.Forwarded, k *PrivateKey) (*Request, error) {
	if f.Common.Suite != hpke.NodeSuite {
		return nil, ErrSuite
	}
	headerHash, err := f.Hash()
	if err != nil {
		return nil, err
	}
	commonHash := f.Common.Hash()
	info := stream.EntryInfo(f.Index, f.Entry.NodeID, commonHash)
	ctx, err := Setup(f.Common.Suite, k, f.Entry.Enc, info)
	if err != nil {
		return nil, err
	}
	dek, err := ctx.Open(commonHash[:], f.Entry.SealedDEK)
	if err != nil {
		return nil, err
	}
	defer clear(dek)
	schedule, err := stream.NewSchedule(dek, f.Common.BodyNonce)
	if err != nil {
		return nil, ErrRefused
	}
	commitment, err := schedule.Commitment()
	if err != nil || subtle.ConstantTimeCompare(commitment[:], f.Common.Commitment[:]) != 1 {
		return nil, ErrRefused
	}
	// Only now is it known that the client said so, and not somebody on the way.
	if f.Common.MediaType != hpke.MediaBinaryHTTP || f.Common.Policy > hpke.PolicyConstant {
		return nil, ErrHeader
	}
	r := &Request{forwarded: f, hash: headerHash}
	if r.secret, err = ctx.Export([]byte(stream.ExportLabel), stream.SecretSize); err != nil {
		return nil, ErrRefused
	}
	if r.key, err = schedule.Body(headerHash); err != nil {
		return nil, ErrRefused
	}
	return r, nil
}

// HeaderHash names the request: [hpke.Forwarded.Hash] of what was opened.
func (r *Request) HeaderHash() [32]byte { return r.hash }

// Policy is the shape of the answer that the client asks for, one of
// hpke.PolicyOff, PolicyFrames and PolicyConstant.
func (r *Request) Policy() uint8 { return r.forwarded.Common.Policy }

// Body returns the reader of the body, which reads sealed frames from rd. Every
// call returns the same reader; rd is that of the first.
func (r *Request) Body(rd io.Reader) *BodyReader {
	if r.body == nil {
		h := sha256.New()
		r.body = &BodyReader{rd: rd, h: h, o: stream.NewOpener(rd, r.key, h, bodyBounds, r.limit)}
	}
	return r.body
}

// bodyBounds admits the one way to cut a body into chunks: all full but the
// last, which is empty only if there is no other.
func bodyBounds(n int, first, final bool) bool {
	if final {
		return n <= hpke.ChunkSize && (n > 0 || first)
	}
	return n == hpke.ChunkSize
}

// A BodyReader reads the body of a request. What Read delivers was opened and
// checked, chunk by chunk; the end is io.EOF, which comes only after the final
// frame and the end of the reader below. Every other error is final too:
// [ErrTruncated], [ErrRefused], [ErrLimit].
//
// Nothing may leave the machine because of what was read before io.EOF: until
// then anybody who holds the data encryption key of this request, that is any
// of its candidates, may have written it, and after it the response is bound
// to what was read.
type BodyReader struct {
	rd      io.Reader
	o       *stream.Opener
	h       hash.Hash
	pending []byte
	final   bool
	done    bool
	sum     [32]byte // of all frames, once done
}

// Read delivers at most one chunk at a time.
func (b *BodyReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := b.fill(); err != nil {
		return 0, err
	}
	n := copy(p, b.pending)
	b.pending = b.pending[n:]
	return n, nil
}

// WriteTo writes the rest of the body to w, a chunk at a time and uncopied.
func (b *BodyReader) WriteTo(w io.Writer) (total int64, err error) {
	for {
		if err := b.fill(); err == io.EOF {
			return total, nil
		} else if err != nil {
			return total, err
		}
		n, err := w.Write(b.pending)
		total += int64(n)
		b.pending = b.pending[n:]
		if err != nil {
			return total, err
		}
	}
}

func (b *BodyReader) fill() error {
	for len(b.pending) == 0 {
		if b.final {
			return b.o.Fail(io.EOF)
		}
		plaintext, final, err := b.o.Next()
		if err != nil {
			return err
		}
		if final {
			if err := b.end(); err != nil {
				return b.o.Fail(err)
			}
			b.h.Sum(b.sum[:0])
			b.done = true
		}
		b.pending, b.final = plaintext, final
	}
	return nil
}

// end checks that nothing follows the final frame: bytes that nobody has
// authenticated have no place in a request.
func (b *BodyReader) end() error {
	var one [1]byte
	switch _, err := io.ReadFull(b.rd, one[:]); {
	case err == nil:
		return ErrRefused
	case err == io.EOF:
		return nil
	default:
		return hpke.ReadError(err, ErrTruncated)
	}
}
