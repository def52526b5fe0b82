// Asks a gateway with the official OpenAI client for JavaScript, as its users do.
//
//   openai_client.mjs BASE_URL PROMPT REPLY
//
// REPLY is what the model answers to PROMPT in twelve tokens. Exits with 1 and
// says why when an answer is not as it must be.
import assert from "node:assert/strict";
import OpenAI from "openai";

const [baseURL, prompt, reply] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: prompt }];
const model = "tiny-chat";

function check(what, got, want) {
  assert.deepEqual(got, want, `${what}: ${JSON.stringify(got)}, should be ${JSON.stringify(want)}`);
  console.log(`${what}: as expected`);
}

const models = [];
for await (const m of client.models.list()) if (m.id.startsWith("tiny")) models.push(m.id);
check("models", models.sort(), ["tiny-chat", "tiny-embed"]);

const whole = await client.chat.completions.create({ model, messages, max_tokens: 12 });
check("chat", [whole.choices[0].message.content, whole.choices[0].finish_reason, whole.usage.completion_tokens], [reply, "length", 12]);

let text = "";
let usage = 0;
for await (const e of await client.chat.completions.create({
  model, messages, max_tokens: 12, stream: true, stream_options: { include_usage: true },
})) {
  for (const c of e.choices) text += c.delta.content ?? "";
  usage = e.usage?.completion_tokens ?? usage;
}
check("chat, streamed", [text, usage], [reply, 12]);

const helper = client.chat.completions.stream({ model, messages, max_tokens: 12 });
check("chat, by the stream helper", await helper.finalContent(), reply);

const completion = await client.completions.create({ model, prompt, max_tokens: 12 });
check("completion", completion.choices[0].text, reply);

const stop = reply.trim().split(" ")[5];
const stopped = await client.chat.completions.create({ model, messages, max_tokens: 12, stop: [stop] });
check("stop word", [stopped.choices[0].finish_reason, stopped.choices[0].message.content.trim()], ["stop", reply.trim().split(" ").slice(0, 5).join(" ")]);

const long = await client.chat.completions.create({ model, messages, max_tokens: 2000, stream: true });
let pieces = 0;
for await (const e of long) {
  pieces += e.choices.length;
  if (pieces > 10) break; // aborts the request
}
check("a stream that is left", pieces, 11);

const vector = await client.embeddings.create({ model: "tiny-embed", input: prompt });
check("embedding", vector.data[0].embedding.length, 64);

for (const [what, kind, status, body] of [
  ["a model that is none", OpenAI.NotFoundError, 404, { model: "none", messages }],
  ["a prompt too long", OpenAI.BadRequestError, 400, { model, messages: [{ role: "user", content: "abc ".repeat(5000) }] }],
]) {
  await assert.rejects(client.chat.completions.create(body), (e) => e instanceof kind && e.status === status, what);
  console.log(`${what}: as expected`);
}
