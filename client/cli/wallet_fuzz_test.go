// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strconv"
	"testing"
)

// FuzzStock: what is taken has one spelling, and an error no value.
func FuzzStock(f *testing.F) {
	for _, s := range []string{"16=32", "016=1", "16=", "=1", "16=-1", "300=1", "16=70000", "16=1=1", " 16=1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		class, n, err := parseStock(s)
		if err != nil {
			if class != 0 || n != 0 {
				t.Error("a value beside an error")
			}
			return
		}
		if fmt.Sprintf("%d=%d", class, n) != s {
			t.Errorf("accepted %q, printed %d=%d", s, class, n)
		}
	})
}

// FuzzUnits: as FuzzStock.
func FuzzUnits(f *testing.F) {
	for _, s := range []string{"1", "0", "01", "+1", "1e6", "4611686018427387904", "18446744073709551616", "1_000"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := parseUnits(s)
		if err != nil {
			if n != 0 {
				t.Error("a value beside an error")
			}
			return
		}
		if n == 0 || n >= 1<<62 || strconv.FormatUint(n, 10) != s {
			t.Errorf("accepted %q, printed %d", s, n)
		}
	})
}
