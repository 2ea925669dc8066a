// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// The verifier of pieces in a page, a worker or Node.js. It asks nobody and opens
// nothing: the WebAssembly module gets the request as its standard input, and what
// it prints is the response. Go's wasm_exec.js, of the release that compiled the
// module, has to be loaded first.

let turn = Promise.resolve();

// verify judges a request (a Uint8Array or a string) with a WebAssembly.Module
// and returns {response, exit}: one line of JSON, and the exit code of
// docs/spec/piece.md. Only exit 0 means accepted.
export function verify(module, kind, request) {
  // Go's glue finds its files in a global object: one judgement after the other.
  const mine = turn.then(() => judge(module, kind, request));
  turn = mine.catch(() => {});
  return mine;
}

async function judge(module, kind, request) {
  const input = typeof request === "string" ? new TextEncoder().encode(request) : request;
  const go = new globalThis.Go();
  let exit = 1; // of a program that ends without a word
  go.argv = ["piece", kind];
  go.exit = (code) => { exit = code; };
  const before = globalThis.fs;
  const printed = [];
  globalThis.fs = streams(before, input, printed);
  try {
    await go.run(await WebAssembly.instantiate(module, go.importObject));
  } finally {
    globalThis.fs = before;
    go._scheduledTimeouts.forEach((timeout) => clearTimeout(timeout)); // one that rings after the end throws
  }
  return { response: await new Blob(printed).text(), exit };
}

// streams has standard input, output and error, and is for the rest what Go's
// glue has: files that cannot be opened.
function streams(base, input, printed) {
  let at = 0;
  const put = (fd, bytes) => {
    if (fd === 1) printed.push(bytes.slice());
    else console.error(new TextDecoder().decode(bytes));
    return bytes.length;
  };
  return {
    ...base,
    writeSync: put,
    write(fd, buffer, offset, length, position, done) {
      done(null, put(fd, buffer.subarray(offset, offset + length)));
    },
    read(fd, buffer, offset, length, position, done) {
      const next = input.subarray(at, at + length);
      buffer.set(next, offset);
      at += next.length;
      done(null, next.length);
    },
  };
}
