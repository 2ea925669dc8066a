// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/internal/wire"
	"github.com/sotto-project/sotto/ohttp"
	"github.com/sotto-project/sotto/ohttp/bhttp"
	"github.com/sotto-project/sotto/ohttp/encap"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/roster"
	"github.com/sotto-project/sotto/transparency/statement"
)

// current returns a world that may be sealed against now: its epoch has not
// ended and its freshness is young enough. It fetches a new one otherwise.
func (c *Client) current(ctx context.Context) (*world, error) {
	if err := c.lock(ctx); err != nil {
		return nil, err
	}
	defer c.unlock()
	if err := c.log.convicted(); err != nil {
		return nil, err
	}
	if c.world != nil && c.usable(c.world) == nil {
		return c.world, nil
	}
	return c.fetchLocked(ctx)
}

// refresh fetches a new world in place of one that did not do, old. If another
// request has fetched one meanwhile, that is it. With nil it always fetches.
func (c *Client) refresh(ctx context.Context, old *world) (*world, error) {
	if err := c.lock(ctx); err != nil {
		return nil, err
	}
	defer c.unlock()
	if old != nil && c.world != old && c.usable(c.world) == nil {
		return c.world, nil
	}
	return c.fetchLocked(ctx)
}

func (c *Client) lock(ctx context.Context) error {
	select {
	case c.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Client) unlock() { <-c.turn }

// fetchTimeout bounds the fetching of a world: a relay that stands still must
// not hold up every request for as long as connections may be idle.
const fetchTimeout = 2 * time.Minute

func (c *Client) usable(w *world) error {
	now := c.cfg.Now()
	if err := w.statement.Current(now, w.fresh); err != nil {
		return worldError(err)
	}
	if age := now.Sub(w.fresh.Time); age > c.cfg.MaxFreshness {
		return refuse("att.stale", "the youngest cosigned checkpoint is %s old, the limit is %s", age.Round(time.Second), c.cfg.MaxFreshness).
			hint("the log, its witnesses or the router's way to them are away; the next request looks again")
	}
	return nil
}

// fetchLocked is called with the turn held.
func (c *Client) fetchLocked(parent context.Context) (*world, error) {
	ctx, cancel := context.WithTimeout(parent, fetchTimeout)
	defer cancel()
	w, err := c.fetchWorld(ctx)
	if errors.As(err, new(*turnedError)) {
		w, err = c.fetchWorld(ctx) // by now the next one is what mirrors serve
	}
	var turned *turnedError
	if errors.As(err, &turned) {
		err = turned.error
	}
	switch {
	case parent.Err() != nil:
		return nil, parent.Err()
	case ctx.Err() != nil && err != nil:
		return nil, refuse(CodeRelay, "statement and evidence did not come within %v", fetchTimeout)
	case err != nil:
		return nil, err
	}
	c.world = w
	return w, nil
}

func (c *Client) fetchWorld(ctx context.Context) (*world, error) {
	if err := c.log.open(); err != nil {
		return nil, err
	}
	began := c.cfg.Now()
	about := c.log.logOf()
	about.Split = c.cfg.Trust.SplitNeeds()
	w, seen, err := c.fetchStatement(ctx)
	if err != nil {
		return nil, worldError(err)
	}
	w.log = about
	for _, s := range seen {
		if s.newest {
			about.Mirrors = append(about.Mirrors, s.point.Size)
		}
	}
	if err := c.log.unlike(w); err != nil {
		return nil, err
	}
	if err := c.withheld(ctx, w, seen); err != nil {
		return nil, w.turned(began, worldError(err))
	}
	if err := c.fetchEvidence(ctx, w); err != nil {
		return nil, worldError(err)
	}
	seen = append(seen, sight{w.epochPoint, false, "the pack"}, sight{w.fresh, true, "the router"})
	if err := c.observe(ctx, seen, true); err != nil {
		return nil, worldError(err)
	}
	if err := c.usable(w); err != nil {
		return nil, w.turned(began, late(err))
	}
	if err := w.judgeReleases(c.releases, c.cfg.Now()); err != nil {
		return nil, worldError(err)
	}
	if err := c.accept(ctx, w, seen); err != nil {
		return nil, worldError(err)
	}
	if err := c.log.meet(w, c.cfg.Now()); err != nil {
		return nil, worldError(err)
	}
	for _, n := range w.statement.Nodes {
		w.listed = append(w.listed, &listed{id: n.ID, row: n})
	}
	w.judge = roster.NewJudge(c.cfg.Policy, accepted)
	return w, nil
}

// fetchStatement asks every relay for the statement and its newest checkpoint,
// and compares. One that is unreachable is noted and tolerated as long as two
// answered, or the one that did serves what two had served before; two that
// differ are two worlds, and nothing is sent into either. It returns every
// checkpoint that was shown.
func (c *Client) fetchStatement(ctx context.Context) (*world, []sight, error) {
	got := make([]*signedStatement, len(c.relays))
	points := make([]*transparency.Checkpoint, len(c.relays))
	errs, pointErrs := make([]error, len(c.relays)), make([]error, len(c.relays))
	var wg sync.WaitGroup
	for i, relay := range c.relays {
		wg.Go(func() { got[i], errs[i] = c.mirrored(ctx, relay) })
		wg.Go(func() { points[i], pointErrs[i] = c.newest(ctx, relay) })
	}
	wg.Wait()
	newest := uint64(0)
	for _, g := range got {
		if g != nil {
			newest = max(newest, g.st.Epoch)
		}
	}
	// A mirror may be a moment behind. It is asked for the newest by number:
	// what only one mirror has shown was compared with nothing.
	for i, relay := range c.relays {
		if got[i] != nil && got[i].st.Epoch+1 == newest {
			wg.Go(func() { got[i], errs[i] = c.numbered(ctx, relay, newest) })
		}
	}
	wg.Wait()
	first, agree, err := c.agreed(got, errs, newest)
	if err != nil {
		return nil, nil, err
	}
	var seen []sight
	for i, relay := range c.relays {
		if refusesTrust(pointErrs[i]) {
			return nil, nil, pointErrs[i]
		}
		if g := got[i]; g != nil {
			seen = append(seen, sight{g.cp, false, "the statement from " + relay.Host})
		}
		if points[i] != nil {
			seen = append(seen, sight{points[i], true, relay.Host})
		}
	}
	if err := c.observe(ctx, seen, false); err != nil {
		return nil, nil, err
	}
	if agree < 2 && !c.log.compared(first) {
		return nil, nil, refuse(CodeEpochWithheld, "only one mirror served the statement of epoch %d; two are needed to compare", first.st.Epoch).hint("another relay may be down; try again, or add a relay to the trust file")
	}
	if first.st.Empty {
		return nil, nil, late(worldError(first.st.Current(c.cfg.Now(), nil)))
	}
	w := &world{statement: first.st, signed: first.signed, leaf: sha256.Sum256(first.signed.Leaf), checkpoint: first.cp, mirrors: agree}
	if w.sets, err = keysets(first.st); err != nil {
		return nil, nil, err
	}
	return w, seen, w.pickGatewayKey(c.cfg.Candidates)
}

// agreed returns the statement of epoch newest that all mirrors serve which
// answered, and how many did.
func (c *Client) agreed(got []*signedStatement, errs []error, newest uint64) (first *signedStatement, agree int, err error) {
	for i, g := range got {
		switch {
		case g == nil && refusesTrust(errs[i]):
			return nil, 0, errs[i]
		case g == nil:
		case g.st.Epoch != newest:
			return nil, 0, refuse(CodeRollback, "one mirror serves epoch %d, another epoch %d", g.st.Epoch, newest)
		case first == nil:
			first, agree = g, 1
		default:
			if err := same(first, g); err != nil {
				return nil, 0, c.convict(twoStatements(first.signed, g.signed), CodeOf(worldError(err)), detailOf(err))
			}
			agree++
		}
	}
	if first == nil {
		return nil, 0, errors.Join(errs...)
	}
	return first, agree, nil
}

// newest fetches what a relay shows as the newest checkpoint.
func (c *Client) newest(ctx context.Context, relay *relay) (*transparency.Checkpoint, error) {
	b, err := c.get(ctx, relay, "/v1/checkpoint", transparency.MaxNoteSize)
	if err != nil {
		return nil, err
	}
	p, err := c.cfg.Trust.ParseCheckpoint(b)
	if err != nil {
		return nil, worldError(err)
	}
	if _, err := p.Age(c.cfg.Now()); err != nil {
		return nil, worldError(err)
	}
	return p, nil
}

// withheld refuses a statement that every mirror serves although the log is
// further, by its own size or by the witnesses' time.
func (c *Client) withheld(ctx context.Context, w *world, seen []sight) error {
	st, now := w.statement, c.cfg.Now()
	young := w.checkpoint
	for _, s := range seen {
		if s.newest && (s.point.Time.After(young.Time) || s.point.Time.Equal(young.Time) && s.point.Size > young.Size) {
			young = s.point
		}
	}
	switch {
	case !now.Before(st.NotAfter) && !young.Time.Before(st.NotAfter):
		return refuse(CodeEpochWithheld, "the mirrors serve epoch %d, which ended %s before their own newest checkpoint", st.Epoch, young.Time.Sub(st.NotAfter).Round(time.Second)).hint(withheldHint)
	case young.Size > st.Epoch+2:
		return refuse(CodeEpochWithheld, "the mirrors serve epoch %d, and their own newest checkpoint covers epoch %d", st.Epoch, young.Size-1).hint(withheldHint)
	case young.Size > st.Epoch+1 && young.Time.Sub(st.NextPublic) > transparency.MaxClockSkew:
		for _, relay := range c.relays {
			if _, err := c.numbered(ctx, relay, st.Epoch+1); err == nil || refusesTrust(err) {
				return err
			}
		}
		return refuse(CodeEpochWithheld, "epoch %d is in the log and was to be public %s ago; no mirror serves it", st.Epoch+1, young.Time.Sub(st.NextPublic).Round(time.Second)).hint(withheldHint)
	}
	return nil
}

const withheldHint = "somebody keeps the newest statement from you, or the operator did not publish one; try again, or add a relay to the trust file"

// late renames the end of an epoch: the mirrors were asked just now, and served
// nothing newer.
func late(err error) error {
	var own *Error
	if errors.As(err, &own) && own.Code == string(transparency.CodeEpochExpired) {
		return refuse(CodeEpochWithheld, "%s, and the mirrors serve nothing newer", own.Detail).hint(withheldHint)
	}
	return err
}

// A turnedError is the end of an epoch between a client's first question about it
// and its last. Nobody withheld anything: the client has to ask again.
type turnedError struct{ error }

// turned tells that from an epoch that was over when the client began to ask.
func (w *world) turned(began time.Time, err error) error {
	if CodeOf(err) == CodeEpochWithheld && began.Before(w.statement.NotAfter) {
		return &turnedError{err}
	}
	return err
}

type signedStatement struct {
	signed *statement.Signed
	st     *statement.Statement
	cp     *transparency.Checkpoint
}

// refusesTrust tells a mirror that serves something unacceptable, which is
// evidence, from one that is merely unreachable.
func refusesTrust(err error) bool {
	code := CodeOf(worldError(err))
	return code != "" && code != CodeRelay
}

// same refuses two verified statements of one epoch that differ. A gateway key
// shown to some only would let the operator tell them apart; that has a code
// of its own.
func same(a, b *signedStatement) error {
	err := statement.Agree(a.signed, b.signed)
	if err == nil {
		return nil
	}
	detail := "two mirrors serve different statements for epoch " + strconv.FormatUint(a.st.Epoch, 10)
	if !slices.EqualFunc(a.st.GatewayKeys, b.st.GatewayKeys, bytes.Equal) || !slices.Equal(a.st.Nodes, b.st.Nodes) {
		return refuse(CodeConsistency, "%s, with different keys, both validly signed", detail)
	}
	return refuse(CodeFork, "%s, both validly signed", detail)
}

func detailOf(err error) string {
	var own *Error
	if errors.As(err, &own) {
		return own.Detail
	}
	return ""
}

// mirrored fetches the statement that holds now from one relay. The newest
// published may be the next epoch's; the one before it holds then. Or the
// relay's copy of the newest is some seconds old and its epoch just over; the
// one after it was public long before, under its number.
func (c *Client) mirrored(ctx context.Context, relay *relay) (*signedStatement, error) {
	s, err := c.fetchSigned(ctx, relay, "latest")
	if err != nil {
		return nil, err
	}
	switch now := c.cfg.Now(); {
	case s.st.Epoch > 0 && now.Before(s.st.NotBefore):
		return c.numbered(ctx, relay, s.st.Epoch-1)
	case !now.Before(s.st.NotAfter):
		next, err := c.numbered(ctx, relay, s.st.Epoch+1)
		if err == nil || refusesTrust(err) {
			return next, err
		}
	}
	return s, nil
}

func (c *Client) numbered(ctx context.Context, relay *relay, epoch uint64) (*signedStatement, error) {
	s, err := c.fetchSigned(ctx, relay, strconv.FormatUint(epoch, 10))
	if err == nil && s.st.Epoch != epoch {
		return nil, refuse(CodeRollback, "a mirror serves the statement of epoch %d as that of epoch %d", s.st.Epoch, epoch)
	}
	return s, err
}

func (c *Client) fetchSigned(ctx context.Context, relay *relay, which string) (*signedStatement, error) {
	b, err := c.get(ctx, relay, "/v1/statement/"+which, statement.MaxSignedSize)
	if err != nil {
		return nil, err
	}
	signed, err := statement.ParseSigned(b)
	if err != nil {
		return nil, worldError(err)
	}
	st, cp, err := signed.Verify(&c.cfg.Trust)
	if err != nil {
		return nil, worldError(err)
	}
	// A clock that is behind the witnesses' would take a statement in force for
	// one to come, and ask for the one before it.
	if _, err := cp.Age(c.cfg.Now()); err != nil {
		return nil, worldError(err)
	}
	return &signedStatement{signed, st, cp}, nil
}

// getUntil is for [Client.get], which knows how long to wait. Said is whether the
// relay answered, if only to say no: the object may not be there yet.
func (c *Client) getUntil(ctx context.Context, relay *relay, path string, limit int64) (b []byte, said bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, relay.JoinPath(path).String(), nil)
	if err != nil {
		return nil, false, err
	}
	req.Header = http.Header{"User-Agent": nil}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, false, refuse(CodeRelay, "a relay could not be reached: %s", scrub(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, true, refuse(CodeRelay, "a relay answered %d for the statement", resp.StatusCode)
	}
	b, err = readBounded(resp.Body, limit)
	return b, false, err
}

func readBounded(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, refuse(CodeRelay, "reading: %s", scrub(err))
	}
	if int64(len(b)) > limit {
		return nil, refuse("att.size", "more than %d bytes", limit)
	}
	return b, nil
}

