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
	log, growth, err := v.imaLogs(b)
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
	out := outcome{expected: "every entry is of the release", got: fmt.Sprintf("%d entries, and %d since the epoch began", len(log.Entries), len(growth.Entries))}
	if !v.platform.registersProve() {
		out.gap = "run time: " + ownersTPM
	}
	return out, nil
}

// imaLogs returns the log from boot, which must lead to the register of the
// epoch's quote, and what it grew by, which must lead on to that of the freshness
// quote. It is one log, and the caps are those of one.
func (v *verification) imaLogs(b []byte) (log, growth *ima.Log, err error) {
	more, _ := v.freshPiece(evidence.KindFreshIMALog)
	if len(b)+len(more) > ima.MaxSize {
		return nil, nil, refuse.As(refuse.Size, "IMA log of %d bytes, and %d since the epoch began", len(b), len(more))
	}
	if log, err = ima.Parse(b); err != nil {
		return nil, nil, err
	}
	if err = log.CheckReplay([32]byte{}, v.pcrs[10]); err != nil {
		return nil, nil, err
	}
	if growth, err = ima.Parse(more); err != nil || v.p.WithoutFreshness {
		return log, growth, err
	}
	if n := len(log.Entries) + len(growth.Entries); n > ima.MaxEntries {
		return nil, nil, refuse.As(refuse.Size, "IMA log of %d entries since boot", n)
	}
	return log, growth, growth.CheckReplay(v.pcrs[10], v.freshPCRs[10])
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
