// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package attestationtest

import (
	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/attestationtest/fakeima"
)

// IMARules returns rules that allow exactly the entries given, by path.
func IMARules(entries []fakeima.Entry) *attestation.IMARules {
	r := &attestation.IMARules{Files: map[string][]attestation.Digest{}}
	for _, e := range entries {
		if e.Name != "boot_aggregate" && len(e.Digest) == 32 {
			r.Files[e.Name] = append(r.Files[e.Name], attestation.Digest(e.Digest))
		}
	}
	return r
}
