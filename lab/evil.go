// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sotto-project/sotto/client"
)

// A Mode is one way in which one part can be hostile. A twin of that part,
// made of the same packages with one fault, takes its place.
type Mode struct {
	Name  string
	Code  string // that the right party refuses it with
	About string // which part does what
	By    string // who has to refuse
	Why   string // what it would cost if nobody did

	// unsent: the refusal must come before a byte of the prompt has left the
	// client.
	unsent bool
	// because, if set, must be part of the refusal's detail, where the code
	// alone could have had another reason.
	because string

	// blind: the publisher does not look at what it lists either. An honest one
	// would not list the twin.
	blind bool

	// later: the twin is honest until clients have seen its log, and they remember.
	later bool

	// money: the lab pays. clients: it is the client that is hostile, which has no
	// seat; clients sends the prompt, and says what it did.
	money   bool
	clients func(ctx context.Context, l *Lab, prompt string) (*outcome, []string, error)

	part  string // role whose place the twin takes, on every seat
	faces int    // listeners of the twin
	serve func(ctx context.Context, path string, lns []net.Listener, log *slog.Logger) error
}

// Modes lists the hostile modes.
var Modes = []Mode{
	{
		Name: "truncate", Code: "stream.truncated", By: "the client",
		About: "the router leaves out the last frame of an answer and ends it as if it were whole",
		Why:   "half an answer can say the opposite of the whole one; the end of an answer is authenticated, so a shorter one is an error",
		part:  "router", faces: 1, serve: serveCuttingRouter,
	},
	{
		Name: "replay", Code: "replay", By: "the gateway", because: "refused by gateway",
		About: "the relays send each sealed prompt a second time and hand back the second answer",
		Why:   "sending one ciphertext again and watching what the same prompt sets off would tie a client to what happens behind the gateway",
		part:  "relay", faces: 1, serve: serveReplayingRelay,
	},
	{
		Name: "replay-node", Code: "replay", By: "the node", because: "refused by gateway, router or node",
		About: "the router hands a node the same request twice and passes on the second answer",
		Why:   "a request that runs twice is charged twice, and its two answers can be compared",
		part:  "router", faces: 1, serve: serveReplayingRouter,
	},
	{
		Name: "steer", Code: "route.candidate", By: "the client", because: "outside the draw",
		About: "the router hands each request to a node of its own, which the client did not draw, and passes on what that node answers",
		Why:   "who chooses the node chooses who may read: a broken machine would be enough, and it would be asked about the one user that somebody is after",
		part:  "router", faces: 1, serve: serveSteeringRouter,
	},
	{
		Name: "swap-node", Code: "att.rek.name", By: "the client", unsent: true,
		About: "the publisher lists every node with the request key of another one",
		Why:   "a prompt would be sealed to a key that the verified machine does not hold: the operator's own, say",
		part:  "publisher", faces: 1, serve: serveSwappingPublisher,
	},
	{
		Name: "stale-evidence", Code: "att.stale", By: "the client", unsent: true, because: "checkpoint",
		About: "the publisher serves freshness evidence and a checkpoint of half an hour ago, validly signed",
		Why:   "a machine that was broken into since then would still look healthy",
		part:  "publisher", faces: 1, serve: serveStalePublisher,
	},
	{
		Name: "key-swap", Code: "key.consistency", By: "the client", unsent: true, because: "different keys",
		About: "the operator signs two statements for one epoch, with different gateway keys; each relay mirrors another one",
		Why:   "who has a gateway key of their own is known by it, however many relays stand in between",
		part:  "publisher", faces: 2, serve: serveForkingPublisher,
	},
	{
		Name: "split-log", Code: "log.fork", By: "the client", unsent: true, because: "another root",
		About: "the operator and the witnesses sign two logs that go on differently; each relay mirrors another one",
		Why:   "whoever can be shown a log of their own can be shown keys, nodes and releases of their own",
		part:  "publisher", faces: 2, serve: serveSplitLog,
	},
	{
		Name: "unwitnessed-log", Code: "log.witness", By: "the client", unsent: true, because: "0 trusted witnesses",
		About: "the operator signs two logs with different pasts, and the witnesses, who are honest, sign only one; each relay mirrors another one",
		Why:   "a witness signs one history, so a second one lacks its signature",
		part:  "publisher", faces: 2, serve: serveUnwitnessedLog,
	},
	{
		Name: "two-statements", Code: "log.index", By: "the client", unsent: true, because: "epoch 1",
		About: "the operator puts a second statement for the epoch into the log, behind the first; one relay mirrors it",
		Why:   "with two valid statements for one epoch some could be shown one and some the other, both in the same log",
		part:  "publisher", faces: 2, serve: serveTwoStatements,
	},
	{
		Name: "rollback-log", Code: "log.rollback", By: "the client", unsent: true, because: "were seen before",
		About: "the operator and the witnesses show a log that is shorter than the one that was shown before",
		Why:   "what was taken back (a revocation, say) would be as if it had never been",
		part:  "publisher", faces: 1, serve: serveRollback, later: true,
	},
	{
		Name: "withhold", Code: "epoch.withheld", By: "the client", unsent: true, because: "covers epoch",
		About: "the operator goes on with its log and keeps serving an old statement",
		Why:   "a node that was taken out of the list would go on getting prompts of those who are kept behind",
		part:  "publisher", faces: 1, serve: serveWithholding,
	},
	{
		Name: "unlogged-image", Code: "log.absent", By: "the client", unsent: true, because: "in no log",
		About: "the operator lists nodes whose image was released and signed by the right workflow, and kept out of the log",
		Why:   "an image that was made for a few would be shown to those few, and no reviewer or auditor would come across it",
		part:  "publisher", faces: 1, serve: serveUnloggedImage,
	},
	{
		Name: "withdrawn-image", Code: "att.image.revoked", By: "the client", unsent: true, because: "was withdrawn",
		About: "the operator goes on listing nodes whose image a reviewer has withdrawn",
		Why:   "somebody found what is wrong with the image, and it would go on reading prompts",
		part:  "publisher", faces: 1, serve: serveWithdrawnImage,
	},
	{
		Name: "no-gpu", Code: "att.gpu.absent", By: "the client", unsent: true, because: "no GPU evidence",
		About: "the nodes leave the GPU out of their evidence, and their operator lists them all the same",
		Why:   "the prompt would be computed in a GPU of which nobody knows whether it is in confidential mode",
		part:  "node", faces: 1, serve: serveGPULessNode, blind: true,
	},
	{
		Name: "ima", Code: "att.ima.entry", By: "the client", unsent: true, because: "nf_nat.ko",
		About: "the nodes load a kernel module that is not of the release, and their operator lists them all the same",
		Why:   "a module sees all of the machine's memory; the release that was verified at boot would be another one by now",
		part:  "node", faces: 1, serve: serveModuleNode, blind: true,
	},
	{
		Name: "double-spend", Code: "credit.spent", By: "the bank", because: "refused by gateway, router or node",
		About: "a client keeps a copy of its wallet and pays with coins that it has spent already",
		Why:   "whoever can spend a coin twice computes for free, and the money of everybody else is worth less",
		money: true, clients: spendTwice,
	},
	{
		Name: "refund-inflate", Code: "credit.refund", By: "the router, and the client told so", because: "word on what the request used was refused",
		About: "the nodes claim to have used less than nothing of what was held for a request",
		Why:   "more would come back than was paid: money out of nothing, and a way to pay one user for coming back",
		part:  "node", faces: 1, serve: serveInflatingNode, money: true,
	},
	{
		Name: "issuer-mark", Code: "key.consistency", By: "the client", because: "logged key",
		About: "the bank writes a user's change with keys that it made for that user",
		Why:   "coins of a key of one's own are a name: the bank would see who comes back, whatever relays stand in between",
		part:  "bank", faces: 1, serve: serveMarkingBank, money: true,
	},
	{
		Name: "bank-amnesia", Code: "bank.generation", By: "the router", because: "refused by gateway, router or node",
		About: "the bank serves from an old copy of its database and does not raise its generation",
		Why:   "what was spent since that copy was made could be spent again",
		part:  "bank", faces: 1, serve: serveForgetfulBank, money: true,
	},
}

