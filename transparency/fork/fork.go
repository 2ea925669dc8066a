// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package fork holds proofs that a log showed two worlds, in a file that
// convinces whoever trusts the same keys: docs/spec/fork-evidence.md.
//
// It is pure: bytes and a trust in, a finding out. Finding forks is for those
// who read logs, keeping the files for whoever has a disk.
package fork

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/statement"
)

// A Kind is what a file shows.
type Kind string

const (
	Roots      Kind = "roots"      // two checkpoints of one size with two roots
	Trees      Kind = "trees"      // two checkpoints, and the larger tree had another root at the smaller size
	Order      Kind = "order"      // a witness cosigned the smaller checkpoint long after the larger
	Statements Kind = "statements" // two signed statements of one epoch
)

const header = "sotto-fork-evidence/v1\n"

// MaxSize bounds a file, in bytes: two statements in base64 and some.
const MaxSize = 2*(statement.MaxSignedSize/3*4+8) + 1<<13

const maxProof = 63

// An Evidence is two signed things that contradict each other. For Trees and
// Order the first is the smaller checkpoint; otherwise the first is the one
// whose bytes sort first, so that one contradiction has one file.
type Evidence struct {
	Kind          Kind
	Root          [32]byte   // Trees: what the second's tree has at the first's size
	Proof         [][32]byte // Trees: from that root to the second's
	First, Second []byte     // checkpoint notes, or statement.Signed
}

// New makes evidence of two signed things, in the order of the file.
func New(k Kind, a, b []byte) *Evidence {
	if (k == Roots || k == Statements) && bytes.Compare(a, b) > 0 {
		a, b = b, a
	}
	return &Evidence{Kind: k, First: bytes.Clone(a), Second: bytes.Clone(b)}
}

// Code is what a reader refuses with who found it.
func (e *Evidence) Code() transparency.Code {
	if e.Kind == Order {
		return transparency.CodeRollback
	}
	return transparency.CodeFork
}

// Append prints e after b:
//
//	sotto-fork-evidence/v1
//	kind <kind>
//	root <base64>                 (trees)
//	hash <base64>                 (trees; one line each)
//	first <bytes of what follows>
//	<a note, or base64 of a signed statement>
//	second <bytes of what follows>
//	<likewise>
//
// Each of the two bodies is followed by one line feed that is not counted.
func (e *Evidence) Append(b []byte) []byte {
	b = append(b, header+"kind "+string(e.Kind)+"\n"...)
	if e.Kind == Trees {
		b = append(b, "root "+base64.StdEncoding.EncodeToString(e.Root[:])+"\n"...)
		for _, h := range e.Proof {
			b = append(b, "hash "+base64.StdEncoding.EncodeToString(h[:])+"\n"...)
		}
	}
	for i, body := range [][]byte{e.First, e.Second} {
		if e.Kind == Statements {
			body = []byte(base64.StdEncoding.EncodeToString(body))
		}
		b = fmt.Appendf(b, "%s %d\n", []string{"first", "second"}[i], len(body))
		b = append(append(b, body...), '\n')
	}
	return b
}

func malformed(what string) error {
	return transparency.Refuse(transparency.CodeFormat, "fork evidence: %s", what)
}

// Parse reads exactly one file, in its one spelling. It judges nothing.
// Refusal: [transparency.CodeFormat].
func Parse(b []byte) (*Evidence, error) {
	if len(b) > MaxSize {
		return nil, malformed("too long")
	}
	rest, ok := strings.CutPrefix(string(b), header)
	if !ok {
		return nil, malformed("not " + strings.TrimSpace(header))
	}
	p := &parser{rest: rest}
	e := &Evidence{Kind: Kind(p.field("kind"))}
	switch e.Kind {
	case Trees:
		e.Root = p.hash("root")
		for strings.HasPrefix(p.rest, "hash ") && len(e.Proof) < maxProof {
			e.Proof = append(e.Proof, p.hash("hash"))
		}
	case Roots, Order, Statements:
	default:
		return nil, malformed("its kind is unknown")
	}
	e.First, e.Second = p.body("first", e.Kind), p.body("second", e.Kind)
	if p.bad || p.rest != "" {
		return nil, malformed("a field is missing, malformed or too much")
	}
	if (e.Kind == Roots || e.Kind == Statements) && bytes.Compare(e.First, e.Second) >= 0 {
		return nil, malformed("the two are in the wrong order, or one")
	}
	if !bytes.Equal(e.Append(nil), b) {
		return nil, malformed("another spelling")
	}
	return e, nil
}

