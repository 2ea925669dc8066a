// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

//go:build goexperiment.runtimesecret

package rek

import (
	"crypto/mlkem"
	"runtime/secret"
)

// wipes says whether a dropped key's memory is zeroed when it is collected.
const wipes = true

// generateErasable makes a key in memory that the runtime zeroes once the key is
// unreachable, and leaves no trace of it on the stack or in registers.
func generateErasable() (dk *mlkem.DecapsulationKey768, err error) {
	secret.Do(func() { dk, err = mlkem.GenerateKey768() })
	return dk, err
}
