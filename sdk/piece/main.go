// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Command piece is `sotto verify piece` alone, for builds that the whole program
// is not made for: WebAssembly under WASI (GOOS=wasip1) and in JavaScript
// (GOOS=js). It reads one JSON document on standard input and writes one on
// standard output; docs/spec/piece.md has both, and the exit codes.
//
// It is not a second verifier: what it judges with is the main module's package
// attestation/piece, and agree_test.go holds every build against the shipped
// program. It does not know sigstore-bundle, which the shipped program judges
// with another package: here that kind is unsupported, exit code 20.
//
// It is a module of its own, because it replaces a module that has no build for
// WebAssembly (see logger).
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/piece"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintf(os.Stderr, "usage: piece KIND < request.json; KIND is one of %v\n", piece.Kinds())
		os.Exit(piece.ExitUnsupported)
	}
	request, err := io.ReadAll(io.LimitReader(os.Stdin, piece.MaxRequest+1))
	if err != nil {
		fmt.Fprintln(os.Stderr, "piece: standard input:", err)
		os.Exit(piece.ExitInternal)
	}
	response, exit := piece.Run(os.Args[1], request, attestation.VendorRoots())
	if _, err := os.Stdout.Write(response); err != nil {
		os.Exit(piece.ExitInternal)
	}
	os.Exit(exit)
}
