// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package nitro

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"
	"time"
)

// TestRoots holds the embedded root against what AWS publishes about it.
func TestRoots(t *testing.T) {
	all := Roots()
	if len(all) != 1 {
		t.Fatalf("%d roots", len(all))
	}
	c := all[0]
	sum := sha256.Sum256(c.Raw)
	if got := hex.EncodeToString(sum[:]); got != "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b" {
		t.Errorf("fingerprint %s", got)
	}
	if err := c.CheckSignatureFrom(c); err != nil {
		t.Errorf("not self-signed: %v", err)
	}
	if want := time.Date(2049, 10, 28, 14, 28, 5, 0, time.UTC); !c.NotAfter.Equal(want) || c.Subject.CommonName != "aws.nitro-enclaves" {
		t.Errorf("%q until %v", c.Subject.String(), c.NotAfter)
	}
}
