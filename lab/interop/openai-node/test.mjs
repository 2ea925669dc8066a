// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// OpenAI's JavaScript client against a running Sotto endpoint. The base URL is
// argv[2]; the prompt and what must come back are a JSON object on stdin. Exits
// with 0 when everything held.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import OpenAI from "openai";

const want = JSON.parse(readFileSync(0, "utf8"));
const client = new OpenAI({ baseURL: process.argv[2], apiKey: "unused", maxRetries: 0, timeout: 30_000 });
const ask = { model: want.model, temperature: 0, max_tokens: 90, messages: [{ role: "user", content: want.prompt }] };

// chat, whole
const whole = await client.chat.completions.create(ask);
assert.equal(whole.choices[0].message.content, want.answer);
assert.equal(whole.choices[0].finish_reason, want.finish);
assert.equal(whole.usage.completion_tokens, want.completionTokens);

// chat, streamed
let text = "", pieces = 0, finish = null, usage = null;
for await (const chunk of await client.chat.completions.create({ ...ask, stream: true, stream_options: { include_usage: true } })) {
  const delta = chunk.choices[0]?.delta?.content;
  if (delta) { text += delta; pieces++; }
  finish = chunk.choices[0]?.finish_reason ?? finish;
  usage = chunk.usage ?? usage;
}
assert.equal(text, want.answer);
assert.equal(finish, want.finish);
assert.equal(usage.completion_tokens, want.completionTokens);
assert.ok(pieces >= 10, `the answer came in ${pieces} pieces: it did not stream`);

// a stream left in the middle, and the client still works
const left = await client.chat.completions.create({ ...ask, stream: true });
for await (const _ of left) break;

// models, completions
assert.deepEqual((await client.models.list()).data.map((m) => m.id), [want.model]);
const completion = await client.completions.create({ model: want.model, prompt: "a", max_tokens: 3, temperature: 0 });
assert.equal(typeof completion.choices[0].text, "string");

// embeddings: asked for in base64 by the client's own default
const short = (await client.embeddings.create({ model: want.model, input: "a light" })).data[0].embedding;
const long = (await client.embeddings.create({ model: want.model, input: "a light", encoding_format: "float" })).data[0].embedding;
assert.equal(short.length, 192);
short.forEach((x, i) => assert.ok(Math.abs(x - long[i]) < 1e-6));

// errors have the client's own type, and Sotto's stable code
await assert.rejects(client.chat.completions.create({ ...ask, model: "no-such-model" }), (err) => {
  assert.ok(err instanceof OpenAI.BadRequestError);
  assert.equal(err.type, "invalid_request_error");
  assert.equal(err.code, "request.model");
  return true;
});
console.log(`ok: openai ${want.version}, node ${process.version}`);
