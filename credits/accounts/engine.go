// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package accounts

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/accounts/api"
	"github.com/sotto-project/sotto/credits/issue"
)

// Keys finds the private keys of a keyset. Those who hold keys of a keyset that
// the statement does not list use none of them.
type Keys interface {
	Of(keyset [32]byte) (*issue.Keys, bool)
}

// Rules are what an account may have. The zero Rules give nothing.
type Rules struct {
	// TokensPerEpoch is how many tokens of all types one account may have
	// evaluated in an epoch. Default 65536.
	TokensPerEpoch uint64 `yaml:"tokens_per_epoch"`
	// RequestsPerHour bounds the requests of one account, and Burst how many of
	// them come at once. Defaults 3600 and 60.
	RequestsPerHour uint64 `yaml:"requests_per_hour"`
	Burst           uint64 `yaml:"burst"`
	// Passes is how many passes an account gets in a mint period, at price zero.
	// Default none.
	Passes uint64 `yaml:"passes"`
	// PassProof is what has to be shown for them: "account", no more than an
	// account, which an administrator made; or "work", a proof of work. Required
	// with passes.
	PassProof string `yaml:"pass_proof"`
	// WorkBits is how hard the proof of work is: 2^bits hashes. Required with
	// "work", at most 40.
	WorkBits int `yaml:"work_bits"`
}

func (r *Rules) defaults() error {
	if r.TokensPerEpoch == 0 {
		r.TokensPerEpoch = 65536
	}
	if r.RequestsPerHour == 0 {
		r.RequestsPerHour = 3600
	}
	if r.Burst == 0 {
		r.Burst = 60
	}
	switch {
	case r.RequestsPerHour > 1<<32 || r.Burst > 1<<32 || r.TokensPerEpoch > 1<<40 || r.Passes > 1<<40:
		return errors.New("accounts: rules: out of bounds")
	case r.Passes > 0 && r.PassProof != "account" && r.PassProof != "work":
		return errors.New(`accounts: rules: pass_proof must be "account" or "work"`)
	case r.Passes == 0 && (r.PassProof != "" || r.WorkBits != 0), (r.PassProof == "work") != (r.WorkBits > 0), r.WorkBits < 0 || r.WorkBits > api.MaxWorkBits:
		return errors.New("accounts: rules: pass_proof goes with passes, and work_bits (1 to 40) with \"work\"")
	}
	return nil
}

// A PassProof judges what a client shows to get passes. It is the operator's
// choice, and says nothing about who anybody is to anybody else.
type PassProof interface {
	// Proves reports whether the request earns passes.
	Proves(account api.Account, r *api.IssueRequest) bool
}

// AccountProof asks for no more than the account.
type AccountProof struct{}

// Proves is true.
func (AccountProof) Proves(api.Account, *api.IssueRequest) bool { return true }

// WorkProof asks for a proof of work of so many bits.
type WorkProof int

// Proves reports whether the work was done for this request.
func (w WorkProof) Proves(account api.Account, r *api.IssueRequest) bool {
	return w > 0 && r.Worked(account, int(w))
}

// A Refusal is a refusal with its HTTP status and its code. Nothing of the
// request is in it.
type Refusal struct {
	Status int
	Code   string
}

func (r *Refusal) Error() string { return "accounts: " + r.Code }

var (
	errRequest    = &Refusal{400, api.CodeRequest}
	errReused     = &Refusal{409, api.CodeRequest}
	errAuth       = &Refusal{401, api.CodeAuth}
	errFrozen     = &Refusal{403, api.CodeFrozen}
	errRate       = &Refusal{429, api.CodeRate}
	errLimit      = &Refusal{409, api.CodeLimit}
	errWork       = &Refusal{403, api.CodeWork}
	errGrant      = &Refusal{403, api.CodeGrant}
	errAbsent     = &Refusal{404, api.CodeAbsent}
	errPayment    = &Refusal{403, api.CodePayment}
	errEpoch      = &Refusal{402, credits.CodeEpoch}
	errClass      = &Refusal{402, credits.CodeClass}
	errSig        = &Refusal{402, credits.CodeSig}
	errFunds      = &Refusal{402, credits.CodeFunds}
	errTooMany    = &Refusal{429, credits.CodeRate}
	errSpent      = &Refusal{409, credits.CodeSpent}
	errGeneration = &Refusal{503, credits.CodeGeneration}
	errStarting   = &Refusal{503, "starting"}
	errStore      = &Refusal{500, "store"}
)

