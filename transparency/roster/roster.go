// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package roster answers one question the same way for everybody who asks it:
// does this node of this statement prove itself? Clients, routers and nodes
// that judge one another use it, so a node that one of them accepts under a
// policy is accepted by the others under the same.
//
// It joins what the log says (statement, records, checkpoints) with what the
// node shows (evidence) and asks attestation.Verify. It fetches nothing and
// trusts nothing by itself: who makes a [View] has verified its parts.
package roster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/statement"
)

// A View is one epoch with everything that its nodes are judged by. Statement
// and both checkpoints must have been verified under the holder's own trust;
// pack and freshness list need not be: what is taken from them is found by its
// hash, or signed.
type View struct {
	Statement  *statement.Statement
	Pack       *statement.Pack
	EpochPoint *transparency.Checkpoint // the pack's, of an earlier epoch
	Freshness  *statement.Freshness     // nil: none yet
	FreshPoint *transparency.Checkpoint // the list's
	// Released is what the statement's releases allow, which the holder verified
	// (transparency/release); nil: nobody asked. It is replaced, never changed once a
	// Case was judged; nor are the statement's chips.
	Released *attestation.Released
}

// OpenPack parses a pack, bounds what st's nodes have in it and verifies its
// checkpoint: that is all a View needs of it. Refusals: those of
// [statement.ParsePack], of [statement.Pack.Bounded] and of the trust, and
// att.epoch for a checkpoint that is not of an earlier epoch.
func OpenPack(t *transparency.Trust, st *statement.Statement, raw []byte) (*statement.Pack, *transparency.Checkpoint, error) {
	p, err := statement.ParsePack(raw)
	if err != nil {
		return nil, nil, err
	}
	if p.Epoch != st.Epoch {
		return nil, nil, transparency.Refuse(transparency.CodePackMissing, "a pack of epoch %d, want %d", p.Epoch, st.Epoch)
	}
	if err := p.Bounded(st); err != nil {
		return nil, nil, err
	}
	point, err := t.ParseCheckpoint(p.Checkpoint)
	if err != nil {
		return nil, nil, err
	}
	if point.Size > st.Epoch {
		return nil, nil, &attestation.RefusalError{Code: "att.epoch", Detail: fmt.Sprintf("the epoch evidence was made over a checkpoint that holds epoch %d itself", st.Epoch)}
	}
	return p, point, nil
}

// OpenFreshness parses a freshness list and verifies its checkpoint.
func OpenFreshness(t *transparency.Trust, raw []byte) (*statement.Freshness, *transparency.Checkpoint, error) {
	f, err := statement.ParseFreshness(raw)
	if err != nil {
		return nil, nil, err
	}
	point, err := t.ParseCheckpoint(f.Checkpoint)
	return f, point, err
}

// A Case is one node with what is needed to judge it.
type Case struct {
	Record   *statement.Record
	Evidence attestation.Evidence
	Refs     attestation.References
	fresh    [32]byte // SHA-256 of the freshness evidence
}

// FreshDigest is the SHA-256 of the freshness evidence; zero if there is none.
func (c *Case) FreshDigest() [32]byte { return c.fresh }

// Case gathers what there is about a node, freshness evidence over the list's
// checkpoint included. A node that the list lacks is att.stale.
func (v *View) Case(row statement.Node) (*Case, error) {
	c, err := v.EpochCase(row)
	if err != nil {
		return nil, err
	}
	var raw []byte
	ok := false
	if v.Freshness != nil {
		raw, ok = v.Freshness.Find(v.Statement.Epoch, row.ID)
	}
	if !ok {
		return nil, refuse("att.stale", row.ID, "no freshness evidence")
	}
	if c.Evidence.Freshness, err = parse(raw, row.ID); err != nil {
		return nil, err
	}
	c.fresh = statement.Digest(raw)
	c.Refs.FreshCheckpoint = attestation.Checkpoint{Hash: v.FreshPoint.Hash(), Time: v.FreshPoint.Time}
	return c, nil
}

