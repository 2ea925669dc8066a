// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package hpke

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Sizes and limits of the sealed request, version 1, in bytes unless said.
const (
	Version       = 1
	MaxCandidates = 8   // entries of a header; a small k is what bounds who can read (design, section 1)
	CommonSize    = 114 // the part of the header that all entries share

	ChunkSize   = 16384           // plaintext of every body chunk but the last, and most data in a response frame
	FrameHeader = 4               // length and final flag before each ciphertext
	TagSize     = 16              // what sealing adds to each frame
	MaxFrame    = 4 + ChunkSize   // most plaintext of a response frame: data length, data, zeros
	PrefaceSize = 1 + 1 + 32      // version, index and nonce at the start of a response
	MaxFrames   = uint64(1) << 24 // frames under one key; see docs/spec/sealed-request.md, section 8
	dekSealed   = 32 + TagSize    // a sealed data encryption key
	idSize      = sha256.Size     // a node id
	headerLabel = "sotto sealed request v1 header\x00"
	listLabel   = "sotto sealed request v1 candidates\x00"
)

// Media types of the body. Zero is refused.
const MediaBinaryHTTP uint8 = 1 // RFC 9292

// Policies: how the node shapes the sizes and times of its answer.
const (
	PolicyOff      uint8 = 0 // frames leave as they come
	PolicyFrames   uint8 = 1 // equal frames on a tick
	PolicyConstant uint8 = 2 // a frame every tick from start to end
)

// Common is the part of the header that every candidate sees:
//
//	struct {
//	    uint8  version = 1;
//	    uint16 kem_id, kdf_id, aead_id;
//	    uint64 epoch;
//	    uint8  k;
//	    uint8  media_type;
//	    uint8  policy;
//	    opaque body_nonce[32];
//	    opaque candidates_hash[32];
//	    opaque commitment[32];
//	} Common;
type Common struct {
	Suite          Suite
	Epoch          uint64
	K              uint8 // entries in the header, 1 to MaxCandidates
	MediaType      uint8
	Policy         uint8
	BodyNonce      [32]byte
	CandidatesHash [32]byte // see CandidatesHash
	Commitment     [32]byte // to the data encryption key
}

// Append appends the CommonSize bytes of c to b.
func (c *Common) Append(b []byte) []byte {
	b = append(b, Version)
	b = binary.BigEndian.AppendUint16(b, c.Suite.KEM)
	b = binary.BigEndian.AppendUint16(b, c.Suite.KDF)
	b = binary.BigEndian.AppendUint16(b, c.Suite.AEAD)
	b = binary.BigEndian.AppendUint64(b, c.Epoch)
	b = append(b, c.K, c.MediaType, c.Policy)
	b = append(b, c.BodyNonce[:]...)
	b = append(b, c.CandidatesHash[:]...)
	return append(b, c.Commitment[:]...)
}

// Hash is SHA-256 over the bytes of c. Every entry is sealed under it.
func (c *Common) Hash() [32]byte {
	var buf [CommonSize]byte
	return sha256.Sum256(c.Append(buf[:0]))
}

func readCommon(r io.Reader, c *Common) error {
	var buf [CommonSize]byte
	b := buf[:]
	if _, err := io.ReadFull(r, b); err != nil {
		return ReadError(err, ErrTruncated)
	}
	c.Suite = Suite{binary.BigEndian.Uint16(b[1:]), binary.BigEndian.Uint16(b[3:]), binary.BigEndian.Uint16(b[5:])}
	if b[0] != Version || c.Suite != NodeSuite {
		return ErrSuite
	}
	c.Epoch = binary.BigEndian.Uint64(b[7:])
	c.K, c.MediaType, c.Policy = b[15], b[16], b[17]
	copy(c.BodyNonce[:], b[18:])
	copy(c.CandidatesHash[:], b[50:])
	copy(c.Commitment[:], b[82:])
	// Unknown media types and policies pass here: what is announced is bound to
	// what was sealed, and only the node that opens can tell a lie from a novelty.
	if c.K == 0 || c.K > MaxCandidates || c.MediaType == 0 {
		return ErrHeader
	}
	return nil
}

