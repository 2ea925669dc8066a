#!/usr/bin/env python3
# Copyright 2026 The Sotto Authors
# SPDX-License-Identifier: Apache-2.0
"""Judge one piece of evidence: piece.py LIBRARY KIND < request.json

LIBRARY is what `go build -buildmode=c-shared -o piece.so ./shared` makes. Output
and exit codes are those of `sotto verify piece` (docs/spec/piece.md). Only exit
code 0 means accepted. The library does not outlive a fork: load it in the child.
"""
import ctypes
import os
import sys


class Verifier:
    """The verifier in a shared library."""

    def __init__(self, library):
        self._lib = ctypes.CDLL(os.path.abspath(library))
        self._lib.sotto_piece.restype = ctypes.c_void_p
        self._lib.sotto_piece.argtypes = [
            ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.POINTER(ctypes.c_int)]
        self._lib.sotto_piece_free.restype = None
        self._lib.sotto_piece_free.argtypes = [ctypes.c_void_p]

    def verify(self, kind, request):
        """Judges a request, in bytes; returns the response, in bytes, and the exit code."""
        name = os.fsencode(kind)
        if b"\0" in name:  # where C would end the name, and judge another kind
            raise ValueError("a kind has no NUL")
        code = ctypes.c_int(1)
        response = self._lib.sotto_piece(name, request, len(request), ctypes.byref(code))
        try:
            return ctypes.string_at(response), code.value
        finally:
            self._lib.sotto_piece_free(response)


def main():
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 20
    answer, code = Verifier(sys.argv[1]).verify(sys.argv[2], sys.stdin.buffer.read())
    sys.stdout.buffer.write(answer)
    sys.stdout.buffer.flush()
    return code


if __name__ == "__main__":
    sys.exit(main())
