// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/sotto-project/sotto/credits/accounts"
	"github.com/sotto-project/sotto/credits/accounts/api"
	"github.com/sotto-project/sotto/internal/config"
	"github.com/sotto-project/sotto/internal/daemon"
	"github.com/sotto-project/sotto/internal/httpx"
)

// adminConfig is the YAML file of an administrator: where the admin port is, and
// who asks.
type adminConfig struct {
	// URL is the admin port's base, as "https://10.0.0.8:8444".
	URL string `yaml:"url"`
	// Name is the name in its certificate; the URL's host if empty.
	Name string `yaml:"name"`
	// TLS is the administrator's own certificate, and the operator's CA. The
	// admin log has the certificate's name.
	TLS httpx.TLS `yaml:"tls"`
}

// Validate checks what can be checked without touching a file.
func (c adminConfig) Validate() error {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("admin: url: want an https URL, have %q", c.URL)
	case c.TLS.Cert == "" || c.TLS.Key == "" || c.TLS.CA == "":
		return errors.New("admin: tls: cert, key and ca are all needed")
	}
	return nil
}

const keyOnce = `The key is printed once, and kept nowhere: give it to its owner.`

var adminCommands = []command{
	{"account create", "Makes an account with its first API key. " + keyOnce, accountCreate},
	{"account list", `Lists accounts, 256 a page.`, accountList},
	{"account show", `Shows an account's balance and limits. The admin log has that somebody looked.`, account("GET", "", nil)},
	{"account history", `Shows what moved on an account, 256 entries a page. The admin log has that somebody looked.`, accountHistory},
	{"account topup", `Puts units on an account. An event counts once: the same again changes nothing.
After an error it is not known whether it was done: say the same again, with the event.`, accountTopUp},
	{"account freeze", `Stops an account: it can be looked at and paid into, and nothing else.`, account("POST", "/freeze", struct{}{})},
	{"account unfreeze", `Lets a frozen account go on.`, account("POST", "/unfreeze", struct{}{})},
	{"account rotate", `Makes a new API key for an account. The old one opens for -overlap epochs more, the
present one counted; with 0 it is over at once. ` + keyOnce, accountRotate},
	{"grant", `Sets how many entitlement tokens of a tier an account may have in a mint period.`, grant},
	{"health", `Prints the admin port's health: state, epoch, generation, head of the admin log.`, adminHealth},
}

// A port is the admin port as a command asks it.
type port struct {
	base   *url.URL
	client *http.Client
}

func (e *env) admin(fs *flag.FlagSet, args []string, f func(p *port) (any, error), need ...string) int {
	file := fs.String("admin", "", "YAML `file`: where the admin port is, and who asks; deploy/ has one to start from")
	if code, done := e.parse(fs, args, append(need, "admin")...); done {
		return code
	}
	c, err := config.Load[adminConfig](*file)
	if err == nil {
		err = c.Validate()
	}
	if err != nil {
		return e.usage(err)
	}
	tc, err := c.TLS.Client(c.Name)
	if err != nil {
		return e.usage(err)
	}
	base, err := url.Parse(c.URL)
	if err != nil {
		return e.usage(err)
	}
	if base.Path == "" {
		base.Path = "/"
	}
	p := &port{base, &http.Client{Transport: httpx.NewTransport(tc), Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	defer p.client.CloseIdleConnections()
	out, err := f(p)
	if err != nil {
		return e.fail(err)
	}
	enc := json.NewEncoder(e.stdout)
	enc.SetIndent("", "  ")
	if err := enc.Encode(out); err != nil {
		return e.fail(err)
	}
	return daemon.ExitOK
}

// A refused is the code of an answer that says that nothing was done.
type refused string

func (r refused) Error() string {
	next := ""
	switch r {
	case "account.absent":
		next = ": no such account; sotto-bank account list shows those there are"
	case "credit.request":
		next = ": a value is out of bounds, or the event was something else before: account history shows it"
	case "bank.generation":
		next = ": no statement names this database's generation; sotto-bank health shows it, and \"The bank\" in docs/operate.md says what to do"
	case "starting":
		next = ": no statement is verified yet; the port's own log says why"
	case "peer":
		next = ": the first name of the certificate in -admin is none of the port's peers"
	}
	return "refused: " + string(r) + next
}

// ask sends one request and returns the answer's JSON.
func (p *port) ask(ctx context.Context, method, path string, query url.Values, body any) (json.RawMessage, error) {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		r = bytes.NewReader(b)
	}
	u := p.base.JoinPath(path)
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), r)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		var problem struct{ Code string }
		if json.Unmarshal(b, &problem) != nil || problem.Code == "" {
			return nil, fmt.Errorf("status %d", resp.StatusCode)
		}
		if resp.StatusCode < 500 {
			return nil, refused(problem.Code)
		}
		return nil, fmt.Errorf("refused: %s", problem.Code)
	}
	return b, nil
}

