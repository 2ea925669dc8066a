// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package postgres

import "time"

// Hurry shortens the pauses between tries. It is for a store that nothing was
// written to yet.
func (s *Store) Hurry() { s.pause = time.Millisecond }

// Fail makes steps of writes fail by f.
func (s *Store) Fail(f func(step string) error) { s.fail.Store(&f) }
