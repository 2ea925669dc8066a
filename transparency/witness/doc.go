// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package witness is a witness of logs: the C2SP tlog-witness protocol, as
// docs/spec/witness.md profiles it. A log sends its newest checkpoint with a
// proof that it extends the one before; the witness remembers what it has
// signed, and signs nothing that contradicts it.
//
// It is made to be run by others than the log's operator: it needs the log's
// verifier keys and a directory, and dials nobody. It is not a mirror: it holds
// no leaf, and does not know what a log is about. What it vouches for is that
// there is one history of each size, not that anything in it is true.
package witness