func accountFlag(fs *flag.FlagSet) *api.Account {
	a := new(api.Account)
	fs.Func("account", "account `id`, as account list shows it", func(s string) error { return a.UnmarshalText([]byte(s)) })
	return a
}

func account(method, what string, body any) func(context.Context, *env, []string) int {
	return func(ctx context.Context, e *env, args []string) int {
		fs := e.flags()
		a := accountFlag(fs)
		return e.admin(fs, args, func(p *port) (any, error) {
			return p.ask(ctx, method, "/v1/accounts/"+a.String()+what, nil, body)
		}, "account")
	}
}

func accountCreate(ctx context.Context, e *env, args []string) int {
	fs := e.flags()
	note := fs.String("note", "", "`text` of your own, such as a customer number")
	return e.admin(fs, args, func(p *port) (any, error) {
		return p.ask(ctx, "POST", "/v1/accounts", nil, accounts.NewAccount{Note: *note})
	})
}

func accountList(ctx context.Context, e *env, args []string) int {
	fs := e.flags()
	after := fs.String("after", "", "last account `id` of the page before")
	return e.admin(fs, args, func(p *port) (any, error) {
		q := url.Values{}
		if *after != "" {
			q.Set("after", *after)
		}
		return p.ask(ctx, "GET", "/v1/accounts", q, nil)
	})
}

func accountHistory(ctx context.Context, e *env, args []string) int {
	fs := e.flags()
	a := accountFlag(fs)
	after := fs.Uint64("after", 0, "`number` of the last entry of the page before")
	return e.admin(fs, args, func(p *port) (any, error) {
		return p.ask(ctx, "GET", "/v1/accounts/"+a.String()+"/history", url.Values{"after": {strconv.FormatUint(*after, 10)}}, nil)
	}, "account")
}

func accountTopUp(ctx context.Context, e *env, args []string) int {
	fs := e.flags()
	a := accountFlag(fs)
	units := fs.Uint64("units", 0, "`units` to put on it")
	event := fs.String("event", "", "`id` of the payment, counts once; drawn if empty")
	return e.admin(fs, args, func(p *port) (any, error) {
		if *event == "" {
			*event = "admin-" + rand.Text()
		}
		out, err := p.ask(ctx, "POST", "/v1/accounts/"+a.String()+"/topup", nil, accounts.Pay{Event: *event, Units: *units})
		if err != nil && !errors.As(err, new(refused)) {
			return nil, fmt.Errorf("%w. It may have been done; the same again with -event %s counts once", err, *event)
		}
		return out, err
	}, "account", "units")
}

func accountRotate(ctx context.Context, e *env, args []string) int {
	fs := e.flags()
	a := accountFlag(fs)
	overlap := fs.Uint64("overlap", 24, "`epochs` that the old key opens yet")
	return e.admin(fs, args, func(p *port) (any, error) {
		return p.ask(ctx, "POST", "/v1/accounts/"+a.String()+"/rotate", nil, accounts.Turn{Overlap: *overlap})
	}, "account")
}

func grant(ctx context.Context, e *env, args []string) int {
	fs := e.flags()
	a := accountFlag(fs)
	tier := fs.Uint("tier", 0, "`tier`, 1 to 255")
	tokens := fs.Uint64("tokens", 0, "`tokens` in a mint period; 0 takes the grant back")
	return e.admin(fs, args, func(p *port) (any, error) {
		if *tier == 0 || *tier > 255 {
			return nil, errors.New("-tier: 1 to 255")
		}
		return p.ask(ctx, "POST", "/v1/accounts/"+a.String()+"/grant", nil, api.Entitlement{Tier: uint8(*tier), Tokens: *tokens})
	}, "account", "tier", "tokens")
}

func adminHealth(ctx context.Context, e *env, args []string) int {
	return e.admin(e.flags(), args, func(p *port) (any, error) { return p.ask(ctx, "GET", "/v1/health", nil, nil) })
}
