// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package lab runs the whole of Sotto on one machine, offline: two relays, a
// gateway, a router, nodes on SIMULATED hardware, an engine, a publisher and a
// proxy, each as a process of its own (the TPM simulator allows one TPM per
// process, and walls between roles are worth seeing). It can make one part
// hostile, so that people see what refusal looks like.
//
// The roles are the shipped ones, configured by files that can be read in the
// lab's directory; what the lab adds is fake hardware roots beneath them.
package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/client/cli"
	"github.com/sotto-project/sotto/internal/httpx"
)

// Options say how a lab is run. The zero value is a lab with three nodes, free
// ports, a directory that is removed at the end, and the built-in engine.
type Options struct {
	Dir    string // keeps state between runs; empty: a temporary one
	Listen string // address of the OpenAI-compatible endpoint; empty: a free port
	Nodes  int    // 0: three
	Engine string // base URL of an engine to use instead of the built-in one
	Fixed  bool   // the built-in engine serves the answers for measurements
	// Shaping is the proxy's size-and-time policy; empty: frames.
	Shaping string
	// Coins has every prompt paid, with play money; otherwise payment is none.
	Coins bool
	// Postgres is a file with a PostgreSQL connection string: the bank's anonymous
	// port keeps its books there, in a new database, and not in SQLite.
	Postgres string
	// Banks is how many processes serve that port, on the one PostgreSQL; 0: one.
	Banks int
	// Epoch is how long an epoch lasts; 0: ten minutes.
	Epoch time.Duration
	// Plain adds a chain of plain reverse proxies to the same engine, for
	// comparison. See [Lab.Plain].
	Plain bool
	// Profile is a directory that gets a CPU profile of each role; empty: none.
	Profile string
	// Metrics gives the roles that have metrics a port for them.
	Metrics bool
	// Evil makes one part hostile; empty: none. See [Modes].
	Evil string
	// Progress gets a line for each step of starting.
	Progress io.Writer
}

// A Lab is a running system.
type Lab struct {
	opts      Options
	dir       string
	temporary bool
	plan      *plan
	processes []*process
}

// Ready says where everything listens; it is the line that --json prints.
type Ready struct {
	Event     string   `json:"event"`
	OpenAI    string   `json:"openai"`
	Relays    []string `json:"relays"`
	Gateway   string   `json:"gateway"`
	Router    string   `json:"router"`
	Nodes     []string `json:"nodes"`
	Publisher string   `json:"publisher"`
	Engine    string   `json:"engine"`
	Control   string   `json:"control"`
	Metrics   []string `json:"metrics,omitempty"`
	Dir       string   `json:"dir"`
	Simulated bool     `json:"simulated"`
}

