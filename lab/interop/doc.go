// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package interop holds tests of Sotto against software that others wrote:
// OpenAI's clients in Go and JavaScript, nginx as a relay, openpcc's Oblivious
// HTTP, llama.cpp as the engine, transparency-dev's witness and Tessera's log.
// Each runs the real programs.
//
// It is a module of its own, so that what it tests against never becomes a
// dependency of Sotto. What a machine lacks (Node.js, npm, nginx) is skipped
// with a line that names it. Results, with versions and dates, are kept in
// docs/interop.md.
package interop