// An Engine does what accounts ask for. It is safe for concurrent use, and so
// are several on one database.
type Engine struct {
	store  *Store
	source Source
	keys   Keys
	rules  Rules
	proof  PassProof // nil: no passes

	away uint64
	mu   sync.Mutex // one look at the epoch at a time

	// One account's requests run one after the other, so that a copy waits for
	// the first and costs no arithmetic.
	lanes [64]sync.Mutex
}

// NewEngine puts an engine together. rules are checked, and have defaults. A
// database that served last in an epoch `away` or more before the present one
// does not serve; 2 is what the specification says.
func NewEngine(store *Store, source Source, keys Keys, rules Rules, away uint64) (*Engine, error) {
	if err := rules.defaults(); err != nil {
		return nil, err
	}
	e := &Engine{store: store, source: source, keys: keys, rules: rules, away: max(away, 2)}
	switch {
	case rules.Passes == 0:
	case rules.PassProof == "work":
		e.proof = WorkProof(rules.WorkBits)
	default:
		e.proof = AccountProof{}
	}
	return e, nil
}

// View returns the epoch's view if this database may serve under it: the
// statement names its generation, and it served lately (docs/spec/payment.md,
// section 8). Otherwise it could be a backup, in which what was spent since is
// not.
func (e *Engine) View(ctx context.Context) (View, error) {
	v, err := e.source.View()
	if err != nil || v.Set == nil || v.Epoch == 0 {
		return View{}, errStarting
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	generation, served, err := e.store.generation(ctx)
	switch {
	case err != nil:
		return View{}, err
	case generation != v.Generation, served != 0 && v.Epoch >= served+e.away, v.Epoch < served:
		return View{}, errGeneration
	case served == v.Epoch:
		return v, nil
	}
	if err := e.store.serve(ctx, v.Epoch); err != nil {
		return View{}, err
	}
	return v, e.store.prune(ctx, v.Epoch)
}

// update is [Store.update] fenced: a process can be behind by any time, and the
// database may have been given another generation, or be ahead, by then.
func (e *Engine) update(ctx context.Context, v View, f func(tx *sql.Tx) error) error {
	return e.store.update(ctx, func(tx *sql.Tx) error {
		var generation, served uint64
		if err := tx.QueryRow("SELECT generation, served FROM meta").Scan(&generation, &served); err != nil {
			return storeError(err)
		}
		if generation != v.Generation || served > v.Epoch+1 {
			return errGeneration
		}
		return f(tx)
	})
}

func (e *Engine) lane(a api.Account) *sync.Mutex { return &e.lanes[a[0]&63] }

// Authenticate returns the account that a key opens. An unknown key, a wrong
// one and one that is over are refused alike.
func (e *Engine) Authenticate(ctx context.Context, k *api.Key) (api.Account, error) {
	v, err := e.View(ctx)
	if err != nil {
		return api.Account{}, err
	}
	var account, hash []byte
	var until uint64
	err = e.store.read.QueryRowContext(ctx, "SELECT account, hash, until FROM keys WHERE id = ?", k.ID[:]).Scan(&account, &hash, &until)
	known := err == nil && len(hash) == 32 && len(account) == 16
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return api.Account{}, storeError(err)
	}
	var against [32]byte // of nothing
	if known {
		against = [32]byte(hash)
	}
	if !k.Opens(against) || !known || until < v.Epoch {
		return api.Account{}, errAuth
	}
	return api.Account(account), nil
}

