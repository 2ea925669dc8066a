// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package issue holds a bank's private keys of one keyset and the arithmetic
// done with them: evaluating blinded elements with a proof, and recomputing the
// output of a token that is spent (RFC 9497, VOPRF mode, on circl).
//
// It decides nothing: what may be issued, and whether a token was spent, is for
// credits/redeem and the bank.
package issue

import (
	"crypto/hmac"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cloudflare/circl/group"
	"github.com/cloudflare/circl/oprf"

	"github.com/sotto-project/sotto/credits"
)

var (
	// ErrElement: something that is no blinded element (`credit.sig`).
	ErrElement = errors.New("issue: no blinded element")
	// ErrClass: no such denomination (`credit.class`).
	ErrClass = errors.New("issue: no such denomination")
)

const keyInfo = "sotto coin key v1"

// Keys are the private keys of one keyset. They are safe for concurrent use.
type Keys struct {
	set     *credits.Keyset
	servers map[uint8]oprf.VerifiableServer
	private map[uint8]*oprf.PrivateKey
	pairs   map[uint8]pair // the same, to evaluate with
}

// A pair is a private key and its public one. It is not changed once made.
type pair struct {
	secret *scalar
	public *point
}

// Generate draws keys for the denominations given, ascending, and returns them
// with their keyset; template says everything but the keys.
func Generate(random io.Reader, template credits.Keyset, exponents []uint8) (*Keys, error) {
	var private []*oprf.PrivateKey
	for range exponents {
		// Not oprf.GenerateKey, which for this group does not read what it is given:
		// RFC 9497, Section 3.2.1, from a seed that was read.
		var seed [32]byte
		if _, err := io.ReadFull(random, seed[:]); err != nil {
			return nil, fmt.Errorf("issue: generate: %v", err)
		}
		k, err := oprf.DeriveKey(credits.Suite, oprf.VerifiableMode, seed[:], []byte(keyInfo))
		clear(seed[:])
		if err != nil {
			return nil, fmt.Errorf("issue: generate: %v", err)
		}
		private = append(private, k)
	}
	return assemble(template, exponents, private)
}

func assemble(template credits.Keyset, exponents []uint8, private []*oprf.PrivateKey) (*Keys, error) {
	k := &Keys{servers: map[uint8]oprf.VerifiableServer{}, private: map[uint8]*oprf.PrivateKey{}, pairs: map[uint8]pair{}}
	template.Keys = nil
	for i, e := range exponents {
		raw, err := private[i].MarshalBinary()
		if err != nil || isOne(raw) {
			return nil, ErrWeak // evaluating with one changes nothing: outputs could be had from blanks
		}
		secret := group.Ristretto255.NewScalar()
		if err := secret.UnmarshalBinary(raw); err != nil {
			return nil, ErrWeak
		}
		clear(raw)
		// Public computes on its first call, without a lock: here, before anybody else sees it.
		public, err := private[i].Public().MarshalBinary()
		if err != nil || len(public) != 32 {
			return nil, fmt.Errorf("issue: public key of exponent %d", e)
		}
		element, ok := decode([32]byte(public))
		if !ok {
			return nil, ErrWeak
		}
		k.pairs[e] = pair{&scalar{Scalar: secret}, element}
		template.Keys = append(template.Keys, credits.Key{Exponent: e, Element: [32]byte(public)})
		k.private[e] = private[i]
		k.servers[e] = oprf.NewVerifiableServer(credits.Suite, private[i])
	}
	set, err := credits.NewKeyset(template)
	if err != nil {
		return nil, err
	}
	k.set = set
	return k, nil
}

// isOne reports whether a scalar, little-endian, is 1. Zero has no encoding that
// circl takes, and its public key, the identity, is no element of a keyset.
func isOne(b []byte) bool {
	return len(b) > 0 && b[0] == 1 && !slices.ContainsFunc(b[1:], func(v byte) bool { return v != 0 })
}

// String names the keyset: keys do not print.
func (k *Keys) String() string { id := k.set.ID(); return fmt.Sprintf("keys of keyset %x", id[:8]) }

// Keyset is the public side.
func (k *Keys) Keyset() *credits.Keyset { return k.set }

// Evaluate evaluates blinded elements with the key of one denomination, with
// one proof over all of them (RFC 9497, Section 3.3.2, BlindEvaluate).
func (k *Keys) Evaluate(exponent uint8, blinded [][32]byte) (elements [][32]byte, proof [64]byte, err error) {
	key, ok := k.pairs[exponent]
	if !ok {
		return nil, proof, ErrClass
	}
	in, out := make([]group.Element, len(blinded)), make([]group.Element, len(blinded))
	for i := range blinded {
		x, ok := decode(blinded[i])
		if !ok {
			return nil, proof, ErrElement
		}
		in[i] = x
	}
	elements = make([][32]byte, len(blinded))
	for i, x := range in {
		e := new(point).Mul(x, key.secret)
		enc, err := e.MarshalBinaryCompress()
		if err != nil {
			return nil, proof, ErrElement
		}
		elements[i], out[i] = [32]byte(enc), e
	}
	p, err := prover.ProveBatchRFC9497(key.secret, key.public, in, out, rand.Reader)
	if err != nil {
		return nil, proof, ErrElement
	}
	enc, err := p.MarshalBinary()
	if err != nil || len(enc) != len(proof) {
		return nil, proof, ErrElement
	}
	return elements, [64]byte(enc), nil
}

// Output recomputes the output of the token with the given nonce.
func (k *Keys) Output(exponent uint8, nonce [32]byte) ([]byte, error) {
	server, ok := k.servers[exponent]
	if !ok {
		return nil, ErrClass
	}
	return server.FullEvaluate(credits.Input(k.set.ID(), nonce))
}

// Verify reports whether mac was made with the token's output by the rule that
// computes it: [credits.SpendMAC] or [credits.SwapMAC].
func (k *Keys) Verify(exponent uint8, nonce, mac [32]byte, rule func(output []byte) [32]byte) bool {
	out, err := k.Output(exponent, nonce)
	if err != nil {
		return false
	}
	defer clear(out)
	want := rule(out)
	return hmac.Equal(mac[:], want[:])
}
