// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package ima

import (
	"crypto"
	"encoding/hex"
	"fmt"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
)

// Rules say what may have run. The zero Rules allow nothing but a right
// boot_aggregate.
type Rules struct {
	// Files are the digests that a name may have. A name that is listed may have
	// no others, whatever Digests and Signers say.
	Files map[string][]Digest
	// Digests are allowed under any name that Files does not list: names differ
	// with mounts, contents do not.
	Digests []Digest
	// Signers vouch for files of any name that Files does not list, by signatures
	// in the log (ima-sig, version 2), found by key id; see [KeyIDOf]. Each takes a
	// public key operation, tens of microseconds: list digests where there are
	// thousands of files.
	Signers map[KeyID]crypto.PublicKey
	// AllowViolations accepts every violation. There is no allowing one by name,
	// because the name in a violation is not measured.
	AllowViolations bool
}

// A Status says what an entry turned out to be.
type Status string

// The statuses. An entry is accepted where its verdict names a rule.
const (
	Aggregate Status = "aggregate" // boot_aggregate
	Allowed   Status = "allowed"
	Violation Status = "violation"
	Unknown   Status = "unknown"
)

// A Verdict is the judgement on one entry.
type Verdict struct {
	Index  int
	Name   string
	Digest Digest
	Status Status
	Rule   string // what accepted it; "" if nothing
}

// OK reports whether a rule accepted the entry.
func (v *Verdict) OK() bool { return v.Rule != "" }

// Judge gives a verdict for every entry of a log from boot, and the refusal of
// the first that is not accepted: att.ima.aggregate if boot_aggregate is missing,
// is not aggregate (see [BootAggregate]), or comes again, as it does after kexec;
// att.ima.entry with name and digest for any other. Malformed rules are
// att.policy and give no verdicts.
//
// Judge what replays to a quoted value only: before that a log is a claim.
func (l *Log) Judge(r *Rules, aggregate [32]byte) ([]Verdict, error) {
	if len(l.Entries) == 0 {
		return nil, refuse.As(refuse.IMAAggregate, "an IMA log without entries")
	}
	return l.judge(r, Digest("sha256:"+hex.EncodeToString(aggregate[:])))
}

// JudgeGrowth is [Log.Judge] for what a log grew by: boot_aggregate has no place
// in it, and no entries are no failure.
func (l *Log) JudgeGrowth(r *Rules) ([]Verdict, error) { return l.judge(r, "") }

// judge expects boot_aggregate first, or nowhere if aggregate is "".
func (l *Log) judge(r *Rules, aggregate Digest) ([]Verdict, error) {
	digests, err := r.digests()
	if err != nil {
		return nil, err
	}
	verdicts := make([]Verdict, len(l.Entries))
	var first error
	for i := range l.Entries {
		e, v := &l.Entries[i], &verdicts[i]
		*v = Verdict{Index: i, Name: e.Name, Digest: e.Digest(), Status: Unknown}
		var err error
		switch {
		case i == 0 && aggregate != "" || e.Name == aggregateName && !e.Violation:
			err = e.judgeAggregate(v, aggregate)
		case e.Violation:
			err = r.judgeViolation(v)
		default:
			err = r.judgeFile(e, v, digests)
		}
		if first == nil {
			first = err
		}
	}
	return verdicts, first
}

// judgeAggregate judges the first entry of a log from boot, which must be the
// aggregate, and every other that claims to be one.
func (e *Entry) judgeAggregate(v *Verdict, aggregate Digest) error {
	switch {
	case v.Index != 0 || aggregate == "":
		return refuse.As(refuse.IMAAggregate, "IMA entry %d is another boot_aggregate: another kernel was started", v.Index)
	case e.Name != aggregateName || e.Violation || e.Template == "ima-buf":
		return refuse.As(refuse.IMAAggregate, "IMA log begins with %.100q, not with boot_aggregate", e.Name)
	}
	v.Status = Aggregate
	if v.Digest != aggregate {
		return refuse.Differ(refuse.IMAAggregate, "boot_aggregate", string(aggregate), string(v.Digest))
	}
	v.Rule = "PCRs 0 to 9"
	return nil
}

func (r *Rules) judgeViolation(v *Verdict) error {
	v.Status = Violation
	if !r.AllowViolations {
		return refuse.As(refuse.IMAEntry, "IMA entry %d is a violation: a file was written while it was measured (named %.100q)", v.Index, v.Name)
	}
	v.Rule = "violations"
	return nil
}

func (r *Rules) judgeFile(e *Entry, v *Verdict, digests map[Digest]bool) error {
	reason := "nothing allows it"
	if pinned, listed := r.Files[e.Name]; listed {
		reason = "another file than the one of that name"
		for _, d := range pinned {
			if d == v.Digest {
				v.Rule = "file"
			}
		}
	} else if digests[v.Digest] {
		v.Rule = "digest"
	} else if id, ok := r.signer(e); ok {
		v.Rule = fmt.Sprintf("signer %x", id)
	}
	if v.Rule == "" {
		return refuse.As(refuse.IMAEntry, "IMA entry %d, %.300q, %s: %s", v.Index, e.Name, v.Digest, reason)
	}
	v.Status = Allowed
	return nil
}

// digests returns the set of Digests. It refuses rules with digests that nothing
// can match, or that are SHA-1.
func (r *Rules) digests() (map[Digest]bool, error) {
	if r == nil {
		return nil, refuse.As(refuse.Policy, "no IMA rules")
	}
	for name, list := range r.Files {
		for _, d := range list {
			if !d.strong() {
				return nil, refuse.As(refuse.Policy, "IMA rules: %.100q: digest %.100q is malformed or too weak", name, d)
			}
		}
	}
	set := make(map[Digest]bool, len(r.Digests))
	for _, d := range r.Digests {
		if !d.strong() {
			return nil, refuse.As(refuse.Policy, "IMA rules: digest %.100q is malformed or too weak", d)
		}
		set[d] = true
	}
	return set, nil
}

func (d Digest) strong() bool {
	name, ok := d.parse()
	return ok && strong(name)
}

// strong reports whether two files of one digest are beyond reach.
func strong(algorithm string) bool { return algorithm != "sha1" }
