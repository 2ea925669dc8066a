// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"testing"

	"github.com/sotto-project/sotto/client/cli"
	"github.com/sotto-project/sotto/client/internal/clienttest"
)

// TestControlPortStaysHome: a Host header proves nothing where anybody can
// write one, so a wide control port needs a token as the other port does.
func TestControlPortStaysHome(t *testing.T) {
	w := clienttest.Start(t, 3)
	t.Run("CL-10", func(t *testing.T) {
		for _, addr := range []string{"0.0.0.0:0", "[::]:0", ":0"} {
			_, _, code, err := run(t, command(w), "", "proxy", "--listen", "127.0.0.1:0", "--control", addr)
			if code != cli.ExitUsage {
				t.Errorf("%s: %d, %v", addr, code, err)
			}
		}
	})
}