// EpochCase is [View.Case] without freshness evidence, for a caller that has
// some of its own.
func (v *View) EpochCase(row statement.Node) (*Case, error) {
	record, raw, err := v.Pack.Node(row)
	if err != nil {
		return nil, err
	}
	c := &Case{Record: record}
	if c.Evidence.Epoch, err = parse(raw, row.ID); err != nil {
		return nil, err
	}
	model := v.Statement.Models[row.Model]
	c.Refs = attestation.References{
		Epoch: v.Statement.Epoch, EvidenceDigest: record.EvidenceDigest, NodeID: row.ID, REK: record.REK, NodeKey: record.NodeKey,
		EpochCheckpoint: attestation.Checkpoint{Hash: v.EpochPoint.Hash(), Time: v.EpochPoint.Time},
		Model:           model.Name, WeightsDigest: model.Weights, Payment: v.Statement.Payment, TicketKey: v.Statement.TicketKey,
		Chips: v.Statement.Chips, Released: v.Released,
	}
	return c, v.restrict(c)
}

// restrict reads the statement's firmware floors: "snp/PRODUCT" with the bytes of
// bootloader, TEE, SNP, microcode and, on Turin, FMC; "tdx" with the lowest
// tcbEvaluationDataNumber, four bytes. One that cannot be read is a restriction
// that could not be applied, and refuses.
func (v *View) restrict(c *Case) error {
	for _, f := range v.Statement.TCBFloors {
		product, snp := strings.CutPrefix(f.Platform, "snp/")
		switch {
		case snp && (len(f.Floor) == 4 || len(f.Floor) == 5):
			t := attestation.TCB{Bootloader: f.Floor[0], TEE: f.Floor[1], SNP: f.Floor[2], Microcode: f.Floor[3]}
			if len(f.Floor) == 5 {
				t.FMC = f.Floor[4]
			}
			if c.Refs.Floors == nil {
				c.Refs.Floors = map[string]attestation.TCB{}
			}
			c.Refs.Floors[product] = t
		case f.Platform == "tdx" && len(f.Floor) == 4:
			c.Refs.MinEvaluation = int(binary.BigEndian.Uint32(f.Floor))
		default:
			return refuse("att.policy", c.Refs.NodeID, "the statement has a floor for %q that this version cannot read", f.Platform)
		}
	}
	return nil
}

// Challenge puts a caller's challenge and the evidence made over it in place of
// a checkpoint's. The challenge is the caller's own, drawn at the time given;
// it must not come from whoever sent the evidence (AT-05).
func (c *Case) Challenge(challenge [32]byte, drawn time.Time, raw []byte) (err error) {
	if c.Evidence.Freshness, err = parse(raw, c.Refs.NodeID); err != nil {
		return err
	}
	c.fresh = statement.Digest(raw)
	c.Refs.Challenge, c.Refs.FreshCheckpoint = challenge, attestation.Checkpoint{Time: drawn}
	return nil
}

func parse(raw []byte, id [32]byte) (*evidence.Bundle, error) {
	b, err := evidence.Parse(raw)
	switch {
	case errors.Is(err, evidence.ErrSize):
		return nil, refuse("att.size", id, "%v", err)
	case err != nil:
		return nil, refuse("att.format", id, "%v", err)
	}
	return b, nil
}

func refuse(code attestation.Code, id [32]byte, format string, args ...any) error {
	return &attestation.RefusalError{Code: code, Node: id, Detail: fmt.Sprintf(format, args...)}
}

// CodeOf is the code of a refusal by this package, attestation or transparency;
// "" if err is none.
func CodeOf(err error) string {
	var refusal *attestation.RefusalError
	var log *transparency.Error
	switch {
	case errors.As(err, &refusal):
		return string(refusal.Code)
	case errors.As(err, &log):
		return string(log.Code)
	}
	return ""
}
