// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tdx

import (
	"crypto/x509"
	"time"
)

// What tests of the external package need from inside.

// DecodeTCBInfo and DecodeQEIdentity read what is signed in the two documents.
func DecodeTCBInfo(b []byte) error    { _, err := parseTCBInfo(b); return err }
func DecodeQEIdentity(b []byte) error { _, err := parseQEIdentity(b); return err }

// OpenSigned splits a document.
func OpenSigned(doc []byte, member string) ([]byte, [64]byte, error) { return openSigned(doc, member) }

// DecodeSGXExtension reads the extension of PCK certificates.
func DecodeSGXExtension(der []byte) (*PCK, error) { return parseSGXExtension(der) }

// ParseChain reads a PEM chain.
func ParseChain(b []byte, n int) ([]*x509.Certificate, error) { return parseChain(b, n) }

// Steps of Verify, one input each, so that every bit of it can be tried.

func CheckSigned(doc []byte, member string, signer *x509.Certificate) error {
	_, err := verifySigned(doc, member, signer)
	return err
}

func CheckChain(b []byte, n int, trusted []*x509.Certificate, now time.Time) error {
	chain, err := parseChain(b, n)
	if err != nil {
		return err
	}
	return checkChain(chain, trusted, now)
}

func CheckCRL(der []byte, issuer *x509.Certificate, now time.Time) error {
	_, err := checkCRL(der, issuer, now, 0)
	return err
}

// CheckSignatures follows the signatures from the PCK to the body.
func CheckSignatures(q *Quote, pck *x509.Certificate) error {
	return (&verifier{Genuine: &Genuine{Quote: q}, chain: []*x509.Certificate{pck}}).checkQuote()
}

// MaxJSON and MaxCRL are caps.
const (
	MaxJSON = maxJSON
	MaxCRL  = maxCRL
)