// Start starts every role and returns when a client could be answered. On
// error nothing is left running.
func Start(ctx context.Context, o Options) (l *Lab, err error) {
	if o.Nodes == 0 {
		o.Nodes = 3
	}
	if o.Epoch == 0 {
		o.Epoch = 10 * time.Minute
	}
	if m, ok := FindMode(o.Evil); ok && m.money {
		o.Coins = true
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	l = &Lab{opts: o, dir: o.Dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	if err := l.makeDir(); err != nil {
		return l, err
	}
	return l, l.start(ctx)
}

// start starts every role from what is in the lab's directory.
func (l *Lab) start(ctx context.Context) (err error) {
	if l.plan, err = newPlan(l.dir, l.opts); err != nil {
		return err
	}
	defer l.plan.closeListeners()
	// The proxy is a client, and comes when there is something to be a client of.
	if err := l.startRoles(ctx, func(s *seat) bool { return s.role != "proxy" }); err != nil {
		return err
	}
	if err := l.awaitWorld(ctx); err != nil {
		return err
	}
	if err := l.fund(ctx); err != nil {
		return err
	}
	return l.startRoles(ctx, func(s *seat) bool { return s.role == "proxy" })
}

func (l *Lab) makeDir() error {
	var err error
	if l.dir == "" {
		l.temporary = true
		l.dir, err = os.MkdirTemp("", "sotto-lab-")
		if err != nil {
			return err
		}
	}
	if l.dir, err = filepath.Abs(l.dir); err != nil {
		return err
	}
	return os.MkdirAll(filepath.Join(l.dir, "logs"), 0o700)
}

// startRoles starts those that are wanted, all at once: roles find one another by
// retrying, as they would on machines of their own.
func (l *Lab) startRoles(ctx context.Context, wanted func(*seat) bool) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range l.plan.seats {
		if !wanted(s) {
			continue
		}
		p, err := l.prepare(s)
		if err != nil {
			return err
		}
		g.Go(func() error {
			if err := p.awaitServing(ctx); err != nil {
				return err
			}
			l.say("%-12s %-28s %s", s.name, s.url, s.sees)
			return nil
		})
	}
	return g.Wait()
}

// awaitWorld waits until a client accepts the statement in force and every node
// it lists, and the router has found every node. In a directory with a past the
// first statement may be an old one, of nodes that have lost their keys since.
func (l *Lab) awaitWorld(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		// Each look is a new client's: one that has seen a hostile part's two
		// worlds has no other word for the log from then on.
		c, err := l.client(nil)
		if err != nil {
			return err
		}
		_, err = c.Verify(ctx)
		c.Close()
		if err == nil || l.refusedAsPlanned(err) {
			err = l.routerReady(ctx)
		}
		if err == nil {
			return nil
		}
		if p := l.ended(); p != nil {
			return fmt.Errorf("%s ended while the lab was starting (%v)%s", p.name, p.err, p.lastWords())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no statement that a client accepts within %v: %v", startTimeout, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// routerReady asks the router, as the gateway may, whether it reaches every
// node.
func (l *Lab) routerReady(ctx context.Context) error {
	tc, err := l.plan.operator.files("gateway").Client("router.sotto")
	if err != nil {
		return err
	}
	t := httpx.NewTransport(tc)
	defer t.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.plan.seat("router").url+"/v1/health", nil)
	if err != nil {
		return err
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var h struct {
		State string
		Nodes int
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 4<<10)).Decode(&h); err != nil {
		return err
	}
	if h.State != "ready" || h.Nodes < l.opts.Nodes {
		return fmt.Errorf("the router reaches %d of %d nodes", h.Nodes, l.opts.Nodes)
	}
	return nil
}

// AwaitVerdicts waits until every node vouches for every other one, which the
// router has them do after they are listed.
func (l *Lab) AwaitVerdicts(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	c, err := l.Client()
	if err != nil {
		return err
	}
	defer c.Close()
	for {
		m, err := c.Peers(ctx)
		if err == nil && everybodyVouches(m) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not every node vouched for every other one within %v: %v", startTimeout, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func everybodyVouches(m *client.PeerMatrix) bool {
	for _, n := range m.Nodes {
		if n.Vouch < len(m.Nodes)-1 {
			return false
		}
	}
	return true
}

// Collect verifies every node and returns what the verdict rests on, and who
// judges it as this lab's clients do, also when the lab is gone.
func (l *Lab) Collect(ctx context.Context) (*client.Saved, *client.Judge, error) {
	cfg, err := LoadTrust(l.TrustFile())
	if err != nil {
		return nil, nil, err
	}
	c, err := client.New(cfg)
	if err != nil {
		return nil, nil, err
	}
	defer c.Close()
	if _, err := c.Verify(ctx); err != nil {
		return nil, nil, err
	}
	b, err := c.Save()
	if err != nil {
		return nil, nil, err
	}
	s, err := client.ParseSaved(b)
	if err != nil {
		return nil, nil, err
	}
	return s, &client.Judge{Trust: cfg.Trust, Policy: cfg.Policy, Releases: cfg.Releases, At: s.Time}, nil
}

func (l *Lab) say(format string, args ...any) { fmt.Fprintf(l.opts.Progress, format+"\n", args...) }

// Client makes a client of this lab, as `sotto-lab chat` has it.
func (l *Lab) Client() (*client.Client, error) { return l.client(l.purse()) }

func (l *Lab) client(p *client.Payments) (*client.Client, error) {
	cfg, err := LoadTrust(l.TrustFile())
	if err != nil {
		return nil, err
	}
	cfg.Payments = p
	return client.New(cfg)
}

// TrustFile is the trust file of this lab's clients.
func (l *Lab) TrustFile() string { return TrustFile(l.dir) }

// TrustFile is where a lab in dir keeps the trust file of its clients.
func TrustFile(dir string) string { return filepath.Join(dir, "trust.yaml") }

// Ready says where everything listens.
func (l *Lab) Ready() Ready { return l.plan.ready(l.dir) }

// Processes says which process runs which role, by name.
func (l *Lab) Processes() map[string]int {
	pids := make(map[string]int, len(l.processes))
	for _, p := range l.processes {
		pids[p.name] = p.cmd.Process.Pid
	}
	return pids
}

// ended returns a process that is no longer running, or nil.
func (l *Lab) ended() *process {
	for _, p := range l.processes {
		if p.over() {
			return p
		}
	}
	return nil
}

// Wait returns when ctx ends. A role that ends by itself is reported to
// notices, once, and the rest goes on without it, as it would elsewhere; without
// the proxy there is nothing to talk to, and that is an error.
func (l *Lab) Wait(ctx context.Context, notices io.Writer) error {
	told := map[*process]bool{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(50 * time.Millisecond):
		}
		for _, p := range l.processes {
			if told[p] || !p.over() {
				continue
			}
			if p.name == "proxy" {
				return fmt.Errorf("%s ended (%v)%s", p.name, p.err, p.lastWords())
			}
			told[p] = true
			fmt.Fprintf(notices, "%s ended (%v)%s\n", p.name, p.err, p.lastWords())
		}
	}
}

// stop stops every role and waits for it.
func (l *Lab) stop() {
	for _, p := range l.processes {
		p.leash.Close() // all at once
	}
	for _, p := range l.processes {
		p.stop()
	}
	l.processes = nil
}

// Close stops every role and waits for it. A temporary directory is removed.
func (l *Lab) Close() error {
	l.stop()
	if l.temporary && l.dir != "" {
		return os.RemoveAll(l.dir)
	}
	return nil
}

// Ask sends one prompt as `sotto-lab --once` does.
func (l *Lab) Ask(ctx context.Context, prompt string, out, info io.Writer) error {
	c, err := l.Client()
	if err != nil {
		return err
	}
	defer c.Close()
	return cli.Ask(ctx, c, "", prompt, out, info)
}

// listen opens a port of the lab; "" means a free one.
func listen(addr string) (net.Listener, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	return cli.Listen(addr)
}
