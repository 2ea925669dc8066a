// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package transparency

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// MaxClockSkew is how far a local clock may lie behind the witnesses' before
// [Checkpoint.Age] calls it wrong. It forgives drift; no window is widened by it.
const MaxClockSkew = 2 * time.Minute

// maxTime bounds times, in seconds since 1970, as docs/spec/epoch.md does.
const maxTime = 1 << 40

// A Checkpoint is a log's size and root as the log signed and witnesses
// cosigned it (C2SP tlog-checkpoint). Only [Trust.ParseCheckpoint] makes one
// that has been verified.
type Checkpoint struct {
	Origin string
	Size   uint64   // leaves
	Root   [32]byte // RFC 6962, Section 2.1
	Note   []byte   // the bytes as received, signatures included

	// Time is the latest second at which, or after which, Quorum of the trusted
	// witnesses cosigned: the Quorum-th largest of their times. Fewer than
	// Quorum liars can move it into the past, where it only looks stale, not
	// into the future.
	Time time.Time

	// Cosignatures are the trusted ones, in the order of the Trust.
	Cosignatures []Cosignature

	// PostQuantum says that the log's ML-DSA-44 signature was asked for and is
	// there. Without it the log's own word is classical only.
	PostQuantum bool

	quorum int // of the Trust that verified it; 0 if none did
}

// A Cosignature is one trusted witness's word for a checkpoint.
type Cosignature struct {
	Name string
	Time time.Time
}

// Hash is SHA-256 over the whole note, so over the witnesses' times too. It is
// what evidence is bound to.
func (c *Checkpoint) Hash() [32]byte { return sha256.Sum256(c.Note) }

// ParseCheckpoint verifies a signed note under t: canonical spelling, t's
// origin, exactly one good signature by each of t's keys of the log, no bad and
// no doubled cosignature by a trusted key, none with time zero, and at least
// t.Quorum witnesses of which every key that t names has signed (keys with one name
// are one witness). Signatures by unknown keys are ignored, as C2SP signed-note asks.
// Whether the time is recent is the caller's to judge: see [Checkpoint.Age].
//
// Refusals: [CodeTrust], [CodeFormat], [CodeOrigin], [CodeSignature],
// [CodeWitness].
func (t *Trust) ParseCheckpoint(b []byte) (*Checkpoint, error) {
	keys, err := t.keys()
	if err != nil {
		return nil, err
	}
	c, text, sigs, err := openNote(b, t.Origin, keys.log)
	if err != nil {
		return nil, err
	}
	c.PostQuantum = t.PostQuantum()
	if c.Cosignatures, c.Time, err = cosigned(c.Origin, text, sigs, keys.witnesses, t.Quorum); err != nil {
		return nil, err
	}
	c.quorum = t.Quorum
	return c, nil
}

// ParseByLog verifies a note by the log's own keys alone, by each that t names:
// what the log itself said. It is for evidence against the log, for which no
// witness is needed, and for nothing that is to be believed: the checkpoint
// has no Time and passes no [Checkpoint.CheckAge]. Its Cosignatures are those
// that verify; a wrong or doubled one is left out and not refused, so that a
// line added by whoever passes evidence on does not spoil it.
//
// Refusals: [CodeTrust], [CodeFormat], [CodeOrigin], [CodeSignature].
func (t *Trust) ParseByLog(b []byte) (*Checkpoint, error) {
	keys, err := t.keys()
	if err != nil {
		return nil, err
	}
	c, text, sigs, err := openNote(b, t.Origin, keys.log)
	if err != nil {
		return nil, err
	}
	c.PostQuantum = t.PostQuantum()
	spoilt := map[string]bool{}
	for _, k := range keys.witnesses {
		if found, good := verifyOne(k, text, sigs); found > 0 {
			_, timed := cosignTime(find(k, sigs))
			spoilt[k.Name()] = spoilt[k.Name()] || !good || !timed
		}
	}
	whole := slices.DeleteFunc(keys.witnesses, func(k note.Verifier) bool { return spoilt[k.Name()] })
	votes, err := countWitnesses(c.Origin, whole, text, sigs, 0)
	for _, v := range votes {
		c.Cosignatures = append(c.Cosignatures, Cosignature{v.name, v.first})
	}
	return c, err
}

