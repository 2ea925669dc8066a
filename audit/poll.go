// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/fork"
	"github.com/sotto-project/sotto/transparency/statement"
	"github.com/sotto-project/sotto/transparency/tiles"
)

// A look is what one mirror showed in one step.
type look struct {
	mirror   Mirror
	point    *transparency.Checkpoint // nil if err
	err      error
	tampered string // why what it serves is not what was signed
}

// poll asks every mirror for its checkpoint.
func (a *Auditor) poll(ctx context.Context) []look {
	out := make([]look, len(a.cfg.Mirrors))
	var wg sync.WaitGroup
	for i, m := range a.cfg.Mirrors {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
			defer cancel()
			out[i].mirror = m
			b, err := m.Checkpoint(ctx)
			if err == nil {
				out[i].point, err = a.cfg.Trust.ParseCheckpoint(b)
			}
			out[i].err = err
		})
	}
	wg.Wait()
	for i := range out {
		// Too few cosignatures is what silent witnesses look like: nobody's lie.
		if code := codeOf(out[i].err); code != "" && code != string(transparency.CodeWitness) {
			out[i].tampered = "its checkpoint is refused: " + clean(out[i].err.Error())
		}
		if out[i].point != nil {
			a.noteWitnesses(out[i].point)
		}
	}
	return out
}

