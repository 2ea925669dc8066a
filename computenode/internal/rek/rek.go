// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package rek has custody of a node's request encryption keys: one hybrid
// MLKEM768-P256 key an epoch, its P-256 half in the TPM and its ML-KEM half in
// this process's memory only (docs/spec/key-custody.md).
//
// What it promises is an end: once a key has expired, a request sealed to it
// does not open any more, whatever else is left on the node. That rests on
// dropping the ML-KEM half; taking the P-256 half out of the TPM is the second
// lock. It decides nothing about requests: replay, busy and tickets are its
// caller's business, and belong before a key is asked for.
package rek

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/mlkem"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/sotto-project/sotto/attestation/collect/tpm"
	"github.com/sotto-project/sotto/hpke/recipient"
)

var (
	// ErrUnknownEpoch: no key is held for the epoch: it expired, was never
	// made, or the node was restarted since.
	ErrUnknownEpoch = errors.New("rek: no key for this epoch")
	// ErrEpoch: epochs only grow.
	ErrEpoch = errors.New("rek: epoch not above the newest key's")
)

const (
	// MaxHeld keys exist at a time: this epoch's, and the next one's or the
	// last one's. TPMs and the kernel's resource manager have three object
	// slots, and making a key takes two of them.
	MaxHeld = 2

	// eraseWait bounds the wait for the TPM when a timer expires a key.
	eraseWait = 10 * time.Second
)

// Keys are a node's request encryption keys. Methods may be called from any
// goroutine.
type Keys struct {
	tpm  *tpm.TPM
	pcrs []int

	rotate sync.Mutex     // held while a key is made
	timers sync.WaitGroup // expiries under way, for Close

	mu     sync.Mutex // guards what follows, and is never held across the TPM
	held   map[uint64]*key
	newest uint64
	made   bool // newest means something
	dead   error
}

// A Public is what the world learns of a key.
type Public struct {
	Epoch uint64
	// Bytes is the MLKEM768-P256 (0x0050) public key: the ML-KEM-768
	// encapsulation key and the uncompressed P-256 point, 1249 bytes.
	Bytes []byte
	// Seal is the P-256 half, for certifying its creation.
	Seal *tpm.SealKey
}

// key is one epoch's.
type key struct {
	public   Public
	private  *recipient.PrivateKey
	pq       *pqHalf
	deadline time.Time // zero: none
	timer    *time.Timer
	arming   int // counts ExpireAt, so that a timer knows it was replaced
}

// New returns custody over t's keys, sealed to pcrs, and sends nothing.
func New(t *tpm.TPM, pcrs []int) *Keys {
	return &Keys{tpm: t, pcrs: slices.Clone(pcrs), held: make(map[uint64]*key)}
}

// Rotate makes the key of an epoch above all before. If [MaxHeld] keys exist the
// oldest is expired first: a node can always move on.
func (k *Keys) Rotate(ctx context.Context, epoch uint64) (*Public, error) {
	k.rotate.Lock()
	defer k.rotate.Unlock()
	oldest, err := k.admit(epoch)
	if err != nil {
		return nil, err
	}
	if oldest != nil {
		// A failed flush shows as a full TPM below; the key is dead already.
		_ = k.Expire(ctx, oldest.public.Epoch)
	}
	fresh, err := k.generate(ctx, epoch)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dead != nil { // died meanwhile; the new half must not outlive that
		fresh.pq.erase()
		return nil, k.dead
	}
	k.held[epoch], k.newest, k.made = fresh, epoch, true
	return fresh.public.clone(), nil
}

// admit checks that a key for epoch may be made, and names the one to expire
// for it.
func (k *Keys) admit(epoch uint64) (oldest *key, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dead != nil {
		return nil, k.dead
	}
	if k.made && epoch <= k.newest {
		return nil, ErrEpoch
	}
	if len(k.held) < MaxHeld {
		return nil, nil
	}
	for _, h := range k.held {
		if oldest == nil || h.public.Epoch < oldest.public.Epoch {
			oldest = h
		}
	}
	return oldest, nil
}

func (k *Keys) generate(ctx context.Context, epoch uint64) (*key, error) {
	seal, err := k.tpm.CreateSealKey(ctx, k.pcrs)
	if err != nil {
		return nil, err
	}
	pq, err := newPQHalf()
	if err == nil {
		var private *recipient.PrivateKey
		private, err = recipient.NewHybridKey(pq, &tHalf{SealKey: seal, keys: k})
		if err == nil {
			public := Public{Epoch: epoch, Bytes: private.PublicKey().Bytes(), Seal: seal}
			return &key{public: public, private: private, pq: pq}, nil
		}
		pq.erase()
	}
	_ = seal.Erase(ctx)
	return nil, fmt.Errorf("rek: %v", err)
}

// Open returns the key of epoch, or [ErrUnknownEpoch]. The key refuses by
// itself once it has expired, also in the hands of who got it before; each use
// takes two TPM commands.
func (k *Keys) Open(epoch uint64) (*recipient.PrivateKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	h := k.held[epoch]
	if h == nil {
		return nil, ErrUnknownEpoch
	}
	if past(h.deadline) {
		// The timer is late: it runs on a clock that stands still while a
		// machine is suspended. The TPM's half is left to it.
		h.pq.erase()
		return nil, ErrUnknownEpoch
	}
	return h.private, nil
}

