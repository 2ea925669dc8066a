// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package ima

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"errors"
)

// A KeyID names a signing key: the last four bytes of its certificate's subject
// key identifier.
type KeyID [4]byte

// KeyIDOf returns the id of a key whose subject key identifier is the SHA-1 of
// its public key bits (RFC 5280, Section 4.2.1.2, method 1), as evmctl and most
// certificates have it.
func KeyIDOf(pub crypto.PublicKey) (KeyID, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return KeyID{}, err
	}
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if rest, err := asn1.Unmarshal(der, &info); err != nil || len(rest) != 0 {
		return KeyID{}, errors.New("key: malformed")
	}
	sum := sha1.Sum(info.Key.Bytes)
	return KeyID(sum[16:]), nil
}

const minRSABits = 2048

// signer reports which signer vouches for the entry's file digest. The format is
// signature_v2_hdr (security/integrity/integrity.h in the kernel's source):
//
//	u8  type = 3;      // EVM_IMA_XATTR_DIGSIG
//	u8  version = 2;
//	u8  hash;          // enum hash_algo; must be that of the file digest
//	u8  key_id[4];
//	u16 size;          // big-endian
//	u8  signature[size]; // over the file digest: PKCS #1 1.5, or ECDSA in DER
func (r *Rules) signer(e *Entry) (KeyID, bool) {
	const header = 9
	s := e.Signature
	if len(s) < header || s[0] != 3 || s[1] != 2 || int(binary.BigEndian.Uint16([]byte(s[7:header]))) != len(s)-header {
		return KeyID{}, false
	}
	id := KeyID([]byte(s[3:7]))
	pub, known := r.Signers[id]
	a := algorithms[e.algorithm]
	if !known || !strong(e.algorithm) || s[2] != a.number {
		return KeyID{}, false
	}
	sum, signature := []byte(e.sum), []byte(s[header:])
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		return id, pub.N.BitLen() >= minRSABits && rsa.VerifyPKCS1v15(pub, a.hash, sum, signature) == nil
	case *ecdsa.PublicKey:
		return id, ecdsa.VerifyASN1(pub, sum, signature)
	}
	return KeyID{}, false
}
