// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !windows

package tpm

import (
	"fmt"

	"github.com/google/go-tpm/tpm2/transport/linuxtpm"
)

// Open opens a TPM character device, normally /dev/tpmrm0, whose resource
// manager keeps other programs' objects apart from ours.
func Open(path string) (*TPM, error) {
	t, err := linuxtpm.Open(path)
	if err != nil {
		return nil, fmt.Errorf("tpm: open %s: %v", path, err)
	}
	return New(t), nil
}
