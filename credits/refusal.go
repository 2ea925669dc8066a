// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package credits

// A Refusal says that something about money is not as it must be: the code, as
// it travels, and why, for people.
type Refusal struct{ Code, Why string }

func (r *Refusal) Error() string { return "credits: " + r.Code + ": " + r.Why }