// keysets are what coins of an epoch are made and judged with; nil where nobody
// pays. Two on sale at once, or a key in two of them, are refused for all.
func keysets(st *statement.Statement) (*credits.Set, error) {
	if st.Payment == wire.PaymentNone {
		return nil, nil
	}
	list := make([]credits.Listed, len(st.CoinKeysets))
	for i, k := range st.CoinKeysets {
		list[i] = credits.Listed{ID: k.ID, Data: k.Data}
	}
	sets, err := credits.NewSet(list)
	var bad *credits.Refusal
	if errors.As(err, &bad) {
		return nil, refuse(bad.Code, "the coin keysets of epoch %d: %s", st.Epoch, bad.Why)
	}
	return sets, err
}

// pickGatewayKey takes the first key of the statement that this client
// implements, post-quantum ones first. It never takes a key from the gateway.
func (w *world) pickGatewayKey(candidates int) error {
	for _, b := range w.statement.GatewayKeys {
		k, err := ohttp.ParseKeyConfig(b)
		if err != nil {
			continue // another suite; malformed lists were refused with the statement
		}
		s, err := k.Suite()
		if err != nil {
			continue
		}
		w.gateway, w.suite, w.shape = k, s, newShape(s, candidates)
		return nil
	}
	return refuse("suite", "the statement lists no gateway key that this client implements")
}

