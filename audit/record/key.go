// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
)

// KeyID identifies a key: the base64url of its SHA-256 thumbprint (RFC 7638; for
// Ed25519 see RFC 8037, Appendix A.3).
func KeyID(pub ed25519.PublicKey) string {
	d := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + raw.EncodeToString(pub) + `"}`))
	return raw.EncodeToString(d[:])
}

const (
	privateBlock = "PRIVATE KEY"
	publicBlock  = "PUBLIC KEY"
)

// MarshalKey prints a private key as one PEM block in PKCS #8 (RFC 8410). The
// result is secret: write it where only its owner can read it.
func MarshalKey(key ed25519.PrivateKey) ([]byte, error) {
	if len(key) != ed25519.PrivateKeySize {
		return nil, refuse(CodeKey, "not an Ed25519 key")
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, refuse(CodeKey, "private key cannot be printed")
	}
	return pem.EncodeToMemory(&pem.Block{Type: privateBlock, Bytes: der}), nil
}

// ParseKey reads what [MarshalKey] prints, and nothing else. Errors are [CodeKey]
// and hold nothing of the input.
func ParseKey(b []byte) (ed25519.PrivateKey, error) {
	block, _ := pem.Decode(b)
	if block == nil || block.Type != privateBlock {
		return nil, refuse(CodeKey, "no PEM block %q", privateBlock)
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := k.(ed25519.PrivateKey)
	if err != nil || !ok {
		return nil, refuse(CodeKey, "not an Ed25519 key in PKCS #8")
	}
	if again, err := MarshalKey(key); err != nil || !bytes.Equal(again, b) {
		return nil, refuse(CodeKey, "private key in another spelling, or with bytes around it")
	}
	return key, nil
}

// MarshalPublicKey prints a public key as one PEM block (RFC 5280, Section 4.1.2.7;
// RFC 8410): what a verifier hands to those who read its records.
func MarshalPublicKey(pub ed25519.PublicKey) ([]byte, error) {
	if len(pub) != ed25519.PublicKeySize {
		return nil, refuse(CodeKey, "not an Ed25519 key")
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, refuse(CodeKey, "public key cannot be printed")
	}
	return pem.EncodeToMemory(&pem.Block{Type: publicBlock, Bytes: der}), nil
}

// ParsePublicKey reads what [MarshalPublicKey] prints, and nothing else. Errors
// are [CodeKey].
func ParsePublicKey(b []byte) (ed25519.PublicKey, error) {
	block, _ := pem.Decode(b)
	if block == nil || block.Type != publicBlock {
		return nil, refuse(CodeKey, "no PEM block %q", publicBlock)
	}
	k, err := x509.ParsePKIXPublicKey(block.Bytes)
	pub, ok := k.(ed25519.PublicKey)
	if err != nil || !ok {
		return nil, refuse(CodeKey, "not an Ed25519 key")
	}
	if again, err := MarshalPublicKey(pub); err != nil || !bytes.Equal(again, b) {
		return nil, refuse(CodeKey, "public key in another spelling, or with bytes around it")
	}
	return pub, nil
}