// An Entry is the data encryption key sealed to one candidate:
//
//	struct {
//	    opaque node_id[32];
//	    opaque enc[Nenc];
//	    opaque sealed_dek[48];
//	} Entry;
type Entry struct {
	NodeID    [32]byte
	Enc       []byte // Nenc bytes
	SealedDEK []byte // 48 bytes
}

// EntrySize is the size of an entry in bytes, for a suite that is supported.
func EntrySize(s Suite) int { return idSize + s.EncSize() + dekSealed }

// HeaderSize is the size in bytes of a header with k entries.
func HeaderSize(s Suite, k int) int { return CommonSize + k*EntrySize(s) }

// ForwardedSize is the size in bytes of what the router passes on of a header
// with k entries.
func ForwardedSize(s Suite, k int) int { return CommonSize + 1 + k*sha256.Size + EntrySize(s) }

// Append appends the bytes of e to b.
func (e *Entry) Append(b []byte) []byte {
	b = append(b, e.NodeID[:]...)
	b = append(b, e.Enc...)
	return append(b, e.SealedDEK...)
}

// Hash is SHA-256 over the bytes of e.
func (e *Entry) Hash() [32]byte {
	var b [1280]byte // room for an entry of NodeSuite, off the heap
	return sha256.Sum256(e.Append(b[:0]))
}

// parse keeps slices of b, which must have exactly the entry's size.
func (e *Entry) parse(s Suite, b []byte) {
	enc := idSize + s.EncSize()
	copy(e.NodeID[:], b)
	e.Enc, e.SealedDEK = b[idSize:enc:enc], b[enc:len(b):len(b)]
}

// A Header opens a sealed request: one common part and K entries, each for
// another node.
type Header struct {
	Common  Common
	Entries []Entry
}

// ReadHeader reads exactly one header, of at most HeaderSize(NodeSuite,
// MaxCandidates) bytes, and nothing behind it. A stream that ends inside is
// [ErrTruncated], a version or suite not spoken [ErrSuite], a count out of
// bounds, a candidate named twice or a list that is not the hashed one
// [ErrHeader].
func ReadHeader(r io.Reader) (*Header, error) {
	h := new(Header)
	if err := readCommon(r, &h.Common); err != nil {
		return nil, err
	}
	size := EntrySize(h.Common.Suite)
	b := make([]byte, int(h.Common.K)*size)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, ReadError(err, ErrTruncated)
	}
	h.Entries = make([]Entry, h.Common.K)
	for i := range h.Entries {
		h.Entries[i].parse(h.Common.Suite, b[i*size:(i+1)*size])
	}
	ids := h.CandidateIDs()
	if Duplicates(ids) || CandidatesHash(ids) != h.Common.CandidatesHash {
		return nil, ErrHeader
	}
	return h, nil
}

// Append appends the bytes of h to b. [ReadHeader] is its inverse.
func (h *Header) Append(b []byte) []byte {
	b = h.Common.Append(slices.Grow(b, HeaderSize(h.Common.Suite, len(h.Entries))))
	for i := range h.Entries {
		b = h.Entries[i].Append(b)
	}
	return b
}

// Hash is the header hash: it names the request everywhere.
func (h *Header) Hash() [32]byte {
	return headerHash(&h.Common, h.entryHashes())
}

// CandidateIDs are the node ids in the order of the entries.
func (h *Header) CandidateIDs() [][32]byte {
	ids := make([][32]byte, len(h.Entries))
	for i := range h.Entries {
		ids[i] = h.Entries[i].NodeID
	}
	return ids
}

// Forward is what the router passes on to candidate i, from 0; it shares memory
// with h. The others' entries stay behind: the node learns how many there are
// and not who. It panics if there is no entry i.
func (h *Header) Forward(i int) *Forwarded {
	return &Forwarded{Common: h.Common, Index: uint8(i), Hashes: h.entryHashes(), Entry: h.Entries[i]}
}

