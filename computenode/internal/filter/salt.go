// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
)

// FreshSalt is the prefix-cache salt of a request that shares its cache with
// no other. The request's own id is mixed in, so that a generator that repeats
// itself (a restored snapshot) still gives two requests two salts (TN-02).
//
//	base64url(SHA-256("sotto cache salt v1" || 0 || random || request id))
func FreshSalt(random, requestID [32]byte) string {
	h := sha256.New()
	h.Write([]byte("sotto cache salt v1\x00"))
	h.Write(random[:])
	h.Write(requestID[:])
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// ConversationSalt is the salt of all requests that carry the same secret: a
// client trades cache hits within its conversation for the engine's knowledge
// that the requests belong together. Only who knows the secret can hit.
//
//	base64url(HMAC-SHA-256(key = secret, "sotto conversation salt v1"))
func ConversationSalt(secret []byte) string {
	m := hmac.New(sha256.New, secret)
	m.Write([]byte("sotto conversation salt v1"))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}