// fetchEvidence fetches pack and freshness through the gateway, so that fetching
// says nothing about who fetches, and whole, so that it says nothing about the
// nodes one is about to use.
func (c *Client) fetchEvidence(ctx context.Context, w *world) error {
	var packErr, freshErr error
	var wg sync.WaitGroup
	if old := c.world; old != nil && old.leaf == w.leaf {
		w.pack, w.epochPoint = old.pack, old.epochPoint
	} else {
		wg.Go(func() { packErr = c.fetchPack(ctx, w) })
	}
	wg.Go(func() { freshErr = c.fetchFreshness(ctx, w) })
	wg.Wait()
	if packErr != nil {
		return packErr
	}
	return freshErr
}

func (c *Client) fetchPack(ctx context.Context, w *world) error {
	path := "/v1/pack/" + strconv.FormatUint(w.statement.Epoch, 10)
	if old := c.world; old != nil && old.pack != nil && old.statement.Epoch+1 == w.statement.Epoch {
		// What changed since the epoch before is enough, and is the same for all
		// who have that. Whatever is wrong with it, the whole pack is there.
		if b, err := c.oblivious(ctx, w, path+"/delta"); err == nil {
			if whole, err := unfold(b, old.pack); err == nil {
				w.pack, w.epochPoint, err = roster.OpenPack(&c.cfg.Trust, w.statement, whole)
				if err == nil {
					return nil
				}
			}
		}
	}
	b, err := c.oblivious(ctx, w, path)
	if err != nil {
		return err
	}
	w.pack, w.epochPoint, err = roster.OpenPack(&c.cfg.Trust, w.statement, b)
	return err
}

