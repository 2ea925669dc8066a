// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestation

import (
	"encoding/hex"
	"fmt"

	"github.com/sotto-project/sotto/attestation/evidence"
	"github.com/sotto-project/sotto/attestation/internal/ima"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
)

// checkRuntime judges every entry of the IMA log: that of the epoch evidence,
// and what it grew by until the freshness evidence.
func checkRuntime(v *verification) (outcome, error) {
	b := v.piece(evidence.KindIMALog)
	if b == nil {
		if _, grew := v.freshPiece(evidence.KindFreshIMALog); grew {
			return outcome{}, refuse.As(refuse.IMAReplay, "a log that grew since the epoch began, and none before")
		}
		if !v.p.AllowNoIMA {
			return outcome{}, refuse.As(refuse.IMAAbsent, "no log of what ran since boot")
		}
		return outcome{got: fmt.Sprintf("PCR 10 %x, no log", v.pcrs[10]),
			gap: "run time: measurements after boot are quoted, not compared with a list"}, nil
	}
	log, err := ima.Parse(b)
	if err != nil {
		return outcome{}, err
	}
	if err := log.CheckReplay([32]byte{}, v.pcrs[10]); err != nil {
		return outcome{}, err
	}
	growth, err := v.imaGrowth()
	if err != nil {
		return outcome{}, err
	}
	if v.image.IMA == nil {
		if !v.p.AllowNoIMA {
			return outcome{}, refuse.As(refuse.IMAEntry, "%s has no rules for what may run", v.image.Name)
		}
		return outcome{got: fmt.Sprintf("%d entries", len(log.Entries)), gap: "run time: the log replays, and the release has no rules to compare it with"}, nil
	}
	rules := v.image.IMA.rules()
	var registers [10][32]byte
	replayed := v.log.Replay()
	copy(registers[:], replayed[:])
	if _, err := log.Judge(rules, ima.BootAggregate(registers)); err != nil {
		return outcome{}, err
	}
	if _, err := growth.JudgeGrowth(rules); err != nil {
		return outcome{}, err
	}
	return outcome{expected: "every entry is of the release", got: fmt.Sprintf("%d entries, and %d since the epoch began", len(log.Entries), len(growth.Entries))}, nil
}

// imaGrowth returns what the log grew by, which must lead from the register of
// the epoch's quote to that of the freshness quote.
func (v *verification) imaGrowth() (*ima.Log, error) {
	if v.p.WithoutFreshness {
		return new(ima.Log), nil
	}
	b, _ := v.freshPiece(evidence.KindFreshIMALog)
	growth, err := ima.Parse(b)
	if err != nil {
		return nil, err
	}
	return growth, growth.CheckReplay(v.pcrs[10], v.freshPCRs[10])
}

// freshPiece returns a piece of the freshness evidence, if that is asked for.
func (v *verification) freshPiece(k evidence.Kind) ([]byte, bool) {
	if v.p.WithoutFreshness {
		return nil, false
	}
	return v.ev.Freshness.Get(k)
}

func (r *IMARules) rules() *ima.Rules {
	name := func(d Digest) ima.Digest { return ima.Digest("sha256:" + hex.EncodeToString(d[:])) }
	out := &ima.Rules{Files: make(map[string][]ima.Digest, len(r.Files))}
	for path, digests := range r.Files {
		for _, d := range digests {
			out.Files[path] = append(out.Files[path], name(d))
		}
	}
	for _, d := range r.Digests {
		out.Digests = append(out.Digests, name(d))
	}
	return out
}
