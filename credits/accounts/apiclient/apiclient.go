// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package apiclient asks a bank's identified port: HTTP around package api.
//
// It verifies nothing of what was issued: proofs are the wallet's to check,
// under the keyset of its verified statement. Its transport is its own: what is
// asked here carries an account's key, and shares no connection with anything
// that is anonymous.
package apiclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/sotto-project/sotto/credits/accounts/api"
)

// maxAnswer is the longest answer: a page of [api.PageIssued] full requests.
const maxAnswer = 8 << 20

// A Refusal is what a bank refused with: the code is one of package credits or
// package api, or of the bank's own making.
type Refusal struct {
	Status int
	Code   string
}

func (r *Refusal) Error() string { return "bank: " + r.Code }

// A Client asks as one account. It is safe for concurrent use.
type Client struct {
	base   *url.URL
	key    *api.Key
	client *http.Client
}

// New returns a client of the port at base, an https URL, over t, which nothing
// else uses.
func New(base string, key *api.Key, t http.RoundTripper) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
		return nil, fmt.Errorf("bank: want an https URL, have %q", base)
	}
	if key == nil || t == nil {
		return nil, errors.New("bank: a key and a transport are needed")
	}
	if u.Path == "" {
		u.Path = "/"
	}
	return &Client{u, key, &http.Client{Transport: t, Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}, nil
}

// Account returns the account's state.
func (c *Client) Account(ctx context.Context) (*api.AccountState, error) {
	return ask[api.AccountState](ctx, c, http.MethodGet, "/v1/account", 0, nil)
}

// Issue has tokens evaluated. After an error that is no [Refusal] nothing is
// known: the same request again finds out, and costs nothing.
func (c *Client) Issue(ctx context.Context, r *api.IssueRequest) (*api.Issued, error) {
	return ask[api.Issued](ctx, c, http.MethodPost, "/v1/issue", 0, r)
}

// Issued returns a page of what the account ever had evaluated of a keyset.
func (c *Client) Issued(ctx context.Context, keyset api.ID, after uint64) (*api.IssuedPage, error) {
	return ask[api.IssuedPage](ctx, c, http.MethodGet, "/v1/issued/"+keyset.String(), after, nil)
}

// Crowd says among how many tokens of a keyset one's own are, by the bank's word.
func (c *Client) Crowd(ctx context.Context, keyset api.ID) (*api.Crowd, error) {
	return ask[api.Crowd](ctx, c, http.MethodGet, "/v1/crowd/"+keyset.String(), 0, nil)
}

// Redeem puts vouchers on the account; errors are as those of Issue.
func (c *Client) Redeem(ctx context.Context, r *api.RedeemRequest) (*api.Redeemed, error) {
	return ask[api.Redeemed](ctx, c, http.MethodPost, "/v1/redeem", 0, r)
}

// History returns a page of what moved.
func (c *Client) History(ctx context.Context, after uint64) (*api.HistoryPage, error) {
	return ask[api.HistoryPage](ctx, c, http.MethodGet, "/v1/history", after, nil)
}

func ask[T any](ctx context.Context, c *Client, method, path string, after uint64, body any) (*T, error) {
	u := c.base.JoinPath(path)
	if after > 0 {
		u.RawQuery = "after=" + strconv.FormatUint(after, 10)
	}
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("bank: %v", err)
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), r)
	if err != nil {
		return nil, fmt.Errorf("bank: %v", err)
	}
	req.Header = http.Header{"Authorization": {"Bearer " + c.key.Text()}, "User-Agent": nil}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("bank: %w", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("bank: %w", err)
	case len(b) > maxAnswer:
		return nil, errors.New("bank: an answer that is too long")
	case resp.StatusCode != http.StatusOK:
		var p struct {
			Code string `json:"code"`
		}
		if json.Unmarshal(b, &p) != nil || !code(p.Code) {
			p.Code = "status " + strconv.Itoa(resp.StatusCode)
		}
		return nil, &Refusal{resp.StatusCode, p.Code}
	}
	v := new(T)
	if err := json.Unmarshal(b, v); err != nil {
		return nil, errors.New("bank: an answer that is not as it must be")
	}
	return v, nil
}

// code reports whether a bank's text is one: it goes into messages to people.
func code(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' {
			return false
		}
	}
	return s != "" && len(s) <= 64
}
