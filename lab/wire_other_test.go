// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package lab_test

import "testing"

// A wiretap captures packets on Linux only.
type wiretap struct{}

func tap(t *testing.T) *wiretap {
	t.Log("packets are captured on Linux only")
	return nil
}

func (*wiretap) captured(uint16) map[string][]byte { return nil }
func (*wiretap) lost() int                         { return 0 }
