// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sotto-project/sotto/client/state"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/fork"
	"github.com/sotto-project/sotto/transparency/statement"
)

// A history is what this client knows of the log from before. Who has the
// client's turn may use it.
type history struct {
	dir *state.Dir // nil: nothing is kept
	mem *state.Memory
	// line holds the trees that were proven to be one log with the largest
	// one remembered.
	line map[tree]bool
	// fork is why the log is not used any more.
	fork *Error
}

type tree struct {
	size uint64
	root [32]byte
}

func treeOf(c *transparency.Checkpoint) tree { return tree{c.Size, c.Root} }

// maxLine bounds what is remembered of proofs; beyond it they are made again.
const maxLine = 256

// A sight is a checkpoint that somebody showed. One that is shown as the
// newest may not be behind what was seen before.
type sight struct {
	point  *transparency.Checkpoint
	newest bool
	by     string
}

// convicted refuses a log that was caught, by this process or by another one
// with the same state.
func (h *history) convicted() error {
	if h.fork != nil {
		return h.fork
	}
	if h.dir == nil {
		return nil
	}
	files, err := h.dir.Evidence()
	if err != nil {
		return worldError(err)
	}
	if len(files) == 0 {
		return nil
	}
	return refuse(CodeFork, "this log showed two worlds before; the proof is in %s", files[0]).
		hint("sotto audit fork " + files[0] + " explains it; if you have decided to go on all the same: sotto audit forget --yes")
}

// open reads what is remembered.
func (h *history) open() error {
	if err := h.convicted(); err != nil {
		return err
	}
	if h.dir == nil {
		return nil
	}
	m, err := h.dir.Load()
	if err != nil {
		return worldError(err)
	}
	h.take(m)
	return nil
}

// take makes m the memory. Proofs that led to another checkpoint are proofs no
// more.
func (h *history) take(m *state.Memory) {
	switch {
	case m == nil:
		h.line = nil
	case h.mem == nil || treeOf(h.mem.Point) != treeOf(m.Point):
		h.line = map[tree]bool{treeOf(m.Point): true}
	}
	h.mem = m
}

// unprove forgets proofs. They lead into a tree that did not come to be remembered,
// and the next look may be shown another one that goes on from the one that is.
func (h *history) unprove() {
	h.line = nil
	if h.mem != nil {
		h.line = map[tree]bool{treeOf(h.mem.Point): true}
	}
}

// observe compares checkpoints with what is remembered and with each other,
// and remembers the largest. It is called before anything is believed that
// came with them, with last at the latest before anything is sent.
//
// The largest comes first, so that all proofs are made inside a tree that is
// shown to everybody now: one inside the tree remembered would ask relays for
// tiles that only whoever looked at that hour asks for. So while all that is
// shown is smaller than what is remembered nothing is proven, and nothing
// fetched; if it stays so to the last, it is refused.
func (c *Client) observe(ctx context.Context, seen []sight, last bool) error {
	seen = slices.Clone(seen)
	slices.SortStableFunc(seen, func(a, b sight) int { return cmp.Compare(b.point.Size, a.point.Size) })
	for i := 1; i < len(seen); i++ {
		if a, b := seen[i-1].point, seen[i].point; a.Size == b.Size && a.Root != b.Root {
			return c.convict(fork.New(fork.Roots, a.Note, b.Note), CodeFork, fmt.Sprintf("%s shows another root for %d leaves than %s", seen[i].by, a.Size, seen[i-1].by))
		}
	}
	p := c.newProver()
	for range 8 {
		largest, err := c.placeAll(ctx, p, seen, last)
		if err == nil {
			err = c.remember(largest, nil)
		}
		if err == nil {
			return nil
		}
		c.log.unprove()
		if !errors.Is(err, state.ErrChanged) {
			return err
		}
		if err := c.log.open(); err != nil {
			return err
		}
	}
	return refuse(state.CodeUnwritable, "other processes change the memory of the log faster than it can be compared with")
}

