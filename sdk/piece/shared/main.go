// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Command shared is the verifier of pieces as a C library, for languages that
// call C: go build -buildmode=c-shared. ../piece.py calls it from Python.
//
// It is not a program: its main is empty, because a C library has none.
package main

// #include <stdlib.h>
// static inline void release(char *p) { free(p); }
import "C"

import (
	"github.com/sotto-project/sotto/attestation"
	"github.com/sotto-project/sotto/attestation/piece"
)

// sotto_piece judges size bytes of request and returns the response, with a
// terminating NUL, and its exit code in exit. The caller gives the response back
// with sotto_piece_free. It may be called from several threads at once.
//
//export sotto_piece
func sotto_piece(kind, request *C.char, size C.size_t, exit *C.int) *C.char {
	// One byte beyond the limit is enough for the refusal, and fits into an int
	// where a size from C may not.
	size = min(size, piece.MaxRequest+1)
	response, code := piece.Run(C.GoString(kind), []byte(C.GoStringN(request, C.int(size))), attestation.VendorRoots())
	*exit = C.int(code)
	return C.CString(string(response))
}

//export sotto_piece_free
func sotto_piece_free(response *C.char) { C.release(response) }

func main() {}