// FindMode finds a hostile mode by name.
func FindMode(name string) (Mode, bool) {
	for _, m := range Modes {
		if m.Name == name {
			return m, true
		}
	}
	return Mode{}, false
}

// twinPrefix begins the role names of hostile twins.
const twinPrefix = "evil-"

// findRole finds an honest role or a hostile twin.
func findRole(name string) (role, bool) {
	if r, ok := roles[name]; ok {
		return r, true
	}
	name, isTwin := strings.CutPrefix(name, twinPrefix)
	m, ok := FindMode(name)
	return role{m.faces, m.serve}, isTwin && ok
}

// bribe puts the twins of the plan's mode into their seats.
func (p *plan) bribe() error {
	if p.opts.Evil == "" {
		return nil
	}
	m, ok := FindMode(p.opts.Evil)
	if !ok {
		return fmt.Errorf("no hostile mode %q; --evil list shows them", p.opts.Evil)
	}
	for _, s := range p.seats {
		if m.blind && s.role == "publisher" {
			s.twin, s.sees = blindPublisher, "SIMULATED HOSTILE: lists nodes without looking at their evidence"
		}
		if s.role != m.part {
			continue
		}
		s.twin, s.sees = twinPrefix+m.Name, "SIMULATED HOSTILE: "+m.About
		for len(s.listeners) < m.faces {
			ln, err := listen("")
			if err != nil {
				return err
			}
			s.listeners = append(s.listeners, ln)
		}
	}
	return nil
}

