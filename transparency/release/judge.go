// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package release

import (
	"encoding/hex"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/transparency"
)

// maxNamed is how many releases one statement may name.
const maxNamed = 64

// seenFor is how long a judge relies on what it verified. A word that was signed
// ahead of this machine's clock counts that much later.
const seenFor = 10 * time.Minute

// A Named is a release as a statement names it.
type Named struct {
	Digest [32]byte // of the file
	Name   string   // for people
}

// A Verdict is what came of one release that a statement names.
type Verdict struct {
	Named
	Release *Release // nil if it was refused
	// Code and Detail say why it allows nothing. Others may stand beside it.
	Code   transparency.Code
	Detail string
}

// A Set is what the releases of one statement say together.
type Set struct {
	Verdicts []Verdict
	Released *attestation.Released // for attestation.References; never nil
}

// A Judge verifies the releases that statements name, under one trust, which
// must not change. Signatures and proofs of a file are verified once; what time
// can turn is looked at each time. It may be used by several goroutines.
type Judge struct {
	trust *Trust
	most  int

	mu   sync.Mutex
	seen map[[32]byte]*sighted // by digest of the file
}

// A sighted is a file of which everything held that time does not turn.
type sighted struct {
	v       *verification
	revoked error // it was withdrawn as a whole, or all of it
	at      time.Time
}

// NewJudge returns a judge that remembers at most most files. Refusal: that of
// [Trust.Validate].
func NewJudge(t *Trust, most int) (*Judge, error) {
	return &Judge{trust: t, most: most, seen: map[[32]byte]*sighted{}}, t.Validate()
}

// Judge verifies every release that a statement names. find returns a file by its
// digest: from the statement's pack.
//
// A file that is not there, and one that is not what it claims to be, refuses
// everything: somebody put it into a statement. One that is genuine and not to be
// used (too young, reviewed by too few, withdrawn) allows nothing, and what it
// withdraws counts; the others stand. If none is left, the error is the first's.
// Where none is named there is no error, and nothing is released.
func (j *Judge) Judge(named []Named, find func([32]byte) ([]byte, bool), now time.Time) (*Set, error) {
	if len(named) > maxNamed {
		return nil, refuse(CodeFormat, "a statement that names %d releases; %d are allowed", len(named), maxNamed)
	}
	out := &Set{}
	var count []*Release
	var first error
	good := 0
	for _, n := range named {
		s, err := j.genuine(n.Digest, find, now)
		if err != nil {
			return nil, refuse(CodeOf(err), "release %q: %s", n.Name, detailOf(err))
		}
		v := *s.v
		r := *v.r
		r.Gaps = nil
		v.r, v.now = &r, now
		if err = s.revoked; err == nil {
			err = v.endorsed()
		}
		switch {
		case err == nil:
			good++
			out.Verdicts, count = append(out.Verdicts, Verdict{Named: n, Release: &r}), append(count, &r)
			continue
		case s.revoked != nil:
			count = append(count, &r) // what it has is withdrawn, by name
		default:
			count = append(count, &Release{Revocations: r.Revocations})
		}
		out.Verdicts = append(out.Verdicts, Verdict{Named: n, Code: CodeOf(err), Detail: detailOf(err)})
		if first == nil {
			first = refuse(CodeOf(err), "release %q: %s", n.Name, detailOf(err))
		}
	}
	if good == 0 && first != nil {
		return nil, first
	}
	out.Released = Released(count...)
	return out, nil
}

// genuine verifies what time does not turn, or finds that it did.
func (j *Judge) genuine(digest [32]byte, find func([32]byte) ([]byte, bool), now time.Time) (*sighted, error) {
	j.mu.Lock()
	s := j.seen[digest]
	j.mu.Unlock()
	if s != nil && !now.Before(s.at) && now.Sub(s.at) <= seenFor {
		return s, nil
	}
	file, ok := find(digest)
	if !ok {
		return nil, refuse(CodeAbsent, "the file %s.. is not beside the statement that names it, so it was kept from you", hex.EncodeToString(digest[:8]))
	}
	if Digest(file) != digest {
		return nil, refuse(CodeFormat, "another file than the statement names")
	}
	v, err := begin(file, j.trust, now)
	if err != nil {
		return nil, err
	}
	s = &sighted{v: v, revoked: v.revoked(), at: now}
	j.mu.Lock()
	defer j.mu.Unlock()
	for old := range j.seen { // any: which one changes nothing but the cost of the next look at it
		if len(j.seen) < j.most {
			break
		}
		delete(j.seen, old)
	}
	if j.most > 0 {
		j.seen[digest] = s
	}
	return s, nil
}

func detailOf(err error) string {
	var e *transparency.Error
	if errors.As(err, &e) {
		return e.Detail
	}
	return err.Error()
}

// Vouching returns who reviewed a release and when they last said so, newest first.
func (r *Release) Vouching() []Endorsed {
	out := slices.Clone(r.Endorsements)
	slices.SortFunc(out, func(a, b Endorsed) int { return b.AsOf.Compare(a.AsOf) })
	return out
}
