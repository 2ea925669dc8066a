// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package nitro_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sotto-project/sotto/attestation/internal/nitro"
	"github.com/sotto-project/sotto/attestation/internal/refuse"
	"github.com/sotto-project/sotto/attestation/internal/roots"
)

// TestRecorded judges a document of a Nitro Enclave in debug mode that its owner
// published. It is not part of the repository.
func TestRecorded(t *testing.T) {
	dir := os.Getenv("SOTTO_RECORDED_EVIDENCE")
	if dir == "" {
		dir = "../../../../shared/evidence"
	}
	doc, err := os.ReadFile(filepath.Join(dir, "nitro", "enclave-debug-2024-09-17.cbor"))
	if err != nil {
		t.Skipf("recorded evidence is not here (SOTTO_RECORDED_EVIDENCE): %v", err)
	}
	trusted := roots.New(false).With(roots.AWS, nitro.Roots()...)
	now := time.Date(2024, 9, 17, 1, 0, 0, 0, time.UTC)
	g, err := nitro.Verify(doc, trusted, now, 0)
	if err != nil {
		t.Fatal(err)
	}
	if g.Flavor != nitro.Enclave || len(g.PCRs) != 16 || g.Root != "CN=aws.nitro-enclaves,OU=AWS,O=Amazon,C=US" {
		t.Errorf("%+v", g)
	}
	l := &nitro.Limits{Flavor: nitro.Enclave, AnyData: true, AnyNonce: true, AnyModule: true, MaxAge: time.Hour}
	t.Run("AT-07", func(t *testing.T) { want(t, g.Check(l), refuse.Debug) })
	t.Run("AT-15", func(t *testing.T) {
		_, err := nitro.Verify(doc, trusted, now.Add(3*time.Hour), 0)
		want(t, err, refuse.Chain)
	})
	t.Run("AT-66", func(t *testing.T) {
		for i := range doc {
			doc[i] ^= 1
			if _, err := nitro.Verify(doc, trusted, now, 0); err == nil {
				t.Errorf("accepted with byte %d changed", i)
			}
			doc[i] ^= 1
		}
	})
}
