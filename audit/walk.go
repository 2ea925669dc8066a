// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sotto-project/sotto/transparency/fork"
	"github.com/sotto-project/sotto/transparency/roster"
	"github.com/sotto-project/sotto/transparency/statement"
	"github.com/sotto-project/sotto/transparency/tiles"
)

// A batch is what is in memory at a time, and what one write makes durable.
const (
	batchLeaves = 1024
	batchBytes  = 32 << 20
)

// A job is what is asked of mirrors about one leaf. Jobs of a batch run side by
// side; their results are taken in the order of the leaves.
type job struct {
	raw      []byte
	body     []byte // the statement that the leaf names; nil if nobody served it
	unknown  error  // why nothing can be said about the statement: a mirror did not answer
	st       *statement.Statement
	compare  bool
	evidence bool

	compared int
	differs  []other
	judged   *judged
	liars    map[int]string // mirrors that served what nobody signed, by index
}

// inFlight is how many statements are asked for at a time: they are small, and
// mirrors far away. A relay fetches eight at a time, for everybody.
const inFlight = 6

// walk audits every leaf up to a checkpoint that extends what is known.
func (a *Auditor) walk(ctx context.Context, best *look) error {
	size := best.point.Size
	if a.old == nil || size > a.old.Size || best.point.Time.After(a.old.Time) {
		a.old = best.point
		a.state.Checkpoint = bytes.Clone(best.point.Note)
	}
	if err := a.retry(ctx, best); err != nil {
		return err
	}
	sources := a.sources(best)
	for a.state.Next < size {
		leaves, err := a.read(ctx, &sources, best)
		if err != nil {
			return err
		}
		if err := a.batch(ctx, best, leaves); err != nil {
			return err
		}
		a.cfg.Progress(a.state.Next, size)
	}
	return nil
}

// A source is a mirror with the tree that its tiles must lead to.
type source struct {
	look *look
	tree *tiles.Tree
}

// sources lists mirrors to read leaves from, the one that showed the checkpoint first.
func (a *Auditor) sources(best *look) []source {
	out := []source{{best, a.tree(best, best.point)}}
	for i := range a.mirrors {
		if l := &a.mirrors[i]; l != best {
			out = append(out, source{l, a.tree(l, best.point)})
		}
	}
	return out
}

