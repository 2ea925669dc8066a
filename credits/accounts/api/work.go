// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// MaxWorkBits is the hardest proof of work that a bank may ask for.
const MaxWorkBits = 40

// digest is what a proof of work is bound to: account, request id, keyset and
// every blinded element, so work done for one request buys no other.
func (r *IssueRequest) digest(account Account) [32]byte {
	h := sha256.New()
	h.Write([]byte(workLabel))
	h.Write(account[:])
	h.Write(r.Request[:])
	h.Write(r.Keyset[:])
	for i := range r.Tokens {
		h.Write([]byte{r.Tokens[i].Exponent})
		h.Write(r.Tokens[i].Blinded[:])
	}
	return [32]byte(h.Sum(nil))
}

// Worked reports whether r.Work is a proof of work of the given difficulty:
//
//	SHA-256(digest || uint64 work) begins with that many zero bits, where digest =
//	SHA-256("sotto work v1" || 0 || account id || request id || keyset || uint8 exponent || blinded element, for each token)
func (r *IssueRequest) Worked(account Account, difficulty int) bool {
	d := r.digest(account)
	return zeros(d, r.Work) >= difficulty
}

// DoWork sets r.Work. It takes about 2^difficulty hashes and ends early with ctx.
func (r *IssueRequest) DoWork(ctx context.Context, account Account, difficulty int) error {
	d := r.digest(account)
	for n := uint64(0); ; n++ {
		if zeros(d, n) >= difficulty {
			r.Work = n
			return nil
		}
		if n%4096 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
	}
}

func zeros(digest [32]byte, work uint64) int {
	var b [40]byte
	copy(b[:], digest[:])
	binary.BigEndian.PutUint64(b[32:], work)
	h := sha256.Sum256(b[:])
	n := 0
	for _, x := range h {
		if x != 0 {
			return n + bits.LeadingZeros8(x)
		}
		n += 8
	}
	return n
}