const witnessHeader = "sotto fork evidence 1\nfirst "

// FromWitness reads the file that a witness keeps when a log signs two roots for
// one size, two notes one after the other, as evidence of kind [Roots]:
//
//	sotto fork evidence 1
//	first <bytes of the first note>
//	                              (empty line)
//	<first note><second note>
//
// Like [Parse] it judges nothing. Refusal: [transparency.CodeFormat].
func FromWitness(b []byte) (*Evidence, error) {
	rest, ok := strings.CutPrefix(string(b), witnessHeader)
	digits, notes, ok2 := strings.Cut(rest, "\n\n")
	n, err := strconv.Atoi(digits)
	switch {
	case len(b) > 2*transparency.MaxNoteSize || !ok || !ok2 || err != nil || strconv.Itoa(n) != digits:
		return nil, malformed("not " + strings.TrimSuffix(witnessHeader, "\nfirst "))
	case n < 1 || n >= len(notes) || notes[:n] == notes[n:]:
		return nil, malformed("not two notes")
	}
	return New(Roots, []byte(notes[:n]), []byte(notes[n:])), nil
}

// A parser reads lines; after the first that does not fit, all else is bad.
type parser struct {
	rest string
	bad  bool
}

func (p *parser) field(name string) string {
	line, after, ok := strings.Cut(p.rest, "\n")
	value, ok2 := strings.CutPrefix(line, name+" ")
	if !ok || !ok2 || p.bad {
		p.bad = true
		return ""
	}
	p.rest = after
	return value
}

func (p *parser) hash(name string) (h [32]byte) {
	b, err := base64.StdEncoding.Strict().DecodeString(p.field(name))
	if err != nil || len(b) != len(h) {
		p.bad = true
		return h
	}
	return [32]byte(b)
}

func (p *parser) body(name string, k Kind) []byte {
	n, err := strconv.ParseUint(p.field(name), 10, 31)
	if p.bad || err != nil || n == 0 || n >= uint64(len(p.rest)) || p.rest[n] != '\n' {
		p.bad = true
		return nil
	}
	body := p.rest[:n]
	p.rest = p.rest[n+1:]
	if k != Statements {
		return []byte(body)
	}
	b, err := base64.StdEncoding.Strict().DecodeString(body)
	if err != nil {
		p.bad = true
	}
	return b
}

// A Finding is what a file proves, in sentences.
type Finding struct {
	Proves bool
	Words  []string
}

// Lag is how much later a witness must have cosigned the smaller checkpoint
// for [Order]: clocks are set back by less, and honestly.
const Lag = transparency.MaxClockSkew

// Verify judges e by t alone. For [Roots], [Trees] and [Statements] the log's own
// keys, all that t names, are enough: it contradicts itself, whoever looked on,
// and the finding says who cosigned. [Order] is about witnesses' times: both
// notes must be cosigned as t demands, and more witnesses than t tolerates as
// liars must be late, or one of them could convict a log that did nothing.
// Otherwise the finding says why nothing is proven. The error is
// [transparency.CodeTrust], of a trust that cannot be used.
func (e *Evidence) Verify(t *transparency.Trust) (*Finding, error) {
	spare, err := t.Tolerates()
	if err != nil {
		return nil, err
	}
	if e.Kind == Statements {
		return e.statements(t), nil
	}
	parse := t.ParseByLog
	if e.Kind == Order {
		parse = t.ParseCheckpoint
	}
	var c [2]*transparency.Checkpoint
	f := &Finding{}
	for i, note := range [][]byte{e.First, e.Second} {
		if c[i], err = parse(note); err != nil {
			return nothing("the " + ordinal(i) + " checkpoint is not signed as your trust demands: " + err.Error()), nil
		}
		f.say("%s signed a checkpoint of %d leaves with root %s; %s.", c[i].Origin, c[i].Size, b64(c[i].Root), cosigners(c[i]))
	}
	a, b := c[0], c[1]
	switch late := Late(a, b); {
	case e.Kind == Roots && a.Size == b.Size && a.Root != b.Root:
		f.say("One size has one root. The log's key signed two worlds.")
		f.both(a, b)
	case e.Kind == Trees && a.Size < b.Size && a.Size > 0 && e.Root != a.Root && leads(e, a, b):
		f.say("The tree of %d leaves had root %s at %d leaves, by the proof in the file, and not the root that was signed for them. The log rewrote what it had signed.", b.Size, b64(e.Root), a.Size)
		f.both(a, b)
	case e.Kind == Order && a.Size < b.Size && len(late) > 0:
		f.say("%s put their time on %d leaves more than %v after they had on %d.", strings.Join(late, ", "), a.Size, Lag, b.Size)
		if len(late) <= spare {
			f.say("Nothing is proven against the log: %d of the witnesses can do that to an honest one, and your trust tolerates %d that lie. Ask the witness, or look at its clock.", len(late), spare)
			return f, nil
		}
		f.say("A log only grows: it went back, and those witnesses with it, or their clocks did.")
	default:
		return nothing("both are signed, and they do not contradict each other in the way the file says."), nil
	}
	f.Proves = true
	return f, nil
}

