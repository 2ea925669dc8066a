// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package accounts

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"

	"github.com/sotto-project/sotto/credits/accounts/api"
)

// forever is the last epoch of a key that was not rotated.
const forever = 1 << 40

// maxKeys is how many keys of an account open it at a time: the one that is in
// use and the one that comes.
const maxKeys = 2

// Create makes an account with its first API key. note is the operator's own,
// such as a customer number.
func (e *Engine) Create(ctx context.Context, who, note string) (a api.Account, key *api.Key, err error) {
	v, err := e.View(ctx)
	if err != nil {
		return a, nil, err
	}
	if len(note) > 256 {
		return a, nil, errRequest
	}
	if _, err := rand.Read(a[:]); err != nil {
		return a, nil, err
	}
	if key, err = api.GenerateKey(rand.Reader); err != nil {
		return a, nil, err
	}
	hash := key.Hash()
	return a, key, e.update(ctx, v, func(tx *sql.Tx) error {
		if _, err := tx.Exec("INSERT INTO accounts VALUES (?, 0, 0, 0, ?)", a[:], note); err != nil {
			return storeError(err)
		}
		if _, err := tx.Exec("INSERT INTO keys VALUES (?, ?, ?, ?)", key.ID[:], a[:], hash[:], forever); err != nil {
			return storeError(err)
		}
		return logEntry(tx, Act{Who: who, What: "create", Account: a.String(), Key: key.ID.String(), Outcome: "ok"})
	})
}

// Rotate makes a new API key. The one before it opens for `overlap` epochs more,
// the present one counted; with 0 it is over at once.
func (e *Engine) Rotate(ctx context.Context, who string, a api.Account, overlap uint64) (*api.Key, error) {
	v, err := e.View(ctx)
	if err != nil {
		return nil, err
	}
	if overlap > 10_000 {
		return nil, errRequest
	}
	key, err := api.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	hash := key.Hash()
	return key, e.update(ctx, v, func(tx *sql.Tx) error {
		if err := exists(tx, a); err != nil {
			return err
		}
		if _, err := tx.Exec("UPDATE keys SET until = min(until, ?) WHERE account = ?", v.Epoch+overlap-1, a[:]); err != nil {
			return storeError(err)
		}
		// Of those that are on their way out the newest stays.
		if _, err := tx.Exec("DELETE FROM keys WHERE account = ?1 AND (until < ?2 OR id NOT IN (SELECT id FROM keys WHERE account = ?1 ORDER BY until DESC, id LIMIT ?3))", a[:], v.Epoch, maxKeys-1); err != nil {
			return storeError(err)
		}
		if _, err := tx.Exec("INSERT INTO keys VALUES (?, ?, ?, ?)", key.ID[:], a[:], hash[:], forever); err != nil {
			return storeError(err)
		}
		return logEntry(tx, Act{Who: who, What: "rotate", Account: a.String(), Key: key.ID.String(), Outcome: "ok"})
	})
}

// Freeze stops an account, or lets it go on. One that is frozen can be looked at
// and paid into.
func (e *Engine) Freeze(ctx context.Context, who string, a api.Account, frozen bool) error {
	v, err := e.View(ctx)
	if err != nil {
		return err
	}
	what := "unfreeze"
	if frozen {
		what = "freeze"
	}
	return e.update(ctx, v, func(tx *sql.Tx) error {
		if err := exists(tx, a); err != nil {
			return err
		}
		if _, err := tx.Exec("UPDATE accounts SET frozen = ? WHERE id = ?", frozen, a[:]); err != nil {
			return storeError(err)
		}
		return logEntry(tx, Act{Who: who, What: what, Account: a.String(), Outcome: "ok"})
	})
}

// Grant sets how many entitlements of a tier an account may have in a mint
// period.
func (e *Engine) Grant(ctx context.Context, who string, a api.Account, g api.Entitlement) error {
	v, err := e.View(ctx)
	if err != nil {
		return err
	}
	if g.Tier == 0 || g.Tokens > 1<<40 {
		return errRequest
	}
	return e.update(ctx, v, func(tx *sql.Tx) error {
		if err := exists(tx, a); err != nil {
			return err
		}
		if _, err := tx.Exec("INSERT INTO grants VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET tokens = excluded.tokens", a[:], g.Tier, g.Tokens); err != nil {
			return storeError(err)
		}
		return logEntry(tx, Act{Who: who, What: "grant", Account: a.String(), Tier: g.Tier, Tokens: g.Tokens, Outcome: "ok"})
	})
}

// TopUp puts units on an account. An event counts once: the same again changes
// nothing, another with its id is refused. who is empty for a payment provider.
func (e *Engine) TopUp(ctx context.Context, who, event string, a api.Account, units uint64) error {
	v, err := e.View(ctx)
	if err != nil {
		return err
	}
	if event == "" || len(event) > 128 || !printable(event) || units == 0 {
		return errRequest
	}
	digest := eventDigest(a, units)
	return e.update(ctx, v, func(tx *sql.Tx) error {
		var had []byte
		switch err := tx.QueryRow("SELECT digest FROM history WHERE event = ?", event).Scan(&had); {
		case err == nil && string(had) != string(digest[:]):
			return errReused
		case err == nil && who == "":
			return nil
		case err == nil:
			return logEntry(tx, Act{Who: who, What: "topup", Account: a.String(), Units: units, Event: event, Outcome: "again"})
		case !errors.Is(err, sql.ErrNoRows):
			return storeError(err)
		}
		if _, err := book(tx, a, v.Epoch, move{kind: api.KindTopUp, units: units, event: event, digest: digest[:]}); err != nil {
			return err
		}
		if who == "" {
			return nil
		}
		return logEntry(tx, Act{Who: who, What: "topup", Account: a.String(), Units: units, Event: event, Outcome: "ok"})
	})
}

// A Listing is a row of the administrator's list.
type Listing struct {
	Account api.Account `json:"account"`
	Balance uint64      `json:"balance"`
	Frozen  bool        `json:"frozen"`
	Note    string      `json:"note,omitempty"`
}

// List returns up to 256 accounts after an id, in its order.
func (e *Engine) List(ctx context.Context, who string, after api.Account) ([]Listing, error) {
	out := []Listing{}
	rows, err := e.store.read.QueryContext(ctx, "SELECT id, balance, frozen, note FROM accounts WHERE id > ? ORDER BY id LIMIT 256", after[:])
	if err != nil {
		return nil, storeError(err)
	}
	defer rows.Close()
	for rows.Next() {
		var l Listing
		var id []byte
		if err := rows.Scan(&id, &l.Balance, &l.Frozen, &l.Note); err != nil {
			return nil, storeError(err)
		}
		if len(id) == 16 {
			l.Account = api.Account(id)
		}
		out = append(out, l)
	}
	if err := rows.Err(); err != nil {
		return nil, storeError(err)
	}
	return out, e.store.LogAct(ctx, Act{Who: who, What: "list", Outcome: "ok"})
}

func exists(q querier, a api.Account) error {
	var one int
	switch err := q.QueryRow("SELECT 1 FROM accounts WHERE id = ?", a[:]).Scan(&one); {
	case errors.Is(err, sql.ErrNoRows):
		return errAbsent
	default:
		return storeError(err)
	}
}

func printable(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}