// refusedAsPlanned reports whether err is what this lab's hostile mode is
// there to provoke.
func (l *Lab) refusedAsPlanned(err error) bool {
	m, ok := FindMode(l.opts.Evil)
	return ok && client.CodeOf(err) == m.Code
}

// Provoke sends one prompt into a lab with a hostile part and prints "refused
// CODE" on out if the right party refused for the right reason, nothing of the
// prompt left where nothing may, and the lab answers again from the same
// directory with honest parts only. Any other outcome is an error that says
// what happened instead. Afterwards the lab is an honest one.
func (l *Lab) Provoke(ctx context.Context, prompt string, out, info io.Writer) error {
	m, ok := FindMode(l.opts.Evil)
	if !ok {
		return fmt.Errorf("no hostile mode %q; --evil list shows them", l.opts.Evil)
	}
	fmt.Fprintf(info, "hostile   %s\n", m.About)
	if m.later {
		if err := l.letTurn(ctx); err != nil {
			return err
		}
	}
	ask := func() (*outcome, []string, error) {
		got, err := l.probe(ctx, prompt)
		return got, l.awaitDeeds(ctx), err
	}
	if m.clients != nil {
		ask = func() (*outcome, []string, error) { return m.clients(ctx, l, prompt) }
	}
	got, deeds, err := ask()
	if err != nil {
		return err
	}
	for _, d := range deeds {
		fmt.Fprintf(info, "did       %s\n", d)
	}
	if err := m.judge(got, deeds); err != nil {
		return fmt.Errorf("evil %s: %v", m.Name, err)
	}
	// %v: from here on the refusal is a success, not this command's error.
	fmt.Fprintf(info, "refused   by %s: %v\n", m.By, got.err)
	fmt.Fprintf(info, "otherwise %s\n", m.Why)
	fmt.Fprintf(info, "prompt    %s\n", got.leaves())
	if err := l.reform(ctx, prompt, info); err != nil {
		return fmt.Errorf("evil %s: refused as it should (%s), but the same state does not answer without the mode: %v", m.Name, m.Code, err)
	}
	_, err = fmt.Fprintf(out, "refused %s\n", m.Code)
	return err
}

