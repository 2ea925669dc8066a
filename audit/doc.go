// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package audit follows a statement log from outside, and says what it finds:
// a log that shows two worlds, a key or a chip that was not there before,
// evidence that does not hold, a witness that has gone silent.
//
// It holds no private key and decides by no other rules than a client's:
// checkpoints by transparency, statements by transparency/statement, evidence by
// transparency/roster under a policy that the auditor brings. It trusts no
// mirror: what a mirror serves is compared with what the log signed. What it
// knows is in a folder of its own, so that it goes on where it stopped.
//
// What it signs is not here but in audit/record; how its findings are printed
// for a terminal is client/cli's.
package audit
