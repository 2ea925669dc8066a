// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package ima

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/sotto-project/sotto/attestation/internal/refuse"
)

// Replay returns the value that the log leads PCR 10 to from start: zero for a
// log from boot, what was quoted before for one that a log grew by.
func (l *Log) Replay(start [32]byte) [32]byte {
	pcr := start
	for i := range l.Entries {
		pcr = extend(pcr, l.Entries[i].Hash)
	}
	return pcr
}

// CheckReplay refuses with att.ima.replay a log that does not lead from start to
// the quoted value, both shown whole.
func (l *Log) CheckReplay(start, quoted [32]byte) error {
	got := l.Replay(start)
	if got == quoted {
		return nil
	}
	what := fmt.Sprintf("PCR 10 after %d IMA entries", len(l.Entries))
	return refuse.Differ(refuse.IMAReplay, what, hex.EncodeToString(quoted[:]), hex.EncodeToString(got[:]))
}

// Prefix returns the length in bytes of the shortest run of entries, from the
// first, that leads from start to want; ok is false if none does. A collector
// cuts its log there, because a list read after a quote may have grown.
func (l *Log) Prefix(start, want [32]byte) (size int, ok bool) {
	pcr := start
	for i := range l.Entries {
		if pcr == want {
			break
		}
		pcr, size = extend(pcr, l.Entries[i].Hash), l.Entries[i].End
	}
	return size, pcr == want
}

func extend(pcr, digest [32]byte) [32]byte {
	var b [64]byte
	copy(b[:32], pcr[:])
	copy(b[32:], digest[:])
	return sha256.Sum256(b[:])
}

// BootAggregate returns the digest that IMA's first entry must have: SHA-256
// over PCRs 0 to 9 of the SHA-256 bank, as they were when IMA started
// (ima_calc_boot_aggregate_tfm in the kernel's ima_crypto.c; for a SHA-1 bank
// the kernel stops at PCR 7, to leave old values as they were). It ties the log
// to this boot, and vouches for the registers among them that no quote covers.
func BootAggregate(pcrs [10][32]byte) [32]byte {
	h := sha256.New()
	for _, v := range pcrs {
		h.Write(v[:])
	}
	return [32]byte(h.Sum(nil))
}
