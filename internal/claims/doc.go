// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Package claims holds what this project says about itself to what is true. It
// is tests only:
//
//   - no page, no text that a program prints and no package comment makes an
//     absolute claim (banned_test.go lists them, with what to say instead);
//   - every link between pages resolves, headings included, and every page that
//     the code names exists;
//   - each cell of the README's table that says what a party never sees or does
//     names a test that exists, and every role has a row.
//
// A line that has to quote a banned phrase carries the words "claims: quoted"
// in a comment. A mark that quotes nothing is an error too.
package claims