// Public returns the public part of epoch's key, or [ErrUnknownEpoch].
func (k *Keys) Public(epoch uint64) (*Public, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	h := k.held[epoch]
	if h == nil || past(h.deadline) {
		return nil, ErrUnknownEpoch
	}
	return h.public.clone(), nil
}

// Expire destroys the key of epoch. When it returns the ML-KEM half is gone,
// whatever the error, which is about the TPM's half only. A key that is not
// held is no error.
func (k *Keys) Expire(ctx context.Context, epoch uint64) error {
	k.mu.Lock()
	h := k.held[epoch]
	delete(k.held, epoch)
	if h != nil {
		h.pq.erase()
		k.stop(h)
	}
	k.mu.Unlock()
	if h == nil {
		return nil
	}
	runtime.GC() // frees, and in a runtimesecret build wipes, what was dropped
	return h.public.Seal.Erase(ctx)
}

// ExpireAt has the key of epoch expire at a time; a later call replaces the
// time. [Keys.Open] goes by the wall clock and does not depend on a timer.
func (k *Keys) ExpireAt(epoch uint64, at time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	h := k.held[epoch]
	if h == nil {
		return ErrUnknownEpoch
	}
	k.stop(h)
	h.deadline = at.Round(0) // without the monotonic reading, see Open
	h.arming++
	arming := h.arming
	k.timers.Add(1)
	h.timer = time.AfterFunc(time.Until(h.deadline), func() {
		defer k.timers.Done()
		k.expireOnTime(h, arming)
	})
	return nil
}

// expireOnTime expires h unless its time was changed as the timer fired.
func (k *Keys) expireOnTime(h *key, arming int) {
	k.mu.Lock()
	current := h.arming == arming
	k.mu.Unlock()
	if !current {
		return
	}
	ctx, stop := context.WithTimeout(context.Background(), eraseWait)
	defer stop()
	_ = k.Expire(ctx, h.public.Epoch) // the ML-KEM half is gone in any case
}

// stop stops h's timer. The caller holds mu.
func (k *Keys) stop(h *key) {
	if h.timer != nil && h.timer.Stop() {
		k.timers.Done()
	}
	h.timer = nil
}

// Err returns why custody ended for good, or nil: [tpm.ErrPCRMoved],
// [tpm.ErrReset] or [tpm.ErrTransport]. All ML-KEM halves are gone then, and no
// key is made any more: a node in this state drains.
func (k *Keys) Err() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.dead
}

// Close expires every key and waits for the timers. The TPM stays its owner's.
func (k *Keys) Close(ctx context.Context) error {
	k.die(tpm.ErrClosed)
	k.mu.Lock()
	var epochs []uint64
	for epoch := range k.held {
		epochs = append(epochs, epoch)
	}
	k.mu.Unlock()
	var errs []error
	for _, epoch := range epochs {
		errs = append(errs, k.Expire(ctx, epoch))
	}
	k.timers.Wait()
	return errors.Join(errs...)
}

// die ends custody: every ML-KEM half goes at once. The P-256 halves stay where
// they are, of no use to anyone, until Close or the owner of the TPM flushes.
func (k *Keys) die(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dead == nil {
		k.dead = err
	}
	for _, h := range k.held {
		h.pq.erase()
	}
}

// Format keeps fmt from walking into keys.
func (k *Keys) Format(f fmt.State, _ rune) { fmt.Fprint(f, "[redacted]") }

func (p *Public) clone() *Public {
	return &Public{Epoch: p.Epoch, Bytes: bytes.Clone(p.Bytes), Seal: p.Seal}
}

func past(deadline time.Time) bool {
	return !deadline.IsZero() && !time.Now().Round(0).Before(deadline)
}

// pqHalf is an ML-KEM-768 key that can be taken away from all who hold it. It
// comes first in the hybrid's decapsulation, so that an expired key refuses
// before the TPM is touched.
type pqHalf struct {
	public *mlkem.EncapsulationKey768

	mu sync.RWMutex // held shared while dk is in use
	dk *mlkem.DecapsulationKey768
}

func newPQHalf() (*pqHalf, error) {
	dk, err := generateErasable()
	if err != nil {
		return nil, err
	}
	return &pqHalf{public: dk.EncapsulationKey(), dk: dk}, nil
}

// Encapsulator implements [crypto.Decapsulator].
func (p *pqHalf) Encapsulator() crypto.Encapsulator { return p.public }

// Decapsulate implements [crypto.Decapsulator].
func (p *pqHalf) Decapsulate(ciphertext []byte) ([]byte, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.dk == nil {
		return nil, ErrUnknownEpoch
	}
	return p.dk.Decapsulate(ciphertext)
}

func (p *pqHalf) erase() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dk = nil
}

// tHalf is the TPM's half; a refusal that is final ends custody.
type tHalf struct {
	*tpm.SealKey
	keys *Keys
}

// ECDH implements [ecdh.KeyExchanger].
func (t *tHalf) ECDH(remote *ecdh.PublicKey) ([]byte, error) {
	secret, err := t.SealKey.ECDH(remote)
	for _, final := range []error{tpm.ErrPCRMoved, tpm.ErrReset, tpm.ErrTransport} {
		if errors.Is(err, final) {
			t.keys.die(final)
		}
	}
	return secret, err
}