// unfold makes the whole pack of a delta.
func unfold(delta []byte, old *statement.Pack) ([]byte, error) {
	p, err := statement.ParseDelta(delta, old)
	if err != nil {
		return nil, err
	}
	return p.Append(nil)
}

func (c *Client) fetchFreshness(ctx context.Context, w *world) error {
	b, err := c.oblivious(ctx, w, "/v1/freshness")
	if err != nil {
		return err
	}
	w.freshness, w.fresh, err = roster.OpenFreshness(&c.cfg.Trust, b)
	return err
}

// oneLog refuses two checkpoints of one size with different roots. Without a
// network and a memory that is all there is to compare: [Client.observe].
func (w *world) oneLog() error {
	if w.fresh.Size == w.checkpoint.Size && w.fresh.Root != w.checkpoint.Root {
		return transparency.Refuse(transparency.CodeFork, "router and mirrors show two different logs of %d leaves", w.fresh.Size)
	}
	return nil
}

// A query is a question to the router, encapsulated. One with content is
// padded to the first step of the ladder, as the shortest prompts are.
type query struct {
	head    *bhttp.RequestHead
	content []byte
	size    int64 // of the outer message, padded; 0: no padding
}

// bound is the most bytes that a client reads as the answer to a query: of a pack,
// what its maker may print.
func (q *query) bound() int64 {
	if strings.HasPrefix(q.head.Path, "/v1/pack/") {
		return statement.MaxPackSize
	}
	return statement.MaxFreshnessSize
}

