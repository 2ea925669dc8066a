// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"encoding/json"
	"testing"

	"github.com/sotto-project/sotto/lab"
)

// TestWithdrawalsArrive: an image or a chip that a reviewer withdrew, and a node
// that left the statement, are used by no client two epochs later.
func TestWithdrawalsArrive(t *testing.T) {
	t.Parallel()
	stdout, stderr, code := once(t, "drill", "--json", "--epoch", "10s")
	var all []lab.Drilled
	if err := json.Unmarshal([]byte(stdout), &all); code != 0 || err != nil || len(all) != 3 {
		t.Fatalf("exit %d, %v, stdout %q; stderr:\n%s", code, err, stdout, stderr)
	}
	for i, want := range []string{"att.image.revoked", "att.image.revoked", "not in the list"} {
		t.Run("AT-51/"+all[i].What, func(t *testing.T) {
			d := all[i]
			t.Logf("%d epochs, %.1f s", d.Epochs, d.Seconds)
			if d.Outcome != want || d.Epochs < 1 || d.Epochs > 2 || d.Seconds <= 0 {
				t.Errorf("%+v", d)
			}
		})
	}
}
