// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package wallet keeps coins: it knows which there are, which blanks were ever
// sent, what is owed, and writes each of these down before anybody else can see
// its effect.
//
// It dials nobody and reads no clock: its client sends what it makes and tells
// it what came back, and its time is the epoch of a verified statement. It draws
// randomness for names of orders and for delays. The specification is
// docs/spec/wallet.md.
package wallet

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/credits/blind"
	"github.com/sotto-project/sotto/internal/durable"
	"github.com/sotto-project/sotto/internal/redact"
)

const (
	journalFile = "journal"
	seedFile    = "seed"
	lockFile    = "lock"

	seedLabel = "sotto-wallet-seed-v1\n"

	// compactAt is the size of a journal, in bytes, from which on it is replaced
	// by a snapshot when it is four times as large as its last one was.
	compactAt = 1 << 20

	codeUnsent = "unsent"
)

var (
	// ErrMoved: the wallet was exported; another copy continues it. Two that
	// go on from one journal would send the same blanks.
	ErrMoved = errors.New("wallet: exported; another copy continues it")
	// ErrUnknown: no payment or order goes by that name.
	ErrUnknown error = &credits.Refusal{Code: credits.CodeAbsent, Why: "no payment or order by that name"}
)

// A Wallet is one folder of coins. It is safe for concurrent use, by one
// process.
type Wallet struct {
	dir    string
	seed   redact.Secret
	random io.Reader
	lock   *os.File

	mu      sync.Mutex // guards what follows; held while a record is applied and queued
	state   *state
	journal journal
	policy  Policy
	compact int64          // size from which on the journal is replaced
	expired uint64         // newest epoch that was told to Expire
	err     error          // a record could not be applied: nothing more is done
	ahead   map[ref]*ahead // by coin: what was prepared, is on disk and was not sent
	looked  map[ref]uint64 // by coin: the epoch in which change was looked for and was not there
	closed  bool

	late sync.WaitGroup // writes that nobody waits for; added to while mu is held
}

// journal is a [durable.Journal], for tests to have it fail.
type journal interface {
	Add(record []byte) waiter
	Replace(records [][]byte) error
	Sync() error
	Size() int64
	Close() error
}

type waiter interface{ Wait() error }

type disk struct{ *durable.Journal }

func (d disk) Add(record []byte) waiter { return d.Journal.Add(record) }

// Create makes a new wallet of a seed in an empty or new folder, and opens it.
func Create(dir string, seed redact.Secret) (*Wallet, error) {
	return create(dir, seed, newState())
}

func create(dir string, seed redact.Secret, s *state) (*Wallet, error) {
	if len(seed.Bytes()) != blind.SeedSize {
		return nil, errors.New("wallet: create: no seed")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("wallet: create: %v", err)
	}
	if st, err := os.Stat(dir); err != nil || runtime.GOOS != "windows" && st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("wallet: create: %s is open to others than its owner; chmod 700", dir)
	}
	for _, f := range []string{journalFile, seedFile} {
		if _, err := os.Lstat(filepath.Join(dir, f)); err == nil {
			return nil, fmt.Errorf("wallet: create: %s: there is a wallet already: %w", dir, fs.ErrExist)
		}
	}
	if err := durable.CreateFile(filepath.Join(dir, seedFile), append([]byte(seedLabel), seed.Bytes()...), 0o600); err != nil {
		return nil, fmt.Errorf("wallet: create: %v", err)
	}
	if err := durable.CreateJournal(filepath.Join(dir, journalFile), printAll(s.snapshot())); err != nil {
		return nil, fmt.Errorf("wallet: create: %v", err)
	}
	return Open(dir)
}

func printAll(list []record) (out [][]byte) {
	for _, r := range list {
		out = append(out, print(r))
	}
	return out
}

// Open opens a wallet, or fails at once if another process has it open.
func Open(dir string) (_ *Wallet, err error) {
	w := &Wallet{dir: dir, random: rand.Reader, state: newState(), ahead: map[ref]*ahead{}, looked: map[ref]uint64{}}
	if w.seed, err = readSeed(filepath.Join(dir, seedFile)); err != nil {
		return nil, err
	}
	if w.lock, err = durable.Lock(filepath.Join(dir, lockFile)); err != nil {
		return nil, fmt.Errorf("wallet: %w", err)
	}
	if err := w.load(); err != nil {
		return nil, errors.Join(err, w.lock.Close())
	}
	return w, nil
}

func (w *Wallet) load() error {
	path := filepath.Join(w.dir, journalFile)
	if err := private(path); err != nil {
		return err
	}
	policy, err := readPolicy(w.dir)
	if err != nil {
		return err
	}
	j, err := durable.OpenJournal(path, w.state.replay)
	if err != nil {
		return fmt.Errorf("wallet: %w", err)
	}
	w.policy, w.journal, w.compact = policy, disk{j}, max(compactAt, 4*j.Size())
	if w.state.moved || len(w.state.ready()) == 0 {
		return nil
	}
	// Whoever prepared this did not close. The record is written with the next: until
	// then the journal comes to the same without it.
	_, err = w.record(&doubtedRecord{})
	return err
}

