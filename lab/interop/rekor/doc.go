// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package rekor has no code: its tests make releases of this repository with
// sotto-release against the log server of rekor-tiles, which is built from its
// own module, at its own versions, and keeps its log in files.
package rekor
