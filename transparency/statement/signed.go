// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package statement

import (
	"bytes"

	"github.com/sotto-project/sotto/transparency"
	"golang.org/x/crypto/cryptobyte"
)

// MaxSignedSize bounds a Signed's bytes.
const MaxSignedSize = MaxSize + 1<<17

// A Signed is a statement with everything needed to believe it offline.
type Signed struct {
	Leaf       []byte     // the statement's bytes; the log's leaf is their [LogLeaf]
	Index      uint64     // where in the log the leaf sits; must be its epoch
	Proof      [][32]byte // from the leaf to the checkpoint's root
	Checkpoint []byte     // cosigned note
}

// Append prints s after b:
//
//	struct {
//	    uint8  version = 1;
//	    opaque leaf<1..2^24-1>;
//	    opaque proof[rest];       /* C2SP tlog-proof, to the end */
//	} Signed;
func (s *Signed) Append(b []byte) ([]byte, error) {
	w := cryptobyte.NewBuilder(nil)
	w.AddUint8(version)
	w.AddUint24LengthPrefixed(func(w *cryptobyte.Builder) { w.AddBytes(s.Leaf) })
	w.AddBytes((&transparency.Proof{Index: s.Index, Hashes: s.Proof, Checkpoint: s.Checkpoint}).Append(nil))
	out, err := w.Bytes()
	if err != nil {
		return nil, malformed("signed statement: leaf of %d bytes", len(s.Leaf))
	}
	if _, err := ParseSigned(out); err != nil {
		return nil, err
	}
	return append(b, out...), nil
}

// ParseSigned reads exactly one signed statement. It checks spelling only; what
// it returns is worth nothing before [Signed.Verify]. Refusals:
// [transparency.CodeStatement], [transparency.CodeFormat].
func ParseSigned(b []byte) (*Signed, error) {
	r := cryptobyte.String(b)
	var ver uint8
	var leaf cryptobyte.String
	if len(b) > MaxSignedSize || !r.ReadUint8(&ver) || ver != version || !r.ReadUint24LengthPrefixed(&leaf) || leaf.Empty() || len(leaf) > MaxSize {
		return nil, malformed("signed statement: version, size or leaf")
	}
	p, err := transparency.ParseProof(r)
	if err != nil {
		return nil, err
	}
	return &Signed{Leaf: bytes.Clone(leaf), Index: p.Index, Proof: p.Hashes, Checkpoint: p.Checkpoint}, nil
}

// Verify checks everything that holds for ever: the statement's spelling, the
// checkpoint under t, that the leaf is in its tree, and that it sits at its own
// epoch's index, so that there can be no second statement for the epoch in the
// same tree. Time is the caller's to judge: [Statement.Current].
//
// Refusals: [transparency.CodeStatement], [transparency.CodeIndex], those of
// [transparency.Trust.ParseCheckpoint], [transparency.CodeInclusion].
func (s *Signed) Verify(t *transparency.Trust) (*Statement, *transparency.Checkpoint, error) {
	return s.verify(t.ParseCheckpoint)
}

// VerifyByLog is [Signed.Verify] by the log's own keys alone, whoever cosigned:
// for evidence against the log, and for nothing that is to be believed.
func (s *Signed) VerifyByLog(t *transparency.Trust) (*Statement, *transparency.Checkpoint, error) {
	return s.verify(t.ParseByLog)
}

func (s *Signed) verify(parse func([]byte) (*transparency.Checkpoint, error)) (*Statement, *transparency.Checkpoint, error) {
	st, err := Parse(s.Leaf)
	if err != nil {
		return nil, nil, err
	}
	if s.Index != st.Epoch {
		return nil, nil, transparency.Refuse(transparency.CodeIndex, "the statement of epoch %d sits at index %d", st.Epoch, s.Index)
	}
	c, err := parse(s.Checkpoint)
	if err != nil {
		return nil, nil, err
	}
	if err := c.CheckInclusion(LogLeaf(s.Leaf), s.Index, s.Proof); err != nil {
		return nil, nil, err
	}
	return st, c, nil
}

// Agree compares two verified statements of one epoch. If they differ, the log
// showed two worlds: [transparency.CodeFork], with both as evidence.
func Agree(a, b *Signed) error {
	if a.Index != b.Index || bytes.Equal(a.Leaf, b.Leaf) {
		return nil
	}
	err := transparency.Refuse(transparency.CodeFork, "two statements for epoch %d", a.Index)
	for _, s := range []*Signed{a, b} {
		if raw, e := s.Append(nil); e == nil {
			err.Evidence = append(err.Evidence, raw)
		}
	}
	return err
}
