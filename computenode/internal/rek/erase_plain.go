// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !goexperiment.runtimesecret

package rek

import "crypto/mlkem"

// wipes says whether a dropped key's memory is zeroed when it is collected.
const wipes = false

// generateErasable makes a key that is dropped, not wiped, on erasure: its bytes
// stay in free memory until that is used again.
func generateErasable() (*mlkem.DecapsulationKey768, error) { return mlkem.GenerateKey768() }
