// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/sotto-project/sotto/hpke"
	"github.com/sotto-project/sotto/ohttp"
)

// NonceSize is the size of a response nonce, and of the exported secret, in
// bytes: max(Nn, Nk) (RFC 9458, Section 4.4).
func NonceSize(s hpke.Suite) int { return max(s.NonceSize(), s.KeySize()) }

// ResponseKeys seals or opens the chunks of one response, in order.
type ResponseKeys struct {
	aead  cipher.AEAD
	nonce [12]byte
	last  [12]byte // the nonce in use; here because it would escape from a local
	count uint64
}

// NewResponseKeys derives the keys of a response (RFC 9458, Section 4.4;
// draft-08, Section 6.2):
//
//	prk   = Extract(salt = enc || nonce, secret)
//	key   = Expand(prk, "key", Nk)
//	nonce = Expand(prk, "nonce", Nn)
func NewResponseKeys(s hpke.Suite, secret, enc, nonce []byte) (*ResponseKeys, error) {
	if !s.Supported() {
		return nil, ohttp.ErrSuite
	}
	salt := make([]byte, 0, len(enc)+len(nonce))
	salt = append(append(salt, enc...), nonce...)
	prk, err := hkdf.Extract(sha256.New, secret, salt)
	if err != nil {
		return nil, err
	}
	key, err := hkdf.Expand(sha256.New, prk, "key", s.KeySize())
	if err != nil {
		return nil, err
	}
	base, err := hkdf.Expand(sha256.New, prk, "nonce", s.NonceSize())
	if err != nil {
		return nil, err
	}
	k := &ResponseKeys{nonce: [12]byte(base)}
	if s.AEAD == hpke.AEADChaCha20Poly1305 {
		k.aead, err = chacha20poly1305.New(key)
	} else {
		var block cipher.Block
		if block, err = aes.NewCipher(key); err == nil {
			k.aead, err = cipher.NewGCM(block)
		}
	}
	return k, err
}

// next returns base nonce XOR counter. The framing stops long before the
// counter could wrap; the check is for whoever uses the keys without it.
func (k *ResponseKeys) next() ([]byte, error) {
	if k.count > maxCount {
		return nil, ohttp.ErrLimit
	}
	k.last = k.nonce
	c := binary.BigEndian.Uint64(k.nonce[4:]) ^ k.count
	binary.BigEndian.PutUint64(k.last[4:], c)
	k.count++
	return k.last[:], nil
}

// Seal is a [SealFunc] that works in place.
func (k *ResponseKeys) Seal(aad, buf []byte) ([]byte, error) {
	n, err := k.next()
	if err != nil {
		return nil, err
	}
	return k.aead.Seal(buf[:0], n, buf, aad), nil
}

// Open is an [OpenFunc] that works in place.
func (k *ResponseKeys) Open(aad, ct []byte) ([]byte, error) {
	n, err := k.next()
	if err != nil {
		return nil, err
	}
	pt, err := k.aead.Open(ct[:0], n, ct, aad)
	if err != nil {
		return nil, ohttp.ErrRefused
	}
	return pt, nil
}
