// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package recipient is the half of HPKE that gateway and node have: private
// keys, plain RFC 9180 contexts in base mode (used by ohttp/gateway), opening a
// sealed request and sealing its answer (docs/spec/sealed-request.md).
//
// It keeps no list of what it has opened: a request replayed to it opens again.
// Single use is the node's to enforce, with [hpke.Forwarded.Hash]. Nothing that
// relays or routes may reach this package.
package recipient

import (
	"crypto"
	"crypto/ecdh"
	stdhpke "crypto/hpke"
	"errors"
	"fmt"

	"github.com/sotto-project/sotto/hpke"
)

// A PrivateKey is a decapsulation key. It may be used by many goroutines if the
// halves given to [NewHybridKey] may. It prints as [redacted].
type PrivateKey struct {
	std stdhpke.PrivateKey
	pub *hpke.PublicKey
}

// Format prints [redacted] under every verb.
func (PrivateKey) Format(f fmt.State, _ rune) { fmt.Fprint(f, "[redacted]") }

// GenerateKey makes a new key for kem, which is [hpke.ErrSuite] if not spoken.
func GenerateKey(kem uint16) (*PrivateKey, error) {
	k, err := spoken(kem)
	if err != nil {
		return nil, err
	}
	std, err := k.GenerateKey()
	if err != nil {
		return nil, hpke.ErrRandomness
	}
	return newPrivateKey(std)
}

// ParsePrivateKey parses a serialized private key (RFC 9180, Section 4): 32
// bytes for X25519, the 32-byte seed of draft-ietf-hpke-pq for X-Wing and
// MLKEM768-P256. A KEM that is not spoken is [hpke.ErrSuite].
func ParsePrivateKey(kem uint16, b []byte) (*PrivateKey, error) {
	k, err := spoken(kem)
	if err != nil {
		return nil, err
	}
	std, err := k.NewPrivateKey(b)
	if err != nil {
		return nil, fmt.Errorf("private key: %v", err)
	}
	return newPrivateKey(std)
}

// NewHybridKey joins an ML-KEM-768 decapsulation key and a key of P-256
// (MLKEM768-P256) or X25519 (X-Wing). Either may live in hardware: a node's
// P-256 half is in its TPM.
func NewHybridKey(pq crypto.Decapsulator, t ecdh.KeyExchanger) (*PrivateKey, error) {
	if pq == nil || t == nil {
		return nil, errors.New("hybrid key: half missing")
	}
	std, err := stdhpke.NewHybridPrivateKey(pq, t)
	if err != nil {
		return nil, fmt.Errorf("hybrid key: %v", err)
	}
	return newPrivateKey(std)
}

// KEM is the identifier of the key's KEM.
func (k *PrivateKey) KEM() uint16 { return k.pub.KEM() }

// PublicKey is the public half.
func (k *PrivateKey) PublicKey() *hpke.PublicKey { return k.pub }

// Bytes is the serialized key, or an error if a half is in hardware or was not
// made from a seed; [ParsePrivateKey] is its inverse.
func (k *PrivateKey) Bytes() ([]byte, error) { return k.std.Bytes() }

func spoken(kem uint16) (stdhpke.KEM, error) {
	if (hpke.Suite{KEM: kem}).EncSize() == 0 {
		return nil, hpke.ErrSuite
	}
	k, err := stdhpke.NewKEM(kem)
	if err != nil {
		return nil, hpke.ErrSuite
	}
	return k, nil
}

func newPrivateKey(std stdhpke.PrivateKey) (*PrivateKey, error) {
	pub, err := hpke.ParsePublicKey(std.KEM().ID(), std.PublicKey().Bytes())
	if err != nil {
		return nil, err
	}
	return &PrivateKey{std: std, pub: pub}, nil
}

// A Context is the recipient's side of one HPKE base mode context (RFC 9180,
// Section 5.2). It is not safe for concurrent use.
type Context struct {
	std *stdhpke.Recipient
}

// Setup decapsulates enc with k (SetupBaseR, RFC 9180, Section 5.1.1). A suite
// that is not supported, or not the key's, is [hpke.ErrSuite]; every other
// failure is [hpke.ErrRefused].
func Setup(s hpke.Suite, k *PrivateKey, enc, info []byte) (*Context, error) {
	if !s.Supported() || k == nil || k.KEM() != s.KEM {
		return nil, hpke.ErrSuite
	}
	kdf, err := stdhpke.NewKDF(s.KDF)
	if err != nil {
		return nil, hpke.ErrSuite
	}
	aead, err := stdhpke.NewAEAD(s.AEAD)
	if err != nil {
		return nil, hpke.ErrSuite
	}
	std, err := stdhpke.NewRecipient(enc, k.std, kdf, aead, info)
	if err != nil {
		return nil, hpke.ErrRefused
	}
	return &Context{std: std}, nil
}

// Open opens the next message of the context (ContextR.Open, RFC 9180, Section
// 5.2). Every failure is [hpke.ErrRefused].
func (c *Context) Open(aad, ciphertext []byte) ([]byte, error) {
	pt, err := c.std.Open(aad, ciphertext)
	if err != nil {
		return nil, hpke.ErrRefused
	}
	return pt, nil
}

// Export derives n secret bytes, at most 65535, that both sides of the context
// know (Context.Export, RFC 9180, Section 5.3).
func (c *Context) Export(label []byte, n int) ([]byte, error) {
	return c.std.Export(string(label), n)
}
