// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package client is Sotto's client as an [http.RoundTripper]: it verifies the
// machines that could answer, draws a few of them, seals the request to those
// and sends it through a relay of its choice.
//
// It trusts what its own configuration names and nothing that a server says:
// no method takes trust policy from the network, nothing falls back to a
// weaker mode, and not one byte of a request leaves before verification. It
// asks no vendor about a chip (that would say which machine is about to be
// used); everything it checks comes with the evidence.
package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/audit/steer"
	"github.com/sotto-project/sotto/client/state"
	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/internal/httpx"
	"github.com/sotto-project/sotto/transparency"
	"github.com/sotto-project/sotto/transparency/release"
)

// Host is the only host a [Client] takes requests for. It does not resolve, so
// that an application that forgot to install the client as its transport fails
// instead of sending in the clear.
const Host = "sotto.invalid"

// BaseURL is what an OpenAI client library takes as its base URL.
const BaseURL = "https://" + Host + "/v1"

// Config is what a client needs to know beforehand. The zero value refuses.
type Config struct {
	// Relays are the base URLs of independent relays, two or more, such as
	// "https://relay.example". One is drawn per request; all serve the public
	// statement, and the client compares what they serve.
	Relays []string
	// TLS is the base configuration for connections to relays; nil takes the
	// system's roots. TLS 1.3 is enforced whatever it says.
	TLS *tls.Config
	// Trust names the statement log and who must have cosigned it.
	Trust transparency.Trust
	// Policy says which machines may see a prompt.
	Policy *attestation.Policy
	// Releases, when set, says whose releases to believe: then what runs on a
	// node must be in one that the statement names, beside what Policy asks. It is
	// the user's own, never a server's. Nil: nobody is asked, and the report says so.
	Releases *release.Trust
	// Candidates is how many nodes a request is sealed to; 0 means 3.
	Candidates int
	// Shaping is the size-and-time policy for answers: "frames" (the
	// default, also for ""), "constant", or "off".
	Shaping string
	// MaxFreshness is how old the youngest cosigned checkpoint may be, by
	// witness time; 0 means five minutes.
	MaxFreshness time.Duration
	// Patience is how long a relay may take for a checkpoint, a statement or a
	// tile of the log, and how long the answer to a longer question about the
	// world, such as a pack, may stand still; 0 means ten seconds. Prompts and
	// their answers are not meant: a model may think for longer.
	Patience time.Duration
	// State is a directory for what is remembered of the log from one run to
	// the next, made where there is none; several clients may share it. Empty
	// means that nothing is kept, which the report says: a log that goes back
	// between two runs is then not noticed.
	State string
	// Dial, when set, opens the connections to relays. Tests count bytes with it.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// MinSet is the fewest nodes, serving the model and not refused, that a
	// draw is made from; 0 means as many as Candidates. A list of a few nodes
	// says who those few users are.
	MinSet int
	// Steering says what an alarm of the steering statistic does:
	// [SteeringDefault], [SteeringWarn] or [SteeringRefuse].
	Steering string
	// SteeringStore keeps that statistic between runs; nil: in State, or, if
	// that is empty, only as long as the client lives.
	SteeringStore SteeringStore
	// Payments, when set, pays where an epoch asks for coins. Such epochs are
	// refused without.
	Payments *Payments
	// Receipt, when set, gets one receipt for each draw that was sent, for
	// [steer.Pool] and for auditors. It may be called from several goroutines.
	Receipt func(steer.Receipt)
	// Progress, when set, is called as nodes are verified, one call at a time,
	// with how many of how many are done.
	Progress func(done, total int)
	// Now is the clock; nil means [time.Now].
	Now func() time.Time
}

// shapings are the size-and-time policies by name; the first is the default.
var shapings = map[string]uint8{"": hpke.PolicyFrames, "frames": hpke.PolicyFrames, "constant": hpke.PolicyConstant, "off": hpke.PolicyOff}

// A Client is safe for concurrent use. Close releases its connections.
type Client struct {
	cfg     Config
	relays  []*relay
	http    *http.Client
	shaping uint8
	steer   *steering
	cash    *cash // nil without a wallet
	// releases is nil where the configuration names no trust in any.
	releases *release.Judge

	// turn holds one token; who has it may use what follows: the world that
	// requests are sealed against, and what is known of the log. It is held while a new world is fetched, so that a
	// hundred first requests fetch once; waiting for it ends with a request's
	// context, which a mutex would not.
	turn  chan struct{}
	world *world
	log   history

	// seenMu guards what the next report is about: the nodes last looked at.
	seenMu    sync.Mutex
	seenWorld *world
	seen      []*listed
}