// read reads the next batch from the first source that has it. One that has not
// is not asked again in this step.
func (a *Auditor) read(ctx context.Context, sources *[]source, best *look) ([][]byte, error) {
	var errs []error
	for len(*sources) > 0 {
		s := (*sources)[0]
		leaves, err := readBatch(ctx, s.tree, a.state.Next, best.point.Size)
		if len(leaves) > 0 {
			return leaves, nil // an error after some leaves comes again with the next batch
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		a.blame(s.look, err)
		errs = append(errs, fmt.Errorf("leaf %d from %s: %w", a.state.Next, s.look.mirror.Name(), err))
		*sources = (*sources)[1:]
	}
	return nil, fmt.Errorf("audit: no mirror serves the log: %w", errors.Join(errs...))
}

func readBatch(ctx context.Context, tree *tiles.Tree, from, size uint64) (out [][]byte, err error) {
	// Batches end where bundles do, so that none is fetched twice.
	to := min(size, (from/batchLeaves+1)*batchLeaves)
	bytes := 0
	for leaf, err := range tree.Leaves(ctx, from, to) {
		if err != nil {
			return out, err
		}
		out = append(out, leaf)
		if bytes += len(leaf); bytes > batchBytes {
			break
		}
	}
	return out, nil
}

// batch audits leaves that were proven, asks mirrors what they serve about them,
// and makes all of it durable together.
func (a *Auditor) batch(ctx context.Context, best *look, leaves [][]byte) error {
	size, first, now := best.point.Size, a.state.Next, a.cfg.Now().UTC()
	jobs := make([]job, len(leaves))
	for i := range jobs {
		left := size - first - uint64(i)
		jobs[i] = job{raw: leaves[i], compare: left <= a.cfg.Compare, evidence: left <= a.cfg.Packs}
	}
	each(len(jobs), inFlight, func(i int) { a.askStatements(ctx, first+uint64(i), &jobs[i]) })
	jobs, stopped := a.known(jobs, first, size)
	// Packs are large, and each is judged by all processors.
	roster.Each(len(jobs), func(i int) {
		if j := &jobs[i]; j.st != nil && !j.st.Empty && j.evidence && a.epochs != nil && ctx.Err() == nil {
			j.judged = a.judge(ctx, j.st)
			if first+uint64(i)+2 < size && j.judged.view != nil {
				j.judged.view.Pack = nil // large, and done with: see takeEvidence
			}
		}
	})
	if ctx.Err() != nil {
		return ctx.Err() // what was not asked is not what was not served
	}
	records := make([]EpochRecord, len(jobs))
	for i := range jobs {
		begun := a.reader.full != nil
		records[i] = a.reader.leaf(first+uint64(i), jobs[i].raw, jobs[i].body, now)
		a.released(ctx, &records[i], jobs[i].st, begun)
		if a.newestTwo = append(a.newestTwo, jobs[i].st); len(a.newestTwo) > 2 {
			a.newestTwo = a.newestTwo[1:]
		}
		a.take(ctx, best, &records[i], &jobs[i])
		a.tell(records[i].Alarms...)
	}
	if a.broken != nil {
		return &aheadError{a.broken}
	}
	if ctx.Err() != nil {
		return &aheadError{ctx.Err()} // a release may not have been looked at to the end
	}
	if len(records) > 0 {
		if err := a.commit(records, nil); err != nil {
			return err
		}
	}
	return stopped
}

// each runs f for 0 to n-1 on at most width goroutines, and returns when all have ended.
func each(n, width int, f func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(n, width) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	wg.Wait()
}

// known cuts a batch where nothing can be said yet: at a statement that a mirror
// may have and did not give, or that may only just have become public.
func (a *Auditor) known(jobs []job, first, size uint64) ([]job, error) {
	for i := range jobs {
		j, epoch := &jobs[i], first+uint64(i)
		if j.body != nil || !isLeaf(j.raw) {
			continue
		}
		late := size-epoch > 2 || a.waited(epoch)
		if j.unknown == nil && late {
			continue // withheld: the reader tells
		}
		err := j.unknown
		if err == nil {
			err = errors.New("no mirror serves it yet")
		}
		return jobs[:i], fmt.Errorf("audit: the statement of epoch %d: %w", epoch, err)
	}
	return jobs, nil
}

// waited reports whether a statement of the newest leaves has been waited for long
// enough; the first call begins to wait.
func (a *Auditor) waited(epoch uint64) bool {
	subject := strconv.FormatUint(epoch, 10)
	list := a.state.Incidents
	i := slices.IndexFunc(list, func(x Incident) bool { return x.Code == StatementMissing && x.Subject == subject })
	now := a.cfg.Now().UTC()
	if i < 0 {
		a.state.Incidents = append(slices.DeleteFunc(list, func(x Incident) bool { return x.Code == StatementMissing }),
			Incident{Code: StatementMissing, Subject: subject, Since: now.Truncate(time.Second)})
		return false
	}
	return now.Sub(list[i].Since) >= a.cfg.Grace
}

// An other is a statement that is signed and not in the log.
type other struct {
	mirror string
	signed *statement.Signed
}

// askStatements finds the statement that a leaf names, and of the newest epochs
// compares what every mirror serves. Bytes with the leaf's hash need no
// signature: the log vouches for them.
func (a *Auditor) askStatements(ctx context.Context, epoch uint64, j *job) {
	l, err := statement.ParseLeaf(j.raw)
	if err != nil {
		return
	}
	for i, m := range a.cfg.Mirrors {
		if a.mirrors[i].point == nil {
			j.unknown = fmt.Errorf("%s does not answer", m.Name())
			continue
		}
		if j.body != nil && !j.compare {
			break
		}
		if err := a.askStatement(ctx, i, epoch, l, j); err != nil && !absent(err) {
			j.unknown = err
		}
	}
	if j.body != nil {
		j.unknown = nil
		j.st, _ = statement.Parse(j.body) // what is no statement the reader tells of
	}
}

func (a *Auditor) askStatement(ctx context.Context, i int, epoch uint64, l statement.Leaf, j *job) error {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Timeout)
	defer cancel()
	m := a.cfg.Mirrors[i]
	b, err := m.Statement(ctx, strconv.FormatUint(epoch, 10))
	if err != nil {
		return err // what a mirror does not have it cannot show to others either
	}
	s, err := statement.ParseSigned(b)
	if err == nil && sha256.Sum256(s.Leaf) == l.Statement {
		j.compared++
		j.body = s.Leaf
		return nil
	}
	if err == nil {
		if _, _, err = s.Verify(&a.cfg.Trust); err == nil && s.Index == epoch {
			j.differs = append(j.differs, other{m.Name(), s})
			return nil
		}
	}
	if j.liars == nil {
		j.liars = map[int]string{}
	}
	j.liars[i] = fmt.Sprintf("what it serves as the statement of epoch %d is neither the leaf's nor signed: %v", epoch, err)
	return nil
}

// take puts a job's results into the record of its epoch.
func (a *Auditor) take(ctx context.Context, best *look, rec *EpochRecord, j *job) {
	rec.Compared = j.compared
	a.state.Totals.Compared += uint64(j.compared)
	for i, why := range j.liars {
		a.mirrors[i].tampered = clean(why)
	}
	for _, o := range j.differs {
		a.twoStatements(ctx, best, rec, o, j.body)
	}
	switch {
	case j.st == nil || j.st.Empty:
	case a.epochs == nil:
		rec.Evidence = evidenceUnchecked
	case j.judged == nil:
		rec.Evidence = evidenceGone
		a.state.Totals.PacksGone++
	default:
		rec.Alarms = append(rec.Alarms, a.takeEvidence(rec, j.judged, j.st, best.point.Size)...)
	}
}

