#!/usr/bin/env node
// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Judge one piece of evidence: piece-node.mjs WASM_EXEC_JS MODULE KIND < request.json
//
// WASM_EXEC_JS is $(go env GOROOT)/lib/wasm/wasm_exec.js, MODULE what GOOS=js
// GOARCH=wasm go build makes. Output and exit codes are those of `sotto verify
// piece` (docs/spec/piece.md).
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { buffer } from "node:stream/consumers";
import { pathToFileURL } from "node:url";
import { verify } from "./piece.mjs";

const [glue, wasm, kind] = process.argv.slice(2);
if (process.argv.length !== 5) {
  console.error("usage: piece-node.mjs WASM_EXEC_JS MODULE KIND < request.json");
  process.exit(20);
}
process.exitCode = 1; // until there is an answer
await import(pathToFileURL(resolve(glue)));
const module = await WebAssembly.compile(await readFile(wasm));
const { response, exit } = await verify(module, kind, await buffer(process.stdin));
process.stdout.write(response, () => { process.exitCode = exit; });