// Account returns an account's state.
func (e *Engine) Account(ctx context.Context, a api.Account) (*api.AccountState, error) {
	v, err := e.View(ctx)
	if err != nil {
		return nil, err
	}
	s := &api.AccountState{Account: a, Epoch: v.Epoch, Limits: api.Limits{
		TokensPerRequest: api.MaxTokens, TokensPerEpoch: e.rules.TokensPerEpoch, RequestsPerHour: e.rules.RequestsPerHour,
		Passes: e.rules.Passes, WorkBits: e.rules.WorkBits,
	}}
	switch err := e.store.read.QueryRowContext(ctx, "SELECT balance, frozen FROM accounts WHERE id = ?", a[:]).Scan(&s.Balance, &s.Frozen); {
	case errors.Is(err, sql.ErrNoRows):
		return nil, errAbsent
	case err != nil:
		return nil, storeError(err)
	}
	rows, err := e.store.read.QueryContext(ctx, "SELECT tier, tokens FROM grants WHERE account = ? AND tokens > 0 ORDER BY tier", a[:])
	if err != nil {
		return nil, storeError(err)
	}
	defer rows.Close()
	for rows.Next() {
		var g api.Entitlement
		if err := rows.Scan(&g.Tier, &g.Tokens); err != nil {
			return nil, storeError(err)
		}
		s.Limits.Entitlements = append(s.Limits.Entitlements, g)
	}
	return s, storeError(rows.Err())
}

// History returns the entries of an account after a number.
func (e *Engine) History(ctx context.Context, a api.Account, after uint64) (*api.HistoryPage, error) {
	if _, err := e.View(ctx); err != nil {
		return nil, err
	}
	rows, err := e.store.read.QueryContext(ctx,
		"SELECT number, epoch, kind, units, request, coalesce(event, '') FROM history WHERE account = ? AND number > ? ORDER BY number LIMIT ?", a[:], after, api.PageHistory+1)
	if err != nil {
		return nil, storeError(err)
	}
	defer rows.Close()
	p := &api.HistoryPage{Entries: []api.Entry{}}
	for rows.Next() {
		if len(p.Entries) == api.PageHistory {
			p.Next = p.Entries[len(p.Entries)-1].Number
			break
		}
		var x api.Entry
		var request []byte
		if err := rows.Scan(&x.Number, &x.Epoch, &x.Kind, &x.Units, &request, &x.Event); err != nil {
			return nil, storeError(err)
		}
		if len(request) == 32 {
			id := api.ID(request)
			x.Request = &id
		}
		p.Entries = append(p.Entries, x)
	}
	return p, storeError(rows.Err())
}

// A move is one entry of a history.
type move struct {
	kind    string
	units   uint64
	request *api.ID
	event   string
	digest  []byte
}

