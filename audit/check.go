// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/statement"
)

// A reader goes through leaves in order and says what is new or wrong in each.
// It computes only: what it is given was proven to be in the log.
type reader struct {
	state *State
	full  *statement.Statement // the newest that was not empty; nil at first
	prev  *statement.Statement // the leaf before; nil at first, or if it was malformed
}

// newReader goes on from a state.
func newReader(s *State) *reader {
	r := &reader{state: s}
	if len(s.Last) > 0 {
		r.prev, _ = statement.Parse(s.Last)
	}
	if len(s.Full) > 0 {
		r.full, _ = statement.Parse(s.Full)
	} else if r.prev != nil && !r.prev.Empty {
		r.full = r.prev
	}
	return r
}

// leaf audits the next leaf and moves the state behind it. body is the statement's
// bytes, which the leaf's hash vouches for; nil if nobody serves them.
func (r *reader) leaf(index uint64, raw, body []byte, now time.Time) EpochRecord {
	found := alarms{epoch: &index, now: now}
	rec := EpochRecord{Epoch: index, Evidence: evidenceNone}
	st := r.open(&found, &rec, index, raw, body)
	if st == nil {
		rec.Malformed = body != nil || !isLeaf(raw)
		if rec.Malformed {
			r.state.Totals.Malformed++
		}
	} else {
		r.describe(&rec, st)
		r.chain(&found, index, st)
		if st.Empty {
			r.state.Totals.Empty++
			if index > 0 {
				found.add(EpochEmpty, "", "nothing was offered from %s to %s", st.NotBefore.UTC().Format(time.RFC3339), st.NotAfter.UTC().Format(time.RFC3339))
			}
		} else {
			r.news(&found, st)
		}
	}
	rec.Alarms = found.list
	r.advance(st, raw, body)
	return rec
}

func isLeaf(raw []byte) bool { _, err := statement.ParseLeaf(raw); return err == nil }

// open reads a leaf and the statement that it names; nil if there is none.
func (r *reader) open(found *alarms, rec *EpochRecord, index uint64, raw, body []byte) *statement.Statement {
	l, err := statement.ParseLeaf(raw)
	if err != nil {
		sum := sha256.Sum256(raw)
		rec.Leaf = hex.EncodeToString(sum[:])
		if len(raw) > 0 && raw[0] != 1 {
			found.add(LeafUnsupported, "", "a leaf of version %d, which this program does not know", raw[0])
		}
		found.add(LeafFormat, "", "%v", err)
		return nil
	}
	rec.Leaf = hex.EncodeToString(l.Statement[:])
	if l.Epoch != index {
		found.add(LeafIndex, "", "the leaf of epoch %d sits at index %d", l.Epoch, index)
	}
	if body == nil {
		r.state.Totals.Withheld++
		found.add(StatementMissing, "", "no mirror serves a statement with SHA-256 %x", l.Statement)
		return nil
	}
	st, err := statement.Parse(body)
	if err != nil {
		if body[0] != 1 {
			found.add(LeafUnsupported, "", "a statement of version %d, which this program does not know", body[0])
		}
		found.add(LeafFormat, "", "%v", err)
		return nil
	}
	if st.Epoch != index && l.Epoch == index {
		found.add(LeafIndex, "", "the leaf of epoch %d names the statement of epoch %d", index, st.Epoch)
	}
	return st
}

func (r *reader) describe(rec *EpochRecord, st *statement.Statement) {
	begin, end := st.NotBefore.UTC(), st.NotAfter.UTC()
	rec.Empty, rec.NotBefore, rec.NotAfter, rec.Nodes = st.Empty, &begin, &end, len(st.Nodes)
}

// advance makes raw the leaf before the next.
func (r *reader) advance(st *statement.Statement, raw, body []byte) {
	s := r.state
	switch {
	case st != nil && !st.Empty:
		r.full, s.Full = st, nil
	case len(s.Full) == 0 && r.full != nil && r.prev == r.full:
		s.Full = s.Last
	}
	r.prev, s.Leaf, s.Last = st, bytes.Clone(raw), nil
	if st != nil {
		s.Last = bytes.Clone(body)
	}
	s.Next++
	s.Totals.Leaves++
}

// chain checks a statement's place: it follows the one before it, and its beacon
// is the hash of the leaf before it.
func (r *reader) chain(found *alarms, index uint64, st *statement.Statement) {
	switch {
	case index == 0:
	case r.prev == nil || r.prev.Epoch != index-1:
		// What the leaf before names is not there to compare with; the leaf is.
		if st.Beacon != sha256.Sum256(r.state.Leaf) {
			found.add(LeafChain, "", "the beacon is not the hash of leaf %d", index-1)
		}
	case st.Epoch == index:
		if err := st.Follows(r.state.Last); err != nil {
			found.add(LeafChain, "", "%v", err)
		}
	}
}