func leads(e *Evidence, a, b *transparency.Checkpoint) bool {
	p := make(tlog.TreeProof, len(e.Proof))
	for i, h := range e.Proof {
		p[i] = h
	}
	return tlog.CheckTree(p, int64(b.Size), b.Root, int64(a.Size), e.Root) == nil
}

// Late names the trusted witnesses that cosigned smaller more than [Lag] after
// larger. One alone says nothing of the log: [Evidence.Verify].
func Late(smaller, larger *transparency.Checkpoint) []string {
	var out []string
	for _, s := range smaller.Cosignatures {
		for _, l := range larger.Cosignatures {
			if s.Name == l.Name && s.Time.Sub(l.Time) > Lag {
				out = append(out, s.Name)
			}
		}
	}
	return out
}

func (e *Evidence) statements(t *transparency.Trust) *Finding {
	f := &Finding{}
	var epochs [2]uint64
	var leaves [2][]byte
	var c [2]*transparency.Checkpoint
	for i, raw := range [][]byte{e.First, e.Second} {
		s, err := statement.ParseSigned(raw)
		if err != nil {
			return nothing("the " + ordinal(i) + " is no signed statement: " + err.Error())
		}
		st, point, err := s.VerifyByLog(t)
		if err != nil {
			return nothing("the " + ordinal(i) + " statement is not signed as your trust demands: " + err.Error())
		}
		epochs[i], leaves[i], c[i] = st.Epoch, s.Leaf, point
		f.say("%s signed a statement for epoch %d with SHA-256 %x, in a checkpoint of %d leaves; %s.", point.Origin, st.Epoch, statement.Digest(s.Leaf), point.Size, cosigners(point))
	}
	if epochs[0] != epochs[1] || bytes.Equal(leaves[0], leaves[1]) {
		return nothing("both are signed, and they do not contradict each other in the way the file says.")
	}
	f.say("There is room for one statement per epoch. The log's key signed two worlds.")
	f.both(c[0], c[1])
	f.Proves = true
	return f
}

func nothing(why string) *Finding { return &Finding{Words: []string{"Nothing is proven: " + why}} }

func (f *Finding) say(format string, args ...any) {
	f.Words = append(f.Words, fmt.Sprintf(format, args...))
}

// both names witnesses that put their names to both worlds.
func (f *Finding) both(a, b *transparency.Checkpoint) {
	for _, x := range a.Cosignatures {
		for _, y := range b.Cosignatures {
			if x.Name == y.Name {
				f.say("%s cosigned both: it did not compare what it was shown, or belongs to the log.", x.Name)
			}
		}
	}
}

func cosigners(c *transparency.Checkpoint) string {
	if len(c.Cosignatures) == 0 {
		return "no witness that you trust cosigned it"
	}
	var out []string
	for _, cs := range c.Cosignatures {
		out = append(out, cs.Name+" cosigned at "+cs.Time.UTC().Format(time.RFC3339))
	}
	return strings.Join(out, ", ")
}

func ordinal(i int) string { return []string{"first", "second"}[i] }

func b64(h [32]byte) string { return base64.StdEncoding.EncodeToString(h[:]) }
