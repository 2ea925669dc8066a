// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"crypto"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
)

// VerifyQuote verifies that the holder of key signed a quote, over whatever
// nonce and registers: *ecdsa.PublicKey on P-256 or *rsa.PublicKey. What the
// quote says is left to the caller, and so is what kind of key it is: one that is
// not restricted signs anything. It is for looking at one quote by itself;
// attestation.Verify has no way to it.
func VerifyQuote(key crypto.PublicKey, attest, signature []byte) (*Attest, error) {
	a, err := ParseQuote(attest)
	if err != nil {
		return nil, err
	}
	if !verifySignature(key, attest, signature) {
		return nil, refuse.As(refuse.Quote, "quote is not signed by the attestation key")
	}
	return a, nil
}

// ParseQuote reads a TPMS_ATTEST of a quote, and judges nothing.
func ParseQuote(attest []byte) (*Attest, error) {
	a, err := parseAttest(attest)
	if err != nil || a.Type != stQuote {
		return nil, refuse.As(refuse.Quote, "not a quote")
	}
	return a, nil
}

// SelectedSHA256 returns the registers of a quote over the SHA-256 bank alone, in
// order; ok is false if it is over another bank, or over several.
func (a *Attest) SelectedSHA256() (pcrs []int, ok bool) {
	if len(a.Selections) != 1 || a.Selections[0].Hash != algSHA256 || len(a.Selections[0].Bits) != pcrSelectLen {
		return nil, false
	}
	for i := range 8 * pcrSelectLen {
		if a.Selections[0].Bits[i/8]>>(i%8)&1 == 1 {
			pcrs = append(pcrs, i)
		}
	}
	return pcrs, true
}