// twoStatements keeps two statements of one epoch that are both signed.
func (a *Auditor) twoStatements(ctx context.Context, best *look, rec *EpochRecord, o other, body []byte) {
	ev, err := a.second(ctx, best, rec.Epoch, o, body)
	if err != nil {
		a.blame(best, err)
		return
	}
	name := contradicts(ev)
	kept, err := a.store.keep(name, ev.Append(nil))
	if err != nil {
		a.broken = err
		return
	}
	if !kept {
		name = "" // sixteen others are
	}
	epoch := rec.Epoch
	if i := slices.IndexFunc(rec.Alarms, func(x Alarm) bool { return x.Code == LogTwo }); i >= 0 {
		rec.Alarms[i].Count++
		return
	}
	rec.Alarms = append(rec.Alarms, Alarm{Code: LogTwo, Severity: SeverityOf(LogTwo), Epoch: &epoch, Count: 1, Subjects: []string{clean(o.mirror)}, Found: a.cfg.Now().UTC(),
		Detail: "a mirror serves a statement that is signed and is not the leaf", Evidence: name})
}

// second proves that a statement is not the log's: by the statement that is, or,
// where nobody serves that one, by the two trees.
func (a *Auditor) second(ctx context.Context, best *look, epoch uint64, o other, body []byte) (*fork.Evidence, error) {
	tree := a.tree(best, best.point)
	if body == nil {
		c, err := a.cfg.Trust.ParseCheckpoint(o.signed.Checkpoint)
		switch {
		case err != nil:
			return nil, err
		case c.Size > best.point.Size:
			return nil, &fetchError{errors.New("another statement is in a tree that is larger than any that is shown")}
		case c.Size == best.point.Size:
			return fork.New(fork.Roots, a.signed(c.Note), a.signed(best.point.Note)), nil
		}
		ev := fork.New(fork.Trees, a.signed(c.Note), a.signed(best.point.Note))
		if ev.Root, err = tree.Root(ctx, c.Size); err == nil {
			ev.Proof, err = tree.ProveConsistency(ctx, c.Size)
		}
		return ev, err
	}
	proof, err := tree.Prove(ctx, epoch)
	if err != nil {
		return nil, err
	}
	logged, err := (&statement.Signed{Leaf: body, Index: epoch, Proof: proof, Checkpoint: a.signed(best.point.Note)}).Append(nil)
	if err != nil {
		return nil, err
	}
	shown := *o.signed
	shown.Checkpoint = a.signed(shown.Checkpoint)
	raw, err := shown.Append(nil)
	if err != nil {
		return nil, err
	}
	return fork.New(fork.Statements, logged, raw), nil
}

// retry asks again for packs that nobody served.
func (a *Auditor) retry(ctx context.Context, best *look) error {
	if len(a.state.Pending) == 0 {
		return nil
	}
	pending := slices.Clone(a.state.Pending)
	var changed []EpochRecord
	tree := a.tree(best, best.point)
	for _, epoch := range pending {
		raw, err := tree.Leaf(ctx, epoch)
		if err != nil {
			a.blame(best, err)
			continue
		}
		known := job{raw: raw}
		a.askStatements(ctx, epoch, &known)
		st := known.st
		if st == nil {
			continue
		}
		if a.epochs == nil {
			a.done(epoch)
			continue
		}
		j := a.judge(ctx, st)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		rec, err := a.store.record(epoch, a.state.Next)
		if err != nil {
			return &aheadError{err}
		}
		if j.missing && best.point.Size-epoch <= maxPending {
			continue // still waiting; conditions tell of it
		}
		a.done(epoch)
		rec.Later = a.takeEvidence(&rec, j, st, best.point.Size)
		a.tell(rec.Later...)
		changed = append(changed, rec)
	}
	if len(changed) == 0 {
		return nil
	}
	return a.commit(nil, changed)
}

func (a *Auditor) done(epoch uint64) {
	a.state.Pending = slices.DeleteFunc(a.state.Pending, func(e uint64) bool { return e == epoch })
}

// late keeps packs that are waited for a condition: the youngest epochs' evidence
// has to be there for everybody.
func (a *Auditor) late(context.Context) {
	if a.epochs == nil {
		return
	}
	a.condition(PackMissing, "", len(a.state.Pending) > 0, fmt.Sprintf("no mirror serves the pack of %d of the newest epochs", len(a.state.Pending)), a.cfg.Grace)
}

// absent reports whether an error says that something is not there.
func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) }
