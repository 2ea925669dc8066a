// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package sender is the client's half of HPKE: plain RFC 9180 contexts in base
// mode (used by ohttp/encap), sealing a request to k candidate nodes, and
// opening the answer (docs/spec/sealed-request.md).
//
// It holds no private key, dials nothing and keeps no clock. It draws its own
// randomness, because a caller who can choose it can repeat it.
package sender

import (
	stdhpke "crypto/hpke"

	"github.com/sotto-project/sotto/hpke"
)

// A Context is the sender's side of one HPKE base mode context (RFC 9180,
// Section 5.2). It is not safe for concurrent use.
type Context struct {
	std *stdhpke.Sender
}

// Setup encapsulates to pub and returns the encapsulated key and the context
// (SetupBaseS, RFC 9180, Section 5.1.1). A suite that is not supported, or that
// is not the key's, is [hpke.ErrSuite].
func Setup(s hpke.Suite, pub *hpke.PublicKey, info []byte) (enc []byte, c *Context, err error) {
	if !s.Supported() || pub == nil || pub.KEM() != s.KEM {
		return nil, nil, hpke.ErrSuite
	}
	kdf, err := stdhpke.NewKDF(s.KDF)
	if err != nil {
		return nil, nil, hpke.ErrSuite
	}
	aead, err := stdhpke.NewAEAD(s.AEAD)
	if err != nil {
		return nil, nil, hpke.ErrSuite
	}
	enc, std, err := stdhpke.NewSender(pub.Std(), kdf, aead, info)
	if err != nil {
		return nil, nil, err
	}
	return enc, &Context{std: std}, nil
}

// Seal seals the next message of the context (ContextS.Seal, RFC 9180, Section
// 5.2): messages must be opened in the order they were sealed in.
func (c *Context) Seal(aad, plaintext []byte) ([]byte, error) {
	return c.std.Seal(aad, plaintext)
}

// Export derives n secret bytes, at most 65535, that both sides of the context
// know (Context.Export, RFC 9180, Section 5.3).
func (c *Context) Export(label []byte, n int) ([]byte, error) {
	return c.std.Export(string(label), n)
}
