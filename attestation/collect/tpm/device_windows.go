// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package tpm

import "errors"

// Open refuses: nodes run on Linux.
func Open(string) (*TPM, error) {
	return nil, errors.New("tpm: open: not supported on windows")
}