// book moves an account's balance and appends to its history, and returns the
// entry's number.
func book(tx *sql.Tx, a api.Account, epoch uint64, m move) (number uint64, err error) {
	var balance uint64
	var frozen bool
	switch err := tx.QueryRow("SELECT balance, frozen, moves + 1 FROM accounts WHERE id = ?", a[:]).Scan(&balance, &frozen, &number); {
	case errors.Is(err, sql.ErrNoRows):
		return 0, errAbsent
	case err != nil:
		return 0, storeError(err)
	}
	// A frozen account can be paid into: the provider has the money already.
	switch {
	case frozen && m.kind != api.KindTopUp:
		return 0, errFrozen
	case m.kind == api.KindIssue && m.units > balance:
		return 0, errFunds
	case m.kind == api.KindIssue:
		balance -= m.units
	case m.units > api.MaxBalance-balance:
		return 0, errLimit
	default:
		balance += m.units
	}
	if _, err := tx.Exec("UPDATE accounts SET balance = ?, moves = ? WHERE id = ?", balance, number, a[:]); err != nil {
		return 0, storeError(err)
	}
	var request, event any
	if m.request != nil {
		request = m.request[:]
	}
	if m.event != "" {
		event = m.event
	}
	_, err = tx.Exec("INSERT INTO history (account, number, epoch, kind, units, request, event, digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		a[:], number, epoch, m.kind, m.units, request, event, m.digest)
	return number, storeError(err)
}

// earlier finds what a request was answered, in its transaction or before. A
// request with the same id and other content is refused.
func earlier(q querier, a api.Account, request api.ID, digest [32]byte) (answer []byte, err error) {
	var had []byte
	switch err := q.QueryRow("SELECT digest, answer FROM requests WHERE account = ? AND request = ?", a[:], request[:]).Scan(&had, &answer); {
	case errors.Is(err, sql.ErrNoRows):
		// The answer is dropped when its tokens are over; the history stays.
		var n int
		if err := q.QueryRow("SELECT count(*) FROM history WHERE account = ? AND request = ?", a[:], request[:]).Scan(&n); err != nil {
			return nil, storeError(err)
		}
		if n > 0 {
			return nil, errReused
		}
		return nil, nil
	case err != nil:
		return nil, storeError(err)
	case string(had) != string(digest[:]):
		return nil, errReused
	}
	return answer, nil
}

// remember keeps an answer.
func remember(tx *sql.Tx, a api.Account, request api.ID, number uint64, digest [32]byte, keyset []byte, epoch uint64, tokens int, last uint64, answer []byte) error {
	_, err := tx.Exec("INSERT INTO requests VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", a[:], request[:], number, digest[:], keyset, epoch, tokens, last, answer)
	return storeError(err)
}

// statusOf returns what to answer for an error.
func statusOf(err error) *Refusal {
	var r *Refusal
	if errors.As(err, &r) {
		return r
	}
	return errStore
}

// Check recomputes what must hold of money, for each account and for all: what
// was topped up and redeemed is what is there and what was issued. It also looks
// at the admin log and at the file.
func (s *Store) Check(ctx context.Context) (*Totals, error) {
	var says string
	if err := s.read.QueryRowContext(ctx, "PRAGMA integrity_check").Scan(&says); err != nil || says != "ok" {
		return nil, fmt.Errorf("accounts: check: the file is damaged (%v)", err)
	}
	rows, err := s.read.QueryContext(ctx, `
		SELECT a.id, a.balance, a.moves, count(h.number), coalesce(max(h.number), 0),
			coalesce(sum(h.units) FILTER (WHERE h.kind = 'topup'), 0),
			coalesce(sum(h.units) FILTER (WHERE h.kind = 'redeem'), 0),
			coalesce(sum(h.units) FILTER (WHERE h.kind = 'issue'), 0)
		FROM accounts a LEFT JOIN history h ON h.account = a.id GROUP BY a.id`)
	if err != nil {
		return nil, storeError(err)
	}
	defer rows.Close()
	t := &Totals{}
	for rows.Next() {
		var id []byte
		var balance, moves, entries, newest, topped, redeemed, issued uint64
		if err := rows.Scan(&id, &balance, &moves, &entries, &newest, &topped, &redeemed, &issued); err != nil {
			return nil, storeError(err)
		}
		if topped+redeemed != balance+issued || moves != entries || moves != newest {
			return nil, fmt.Errorf("accounts: check: account %x does not add up", id)
		}
		t.Accounts++
		t.Balance += balance
		t.ToppedUp += topped
		t.Redeemed += redeemed
		t.Issued += issued
	}
	if err := rows.Err(); err != nil {
		return nil, storeError(err)
	}
	var stray int
	err = s.read.QueryRowContext(ctx, `SELECT count(*) FROM requests r LEFT JOIN history h
		ON h.account = r.account AND h.number = r.number AND h.request = r.request AND h.epoch = r.epoch WHERE h.number IS NULL`).Scan(&stray)
	if err != nil {
		return nil, storeError(err)
	}
	if stray > 0 {
		return nil, fmt.Errorf("accounts: check: %d answers that no history has", stray)
	}
	t.Log, err = s.VerifyLog(ctx, Head{}, nil)
	return t, err
}

// Totals are what [Store.Check] found, in units.
type Totals struct {
	Accounts                            int
	ToppedUp, Redeemed, Balance, Issued uint64
	Log                                 Head
}
