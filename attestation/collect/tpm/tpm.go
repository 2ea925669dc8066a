// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package tpm is the one owner of a node's TPM 2.0: it makes the attestation
// key, quotes PCRs, and holds the P-256 half of a request encryption key under
// a PCR policy (docs/spec/key-custody.md).
//
// Every command of a process goes through one [TPM], which runs operations one
// at a time. The package speaks TPM structures and knows no evidence format,
// no HPKE and no clock. It never saves a context, never makes anything
// persistent, and uses the SHA-256 PCR bank only. The TPM's host sees what
// crosses its interface: parameters are not encrypted, because that host holds
// the key anyway; what keeps it out is the other half of the hybrid key.
package tpm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// Errors of this package that callers may branch on.
var (
	// ErrPCRMoved: a PCR in a seal key's policy no longer has the value the
	// key was created under. PCRs only go back by a reset, which ends the key,
	// so the key is of no further use.
	ErrPCRMoved = errors.New("tpm: seal pcr moved")
	// ErrReset: the TPM was reset, restarted or resumed since the object was
	// made. Seal keys do not survive that.
	ErrReset = errors.New("tpm: reset since the key was made")
	// ErrErased: the seal key was erased.
	ErrErased = errors.New("tpm: seal key erased")
	// ErrBusy: too many operations wait for the TPM, or one waited too long.
	ErrBusy = errors.New("tpm: queue full")
	// ErrUnstable: PCRs outside the policy kept changing under every attempt.
	// Trying again later may succeed.
	ErrUnstable = errors.New("tpm: pcrs kept changing")
	// ErrFull: no object slot is left; erase an older seal key first.
	ErrFull = errors.New("tpm: no object slot left")
	// ErrTransport: the connection to the TPM failed. It stays failed: a late
	// answer must not be taken for the answer to another command.
	ErrTransport = errors.New("tpm: transport failed")
	// ErrAbsent: the TPM has no NV index or persistent key of that handle.
	ErrAbsent = errors.New("tpm: no such index or key")
	// ErrClosed: the TPM was closed.
	ErrClosed = errors.New("tpm: closed")
)

const (
	// maxQueue bounds the operations that wait for the TPM. At a hardware
	// TPM's tens of milliseconds a longer queue would only serve requests
	// whose clients have gone.
	maxQueue = 128
	// maxWait bounds the wait of an [SealKey.ECDH], whose interface has no
	// context.
	maxWait = 10 * time.Second
	// maxTries bounds every loop that repeats because PCRs outside the policy
	// (10, the IMA log) moved between two commands.
	maxTries = 8
	// headerSize is tag, size and code of a TPM response (TPM 2.0 Part 1, 18).
	headerSize = 10
)

// A TPM is the one owner of a TPM. Its methods may be called from any
// goroutine: operations queue in order of arrival, at most a fixed number wait,
// and a wait ends with its context. A command that has been sent is not
// interrupted.
type TPM struct {
	wire    *wire
	slot    chan struct{} // one token: its holder may talk to the TPM
	waiting atomic.Int64

	// The fields below belong to whoever holds the slot.

	closed bool
	// session is the policy session shared by all seal keys. The TPM empties it
	// after each successful use (TPM 2.0 Part 3, 23.1), so that it can be
	// filled again by one PolicyPCR instead of being started afresh.
	session tpm2.Session
	// stale says that the session holds a policy of an unfinished use.
	stale bool
	// life counts the times the TPM was found reset. An object of an earlier
	// life is gone and its handle may by now belong to another object.
	life  uint64
	clock clock
	ak    *AK
	seals map[*SealKey]struct{}
}

// clock identifies a stretch of time in which transient objects live.
type clock struct {
	read           bool
	reset, restart uint32
}

// New returns the owner of the TPM behind t, which must not be used by anyone
// else from here on. It sends nothing.
func New(t transport.TPMCloser) *TPM {
	return &TPM{
		wire:  &wire{t: t},
		slot:  make(chan struct{}, 1),
		seals: make(map[*SealKey]struct{}),
	}
}

// Commands returns the number of commands sent to the TPM so far.
func (t *TPM) Commands() uint64 { return t.wire.sent.Load() }

// Close flushes what this owner made and closes the transport. Seal keys
// refuse afterwards.
func (t *TPM) Close() error {
	ctx, stop := context.WithTimeout(context.Background(), maxWait)
	defer stop()
	if err := t.acquire(ctx); err != nil {
		return err
	}
	defer t.release()
	t.closed = true
	// Best effort: a resource manager flushes on close, a bare TPM does not.
	for k := range t.seals {
		k.flush()
	}
	if t.ak != nil {
		t.ak.flush()
	}
	t.dropSession()
	return t.wire.t.Close()
}