// cosigned collects the votes of trusted witnesses and their time.
func cosigned(origin string, text []byte, sigs []signature, witnesses []note.Verifier, quorum int) ([]Cosignature, time.Time, error) {
	votes, err := countWitnesses(origin, witnesses, text, sigs, quorum)
	if err != nil {
		return nil, time.Time{}, err
	}
	out, times := make([]Cosignature, len(votes)), make([]time.Time, len(votes))
	for i, v := range votes {
		out[i], times[i] = Cosignature{v.name, v.first}, v.first
	}
	slices.SortFunc(times, func(a, b time.Time) int { return b.Compare(a) })
	return out, times[quorum-1], nil
}

// PublicSince is the earliest time by which a quorum of the witnesses says it had
// seen a checkpoint: the quorum-th smallest of their times. Fewer than quorum
// liars cannot make it older than the first honest witness's time, whichever
// cosignatures whoever carries the note left out; they can only make it look
// younger. [Checkpoint.Time] is for the opposite question, where the past is
// harmless. A time after latest counts for nothing, and refuses if no quorum is
// left without it.
//
// The log's own signature is somebody else's to verify, because its key is of
// another kind than ours. Refusals: [CodeTrust], [CodeFormat], [CodeWitness].
func PublicSince(b []byte, witnesses []string, quorum int, latest time.Time) (time.Time, error) {
	verifiers, err := witnessVerifiers(witnesses, quorum, map[string]bool{})
	if err != nil {
		return time.Time{}, err
	}
	c, text, sigs, err := readNote(b)
	if err != nil {
		return time.Time{}, err
	}
	votes, err := countWitnesses(c.Origin, verifiers, text, sigs, quorum)
	if err != nil {
		return time.Time{}, err
	}
	slices.SortFunc(votes, func(a, b vote) int { return a.last.Compare(b.last) })
	if v := votes[quorum-1]; v.last.After(latest) {
		return time.Time{}, Refuse(CodeWitness, "checkpoint of %q: %q cosigned at %s, which is in the future, and without it there are fewer than %d witnesses",
			c.Origin, v.name, v.last.Format(time.RFC3339), quorum)
	}
	return votes[quorum-1].last, nil
}

// CheckWitnesses reports, as [CodeTrust], why these keys and this quorum cannot
// be used.
func CheckWitnesses(witnesses []string, quorum int) error {
	_, err := witnessVerifiers(witnesses, quorum, map[string]bool{})
	return err
}

// A vote is one witness's word by all of its keys: the earliest and the latest of
// their times, equal where it has one key.
type vote struct {
	name        string
	first, last time.Time
}

// countWitnesses verifies the cosignatures by trusted keys and counts witnesses,
// not keys: keys with one name are one witness, which has voted when each of
// them has signed. So a second key for a witness adds no vote and takes no
// check away: with an Ed25519 and an ML-DSA-44 key it needs both, and whoever
// can forge one of them has won nothing. For the same reason each reader takes
// of the two times the one that is worse for the note. A signature that is wrong,
// doubled or without a time refuses the whole note; one that is missing costs its
// witness the vote. Fewer votes than quorum refuse.
func countWitnesses(origin string, keys []note.Verifier, text []byte, sigs []signature, quorum int) ([]vote, error) {
	var out []vote
	votes, missing := map[string]vote{}, map[string]bool{}
	for _, k := range keys {
		switch found, good := verifyOne(k, text, sigs); {
		case found == 0:
			missing[k.Name()] = true
			continue
		case !good:
			return nil, Refuse(CodeWitness, "checkpoint of %q: wrong or doubled cosignature by %q", origin, k.Name())
		}
		when, ok := cosignTime(find(k, sigs))
		if !ok {
			return nil, Refuse(CodeWitness, "checkpoint of %q: %q gives no usable time", origin, k.Name())
		}
		v, again := votes[k.Name()]
		if !again {
			v = vote{k.Name(), when, when}
		}
		if when.Before(v.first) {
			v.first = when
		}
		if when.After(v.last) {
			v.last = when
		}
		votes[k.Name()] = v
	}
	for _, k := range keys {
		if v, ok := votes[k.Name()]; ok && !missing[k.Name()] {
			out = append(out, v)
			delete(votes, k.Name())
		}
	}
	if n := len(out); n < quorum {
		return nil, Refuse(CodeWitness, "checkpoint of %q: %d trusted witnesses cosigned, want %d", origin, n, quorum)
	}
	return out, nil
}

