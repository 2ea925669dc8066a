// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/sotto-project/sotto/internal/redact"
)

// An API key is written
//
//	sotto_<id: 16 hexadecimal digits>_<secret: 43 characters of base64url>
//
// The id finds the row, the secret of 32 random bytes opens it.
const (
	keyPrefix = "sotto_"
	keyIDSize = 8
	keySize   = len(keyPrefix) + 2*keyIDSize + 1 + 43
	keyLabel  = "sotto api key v1\x00"
)

// ErrKey is the one error of [ParseKey].
var ErrKey = errors.New("api: no API key")

// A KeyID names an API key and opens nothing.
type KeyID [keyIDSize]byte

func (k KeyID) String() string { return hex.EncodeToString(k[:]) }

// A Key authenticates an account. Its secret prints as [redacted].
type Key struct {
	ID     KeyID
	secret redact.Secret
}

// GenerateKey draws a key.
func GenerateKey(random io.Reader) (*Key, error) {
	k, secret := &Key{}, make([]byte, 32)
	if _, err := io.ReadFull(random, k.ID[:]); err != nil {
		return nil, fmt.Errorf("api: key: %v", err)
	}
	if _, err := io.ReadFull(random, secret); err != nil {
		return nil, fmt.Errorf("api: key: %v", err)
	}
	k.secret = redact.New(secret)
	return k, nil
}

// ParseKey parses the one spelling of a key. The error is [ErrKey].
func ParseKey(text string) (*Key, error) {
	rest, ok := strings.CutPrefix(text, keyPrefix)
	if !ok || len(text) != keySize || rest[2*keyIDSize] != '_' {
		return nil, ErrKey
	}
	k, secret := &Key{}, make([]byte, 32)
	if unhex(k.ID[:], []byte(rest[:2*keyIDSize])) != nil || unb64(secret, []byte(rest[2*keyIDSize+1:])) != nil {
		return nil, ErrKey
	}
	k.secret = redact.New(secret)
	return k, nil
}

// Text is the key as its owner keeps it. It is written nowhere else.
func (k *Key) Text() string {
	return keyPrefix + k.ID.String() + "_" + b64.EncodeToString(k.secret.Bytes())
}

// Hash is what the bank keeps of a key. A slow hash would protect secrets that
// people choose; this one has 256 bits, and there is nothing to try.
func (k *Key) Hash() [32]byte {
	b := append(append([]byte(keyLabel), k.ID[:]...), k.secret.Bytes()...)
	defer clear(b)
	return sha256.Sum256(b)
}

// Opens compares in constant time with what a bank has kept.
func (k *Key) Opens(hash [32]byte) bool {
	h := k.Hash()
	return subtle.ConstantTimeCompare(h[:], hash[:]) == 1
}