// placeAll finds the places of all checkpoints, largest first, and returns what is to
// be remembered.
func (c *Client) placeAll(ctx context.Context, p *prover, seen []sight, last bool) (*state.Memory, error) {
	largest := c.log.mem
	for _, s := range seen {
		next, err := c.place(ctx, p, largest, s)
		switch {
		case err == nil:
			largest = next
		case !errors.Is(err, errBehind):
			return nil, err
		case last:
			return nil, refuse(CodeRollback, "%s shows a log of %d leaves, nobody a larger one; %d were seen before", s.by, s.point.Size, largest.Point.Size).
				hint("copies may lag for some seconds: try again; if it stays so, somebody shows you an old log")
		}
	}
	return largest, nil
}

// errBehind is for a checkpoint that could be compared only in a tree that
// nobody shows.
var errBehind = errors.New("smaller than what is remembered, which nobody shows")

// place finds the place of a checkpoint on the line of the one remembered, and
// returns what is to be remembered now.
func (c *Client) place(ctx context.Context, pr *prover, m *state.Memory, s sight) (*state.Memory, error) {
	p := s.point
	pr.shown(p)
	if m == nil {
		c.log.line = map[tree]bool{treeOf(p): true}
		return m.With(p, nil, c.cfg.Now()), nil
	}
	old := m.Point
	if p.Size < old.Size && s.newest {
		if late := fork.Late(p, old); len(late) > 0 {
			// An old note with a new line of one witness is no deed of the log:
			// whether they are enough to convict it, the evidence itself says.
			return nil, c.convict(fork.New(fork.Order, p.Note, old.Note), CodeRollback,
				fmt.Sprintf("%s shows a log of %d leaves that %s cosigned after one of %d", s.by, p.Size, strings.Join(late, ", "), old.Size))
		}
		// An older copy is no news. It may be used as far as it is fresh, which
		// is judged elsewhere.
		if p.Size == 0 || p.Time.After(old.Time) {
			return nil, refuse(CodeRollback, "%s shows a log of %d leaves as the newest; %d were seen before", s.by, p.Size, old.Size).
				hint("try again; if it stays so, somebody turned the log back")
		}
	}
	switch {
	case c.log.line[treeOf(p)], p.Size == 0:
		return m, nil
	case p.Size == old.Size: // another root, or it would be on the line
		return nil, c.convict(fork.New(fork.Roots, old.Note, p.Note), CodeFork,
			fmt.Sprintf("%s shows another root for %d leaves than was seen before", s.by, p.Size))
	case p.Size < old.Size && pr.largest < old.Size:
		return nil, errBehind
	case p.Size < old.Size:
		return m, pr.prove(ctx, p, old, s.by)
	}
	if err := pr.prove(ctx, old, p, s.by); err != nil {
		return nil, err
	}
	return m.With(p, nil, c.cfg.Now()), nil
}

// remember makes a memory durable before anything rests on it. With an epoch it
// has been accepted.
func (c *Client) remember(m *state.Memory, e *state.Epoch) error {
	h := &c.log
	if h.dir == nil {
		h.mem = m.With(m.Point, e, c.cfg.Now())
		return nil
	}
	stored, err := h.dir.Store(h.mem, m.Point, e, c.cfg.Now())
	switch {
	case errors.Is(err, state.ErrChanged):
		return err
	case err != nil:
		return worldError(err)
	}
	h.mem = stored
	return nil
}

// accept remembers an epoch as the highest, unless it is below one accepted
// before, or another statement for one.
func (c *Client) accept(ctx context.Context, w *world, seen []sight) error {
	for range 8 {
		if err := c.log.unlike(w); err != nil {
			return err
		}
		err := c.remember(c.log.mem, &state.Epoch{Number: w.statement.Epoch, Leaf: w.leaf})
		if !errors.Is(err, state.ErrChanged) {
			return err
		}
		if err := c.log.open(); err != nil {
			return err
		}
		if err := c.observe(ctx, seen, true); err != nil {
			return err
		}
	}
	return refuse(state.CodeUnwritable, "other processes change the memory of the log faster than it can be compared with")
}

