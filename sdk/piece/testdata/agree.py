# Copyright 2026 The Sotto Authors
# SPDX-License-Identifier: Apache-2.0
"""Judges many requests in one process, for agree_test.go: a line of JSON for each
on standard input, and one on standard output."""
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.dont_write_bytecode = True
import piece  # noqa: E402

verifier = piece.Verifier(sys.argv[1])
for line in sys.stdin:
    asked = json.loads(line)
    response, code = verifier.verify(asked["kind"], Path(asked["path"]).read_bytes())
    print(json.dumps({"response": response.decode("ascii"), "exit": code}), flush=True)
