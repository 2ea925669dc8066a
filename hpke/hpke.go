// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package hpke names the HPKE suites that Sotto speaks (RFC 9180 and
// draft-ietf-hpke-pq-03), holds public keys, and parses and prints the header
// of the sealed request (docs/spec/sealed-request.md).
//
// It neither seals nor opens: the client's half is in hpke/sender and the half
// of gateway and node in hpke/recipient. The router reads headers with this
// package and can reach no key with it.
package hpke

import (
	stdhpke "crypto/hpke"
	"fmt"
)

// Identifiers of the IANA HPKE registry (RFC 9180, Section 7;
// draft-ietf-hpke-pq-03, Section 7).
const (
	KEMX25519       uint16 = 0x0020 // DHKEM(X25519, HKDF-SHA256)
	KEMMLKEM768P256 uint16 = 0x0050 // ML-KEM-768 with P-256, a node's request encryption key
	KEMXWing        uint16 = 0x647a // MLKEM768-X25519

	KDFHKDFSHA256 uint16 = 0x0001

	AEADAES128GCM        uint16 = 0x0001
	AEADAES256GCM        uint16 = 0x0002
	AEADChaCha20Poly1305 uint16 = 0x0003
)

// NodeSuite is the one suite of the sealed request, version 1. There is no
// negotiation: another suite is another version.
var NodeSuite = Suite{KEM: KEMMLKEM768P256, KDF: KDFHKDFSHA256, AEAD: AEADAES256GCM}

// A Suite names the three algorithms of an HPKE context. The zero Suite is not
// supported.
type Suite struct{ KEM, KDF, AEAD uint16 }

// sizes of the KEMs that are spoken, in bytes: Nenc and Npk.
var kemSizes = map[uint16]struct{ enc, pk int }{
	KEMX25519:       {32, 32},
	KEMXWing:        {1120, 1216},
	KEMMLKEM768P256: {1153, 1249},
}

// Supported reports whether all three algorithms are spoken.
func (s Suite) Supported() bool {
	_, ok := kemSizes[s.KEM]
	return ok && s.KDF == KDFHKDFSHA256 && s.KeySize() != 0
}

// EncSize is the size of an encapsulated key (Nenc) in bytes, 0 if the KEM is
// not supported.
func (s Suite) EncSize() int { return kemSizes[s.KEM].enc }

// PublicKeySize is the size of a public key (Npk) in bytes, 0 if the KEM is not
// supported.
func (s Suite) PublicKeySize() int { return kemSizes[s.KEM].pk }

// KeySize is the size of the AEAD's key (Nk) in bytes, 0 if it is not supported.
func (s Suite) KeySize() int {
	switch s.AEAD {
	case AEADAES128GCM:
		return 16
	case AEADAES256GCM, AEADChaCha20Poly1305:
		return 32
	}
	return 0
}

// NonceSize is the size of the AEAD's nonce (Nn): 12 bytes for every AEAD
// spoken, 0 if it is not supported.
func (s Suite) NonceSize() int {
	if s.KeySize() == 0 {
		return 0
	}
	return 12
}

// TagSize is how many bytes sealing adds (Nt): 16 for every AEAD spoken, 0 if
// it is not supported.
func (s Suite) TagSize() int {
	if s.KeySize() == 0 {
		return 0
	}
	return 16
}

// String prints the three identifiers as in "0x0050/0x0001/0x0002".
func (s Suite) String() string {
	return fmt.Sprintf("0x%04x/0x%04x/0x%04x", s.KEM, s.KDF, s.AEAD)
}

// A PublicKey is an encapsulation key. It is parsed once and used many times:
// for the ML-KEM halves the expanded matrix is kept.
type PublicKey struct {
	kem uint16
	std stdhpke.PublicKey
}

// ParsePublicKey parses the serialized form of RFC 9180, Section 4
// (DeserializePublicKey): 32 bytes for X25519, 1216 for X-Wing, 1249 for
// MLKEM768-P256 (ML-KEM-768 key, then uncompressed point). A KEM that is not
// spoken is [ErrSuite]; anything else that is wrong is a plain error.
func ParsePublicKey(kem uint16, b []byte) (*PublicKey, error) {
	if _, ok := kemSizes[kem]; !ok {
		return nil, ErrSuite
	}
	k, err := stdhpke.NewKEM(kem)
	if err != nil {
		return nil, ErrSuite
	}
	pub, err := k.NewPublicKey(b)
	if err != nil {
		return nil, fmt.Errorf("hpke: public key: %v", err)
	}
	return &PublicKey{kem: kem, std: pub}, nil
}

// KEM is the identifier of the key's KEM.
func (k *PublicKey) KEM() uint16 { return k.kem }

// Bytes is the serialized key; [ParsePublicKey] is its inverse.
func (k *PublicKey) Bytes() []byte { return k.std.Bytes() }

// Std is the standard library's form of the key, for the packages below hpke,
// which alone may name it.
func (k *PublicKey) Std() stdhpke.PublicKey { return k.std }
