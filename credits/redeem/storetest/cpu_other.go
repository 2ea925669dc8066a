// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package storetest

import "time"

func cpu() time.Duration { return 0 }