// New checks cfg, and opens the wallet if it is to be opened; it dials nobody.
func New(cfg Config) (*Client, error) {
	c := &Client{cfg: cfg, turn: make(chan struct{}, 1)}
	if err := c.validate(); err != nil {
		return nil, &Error{Code: CodeConfig, Detail: err.Error()}
	}
	if err := c.cash.open(); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Client) validate() error {
	if len(c.cfg.Relays) < 2 {
		return errors.New("at least two relays of independent operators are needed: one to send through, one to compare the statement with")
	}
	for _, r := range c.cfg.Relays {
		u, err := url.Parse(r)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return fmt.Errorf("relay %q is not an https base URL", r)
		}
		if slices.ContainsFunc(c.relays, func(o *relay) bool { return strings.EqualFold(o.Host, u.Host) }) {
			return fmt.Errorf("relay %q is listed twice: a statement is to be compared between different relays", r)
		}
		c.relays = append(c.relays, &relay{URL: u})
	}
	if c.cfg.Policy == nil {
		return errors.New("no attestation policy: which machines may see a prompt?")
	}
	if c.cfg.Candidates == 0 {
		c.cfg.Candidates = 3
	}
	if c.cfg.Candidates < 1 || c.cfg.Candidates > 8 {
		return fmt.Errorf("%d candidates; between 1 and 8", c.cfg.Candidates)
	}
	if c.cfg.MinSet == 0 {
		c.cfg.MinSet = c.cfg.Candidates
	}
	if c.cfg.MinSet < c.cfg.Candidates {
		return fmt.Errorf("a smallest set of %d is below the %d candidates", c.cfg.MinSet, c.cfg.Candidates)
	}
	if c.cfg.MaxFreshness == 0 {
		c.cfg.MaxFreshness = 5 * time.Minute
	}
	if c.cfg.Patience == 0 {
		c.cfg.Patience = defaultPatience
	}
	if c.cfg.Patience < 0 {
		return fmt.Errorf("patience of %v", c.cfg.Patience)
	}
	if c.cfg.Now == nil {
		c.cfg.Now = time.Now
	}
	if c.cfg.State != "" {
		c.log.dir = state.New(c.cfg.State, c.cfg.Trust)
		if c.cfg.SteeringStore == nil {
			c.cfg.SteeringStore = c.log.dir.Statistic()
		}
	}
	var err error
	if c.releases, err = newReleases(c.cfg.Releases); err != nil {
		return err
	}
	if c.steer, err = newSteering(c.cfg.Steering, c.cfg.SteeringStore, c.cfg.Now); err != nil {
		return err
	}
	if c.cash, err = newCash(c, c.cfg.Payments); err != nil {
		return err
	}
	var ok bool
	if c.shaping, ok = shapings[c.cfg.Shaping]; !ok {
		return fmt.Errorf("shaping %q; off, frames or constant", c.cfg.Shaping)
	}
	c.http = &http.Client{
		Transport:     c.transport(),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return nil
}

func (c *Client) transport() *http.Transport {
	tc := &tls.Config{}
	if c.cfg.TLS != nil {
		tc = c.cfg.TLS.Clone()
	}
	tc.MinVersion = tls.VersionTLS13
	t := httpx.NewTransport(tc)
	if c.cfg.Dial != nil {
		t.DialContext = c.cfg.Dial
	}
	return t
}

// Close drops idle connections and saves the steering statistic. Requests
// under way go on. What is owed to the wallet then stays owed until it is
// opened again.
func (c *Client) Close() {
	c.cash.close()
	c.http.CloseIdleConnections()
	c.steer.close()
}

// A Model is what nodes of the current statement serve.
type Model struct {
	Name    string
	Weights string // SHA-256 of the weights, hex
	Nodes   int
}

// Models lists the models of the current statement. It contacts nobody while
// the statement at hand is current.
func (c *Client) Models(ctx context.Context) ([]Model, error) {
	w, err := c.current(ctx)
	if err != nil {
		return nil, err
	}
	return w.models(), nil
}

// Report returns the report on the nodes that were looked at last: those of
// the last request, or all after [Client.Verify]. It is nil before either.
func (c *Client) Report() *Report {
	c.seenMu.Lock()
	defer c.seenMu.Unlock()
	if c.seenWorld == nil {
		return nil
	}
	r := c.seenWorld.report(c.seen, c.cfg.Now())
	r.Steering = c.steer.report()
	return r
}

func (c *Client) note(w *world, nodes []*listed) {
	c.seenMu.Lock()
	defer c.seenMu.Unlock()
	c.seenWorld, c.seen = w, nodes
}
