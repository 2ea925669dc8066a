// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package blind is the client's side of a coin: blanks derived from a seed,
// and coins made of what a bank evaluated (RFC 9497, VOPRF mode, on circl).
//
// It keeps no state: which index of which generation is free is the wallet's
// to know. It dials nothing and draws no randomness.
package blind

import (
	"crypto/hmac"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cloudflare/circl/group"
	"github.com/cloudflare/circl/oprf"
	"github.com/cloudflare/circl/zk/dleq"

	"github.com/sotto-project/sotto/credits"
	"github.com/sotto-project/sotto/internal/redact"
	"github.com/sotto-project/sotto/internal/wire"
)

// SeedSize is the size of a wallet's seed, in bytes.
const SeedSize = 32

const (
	nonceLabel = "sotto wallet v1 nonce\x00"
	blindLabel = "sotto wallet v1 blind\x00"
	scalarDST  = "sotto wallet v1 blind to scalar"
)

var (
	// ErrBlinding: the blinding came out as a value that hides nothing, or the
	// seed is none. Nothing is sent then (CT-17).
	ErrBlinding = errors.New("blind: blinding failed")
	// ErrKey: what the bank returned was not made with the logged key
	// (`key.consistency`). The coin is not used: it could be a mark (CT-15).
	ErrKey = errors.New("blind: " + credits.CodeKey + ": evaluated with another key than the logged one")
)

// A Blank is a blinded element and what is needed to make a coin of it.
type Blank struct {
	Keyset  [32]byte
	Nonce   [32]byte
	Element [32]byte // blinded: what travels
	blind   group.Scalar
}

// Format prints what a blank is, whatever the verb. Its nonce is what the coin that
// it becomes is known by when it is spent.
func (Blank) Format(f fmt.State, _ rune) { io.WriteString(f, "blank") }