// news compares a statement with what was seen before. The first one that is not
// empty is what everything after it is compared with: it is news to nobody.
func (r *reader) news(found *alarms, st *statement.Statement) {
	first := r.full == nil
	r.unseen(found, first, knownGateway, GatewayKeyNew, "listed for the first time", digests(st.GatewayKeys), st.Epoch)
	if len(st.TicketKey) > 0 {
		r.unseen(found, first, knownTicket, TicketKeyNew, "listed for the first time", digests([][]byte{st.TicketKey}), st.Epoch)
	}
	r.unseen(found, first, knownChip, ChipNew, "enrolled for the first time", st.Chips, st.Epoch)
	r.keysets(found, first, st)
	for _, f := range st.TCBFloors {
		if !readableFloor(f) {
			found.add(LeafUnsupported, f.Platform, "a firmware floor that this program cannot read: nodes are refused by it")
		}
	}
	if first {
		return
	}
	old := r.full
	r.floors(found, old, st)
	if old.Payment != st.Payment {
		found.add(PaymentChanged, "", "from %s to %s", payment(old.Payment), payment(st.Payment))
	}
	switch {
	case st.MintGeneration < old.MintGeneration:
		found.add(MintLowered, "", "from %d to %d: an older database may be in use, and coins be spent again", old.MintGeneration, st.MintGeneration)
	case st.MintGeneration > old.MintGeneration:
		found.add(MintRaised, "", "from %d to %d: a database was restored or promoted", old.MintGeneration, st.MintGeneration)
	}
	for _, m := range st.Models {
		for _, o := range old.Models {
			if o.Name == m.Name && o.Weights != m.Weights {
				found.add(ModelChanged, m.Name, "weights %s.., before %s..", short(o.Weights), short(m.Weights))
			}
		}
	}
}

// unseen tells of ids that are not known yet, and remembers them.
func (r *reader) unseen(found *alarms, quiet bool, kind string, code Code, says string, ids [][32]byte, epoch uint64) {
	for _, id := range ids {
		if _, ok := r.state.Known.has(kind, id); ok {
			continue
		}
		if !r.remember(found, kind, id, sight{epoch: epoch}) {
			return
		}
		if !quiet {
			found.add(code, hex.EncodeToString(id[:]), "%s", says)
		}
	}
}

// remember is false where there is no room; that is told once for each kind.
func (r *reader) remember(found *alarms, kind string, id [32]byte, s sight) bool {
	if r.state.Known.add(kind, id, s) {
		return true
	}
	mark := sha256.Sum256([]byte(kind))
	if _, told := r.state.Known.has(knownFull, mark); !told {
		r.state.Known.add(knownFull, mark, sight{epoch: s.epoch})
		found.add(SeenFull, kind, "more than %d: what comes after is not told", maxKnown)
	}
	return false
}

func (r *reader) keysets(found *alarms, first bool, st *statement.Statement) {
	for _, k := range st.CoinKeysets {
		data := sha256.Sum256(k.Data)
		old, ok := r.state.Known.has(knownKeyset, k.ID)
		switch {
		case ok && old.data != data:
			found.add(KeysetChanged, short(k.ID), "first seen with other contents in epoch %d", old.epoch)
		case !ok:
			if r.remember(found, knownKeyset, k.ID, sight{st.Epoch, data}) && !first {
				found.add(KeysetNew, short(k.ID), "listed for the first time")
			}
		}
	}
	if first {
		return
	}
	listed := map[[32]byte]bool{}
	for _, k := range st.CoinKeysets {
		listed[k.ID] = true
	}
	for _, k := range r.full.CoinKeysets {
		if !listed[k.ID] {
			found.add(KeysetGone, short(k.ID), "coins of it are spendable only while it is listed")
		}
	}
}

// floors tells of firmware floors that went down, part by part, or away.
func (r *reader) floors(found *alarms, old, st *statement.Statement) {
	now := map[string][]byte{}
	for _, f := range st.TCBFloors {
		now[f.Platform] = f.Floor
	}
	for _, f := range old.TCBFloors {
		next, ok := now[f.Platform]
		switch {
		case !ok:
			found.add(FloorLowered, f.Platform, "no floor any more, before %s", floorText(f.Platform, f.Floor))
		case lower(f.Platform, f.Floor, next):
			found.add(FloorLowered, f.Platform, "from %s to %s", floorText(f.Platform, f.Floor), floorText(f.Platform, next))
		}
	}
}

func readableFloor(f statement.TCBFloor) bool {
	return strings.HasPrefix(f.Platform, "snp/") && (len(f.Floor) == 4 || len(f.Floor) == 5) || f.Platform == "tdx" && len(f.Floor) == 4
}

// lower reports whether any part of a floor went down. Floors of another shape
// are told: one of them cannot be read.
func lower(platform string, old, next []byte) bool {
	if len(next) < len(old) {
		return true
	}
	if platform == "tdx" && len(old) == 4 && len(next) == 4 {
		return binary.BigEndian.Uint32(next) < binary.BigEndian.Uint32(old)
	}
	for i := range old {
		if next[i] < old[i] {
			return true
		}
	}
	return false
}

func floorText(platform string, b []byte) string {
	if platform == "tdx" && len(b) == 4 {
		return strconv.FormatUint(uint64(binary.BigEndian.Uint32(b)), 10)
	}
	parts := make([]string, len(b))
	for i, x := range b {
		parts[i] = strconv.Itoa(int(x))
	}
	return strings.Join(parts, ".")
}

func payment(mode uint8) string {
	switch mode {
	case statement.PaymentNone:
		return "none"
	case statement.PaymentCoins:
		return "coins"
	}
	return strconv.Itoa(int(mode))
}

func digests(list [][]byte) [][32]byte {
	out := make([][32]byte, len(list))
	for i, b := range list {
		out[i] = sha256.Sum256(b)
	}
	return out
}

func short(id [32]byte) string { return hex.EncodeToString(id[:8]) }

// codeOf names a refusal for an alarm's detail.
func codeOf(err error) string {
	var e *transparency.Error
	if errors.As(err, &e) {
		return string(e.Code)
	}
	return ""
}

// clean is s without what a terminal or a page would act upon.
func clean(s string) string {
	return strings.Map(func(c rune) rune {
		if c == '\n' || !strconv.IsPrint(c) {
			return '?'
		}
		return c
	}, s)
}