func (h *Header) entryHashes() [][32]byte {
	hashes := make([][32]byte, len(h.Entries))
	for i := range h.Entries {
		hashes[i] = h.Entries[i].Hash()
	}
	return hashes
}

// Forwarded is the header as one candidate gets it:
//
//	struct {
//	    Common common;
//	    uint8  index;
//	    opaque entry_hashes[k][32];
//	    Entry  entry;
//	} Forwarded;
type Forwarded struct {
	Common Common
	Index  uint8 // of Entry, from 0
	Hashes [][32]byte
	Entry  Entry
}

// ReadForwarded reads exactly one Forwarded and nothing behind it, with the
// errors of [ReadHeader]. It checks the layout only; [Forwarded.Hash] checks
// that entry and hashes belong together.
func ReadForwarded(r io.Reader) (*Forwarded, error) {
	f := new(Forwarded)
	if err := readCommon(r, &f.Common); err != nil {
		return nil, err
	}
	k := int(f.Common.K)
	b := make([]byte, ForwardedSize(f.Common.Suite, k)-CommonSize)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, ReadError(err, ErrTruncated)
	}
	if f.Index = b[0]; int(f.Index) >= k {
		return nil, ErrHeader
	}
	b = b[1:]
	f.Hashes = make([][32]byte, k)
	for i := range f.Hashes {
		copy(f.Hashes[i][:], b[i*sha256.Size:])
	}
	f.Entry.parse(f.Common.Suite, b[k*sha256.Size:])
	return f, nil
}

// Append appends the bytes of f to b. [ReadForwarded] is its inverse.
func (f *Forwarded) Append(b []byte) []byte {
	b = f.Common.Append(slices.Grow(b, ForwardedSize(f.Common.Suite, len(f.Hashes))))
	b = append(b, f.Index)
	for i := range f.Hashes {
		b = append(b, f.Hashes[i][:]...)
	}
	return f.Entry.Append(b)
}

// Hash recomputes the header hash from what was forwarded. An entry that is not
// the one hashed at its index is [ErrRefused].
func (f *Forwarded) Hash() ([32]byte, error) {
	if len(f.Hashes) != int(f.Common.K) || int(f.Index) >= len(f.Hashes) || f.Entry.Hash() != f.Hashes[f.Index] {
		return [32]byte{}, ErrRefused
	}
	return headerHash(&f.Common, f.Hashes), nil
}

func headerHash(c *Common, entries [][32]byte) [32]byte {
	b := make([]byte, 0, len(headerLabel)+CommonSize+MaxCandidates*sha256.Size)
	b = c.Append(append(b, headerLabel...))
	for i := range entries {
		b = append(b, entries[i][:]...)
	}
	return sha256.Sum256(b)
}

// CandidatesHash is the hash of the list of candidates: SHA-256 over a label,
// their number in one byte, and their ids in the order of the entries.
func CandidatesHash(ids [][32]byte) [32]byte {
	b := append(make([]byte, 0, len(listLabel)+1+len(ids)*idSize), listLabel...)
	b = append(b, uint8(len(ids)))
	for i := range ids {
		b = append(b, ids[i][:]...)
	}
	return sha256.Sum256(b)
}

// Duplicates reports whether an id is in the list twice.
func Duplicates(ids [][32]byte) bool {
	for i := range ids {
		for j := range i {
			if bytes.Equal(ids[i][:], ids[j][:]) {
				return true
			}
		}
	}
	return false
}

// ReadError says what a failed read of a sealed stream means: an end where
// there should be none is short; an error of a layer below that has a Code of
// its own passes as it is; any other is that end too, and wraps the cause.
func ReadError(err, short error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return short
	}
	if coded := interface{ Code() string }(nil); errors.As(err, &coded) {
		return err
	}
	return fmt.Errorf("%w: %w", short, err)
}
