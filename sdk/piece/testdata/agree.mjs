// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// Judges many requests in one process, for agree_test.go: a line of JSON for each
// on standard input, and one on standard output.
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { verify } from "../piece.mjs";

const [glue, wasm] = process.argv.slice(2);
await import(pathToFileURL(glue));
const module = await WebAssembly.compile(await readFile(wasm));
for await (const line of createInterface({ input: process.stdin })) {
  const { kind, path } = JSON.parse(line);
  console.log(JSON.stringify(await verify(module, kind, await readFile(path))));
}