// unlike refuses a world that is older than one accepted before, or another one
// for the same epoch. The checkpoints were compared by then: a log that holds
// another statement was refused for that, with proof.
func (h *history) unlike(w *world) error {
	if e, ok := h.mem.Highest(); ok && w.statement.Epoch < e.Number {
		return refuse(CodeRollback, "the mirrors serve epoch %d; epoch %d was seen before", w.statement.Epoch, e.Number)
	}
	if leaf, ok := h.mem.Leaf(w.statement.Epoch); ok && leaf != w.leaf {
		return refuse(CodeConsistency, "the mirrors serve another statement for epoch %d than before", w.statement.Epoch).
			hint("there can be only one per epoch: the operator signed two worlds")
	}
	return nil
}

// compared reports whether a statement is one that was accepted before, by this
// client or another with the same state: two mirrors served it then. There is one
// statement per epoch, so a mirror that serves it alone tells nothing new, and a
// relay that is down does not end an epoch that is in force.
func (h *history) compared(s *signedStatement) bool {
	leaf, ok := h.mem.Leaf(s.st.Epoch)
	return ok && leaf == sha256.Sum256(s.signed.Leaf)
}

// convict keeps a proof against the log and refuses it from then on. What does
// not prove anything to others convicts nobody.
func (c *Client) convict(e *fork.Evidence, code, detail string) error {
	first := refuse(code, "%s", detail)
	if f, err := e.Verify(&c.cfg.Trust); err != nil || !f.Proves {
		if e.Kind != fork.Order {
			return first
		}
		return first.hint("that proves nothing against the log: try again; if it stays so, ask the witness that is named, or use other relays")
	}
	c.world = nil
	c.log.fork = refuse(CodeFork, "this log showed two worlds: %s", detail).hint("nothing is sent into either; the proof was not kept, for there is no state directory")
	first.Hint = c.log.fork.Hint
	if c.log.dir == nil {
		return first
	}
	path, err := c.log.dir.Keep(e, c.cfg.Now())
	if err != nil {
		first.Hint = "the proof could not be kept: " + err.Error()
	} else {
		first.Hint = "the proof is kept in " + path + ": sotto audit fork verifies it anywhere; show it to others"
	}
	c.log.fork.Hint = first.Hint
	return first
}

// twoStatements is the proof that two signed statements are.
func twoStatements(a, b *statement.Signed) *fork.Evidence {
	x, errA := a.Append(nil)
	y, errB := b.Append(nil)
	if errA != nil || errB != nil {
		return &fork.Evidence{} // proves nothing
	}
	return fork.New(fork.Statements, x, y)
}

// A LogReport says what is known of the log behind a statement. It is part of
// reports that are made to be shown, so it says whether something is remembered
// and kept, and not where, since when or of which size: a folder has the name of
// its owner in it, and the others are the hours at which somebody looked.
type LogReport struct {
	Origin     string          `json:"origin"`
	Size       uint64          `json:"size"` // of the youngest checkpoint
	Root       []byte          `json:"root"`
	Witnesses  []WitnessReport `json:"witnesses"`
	Split      int             `json:"split_needs"`  // witnesses who have to lie: [transparency.Trust.SplitNeeds]
	Mirrors    []uint64        `json:"mirror_sizes"` // what mirrors showed as the newest
	Remembered bool            `json:"remembered"`   // something was, before this look, to compare with
	Kept       bool            `json:"state_kept"`   // the next run will have something, too
}

// A WitnessReport is one witness's word for the youngest checkpoint.
type WitnessReport struct {
	Name string        `json:"name"`
	Time time.Time     `json:"time"`
	Age  time.Duration `json:"age_ns"`
}