// strangers are the ids of keys that the trust file does not have, in signatures
// in the log's own name. Nobody can verify one and anybody can add it, so alone it
// says something of the mirror; see [Auditor.otherKeys].
func (a *Auditor) strangers(c *transparency.Checkpoint) []string {
	ours := keyIDs(a.cfg.Trust)
	var out []string
	_, sigs, _ := strings.Cut(string(c.Note), "\n\n")
	for line := range strings.Lines(sigs) {
		if name, id, ok := signer(line); ok && name == c.Origin && !slices.Contains(ours, id) && !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out
}

// otherKeys tells of signatures in the log's name by keys that the trust file does
// not have. What one mirror shows is a condition of that mirror. What two show is
// likely the log's: it is about to change its key, or somebody else has its name.
func (a *Auditor) otherKeys() {
	shows := map[string]map[string]bool{} // mirrors, by key id
	for _, l := range a.mirrors {
		if l.point == nil {
			continue // what it showed before is not over because it is silent
		}
		ids := a.strangers(l.point)
		for _, id := range ids {
			if shows[id] == nil {
				shows[id] = map[string]bool{}
			}
			shows[id][l.mirror.Name()] = true
		}
		detail := ""
		if n := len(ids); n > 0 {
			detail = fmt.Sprintf("it shows signatures in the log's name by %d keys that the trust file does not name, among them %s", n, ids[0])
		}
		a.condition(LogKey, l.mirror.Name(), len(ids) > 0, detail, 0)
	}
	for _, id := range slices.Sorted(maps.Keys(shows)) {
		if len(shows[id]) > 1 {
			a.lasting(LogKey, id, "mirrors show a signature in the log's name by a key that the trust file does not name", "")
		}
	}
}

// keyIDs are the key ids in a trust's keys: the field between the two plus signs.
func keyIDs(t transparency.Trust) []string {
	var out []string
	for _, k := range append([]string{t.LogKey, t.LogKeyPQ}, t.Witnesses...) {
		_, rest, _ := strings.Cut(k, "+")
		id, _, _ := strings.Cut(rest, "+")
		out = append(out, id)
	}
	return out
}

func (a *Auditor) noteWitnesses(c *transparency.Checkpoint) {
	for _, w := range c.Cosignatures {
		if sec := w.Time.Unix(); sec > a.state.Witnesses[w.Name] && !w.Time.After(a.cfg.Now().Add(transparency.MaxClockSkew)) {
			a.state.Witnesses[w.Name] = sec
		}
	}
}

// choose picks the largest checkpoint that extends what is known, and looks for
// contradictions between all of them. It is nil if none can be gone on with.
func (a *Auditor) choose(ctx context.Context) *look {
	order := make([]*look, 0, len(a.mirrors))
	for i := range a.mirrors {
		if a.mirrors[i].point != nil {
			order = append(order, &a.mirrors[i])
		}
	}
	slices.SortStableFunc(order, func(x, y *look) int {
		if x.point.Size != y.point.Size {
			if x.point.Size > y.point.Size {
				return -1
			}
			return 1
		}
		return y.point.Time.Compare(x.point.Time)
	})
	var best *look
	for _, l := range order {
		if a.extends(ctx, l) && best == nil {
			best = l
		}
	}
	if best != nil {
		for _, l := range order {
			if l != best {
				a.compare(ctx, best, l)
			}
		}
	}
	return best
}

// extends reports whether what a mirror shows goes on from what is known.
func (a *Auditor) extends(ctx context.Context, l *look) bool {
	c, old := l.point, a.old
	switch {
	case old == nil || old.Size == 0:
		return true
	case c.Size < old.Size:
		a.setBack(c, old)
		return false
	case c.Size == old.Size:
		if c.Root != old.Root {
			a.contradiction(LogFork, fork.Roots, c, old, nil, fmt.Sprintf("two roots for %d leaves", c.Size))
			return false
		}
		return true
	}
	return a.within(ctx, l, old)
}

// within checks, with the tiles that a mirror serves for its large checkpoint,
// that the tree of a smaller one is its beginning. Tiles that do not lead to the
// large root say nothing about the log, only about the mirror.
func (a *Auditor) within(ctx context.Context, large *look, small *transparency.Checkpoint) bool {
	tree := a.tree(large, large.point)
	root, err := tree.Root(ctx, small.Size)
	if err != nil {
		a.blame(large, err)
		return false
	}
	if root == small.Root {
		return true
	}
	proof, err := tree.ProveConsistency(ctx, small.Size)
	if err != nil {
		a.blame(large, err)
		return false
	}
	a.contradiction(LogFork, fork.Trees, small, large.point, &proven{root, proof},
		fmt.Sprintf("the tree of %d leaves does not begin with the one of %d leaves that was signed, too", large.point.Size, small.Size))
	return false
}

// compare looks at two mirrors of one moment.
func (a *Auditor) compare(ctx context.Context, best, l *look) {
	c, b := l.point, best.point
	switch {
	case c.Size == b.Size:
		if c.Root != b.Root {
			a.contradiction(LogFork, fork.Roots, c, b, nil, fmt.Sprintf("%s and %s show two roots for %d leaves", best.mirror.Name(), l.mirror.Name(), c.Size))
		}
	case c.Size == 0:
	case c.Size < b.Size:
		a.setBack(c, b)
		a.within(ctx, best, c)
	}
}

// setBack looks for witnesses that signed the smaller tree clearly after the
// larger. Up to as many as the trust tolerates as liars, or as clocks that went
// wrong, blame themselves; only more of them blame the log.
func (a *Auditor) setBack(small, large *transparency.Checkpoint) {
	late := fork.Late(small, large)
	spare, err := a.cfg.Trust.Tolerates()
	switch {
	case len(late) == 0 || err != nil: // the trust was validated when the auditor was made
	case len(late) > spare:
		a.contradiction(LogRollback, fork.Order, small, large, nil, fmt.Sprintf("a tree of %d leaves was cosigned after one of %d by %s", small.Size, large.Size, strings.Join(late, ", ")))
	default:
		for _, w := range late {
			a.lasting(WitnessBack, w, fmt.Sprintf("it cosigned a tree of %d leaves after one of %d: it lies, or its clock went back; of the log that proves nothing", small.Size, large.Size), "")
		}
	}
}

// tree reads the tree of a checkpoint from one mirror.
func (a *Auditor) tree(l *look, c *transparency.Checkpoint) *tiles.Tree {
	return tiles.New(c.Size, c.Root, func(ctx context.Context, path string) ([]byte, error) {
		ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
		defer cancel()
		b, err := l.mirror.Tile(ctx, path)
		if err != nil && !absent(err) { // of absence the reader makes something
			return nil, &fetchError{err}
		}
		return b, err
	})
}

// A fetchError is a mirror that did not answer, or not in time. Every other error
// of reading a tree is about what it answered.
type fetchError struct{ err error }

func (e *fetchError) Error() string { return e.err.Error() }
func (e *fetchError) Unwrap() error { return e.err }

// blame notes what a mirror did: lied, or did not answer.
func (a *Auditor) blame(l *look, err error) {
	if errors.Is(err, context.Canceled) || absent(err) {
		return // a relay may serve hashes and no leaves: others are asked
	}
	silent := new(fetchError)
	if !errors.As(err, &silent) || errors.Is(err, errTooLong) {
		l.tampered = clean(err.Error())
		return
	}
	if l.err == nil {
		l.err = err
	}
}

// proven is the root that a tree has at an earlier size, with the proof.
type proven struct {
	root  [32]byte
	proof [][32]byte
}

// contradiction keeps evidence and tells of it, once. It is one contradiction
// whoever cosigned which of the two, and as long as there is room.
func (a *Auditor) contradiction(code Code, kind fork.Kind, first, second *transparency.Checkpoint, p *proven, detail string) {
	ev := fork.New(kind, a.signed(first.Note), a.signed(second.Note))
	if p != nil {
		ev.Root, ev.Proof = p.root, p.proof
	}
	name := contradicts(ev)
	if a.has(code, name) || !a.room(code) {
		return
	}
	kept, err := a.store.keep(name, ev.Append(nil))
	if err != nil {
		a.broken = err // what cannot be kept is not told: the next run finds it again
		return
	}
	if kept {
		a.lasting(code, name, detail, name)
	}
}

// contradicts names what a proof shows: its kind, and the sizes and roots or the two
// statements. Cosignatures, of which each minute brings others, are not in it.
func contradicts(ev *fork.Evidence) string {
	what := [2][]byte{subject(ev.First), subject(ev.Second)}
	if ev.Kind == fork.Statements {
		for i, b := range [][]byte{ev.First, ev.Second} {
			if s, err := statement.ParseSigned(b); err == nil {
				what[i] = fmt.Appendf(nil, "%d %x", s.Index, sha256.Sum256(s.Leaf))
			}
		}
	}
	if ev.Kind != fork.Trees && ev.Kind != fork.Order && bytes.Compare(what[0], what[1]) > 0 {
		what[0], what[1] = what[1], what[0]
	}
	return evidenceName(string(ev.Kind), what)
}

// subject is what a note is about: origin, size and root.
func subject(note []byte) []byte {
	text, _, _ := bytes.Cut(note, []byte("\n\n"))
	lines := bytes.SplitN(text, []byte("\n"), 4)
	return bytes.Join(lines[:min(len(lines), 3)], []byte("\n"))
}

// signed is a note that verified, without the lines of signers that the trust file
// does not name: they are nobody's word, and any mirror may add some.
func (a *Auditor) signed(note []byte) []byte {
	keys := append([]string{a.cfg.Trust.LogKey, a.cfg.Trust.LogKeyPQ}, a.cfg.Trust.Witnesses...)
	text, sigs, _ := strings.Cut(string(note), "\n\n")
	out := []byte(text + "\n\n")
	for line := range strings.Lines(sigs) {
		name, id, ok := signer(line)
		if ok && slices.ContainsFunc(keys, func(k string) bool { return strings.HasPrefix(k, name+"+"+id+"+") }) {
			out = append(out, line...)
		}
	}
	return out
}

// signer reads whose key a signature line says it is of, and that key's id.
func signer(line string) (name, id string, ok bool) {
	name, b64, _ := strings.Cut(strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "— "), " ")
	raw, err := base64.StdEncoding.DecodeString(b64)
	if err != nil || len(raw) < 4 {
		return "", "", false
	}
	return name, fmt.Sprintf("%x", raw[:4]), true
}

