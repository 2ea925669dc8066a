// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tdx

import (
	"time"

	"github.com/sotto-project/sotto/attestation/internal/roots"
)

// VerifySignatures decides the part of [Verify] that needs no collateral: the
// PCK chains to a trusted root, and signatures lead from it to the body. It does
// not look at revocation, at the identity of quoting enclave and module, or at
// the firmware's status, which stays empty: an old quoting enclave with a known
// hole would pass. It is for looking at one quote by itself, and not enough to
// trust a machine; attestation.Verify has no way to it.
func VerifySignatures(quote []byte, trusted roots.Set, now time.Time) (*Genuine, error) {
	v, err := open(quote, trusted, now)
	if err != nil {
		return nil, err
	}
	return v.take(v.checkPCK, v.checkQuote)
}

// Debug reports whether an attribute opens the TD to a debugger or profiler
// outside it.
func (b *Body) Debug() bool { return b.Attributes&attrUntrusted != 0 }

// Migratable reports whether the TD may be moved, or a service TD is bound to it
// that could do so.
func (b *Body) Migratable() bool {
	return b.Attributes&attrMigratable != 0 || b.MRServiceTD != [48]byte{}
}