// logOf begins the report of a world with what is remembered before it.
func (h *history) logOf() *LogReport {
	return &LogReport{Kept: h.dir != nil, Remembered: h.mem != nil}
}

// at completes the report for a moment.
func (r *LogReport) at(w *world, now time.Time) *LogReport {
	out := *r
	out.Origin, out.Size, out.Root = w.fresh.Origin, w.fresh.Size, w.fresh.Root[:]
	for _, cs := range w.fresh.Cosignatures {
		out.Witnesses = append(out.Witnesses, WitnessReport{cs.Name, cs.Time, now.Sub(cs.Time)})
	}
	return &out
}

// Rows are the report as names, values and notes, for whoever prints it.
func (r *LogReport) Rows() [][3]string {
	rows := [][3]string{{"log size", strconv.FormatUint(r.Size, 10), "leaves, one an epoch, in the youngest checkpoint"}, {"log root", base64.StdEncoding.EncodeToString(r.Root), "of that many leaves (RFC 6962)"}}
	for _, w := range r.Witnesses {
		rows = append(rows, [3]string{"witness", w.Name, "cosigned " + w.Age.Round(time.Second).String() + " ago"})
	}
	rows = append(rows, [3]string{"split needs", strconv.Itoa(r.Split), "of the witnesses in your trust file to lie, for two logs that both verify"})
	var sizes []string
	for _, n := range r.Mirrors {
		sizes = append(sizes, strconv.FormatUint(n, 10))
	}
	rows = append(rows, [3]string{"mirrors show", strings.Join(sizes, ", "), "leaves as their newest; each was proven to be the same log"})
	if r.Remembered {
		rows = append(rows, [3]string{"remembered", "yes", "what was seen before was proven to be in the log shown now"})
	} else {
		rows = append(rows, [3]string{"remembered", "nothing", "this is the first look: there was nothing to compare with"})
	}
	if !r.Kept {
		return append(rows, [3]string{"state", "not kept", "the next run has nothing to compare with"})
	}
	return append(rows, [3]string{"state", "kept", "what was seen now is remembered for the next run"})
}

func (r *LogReport) text() string {
	var b strings.Builder
	for _, row := range r.Rows() {
		fmt.Fprintf(&b, "%-11s %s (%s)\n", row[0], row[1], row[2])
	}
	return b.String()
}

// A View is what a client sees of the world that everybody is to see alike.
type View struct {
	Origin    string     `json:"origin"`
	Epoch     uint64     `json:"epoch"`
	Statement string     `json:"statement_sha256"`
	Words     []string   `json:"words"` // of origin, epoch and statement: [statement.Fingerprint]
	NotAfter  time.Time  `json:"not_after"`
	Log       *LogReport `json:"log"`
}

// View fetches the statement in force and compares it with everything at hand.
// It judges no node.
func (c *Client) View(ctx context.Context) (*View, error) {
	w, err := c.refresh(ctx, nil)
	if err != nil {
		return nil, err
	}
	v := &View{Origin: w.checkpoint.Origin, Epoch: w.statement.Epoch, Statement: hex.EncodeToString(w.leaf[:]), NotAfter: w.statement.NotAfter, Log: w.log.at(w, c.cfg.Now())}
	v.Words = statement.Fingerprint(v.Origin, v.Epoch, w.leaf)
	return v, nil
}

// Text prints the view for two people who compare theirs: words first.
func (v *View) Text() string {
	var b strings.Builder
	for i := 0; i < len(v.Words); i += 4 {
		fmt.Fprintf(&b, "    %s\n", strings.Join(v.Words[i:min(i+4, len(v.Words))], "  "))
	}
	fmt.Fprintf(&b, "\nWhoever sees the same world in this epoch has the same words; other words are two worlds.\nepoch       %d, until %s\nstatement   %s (SHA-256)\norigin      %s\n",
		v.Epoch, v.NotAfter.UTC().Format(time.RFC3339), v.Statement, v.Origin)
	b.WriteString(v.Log.text())
	return b.String()
}