// conditions judges what is wrong with the whole, not with a leaf.
func (a *Auditor) conditions(best *look) {
	now := a.cfg.Now().UTC()
	for i := range a.mirrors {
		l := &a.mirrors[i]
		name := l.mirror.Name()
		a.condition(MirrorTampered, name, l.tampered != "", l.tampered, 0)
		down := l.tampered == "" && l.err != nil
		why := ""
		if down {
			why = clean(l.err.Error())
		}
		a.condition(MirrorDown, name, down, why, a.cfg.Grace)
		behind := a.old != nil && l.point != nil && l.point.Size < a.old.Size
		a.condition(MirrorBehind, name, behind, "it serves fewer leaves than were seen before", a.cfg.Grace)
	}
	a.otherKeys()
	a.condition(MirrorAlone, "", a.named() < 2, "what others are shown is not known; name a second mirror", 0)
	newest, age := a.newest(), time.Duration(0)
	if newest != nil {
		age = now.Sub(newest.Time)
	}
	a.condition(LogStale, "", newest == nil || age > a.cfg.MaxAge, "the newest cosigned checkpoint is older than "+a.cfg.MaxAge.String(), a.staleGrace(newest))
	heard := slices.ContainsFunc(a.mirrors, func(l look) bool { return l.point != nil || codeOf(l.err) == string(transparency.CodeWitness) })
	for _, name := range witnessNames(a.cfg.Trust) {
		if !heard {
			break // of whom nothing was shown nothing can be said
		}
		if _, ok := a.state.Witnesses[name]; !ok && best != nil {
			a.state.Witnesses[name] = now.Unix() // its time runs from the first look
		}
		last, ok := a.state.Witnesses[name]
		silent := ok && now.Sub(time.Unix(last, 0)) > a.cfg.WitnessGrace
		a.condition(WitnessMissing, name, silent, "no cosignature for more than "+a.cfg.WitnessGrace.String(), 0)
	}
	st := a.reader.prev
	due := st != nil && st.Epoch > 0 && now.After(st.NextPublic)
	a.condition(StatementLate, "", due, "the statement after the newest one is not public yet, and should be", a.cfg.Grace)
}

