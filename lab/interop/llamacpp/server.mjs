// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

// A thin OpenAI-compatible server in front of the real llama.cpp, as npm's
// node-llama-cpp ships it prebuilt: what an integration test drives Sotto with.
// One thread, one answer at a time, greedy unless a temperature is given.
//
//   node server.mjs MODEL.gguf
//
// It listens on a free port of 127.0.0.1 and prints one line of JSON with it.
import { createServer } from "node:http";
import { getLlama } from "node-llama-cpp";

const llama = await getLlama({ gpu: false, build: "never", maxThreads: 1, logLevel: "error" });
const model = await llama.loadModel({ modelPath: process.argv[2] });
const context = await model.createContext({ contextSize: 512, threads: 1 });
const sequence = context.getSequence();
const name = "sotto-tiny";
let last = Promise.resolve(); // the sequence is used by one request at a time

// The model's own chat format; see lab/engine/model/README.md. It is written
// here rather than taken from a template so that nothing adds to it.
function promptOf(body) {
  if (body.prompt !== undefined) return String(body.prompt);
  const turn = (m) => (m.role === "assistant" ? `<|assistant|>${m.content}</s>` : `<|user|>${m.content}`);
  return body.messages.map(turn).join("") + "<|assistant|>";
}

// generate yields pieces of text and returns how it ended.
async function* generate(body, signal) {
  const tokens = [model.tokens.bos, ...model.tokenize(promptOf(body), true)];
  const limit = body.max_completion_tokens ?? body.max_tokens ?? 400;
  const usage = { prompt_tokens: tokens.length, completion_tokens: 0, total_tokens: tokens.length };
  const out = [];
  let sent = "", finish = "length";
  await sequence.clearHistory();
  if (limit > 0) {
    for await (const token of sequence.evaluate(tokens, { temperature: body.temperature ?? 0, seed: body.seed, yieldEogToken: true })) {
      if (signal.aborted) return { finish: "aborted", usage };
      usage.completion_tokens++;
      if (model.isEogToken(token)) { finish = "stop"; break; }
      out.push(token);
      // Whole text so far, less a character that may still be incomplete.
      const text = model.detokenize(out, false, tokens);
      if (!text.endsWith("\ufffd") && text.length > sent.length) {
        yield text.slice(sent.length);
        sent = text;
      }
      if (usage.completion_tokens >= limit) break;
    }
  }
  usage.total_tokens += usage.completion_tokens;
  return { finish, usage };
}

async function answer(body, chat, res, signal) {
  const object = (chat ? "chat.completion" : "text_completion") + (chat && body.stream ? ".chunk" : "");
  const send = (choice, rest) => ({ id: "1", object, created: 0, model: name, choices: choice ? [{ index: 0, logprobs: null, ...choice }] : [], ...rest });
  const run = generate(body, signal);
  if (!body.stream) {
    let text = "", step;
    while (!(step = await run.next()).done) text += step.value;
    const choice = { ...(chat ? { message: { role: "assistant", content: text } } : { text }), finish_reason: step.value.finish };
    return reply(res, 200, send(choice, { usage: step.value.usage }));
  }
  const event = (v) => res.write(`data: ${JSON.stringify(v)}\n\n`);
  res.writeHead(200, { "content-type": "text/event-stream" });
  let step;
  while (!(step = await run.next()).done) {
    event(send({ ...(chat ? { delta: { content: step.value } } : { text: step.value }), finish_reason: null }));
  }
  event(send({ ...(chat ? { delta: {} } : { text: "" }), finish_reason: step.value.finish }));
  if (body.stream_options?.include_usage) event(send(null, { usage: step.value.usage }));
  res.end("data: [DONE]\n\n");
}

function reply(res, status, v) {
  const b = Buffer.from(JSON.stringify(v));
  res.writeHead(status, { "content-type": "application/json", "content-length": b.length }).end(b);
}

const server = createServer(async (req, res) => {
  const gone = new AbortController();
  res.on("close", () => gone.abort());
  try {
    const chat = req.url === "/v1/chat/completions";
    if (req.method !== "POST" || !chat && req.url !== "/v1/completions") {
      return reply(res, 404, { error: { message: "no such path", type: "invalid_request_error", param: null, code: null } });
    }
    let text = "";
    for await (const chunk of req) text += chunk;
    const body = JSON.parse(text);
    last = last.then(() => answer(body, chat, res, gone.signal));
    await last;
  } catch (err) {
    console.error(err);
    last = Promise.resolve();
    res.headersSent ? res.destroy() : reply(res, 500, { error: { message: "the engine broke", type: "server_error", param: null, code: null } });
  }
});
process.stdin.resume().on("end", () => process.exit(0)); // gone with the test that started it
server.listen(0, "127.0.0.1", () => {
  const { release } = llama.llamaCppRelease;
  console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}`, llamacpp: release, build: llama.buildType }));
});
