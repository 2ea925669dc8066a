// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package sqlite

// Fail makes steps of the writer fail by f, from the next write on.
func (s *Store) Fail(f func(step string) error) { s.fail = f }

// Schema is what a file of this program has as its version.
const Schema = schema