// At returns the blank of an index. Everything about it follows from seed,
// keyset, generation and index, so that a wallet finds its coins again. An
// index that was sent once is never sent again, used or not: two requests with
// one blank would be seen to be one person's.
func At(seed redact.Secret, keyset [32]byte, generation uint32, index uint64) (*Blank, error) {
	list, err := Range(seed, keyset, generation, index, 1)
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// Range returns the blanks of n indexes in a row.
func Range(seed redact.Secret, keyset [32]byte, generation uint32, first uint64, n int) ([]*Blank, error) {
	if len(seed.Bytes()) != SeedSize || n < 1 {
		return nil, ErrBlinding
	}
	list := make([]*Blank, n)
	for i := range list {
		index := first + uint64(i)
		b := &Blank{Keyset: keyset, Nonce: Nonce(seed, keyset, generation, index)}
		wide := derive(seed, blindLabel, keyset, generation, index)
		b.blind = group.Ristretto255.HashToScalar(wide, []byte(scalarDST))
		clear(wide)
		if b.blind.IsZero() || b.blind.IsEqual(group.Ristretto255.NewScalar().SetUint64(1)) {
			return nil, ErrBlinding
		}
		list[i] = b
	}
	_, elements, err := reblind(list)
	if err != nil {
		return nil, err
	}
	for i, b := range list {
		b.Element = elements[i]
	}
	return list, nil
}

// Nonce is the nonce of an index, without the arithmetic of [At].
func Nonce(seed redact.Secret, keyset [32]byte, generation uint32, index uint64) [32]byte {
	return [32]byte(derive(seed, nonceLabel, keyset, generation, index)[:32])
}

// derive is HMAC-SHA-512, keyed with the seed, over label || keyset ||
// generation || index.
func derive(seed redact.Secret, label string, keyset [32]byte, generation uint32, index uint64) []byte {
	m := hmac.New(sha512.New, seed.Bytes())
	m.Write([]byte(label))
	m.Write(keyset[:])
	b := binary.BigEndian.AppendUint32(nil, generation)
	m.Write(binary.BigEndian.AppendUint64(b, index))
	return m.Sum(nil)
}

// reblind computes the blinded elements anew. What circl keeps for finalizing
// belongs to one batch, and which blanks are finalized together is not known
// when they are sent.
func reblind(blanks []*Blank) (*oprf.FinalizeData, [][32]byte, error) {
	inputs, blinds := make([][]byte, len(blanks)), make([]oprf.Blind, len(blanks))
	for i, b := range blanks {
		inputs[i], blinds[i] = credits.Input(b.Keyset, b.Nonce), b.blind
	}
	data, request, err := oprf.NewVerifiableClient(credits.Suite, anyKey()).DeterministicBlind(inputs, blinds)
	if err != nil {
		return nil, nil, ErrBlinding
	}
	out := make([][32]byte, len(blanks))
	for i, e := range request.Elements {
		enc, err := e.MarshalBinaryCompress()
		if err != nil {
			return nil, nil, ErrBlinding
		}
		out[i] = [32]byte(enc)
	}
	return data, out, nil
}

// anyKey is a valid public key. Blinding does not depend on the key, which for
// change is not known when the blank is sent; circl wants one all the same.
func anyKey() *oprf.PublicKey {
	enc, _ := group.Ristretto255.Generator().MarshalBinaryCompress()
	k := new(oprf.PublicKey)
	if err := k.UnmarshalBinary(credits.Suite, enc); err != nil {
		panic("blind: internal error: the generator is no key")
	}
	return k
}

// Finish makes coins of blanks that the bank evaluated together with the key of
// one denomination. The proof is checked against the logged keyset: every error
// is [ErrKey] or [ErrBlinding].
func Finish(blanks []*Blank, set *credits.Keyset, exponent uint8, elements [][32]byte, proof [64]byte) ([]*Coin, error) {
	key, ok := set.Key(exponent)
	if !ok || len(blanks) == 0 || len(elements) != len(blanks) {
		return nil, ErrKey
	}
	evaluation := &oprf.Evaluation{Proof: new(dleq.Proof)}
	for _, e := range elements {
		x, err := credits.ParseElement(e)
		if err != nil {
			return nil, ErrKey
		}
		evaluation.Elements = append(evaluation.Elements, x)
	}
	if err := credits.ParseProof(evaluation.Proof, proof); err != nil {
		return nil, ErrKey
	}
	for _, b := range blanks {
		if b.Keyset != set.ID() {
			return nil, ErrKey
		}
	}
	data, _, err := reblind(blanks)
	if err != nil {
		return nil, err
	}
	outputs, err := oprf.NewVerifiableClient(credits.Suite, key).Finalize(data, evaluation)
	if err != nil {
		return nil, ErrKey
	}
	coins := make([]*Coin, len(blanks))
	for i, b := range blanks {
		coins[i] = &Coin{Keyset: b.Keyset, Exponent: exponent, Nonce: b.Nonce, Output: redact.New(outputs[i])}
	}
	return coins, nil
}

// A Coin is money: whoever has its output can spend it.
type Coin struct {
	Keyset   [32]byte
	Exponent uint8
	Nonce    [32]byte
	Output   redact.Secret // 64 bytes; never travels
}

// String says what a coin is worth and nothing that tells it from others.
func (c *Coin) String() string { return fmt.Sprintf("coin of 2^%d", c.Exponent) }

// Format prints what String says, whatever the verb.
func (c Coin) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }

// Pay fills in s what makes c pay for the request with the given header hash.
// Blanks and tier of s are set before: the MAC covers them.
func (c *Coin) Pay(s *wire.Spend, tokenType uint8, headerHash [32]byte, epoch uint64) {
	s.Type, s.Keyset, s.Class, s.Nonce = tokenType, c.Keyset, c.Exponent, c.Nonce
	s.MAC = credits.SpendMAC(c.Output.Bytes(), headerHash, epoch, s)
}

// Show fills in s what shows the entitlement c beside a payment. It comes after
// [Coin.Pay], whose MAC covers the tier: s.Tier is set before both.
func (c *Coin) Show(s *wire.Spend, headerHash [32]byte, epoch uint64) {
	s.TierKeyset, s.TierNonce = c.Keyset, c.Nonce
	s.TierMAC = credits.SpendMAC(c.Output.Bytes(), headerHash, epoch, s)
}