func readSeed(path string) (redact.Secret, error) {
	if err := private(path); err != nil {
		return redact.Secret{}, err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return redact.Secret{}, fmt.Errorf("wallet: seed: %v", err)
	}
	seed, ok := bytes.CutPrefix(b, []byte(seedLabel))
	if !ok || len(seed) != blind.SeedSize {
		return redact.Secret{}, fmt.Errorf("wallet: %s is no seed", path)
	}
	return redact.New(seed), nil
}

// private refuses a file that others than its owner may read or write.
func private(path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("wallet: %w", err)
	}
	if runtime.GOOS != "windows" && st.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("wallet: %s is open to others than its owner (mode %04o); chmod 600", path, st.Mode().Perm())
	}
	return nil
}

// Seed is the wallet's seed, for its owner to write down: see [Words].
func (w *Wallet) Seed() redact.Secret { return w.seed }

// Close frees what is prepared, writes what is queued and lets go of the folder.
func (w *Wallet) Close() error {
	w.mu.Lock()
	var err error
	if !w.closed && w.ready() == nil {
		err = w.free(func(*preparedRecord) bool { return true })
	}
	w.closed = true
	w.mu.Unlock()
	w.late.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return errors.Join(err, w.journal.Close(), w.lock.Close())
}

// KeepProof writes what proves something to others into the wallet's folder, and
// returns where. What is there by that name stays.
func (w *Wallet) KeepProof(name string, text []byte) (path string, err error) {
	path = filepath.Join(w.dir, name)
	if err = durable.CreateFile(path, text, 0o600); errors.Is(err, fs.ErrExist) {
		err = nil
	}
	return path, err
}

// ready says why nothing may be done, if so. The caller holds mu.
func (w *Wallet) ready() error {
	if w.err != nil {
		return w.err
	}
	if w.state.moved {
		return ErrMoved
	}
	return nil
}

// record applies records and queues them for one write. The caller holds mu,
// and waits after it let go: until then nobody outside may see an effect.
func (w *Wallet) record(list ...record) (waiter, error) {
	var c waiter
	for _, r := range list {
		if err := w.state.apply(r); err != nil {
			w.err = err // what was applied before it is not on disk, or not whole
			return nil, err
		}
		c = w.journal.Add(print(r))
	}
	return c, nil
}

// wait returns when what was queued is on disk. If it may not be, the state in
// memory is ahead of the disk, and nothing more is done with it.
func (w *Wallet) wait(c waiter) error {
	err := c.Wait()
	if err != nil {
		w.mu.Lock()
		w.err = fmt.Errorf("wallet: nothing is done until it is opened again: %w", err)
		w.mu.Unlock()
	}
	return err
}

// synced returns when everything that others have done so far is on disk: what
// is only in memory must not be sent, nor be reported as done.
func (w *Wallet) synced() error {
	w.mu.Lock()
	j, err := w.journal, w.err
	w.mu.Unlock()
	if err != nil {
		return err
	}
	return j.Sync()
}

// keep returns the record of a keyset that is not kept yet.
func (w *Wallet) keep(k *credits.Keyset) []record {
	if w.state.sets[k.ID()] != nil {
		return nil
	}
	return []record{&keysetRecord{k.Append(nil)}}
}

// tidy replaces a journal that has grown by a snapshot.
func (w *Wallet) tidy() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil || w.journal.Size() < w.compact {
		return
	}
	// An error breaks the journal, and the next to write hears of it.
	_ = w.replace()
}

func (w *Wallet) replace() error {
	if err := w.journal.Replace(printAll(w.state.snapshot())); err != nil {
		return fmt.Errorf("wallet: %w", err)
	}
	w.compact = max(compactAt, 4*w.journal.Size())
	return nil
}

// Compact replaces the journal by a snapshot of what it comes to.
func (w *Wallet) Compact() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	return w.replace()
}

// Expire forgets what is of no use in an epoch of a verified statement: tokens
// that can no longer be spent, and payments that can no longer be recovered.
func (w *Wallet) Expire(epoch uint64) error {
	w.mu.Lock()
	if err := w.ready(); err != nil {
		w.mu.Unlock()
		return err
	}
	if epoch <= w.expired { // in this one everything is done
		w.mu.Unlock()
		return nil
	}
	c, err := w.record(&expireRecord{epoch})
	w.expired = epoch
	w.mu.Unlock()
	if err != nil {
		return err
	}
	defer w.tidy()
	return w.wait(c)
}

// blank is a blank of a token or payment of this wallet.
func (w *Wallet) blank(r ref) (*blind.Blank, error) {
	return blind.At(w.seed, r.keyset, r.generation, r.index)
}

func (w *Wallet) coin(t *token) *blind.Coin {
	return &blind.Coin{Keyset: t.keyset, Exponent: t.exponent, Output: t.output,
		Nonce: blind.Nonce(w.seed, t.keyset, t.generation, t.index)}
}