// named is how many mirrors there are to compare. One that is named twice is one.
func (a *Auditor) named() int {
	set := map[string]bool{}
	for _, m := range a.cfg.Mirrors {
		set[m.Name()] = true
	}
	return len(set)
}

// uncompared says why the last look compared nothing, although there are mirrors to
// compare: whoever keeps all but one of them away must not get a clean report for
// it. It is empty if two or more answered with what was signed.
func (a *Auditor) uncompared() string {
	up := map[string]bool{}
	for _, l := range a.mirrors {
		if l.err == nil && l.tampered == "" {
			up[l.mirror.Name()] = true
		}
	}
	n := a.named()
	if n < 2 || len(up) >= 2 {
		return ""
	}
	return fmt.Sprintf("%d of %d mirrors answered in the last look: nothing was compared", len(up), n)
}

// staleGrace: a checkpoint that is too old is told at once, none at all after a while.
func (a *Auditor) staleGrace(newest *transparency.Checkpoint) time.Duration {
	if newest == nil {
		return a.cfg.Grace
	}
	return 0
}

// newest is the youngest checkpoint known.
func (a *Auditor) newest() *transparency.Checkpoint {
	out := a.old
	for i := range a.mirrors {
		if c := a.mirrors[i].point; c != nil && (out == nil || c.Time.After(out.Time)) {
			out = c
		}
	}
	return out
}

// witnessNames are those of a trust file's witnesses, each once: votes are counted by
// name, and a witness with keys of two kinds is one.
func witnessNames(t transparency.Trust) []string {
	var out []string
	for _, k := range t.Witnesses {
		if name, _, _ := strings.Cut(k, "+"); !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// condition opens, tells and closes an incident.
func (a *Auditor) condition(code Code, subject string, holds bool, detail string, grace time.Duration) {
	now, list := a.cfg.Now().UTC(), a.state.Incidents
	i := slices.IndexFunc(list, func(x Incident) bool { return x.Code == code && x.Subject == subject })
	switch {
	case !holds && i >= 0:
		a.state.Incidents = slices.Delete(list, i, i+1)
		return
	case !holds:
		return
	case i < 0:
		if !a.room(code) {
			return
		}
		a.state.Incidents = append(list, Incident{Code: code, Subject: subject, Since: now.Truncate(time.Second)})
		i = len(a.state.Incidents) - 1
	}
	x := &a.state.Incidents[i]
	x.Detail = detail
	if !x.Told && now.Sub(x.Since) >= grace {
		x.Told = true
		a.tell(x.alarm(now, ""))
	}
}

// maxSame bounds open incidents of one code: a log that forks anew each minute is
// told often enough.
const maxSame = 64

func (a *Auditor) room(code Code) bool {
	same := 0
	for _, x := range a.state.Incidents {
		if x.Code == code {
			same++
		}
	}
	return same < maxSame && len(a.state.Incidents) < maxIncidents
}

func (a *Auditor) has(code Code, subject string) bool {
	return slices.ContainsFunc(a.state.Incidents, func(x Incident) bool { return x.Code == code && x.Subject == subject })
}

// lasting tells of something that does not end, once.
func (a *Auditor) lasting(code Code, subject, detail, evidence string) {
	if a.has(code, subject) || !a.room(code) {
		return
	}
	now := a.cfg.Now().UTC()
	x := Incident{Code: code, Subject: subject, Since: now.Truncate(time.Second), Told: true, Detail: clean(detail)}
	a.state.Incidents = append(a.state.Incidents, x)
	a.tell(x.alarm(now, evidence))
}

func (x *Incident) alarm(now time.Time, evidence string) Alarm {
	alarm := Alarm{Code: x.Code, Severity: SeverityOf(x.Code), Count: 1, Detail: x.Detail, Found: now, Evidence: evidence}
	if x.Subject != "" && x.Subject != evidence {
		alarm.Subjects = []string{clean(x.Subject)}
	}
	return alarm
}