// voters is how many witnesses the keys make.
func voters(keys []note.Verifier) int {
	names := map[string]bool{}
	for _, k := range keys {
		names[k.Name()] = true
	}
	return len(names)
}

// readNote reads a note and its text, and asks for nobody's signature.
func readNote(b []byte) (c *Checkpoint, text []byte, sigs []signature, err error) {
	if text, sigs, err = parseNote(b); err != nil {
		return nil, nil, nil, err
	}
	if c, err = parseText(string(text)); err != nil {
		return nil, nil, nil, err
	}
	c.Note = slices.Clone(b)
	return c, text, sigs, nil
}

// openNote reads a note of one log: by each of its keys there is exactly one
// signature, and it verifies. All who ask for a log's own word ask here.
func openNote(b []byte, origin string, keys []note.Verifier) (c *Checkpoint, text []byte, sigs []signature, err error) {
	if c, text, sigs, err = readNote(b); err != nil {
		return nil, nil, nil, err
	}
	if c.Origin != origin {
		return nil, nil, nil, Refuse(CodeOrigin, "checkpoint of %q, want %q", c.Origin, origin)
	}
	for _, v := range keys {
		if found, good := verifyOne(v, text, sigs); !good {
			kind := "Ed25519"
			if _, pq := v.(pqLog); pq {
				kind = "ML-DSA-44"
			}
			return nil, nil, nil, Refuse(CodeSignature, "checkpoint of %q: %d signatures by the log's %s key, want one that verifies", c.Origin, found, kind)
		}
	}
	return c, text, sigs, nil
}

// parseText reads the three lines of a checkpoint. Extension lines, which C2SP
// discourages, are refused: nobody here would read them.
func parseText(text string) (*Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[3] != "" || !ValidOrigin(lines[0]) {
		return nil, Refuse(CodeFormat, "checkpoint: not origin, size and root on a line each")
	}
	size, ok := parseDecimal(lines[1])
	root, ok2 := decodeBase64(lines[2])
	if !ok || !ok2 || len(root) != 32 || size > maxTreeSize {
		return nil, Refuse(CodeFormat, "checkpoint: size or root")
	}
	return &Checkpoint{Origin: lines[0], Size: size, Root: [32]byte(root)}, nil
}

func formatText(origin string, size uint64, root [32]byte) []byte {
	b := append([]byte(origin), '\n')
	b = strconv.AppendUint(b, size, 10)
	b = append(b, '\n')
	b = base64.StdEncoding.AppendEncode(b, root[:])
	return append(b, '\n')
}

func find(v note.Verifier, sigs []signature) []byte {
	for _, s := range sigs {
		if s.name == v.Name() && s.hash == v.KeyHash() {
			return s.sig
		}
	}
	return nil
}

// verifyOne counts the signatures by v's key and reports whether there is
// exactly one and it verifies.
func verifyOne(v note.Verifier, text []byte, sigs []signature) (found int, good bool) {
	for _, s := range sigs {
		if s.name == v.Name() && s.hash == v.KeyHash() {
			found++
		}
	}
	return found, found == 1 && v.Verify(text, find(v, sigs))
}

// cosignTime reads the time in front of a timestamped signature. Zero means
// "no statement about time" in C2SP tlog-cosignature, so it is no time.
func cosignTime(sig []byte) (time.Time, bool) {
	if len(sig) < 8 {
		return time.Time{}, false
	}
	sec := binary.BigEndian.Uint64(sig)
	return time.Unix(int64(sec), 0).UTC(), sec > 0 && sec < maxTime
}

