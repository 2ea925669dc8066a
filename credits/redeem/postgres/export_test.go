// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package postgres

// Fail makes steps of writes fail by f.
func (s *Store) Fail(f func(step string) error) { s.fail.Store(&f) }