// letTurn tells the twin that clients have seen the honest log, and waits until it
// has turned and no relay's copy is from before.
func (l *Lab) letTurn(ctx context.Context) error {
	if err := os.WriteFile(filepath.Join(l.dir, turnFile), nil, 0o600); err != nil {
		return err
	}
	for len(l.deeds()) == 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(2 * mirrorAge):
		return nil
	}
}

// judge says what is wrong with the outcome of a hostile mode, nil if it is as
// it must be. Errors carry no code: a failed demonstration is no refusal.
func (m *Mode) judge(got *outcome, deeds []string) error {
	var refusal *client.Error
	switch {
	case got.err == nil:
		return fmt.Errorf("the prompt was answered (%d bytes); nobody refused", len(got.answer))
	case !errors.As(got.err, &refusal):
		return fmt.Errorf("failed without a code: %v", got.err)
	case refusal.Code != m.Code:
		return fmt.Errorf("refused with %s, expected %s: %v", refusal.Code, m.Code, got.err)
	case !strings.Contains(refusal.Detail, m.because):
		return fmt.Errorf("refused with %s, but for another reason: %v", refusal.Code, got.err)
	case len(deeds) == 0:
		return fmt.Errorf("refused with %s, but the twin did nothing hostile", refusal.Code)
	case m.unsent && refusal.Sent:
		return fmt.Errorf("refused with %s, but the client says that the prompt had been sent", refusal.Code)
	case m.unsent && got.sent > 0:
		return fmt.Errorf("refused with %s, but %d bytes left the client after it had the prompt", refusal.Code, got.sent)
	}
	return nil
}

// reform starts the lab again from the same directory with honest parts only
// and asks again.
func (l *Lab) reform(ctx context.Context, prompt string, info io.Writer) error {
	l.stop()
	l.opts.Evil = ""
	if err := l.start(ctx); err != nil {
		return err
	}
	got, err := l.probe(ctx, prompt)
	switch {
	case err != nil:
		return err
	case got.err != nil:
		return errors.New(got.err.Error())
	case got.answer == "":
		return errors.New("the answer is empty")
	case got.sent < leastPrompt:
		// The count is what the proof rests on: here it has to see the prompt.
		return fmt.Errorf("the count of sent bytes saw %d of a prompt that takes at least %d", got.sent, leastPrompt)
	}
	fmt.Fprintf(info, "honest    the same state with honest parts answers: %s\n", strconv.Quote(abbreviate(got.answer)))
	fmt.Fprintf(info, "prompt    %s\n", got.leaves())
	return nil
}

func abbreviate(s string) string {
	if s = strings.TrimSpace(s); len(s) > 60 {
		s = strings.ToValidUTF8(s[:60], "") + "..."
	}
	return s
}

// deedMark begins what a twin logs of its deeds.
const deedMark = "SIMULATED HOSTILE"

// deed logs what a twin just did. The process id tells its lines from those of
// earlier runs in the same directory.
func deed(log *slog.Logger, format string, args ...any) {
	log.Warn(deedMark, "pid", os.Getpid(), "did", fmt.Sprintf(format, args...))
}

// awaitDeeds returns the deeds of this run. A twin logs one when it is done,
// which may be a moment after its victim noticed.
func (l *Lab) awaitDeeds(ctx context.Context) []string {
	for range 20 {
		if d := l.deeds(); len(d) > 0 {
			return d
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// deeds returns what the twins of this run say they did, each once.
func (l *Lab) deeds() []string {
	var out []string
	seen := map[string]bool{}
	for _, p := range l.processes {
		b, err := os.ReadFile(p.log)
		if err != nil {
			continue
		}
		mark := fmt.Sprintf("msg=%q pid=%d did=", deedMark, p.cmd.Process.Pid)
		for line := range strings.Lines(string(b)) {
			_, quoted, ok := strings.Cut(strings.TrimSpace(line), mark)
			did, err := strconv.Unquote(quoted)
			if !ok || err != nil {
				continue
			}
			if did = p.name + " " + did; !seen[did] {
				seen[did] = true
				out = append(out, did)
			}
		}
	}
	return out
}
