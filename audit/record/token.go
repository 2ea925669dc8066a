// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
)

// A token is a JWS in its compact form (RFC 7515, Section 7.1) with the header
//
//	{"alg":"EdDSA","kid":"<KeyID>","typ":"eat+jwt"}
//
// in just this spelling: the algorithm is fixed here and not read from there.
const (
	headerStart = `{"alg":"EdDSA","kid":"`
	headerEnd   = `","typ":"eat+jwt"}`
)

// Sign makes the token. The key must be the one that the record names; Ed25519 is
// deterministic, so the same record and key give the same bytes. Errors are
// [CodeKey] and, for a record that was changed into one that [Parse] refuses,
// [CodeFormat].
func (r *Record) Sign(key ed25519.PrivateKey) ([]byte, error) {
	if len(key) != ed25519.PrivateKeySize || KeyID(key.Public().(ed25519.PublicKey)) != r.KeyID {
		return nil, refuse(CodeKey, "not the key that the record names")
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	claims := r.Claims()
	out := raw.AppendEncode(nil, []byte(headerStart+r.KeyID+headerEnd))
	out = append(out, '.')
	out = raw.AppendEncode(out, claims)
	signature := ed25519.Sign(key, out)
	out = append(out, '.')
	out = raw.AppendEncode(out, signature)
	if len(out) > maxToken {
		return nil, refuse(CodeFormat, "%d bytes, allowed are %d", len(out), maxToken)
	}
	return out, nil
}

// Verify reads a token that must be signed by pub, in its one spelling: no byte
// of an accepted token can be changed, added or left out. Nothing of the claims
// is read before the signature was checked.
func Verify(token []byte, pub ed25519.PublicKey) (*Record, error) {
	if len(pub) != ed25519.PublicKeySize {
		return nil, refuse(CodeKey, "no Ed25519 key to verify with")
	}
	id, signed, payload, signature, err := split(token)
	if err != nil {
		return nil, err
	}
	if id != KeyID(pub) {
		return nil, refuse(CodeKey, "signed by key %s, want %s", id, KeyID(pub))
	}
	if !ed25519.Verify(pub, signed, signature) {
		return nil, refuse(CodeSignature, "not signed by key %s", id)
	}
	claims, ok := decode(payload)
	if !ok {
		return nil, refuse(CodeFormat, "claims are not base64url")
	}
	r, perr := Parse(claims)
	if perr != nil {
		return nil, perr
	}
	r.KeyID = id
	return r, nil
}

// Signer returns the identifier of the key that the token says it is signed by,
// so that the caller can look that key up among those it trusts. It verifies
// nothing. Errors are [CodeFormat].
func Signer(token []byte) (string, error) {
	id, _, _, _, err := split(token)
	if err != nil {
		return "", err
	}
	return id, nil
}

// split takes a token apart. The error is plain nil or an *Error.
func split(token []byte) (id string, signed, payload, signature []byte, err error) {
	if len(token) > maxToken {
		return "", nil, nil, nil, refuse(CodeFormat, "%d bytes, allowed are %d", len(token), maxToken)
	}
	parts := bytes.SplitN(token, []byte("."), 4)
	if len(parts) != 3 {
		return "", nil, nil, nil, refuse(CodeFormat, "not a JWS in its compact form")
	}
	header, ok := decode(parts[0])
	const idLen = 43 // base64url of 32 bytes
	if !ok || len(header) != len(headerStart)+idLen+len(headerEnd) ||
		!bytes.HasPrefix(header, []byte(headerStart)) || !bytes.HasSuffix(header, []byte(headerEnd)) {
		return "", nil, nil, nil, refuse(CodeFormat, "header is not exactly %s...%s", headerStart, headerEnd)
	}
	thumbprint := header[len(headerStart) : len(headerStart)+idLen]
	if d, ok := decode(thumbprint); !ok || len(d) != sha256.Size {
		return "", nil, nil, nil, refuse(CodeFormat, "malformed key identifier")
	}
	if signature, ok = decode(parts[2]); !ok || len(signature) != ed25519.SignatureSize {
		return "", nil, nil, nil, refuse(CodeFormat, "malformed signature")
	}
	return string(thumbprint), token[:len(parts[0])+1+len(parts[1])], parts[1], signature, nil
}

// decode reads base64url in its one spelling. The standard decoder skips line
// breaks, so what it read is printed and compared.
func decode(s []byte) ([]byte, bool) {
	b, err := raw.AppendDecode(nil, s)
	if err != nil || len(s) != raw.EncodedLen(len(b)) || !bytes.Equal(raw.AppendEncode(nil, b), s) {
		return nil, false
	}
	return b, true
}
