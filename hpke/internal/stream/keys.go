// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package stream is what both halves of the sealed request share: its key
// schedule and its frames (docs/spec/sealed-request.md, sections 4 to 7).
//
// It knows nothing of HPKE: who may have the secrets it derives from is settled
// in hpke/sender and hpke/recipient.
package stream

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
)

// Sizes for hpke.NodeSuite, in bytes: DEK, exported secret, key and nonce.
const (
	SecretSize = 32
	keySize    = 32
	nonceSize  = 12
)

// Label strings; the spec lists them.
const (
	entryLabel       = "sotto sealed request v1 entry\x00"
	commitLabel      = "sotto sr v1 commit"
	bodyKeyLabel     = "sotto sr v1 body key"
	bodyNonceLabel   = "sotto sr v1 body nonce"
	answerKeyLabel   = "sotto sr v1 response key"
	answerNonceLabel = "sotto sr v1 response nonce"

	// ExportLabel is the exporter context of an entry's response secret.
	ExportLabel = "sotto sr v1 response"
)

// EntryInfo is the info of an entry's HPKE context. The hash of the common part
// is in it as well as in the AAD, so that contexts of two requests differ even
// where an ephemeral key was drawn twice.
func EntryInfo(index uint8, nodeID, commonHash [32]byte) []byte {
	b := make([]byte, 0, len(entryLabel)+1+32+32)
	b = append(append(b, entryLabel...), index)
	b = append(b, nodeID[:]...)
	return append(b, commonHash[:]...)
}

// A Schedule derives everything that hangs on the data encryption key.
type Schedule struct{ prk []byte }

// NewSchedule extracts from the DEK with the body nonce as salt.
func NewSchedule(dek []byte, bodyNonce [32]byte) (*Schedule, error) {
	prk, err := hkdf.Extract(sha256.New, dek, bodyNonce[:])
	if err != nil {
		return nil, err
	}
	return &Schedule{prk: prk}, nil
}

// Commitment is the value in the common part that ties it to one DEK: AES-GCM
// alone would let a client give two candidates two keys for one body.
func (s *Schedule) Commitment() (c [32]byte, err error) {
	b, err := hkdf.Expand(sha256.New, s.prk, commitLabel, len(c))
	copy(c[:], b)
	return c, err
}

// Body derives the key of the request's frames.
func (s *Schedule) Body(headerHash [32]byte) (*Key, error) {
	return newKey(s.prk, bodyKeyLabel, bodyNonceLabel, headerHash[:])
}

// Answer names everything a response is bound to.
type Answer struct {
	Secret      []byte // exported from the entry's HPKE context
	Enc         []byte // of the entry
	Nonce       [32]byte
	HeaderHash  [32]byte
	RequestHash [32]byte
	NodeID      [32]byte
	Index       uint8
}

// Key derives the key of the response's frames.
func (a *Answer) Key() (*Key, error) {
	salt := make([]byte, 0, len(a.Enc)+len(a.Nonce))
	salt = append(append(salt, a.Enc...), a.Nonce[:]...)
	prk, err := hkdf.Extract(sha256.New, a.Secret, salt)
	if err != nil {
		return nil, err
	}
	context := make([]byte, 0, 3*32+1)
	context = append(context, a.HeaderHash[:]...)
	context = append(context, a.RequestHash[:]...)
	context = append(context, a.NodeID[:]...)
	context = append(context, a.Index)
	return newKey(prk, answerKeyLabel, answerNonceLabel, context)
}

// A Key seals or opens the frames of one direction of one request.
type Key struct {
	aead cipher.AEAD
	base [nonceSize]byte
}

func newKey(prk []byte, keyLabel, nonceLabel string, context []byte) (*Key, error) {
	key, err := hkdf.Expand(sha256.New, prk, keyLabel+string(context), keySize)
	if err != nil {
		return nil, err
	}
	nonce, err := hkdf.Expand(sha256.New, prk, nonceLabel+string(context), nonceSize)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	clear(key)
	if err != nil {
		return nil, err
	}
	k := new(Key)
	copy(k.base[:], nonce)
	k.aead, err = cipher.NewGCM(block)
	return k, err
}