// CheckInclusion verifies that leaf sits at index in the tree that c commits to
// (RFC 6962, Section 2.1.1). Refusal: [CodeInclusion].
func (c *Checkpoint) CheckInclusion(leaf []byte, index uint64, proof [][32]byte) error {
	if index >= c.Size || c.Size > maxTreeSize {
		return Refuse(CodeInclusion, "leaf %d: the checkpoint covers %d leaves", index, c.Size)
	}
	p := make(tlog.RecordProof, len(proof))
	for i := range proof {
		p[i] = tlog.Hash(proof[i])
	}
	if err := tlog.CheckRecord(p, int64(c.Size), tlog.Hash(c.Root), int64(index), tlog.RecordHash(leaf)); err != nil {
		return Refuse(CodeInclusion, "leaf %d of %d: the proof does not lead to the root", index, c.Size)
	}
	return nil
}

// CheckConsistency verifies that c's tree extends old's (RFC 6962, Section
// 2.1.2). Refusals, with both notes as evidence: [CodeOrigin] (without),
// [CodeRollback], [CodeFork]; [CodeInclusion] if sizes differ and the proof,
// which may just be wrong, does not verify.
func (c *Checkpoint) CheckConsistency(old *Checkpoint, proof [][32]byte) error {
	if err := c.Extends(old); err != nil || c.Size == old.Size || old.Size == 0 {
		return err
	}
	p := make(tlog.TreeProof, len(proof))
	for i := range proof {
		p[i] = tlog.Hash(proof[i])
	}
	if err := tlog.CheckTree(p, int64(c.Size), tlog.Hash(c.Root), int64(old.Size), tlog.Hash(old.Root)); err != nil {
		return Refuse(CodeInclusion, "the proof does not lead from tree %d to tree %d", old.Size, c.Size)
	}
	return nil
}

// Extends compares c with a checkpoint seen before, as far as that goes without
// a proof: the log must be the same, must not have shrunk ([CodeRollback]) and
// must not have two roots for one size ([CodeFork]). Both errors carry both
// notes. A nil old is extended by everything.
func (c *Checkpoint) Extends(old *Checkpoint) error {
	switch {
	case old == nil:
		return nil
	case c.Origin != old.Origin:
		return Refuse(CodeOrigin, "checkpoint of %q after one of %q", c.Origin, old.Origin)
	case c.Size < old.Size:
		return &Error{CodeRollback, "the log had " + strconv.FormatUint(old.Size, 10) + " leaves and now shows " + strconv.FormatUint(c.Size, 10), [][]byte{old.Note, c.Note}}
	case c.Size == old.Size && c.Root != old.Root:
		return &Error{CodeFork, "two roots for " + strconv.FormatUint(c.Size, 10) + " leaves", [][]byte{old.Note, c.Note}}
	}
	return nil
}

// Age is how long before now the witnesses cosigned c. A checkpoint from the
// future by more than [MaxClockSkew] is [CodeClockSkew], with the offset named;
// by less, its age is 0.
func (c *Checkpoint) Age(now time.Time) (time.Duration, error) {
	age := now.Sub(c.Time)
	if age < -MaxClockSkew {
		return 0, Refuse(CodeClockSkew, "the local clock is behind the witnesses' by at least %v; set it, then try again", (-age).Round(time.Second))
	}
	return max(age, 0), nil
}

// CheckAge judges the witnesses' times: at least a quorum of them must lie
// between maxAge before now and [MaxClockSkew] after it. If every one lies
// further in the future the local clock is wrong, [CodeClockSkew]; anything
// else is [CodeWitness]. A maxAge of zero refuses.
func (c *Checkpoint) CheckAge(now time.Time, maxAge time.Duration) error {
	if _, err := c.Age(now); err != nil && c.allAfter(now.Add(MaxClockSkew)) {
		return err
	}
	recent := 0
	for _, cs := range c.Cosignatures {
		if age := now.Sub(cs.Time); age >= -MaxClockSkew && age < maxAge {
			recent++
		}
	}
	if c.quorum < 1 || recent < c.quorum {
		return Refuse(CodeWitness, "checkpoint of %q: %d cosignatures from the last %v, want %d; by the local clock the newest quorum is %v old",
			c.Origin, recent, maxAge, c.quorum, now.Sub(c.Time).Round(time.Second))
	}
	return nil
}

func (c *Checkpoint) allAfter(t time.Time) bool {
	for _, cs := range c.Cosignatures {
		if !cs.Time.After(t) {
			return false
		}
	}
	return len(c.Cosignatures) > 0
}