func (q *query) streams() bool { return false }

func (q *query) produce(outer *encap.Request) error {
	msg, err := bhttp.NewRequestWriter(outer, q.head)
	if err != nil {
		return err
	}
	if len(q.content) > 0 {
		if _, err := msg.Write(q.content); err != nil {
			return err
		}
	}
	if err := msg.Flush(); err != nil { // for Written
		return err
	}
	pad := q.size - msg.Written() - messageTail
	return msg.Close(nil, int(max(pad, 0)))
}

// oblivious fetches path from the router through relay and gateway. It is public
// and the same for all, so where a relay fails it is asked for through others.
// Its errors come before anything of a prompt is sealed.
func (c *Client) oblivious(ctx context.Context, w *world, path string) (b []byte, err error) {
	for range c.relays {
		b, err = c.ask(ctx, w, &query{head: &bhttp.RequestHead{
			Method: http.MethodGet, Scheme: "https", Authority: wire.RouterAuthority, Path: path,
		}})
		if CodeOf(err) != CodeRelay || ctx.Err() != nil {
			break
		}
	}
	return b, err
}

// tell posts content to a path of the router, padded.
func (c *Client) tell(ctx context.Context, w *world, path string, content []byte) ([]byte, error) {
	return c.ask(ctx, w, &query{
		head:    &bhttp.RequestHead{Method: http.MethodPost, Scheme: "https", Authority: wire.RouterAuthority, Path: path},
		content: content, size: largest(firstStep, w.shape.encap),
	})
}

func (c *Client) ask(ctx context.Context, w *world, q *query) ([]byte, error) {
	ctx, watch := c.watch(ctx)
	defer watch.stop()
	b, err := c.query(ctx, w, q, watch)
	err = watch.explain(err)
	var own *Error
	if errors.As(err, &own) {
		unsent := *own
		unsent.Sent = false
		return nil, &unsent
	}
	return b, err
}

func (c *Client) query(ctx context.Context, w *world, q *query, watch *watch) ([]byte, error) {
	a, err := c.exchange(ctx, w, q)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	if err := a.head(); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(watched{a.msg.Body(), watch}, q.bound()+1))
	if err != nil {
		return nil, streamError(err)
	}
	if int64(len(b)) > q.bound() {
		return nil, refuse("att.size", "%s: more than %d bytes", q.head.Path, q.bound())
	}
	return b, atEnd(a.chunks)
}

// awayFor is how long a relay is left out of the draw after it failed, unless all
// did: as long as a few requests take, so that one that is back is used again.
const awayFor = 10 * time.Second

// pickRelay draws the relay for one exchange, among those that did not fail just
// now.
func (c *Client) pickRelay() (*relay, error) {
	now := c.cfg.Now()
	from := slices.DeleteFunc(slices.Clone(c.relays), func(r *relay) bool {
		failed := r.failed.Load()
		return failed != nil && now.Sub(*failed).Abs() < awayFor
	})
	if len(from) == 0 {
		from = c.relays
	}
	i, err := below(len(from))
	if err != nil {
		return nil, refuse("rng", "%v", err)
	}
	return from[i], nil
}

// A relay is one of the configuration's, and what became of it lately.
type relay struct {
	*url.URL
	failed atomic.Pointer[time.Time] // when it last failed an exchange
}

// note remembers that an exchange failed for the relay's sake.
func (r *relay) note(err error, now time.Time) {
	if CodeOf(err) == CodeRelay {
		r.failed.Store(&now)
	}
}
