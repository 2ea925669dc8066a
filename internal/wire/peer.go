// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"slices"
	"time"
)

const (
	// PeerVerdictSize is the size of a peer verdict, in bytes.
	PeerVerdictSize = 8 + 5*32 + peerCodeSize + 8 + 64
	// MaxPeerVerdicts is how many verdicts a list of them may hold.
	MaxPeerVerdicts = 1 << 16

	peerCodeSize = 32
)

// A PeerVerdict is one node's signed word on another node's evidence.
//
//	struct {
//	    uint64 epoch;
//	    opaque verifier[32];   /* node id of who signs */
//	    opaque subject[32];    /* node id of who was judged; another one */
//	    opaque evidence[32];   /* SHA-256 of the subject's epoch evidence */
//	    opaque freshness[32];  /* SHA-256 of its freshness evidence; zero: there was none */
//	    opaque policy[32];     /* SHA-256 of the policy judged by */
//	    opaque code[32];       /* refusal code, zero-padded; all zero: accepted */
//	    uint64 time;           /* seconds since 1970, the verifier's clock */
//	    opaque signature[64];  /* Ed25519 over label || 0 || the fields above */
//	} PeerVerdict;             /* 272 bytes; label "sotto peer verdict v1" */
type PeerVerdict struct {
	Epoch     uint64
	Verifier  [32]byte
	Subject   [32]byte
	Evidence  [32]byte
	Freshness [32]byte
	Policy    [32]byte
	Code      string // of a closed list, at most 32 bytes of a-z, 0-9 and "."; "": accepted
	Time      time.Time
	Signature [64]byte
}

const peerLabel = "sotto peer verdict v1\x00"

// Sign sets the signature, by the verifier's node key of the verdict's epoch.
func (v *PeerVerdict) Sign(key ed25519.PrivateKey) {
	copy(v.Signature[:], ed25519.Sign(key, v.signed()))
}

// Verify reports whether the verdict is one and is signed by key. Whose key
// that is, and whether the digests are those that the caller holds, the caller
// has to know: see docs/spec/routing.md.
func (v *PeerVerdict) Verify(key ed25519.PublicKey) bool {
	return len(key) == ed25519.PublicKeySize && v.valid() && ed25519.Verify(key, v.signed(), v.Signature[:])
}

// valid reports whether the fields are ones that [ParsePeerVerdict] gives.
func (v *PeerVerdict) valid() bool {
	return v.Verifier != v.Subject && len(v.Code) <= peerCodeSize && !slices.ContainsFunc([]byte(v.Code), notOfCode) &&
		v.Time.Unix() > 0 && v.Time.Nanosecond() == 0
}

func notOfCode(c byte) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' }

func (v *PeerVerdict) signed() []byte {
	return v.fields(append(make([]byte, 0, len(peerLabel)+PeerVerdictSize), peerLabel...))
}

func (v *PeerVerdict) fields(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, v.Epoch)
	for _, f := range [][32]byte{v.Verifier, v.Subject, v.Evidence, v.Freshness, v.Policy} {
		b = append(b, f[:]...)
	}
	var code [peerCodeSize]byte
	copy(code[:], v.Code)
	b = append(b, code[:]...)
	return binary.BigEndian.AppendUint64(b, uint64(v.Time.Unix()))
}

// Append appends the verdict to b. It panics on a verdict that
// [ParsePeerVerdict] would refuse: such a verdict is a mistake of the caller.
func (v *PeerVerdict) Append(b []byte) []byte {
	if !v.valid() {
		panic("wire: internal error: invalid peer verdict")
	}
	return append(v.fields(b), v.Signature[:]...)
}

// ParsePeerVerdict parses exactly one verdict. It does not verify it.
func ParsePeerVerdict(b []byte) (PeerVerdict, error) {
	var v PeerVerdict
	if len(b) != PeerVerdictSize {
		return v, ErrMalformed
	}
	v.Epoch, b = binary.BigEndian.Uint64(b), b[8:]
	for _, f := range []*[32]byte{&v.Verifier, &v.Subject, &v.Evidence, &v.Freshness, &v.Policy} {
		b = b[copy(f[:], b):]
	}
	code, rest, _ := bytes.Cut(b[:peerCodeSize], []byte{0})
	seconds := binary.BigEndian.Uint64(b[peerCodeSize:])
	copy(v.Signature[:], b[peerCodeSize+8:])
	if !isZero(rest) || seconds > 1<<40 {
		return PeerVerdict{}, ErrMalformed
	}
	v.Code, v.Time = string(code), time.Unix(int64(seconds), 0).UTC()
	if !v.valid() {
		return PeerVerdict{}, ErrMalformed
	}
	return v, nil
}

// ComparePeerVerdicts orders verdicts as a list of them is ordered: by epoch,
// verifier and subject.
func ComparePeerVerdicts(a, b *PeerVerdict) int {
	switch {
	case a.Epoch < b.Epoch:
		return -1
	case a.Epoch > b.Epoch:
		return 1
	}
	if c := bytes.Compare(a.Verifier[:], b.Verifier[:]); c != 0 {
		return c
	}
	return bytes.Compare(a.Subject[:], b.Subject[:])
}

// AppendPeerVerdicts appends a list of verdicts to b: one after the other,
// ascending by epoch, verifier and subject, at most one for each. The list is
// sorted in place; of several verdicts for one place the first stays.
func AppendPeerVerdicts(b []byte, list []PeerVerdict) []byte {
	slices.SortStableFunc(list, func(x, y PeerVerdict) int { return ComparePeerVerdicts(&x, &y) })
	list = slices.CompactFunc(list, func(x, y PeerVerdict) bool { return ComparePeerVerdicts(&x, &y) == 0 })
	for i := range list[:min(len(list), MaxPeerVerdicts)] {
		b = list[i].Append(b)
	}
	return b
}

// ParsePeerVerdicts parses exactly one list, in the order of
// [AppendPeerVerdicts]. It verifies none.
func ParsePeerVerdicts(b []byte) ([]PeerVerdict, error) {
	n := len(b) / PeerVerdictSize
	if n*PeerVerdictSize != len(b) || n > MaxPeerVerdicts {
		return nil, ErrMalformed
	}
	list := make([]PeerVerdict, n)
	for i := range list {
		var err error
		if list[i], err = ParsePeerVerdict(b[i*PeerVerdictSize:][:PeerVerdictSize]); err != nil {
			return nil, err
		}
		if i > 0 && ComparePeerVerdicts(&list[i-1], &list[i]) >= 0 {
			return nil, ErrMalformed
		}
	}
	return list, nil
}
