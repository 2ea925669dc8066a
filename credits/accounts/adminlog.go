// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package accounts

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// An Act is an entry of the admin log: who did what, never a secret.
type Act struct {
	At         string `json:"at"`  // RFC 3339, UTC, whole seconds
	Who        string `json:"who"` // certificate name, or "local" with the user's name
	What       string `json:"what"`
	Account    string `json:"account,omitempty"`
	Key        string `json:"key,omitempty"` // id of an API key
	Units      uint64 `json:"units,omitempty"`
	Event      string `json:"event,omitempty"`
	Tier       uint8  `json:"tier,omitempty"`
	Tokens     uint64 `json:"tokens,omitempty"`
	Generation uint64 `json:"generation,omitempty"`
	// Digest is SHA-256 of a file that the act made: a ceremony's transcript.
	Digest  string `json:"digest,omitempty"`
	Outcome string `json:"outcome"` // "ok" or a code
}

const actLabel = "sotto admin log v1\x00"

// A Head is how long the admin log is, and the hash of its last entry. Noted
// elsewhere, it shows a log that was cut or written anew.
type Head struct {
	Number uint64
	Hash   [32]byte
}

func (h Head) String() string { return fmt.Sprintf("%d %s", h.Number, hex.EncodeToString(h.Hash[:])) }

// next is the head after an entry:
//
//	SHA-256("sotto admin log v1" || 0 || hash before || uint64 number || entry)
func (h Head) next(entry []byte) Head {
	b := append([]byte(actLabel), h.Hash[:]...)
	b = binary.BigEndian.AppendUint64(b, h.Number+1)
	return Head{h.Number + 1, sha256.Sum256(append(b, entry...))}
}

type querier interface {
	QueryRow(query string, args ...any) *sql.Row
}

func head(q querier) (h Head, err error) {
	var hash []byte
	err = q.QueryRow("SELECT number, hash FROM admin_log ORDER BY number DESC LIMIT 1").Scan(&h.Number, &hash)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return Head{}, nil
	case err != nil:
		return Head{}, storeError(err)
	case len(hash) != len(h.Hash):
		return Head{}, errors.New("accounts: log: a hash of another size")
	}
	h.Hash = [32]byte(hash)
	return h, nil
}

// logEntry appends an act in the transaction of what it did, so that there is
// neither without the other.
func logEntry(tx *sql.Tx, a Act) error {
	h, err := head(tx)
	if err != nil {
		return err
	}
	a.At = time.Now().UTC().Truncate(time.Second).Format(time.RFC3339)
	entry, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("accounts: log: %v", err)
	}
	h = h.next(entry)
	_, err = tx.Exec("INSERT INTO admin_log VALUES (?, ?, ?)", h.Number, string(entry), h.Hash[:])
	return storeError(err)
}

// LogAct appends an act that was done elsewhere: a ceremony, a call that was
// refused.
func (s *Store) LogAct(ctx context.Context, a Act) error {
	return s.update(ctx, func(tx *sql.Tx) error { return logEntry(tx, a) })
}

// LogHead returns the head of the admin log.
func (s *Store) LogHead() (Head, error) { return head(s.read) }

// ErrLog is an admin log of which the hashes do not fit.
var ErrLog = errors.New("accounts: log: broken")

// VerifyLog computes the chain of the admin log anew and returns its head. each,
// if not nil, gets every entry. A log that a head noted earlier does not lead to
// was cut or written anew: noted may be the zero Head.
func (s *Store) VerifyLog(ctx context.Context, noted Head, each func(number uint64, entry string)) (Head, error) {
	rows, err := s.read.QueryContext(ctx, "SELECT number, entry, hash FROM admin_log ORDER BY number")
	if err != nil {
		return Head{}, storeError(err)
	}
	defer rows.Close()
	var h Head
	met := noted == Head{}
	for rows.Next() {
		var number uint64
		var entry string
		var hash []byte
		if err := rows.Scan(&number, &entry, &hash); err != nil {
			return Head{}, storeError(err)
		}
		h = h.next([]byte(entry))
		if number != h.Number || string(hash) != string(h.Hash[:]) {
			return Head{}, fmt.Errorf("%w at entry %d", ErrLog, h.Number)
		}
		met = met || h == noted
		if each != nil {
			each(number, entry)
		}
	}
	if err := rows.Err(); err != nil {
		return Head{}, storeError(err)
	}
	if !met {
		return Head{}, fmt.Errorf("%w: it does not lead to the head %v that was noted", ErrLog, noted)
	}
	return h, nil
}
