// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !race

package statement_test

const raceDetector = false