// acquire waits for the slot. Channel receivers are served first come, first
// served, which is what makes this a queue.
func (t *TPM) acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("tpm: %w", err)
	}
	if t.waiting.Add(1) > maxQueue {
		t.waiting.Add(-1)
		return ErrBusy
	}
	defer t.waiting.Add(-1)
	select {
	case t.slot <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("tpm: %w", ctx.Err())
	}
	if t.closed {
		t.release()
		return ErrClosed
	}
	return nil
}

func (t *TPM) release() { <-t.slot }

// checkLife asks the TPM whether it was reset, restarted or resumed, and if so
// forgets every handle. Rare operations call it first: handles are recycled
// after a reset, so a stale one could name somebody else's object.
func (t *TPM) checkLife() error {
	rsp, err := tpm2.ReadClock{}.Execute(t.wire)
	if err != nil {
		return t.classify("read clock", err)
	}
	info := rsp.CurrentTime.ClockInfo
	now := clock{true, info.ResetCount, info.RestartCount}
	if t.clock.read && t.clock != now {
		t.life++
		t.session, t.stale = nil, false
		clear(t.seals)
	}
	t.clock = now
	return nil
}

// Counters tell the lives of a TPM apart: Reset grows with each TPM Reset (a
// reboot), Restart with each restart or resume in between (TPM 2.0 Part 1, 36).
type Counters struct{ Reset, Restart uint32 }

// Counters asks the TPM for its counters.
func (t *TPM) Counters(ctx context.Context) (Counters, error) {
	if err := t.acquire(ctx); err != nil {
		return Counters{}, err
	}
	defer t.release()
	if err := t.checkLife(); err != nil {
		return Counters{}, err
	}
	return Counters{t.clock.reset, t.clock.restart}, nil
}

func (t *TPM) dropSession() {
	if t.session != nil {
		// The session may be gone already; nothing depends on the answer.
		_, _ = tpm2.FlushContext{FlushHandle: t.session.Handle()}.Execute(t.wire)
		t.session, t.stale = nil, false
	}
}

// classify turns a TPM response code into this package's error where one is
// promised, and keeps the code as text otherwise.
func (t *TPM) classify(op string, err error) error {
	switch {
	case errors.Is(err, ErrTransport):
		return ErrTransport
	case gone(err):
		return ErrReset
	case errors.Is(err, tpm2.TPMRCObjectMemory), errors.Is(err, tpm2.TPMRCSessionMemory):
		return ErrFull
	}
	return fmt.Errorf("tpm: %s: %v", op, err)
}

// gone reports that a handle names nothing, or that the TPM awaits its startup.
func gone(err error) bool {
	for _, rc := range []tpm2.TPMRC{
		tpm2.TPMRCInitialize, tpm2.TPMRCHandle,
		tpm2.TPMRCReferenceH0, tpm2.TPMRCReferenceH1, tpm2.TPMRCReferenceH2,
		tpm2.TPMRCReferenceS0, tpm2.TPMRCReferenceS1,
	} {
		if errors.Is(err, rc) {
			return true
		}
	}
	return false
}

// wire counts commands, checks the framing of responses and keeps a failed
// transport failed. It belongs to the holder of the slot; only sent is read by
// others.
type wire struct {
	t      transport.TPMCloser
	sent   atomic.Uint64
	failed bool
	// last holds the buffers of the latest command and response, for wiping.
	last [2][]byte
}

// Send implements [transport.TPM]. A TPM that answers TPM_RC_RETRY has not
// started the command; it gets the same bytes again, a bounded number of times.
// (The kernel's driver does that too; a bare swtpm leaves it to us.)
func (w *wire) Send(cmd []byte) ([]byte, error) {
	for try := 1; ; try++ {
		if w.failed {
			return nil, ErrTransport
		}
		w.sent.Add(1)
		rsp, err := w.t.Send(cmd)
		if err != nil || len(rsp) < headerSize || uint64(binary.BigEndian.Uint32(rsp[2:])) != uint64(len(rsp)) {
			w.failed = true
			return nil, ErrTransport
		}
		if tpm2.TPMRC(binary.BigEndian.Uint32(rsp[6:])) != tpm2.TPMRCRetry || try == maxTries {
			w.last = [2][]byte{cmd, rsp}
			return rsp, nil
		}
	}
}

// wipe zeroes the buffers of the latest exchange, which held a secret. Copies
// made by the marshalling library are out of reach: this narrows the window, it
// does not close it.
func (w *wire) wipe() {
	clear(w.last[0])
	clear(w.last[1])
}
