// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package redeem_test

import (
	"testing"

	"github.com/sotto-project/sotto/credits/redeem/storetest"
)

// The contract and the attacks against the model that the other tests use.

func TestContract(t *testing.T) { storetest.Contract(t, storetest.MemoryMaker) }

func TestAttacks(t *testing.T) { storetest.Attacks(t, storetest.MemoryMaker) }
