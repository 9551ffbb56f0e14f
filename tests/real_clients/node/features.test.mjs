// Tools, JSON schemas, embeddings, legacy completions, models, headers, feedback.

import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { ANSWER, TOLLGATE, collect, fetchJson, open, recordOf, sameMoney, script, textOf } from "./harness.mjs";

const client = open();
const ARGUMENTS = { city: "Madrid", unit: "celsius" };
const tool = (name) => ({
  type: "function",
  function: { name, parameters: { type: "object", properties: { city: { type: "string" } } } },
});
const TOOLS = [tool("weather"), tool("local_time")];

test("parallel tool calls and their results", async () => {
  const { ask, calls } = script();
  const messages = ask("What is the weather and the time in Madrid?");
  const first = await client.chat.completions.create({ model: "auto", messages, tools: TOOLS });
  const { finish_reason: finish, message } = first.choices[0];
  assert.equal(finish, "tool_calls");
  assert.deepEqual(message.tool_calls.map((call) => call.function.name), ["weather", "local_time"]);
  assert.deepEqual(JSON.parse(message.tool_calls[0].function.arguments), ARGUMENTS);

  messages.push(message);
  const results = ["31 °C", "12:05"];
  message.tool_calls.forEach((call, index) =>
    messages.push({ role: "tool", tool_call_id: call.id, content: results[index] }),
  );
  const second = await client.chat.completions.create({ model: "auto", messages, tools: TOOLS });
  assert.equal(second.choices[0].message.content, "The tools say: 31 °C; 12:05");
  assert.deepEqual((await calls())[1].body.messages, messages);
});

test("streamed tool calls grow by deltas", async () => {
  const chunks = await collect(
    await client.chat.completions.create({ model: "auto", messages: script().ask(), tools: TOOLS, stream: true }),
  );
  const calls = [];
  for (const delta of chunks.flatMap((chunk) => chunk.choices[0].delta.tool_calls ?? [])) {
    calls[delta.index] ??= { id: delta.id, name: delta.function.name, arguments: "" };
    calls[delta.index].arguments += delta.function.arguments ?? "";
  }
  assert.deepEqual(calls.map((call) => call.name), ["weather", "local_time"]);
  assert.ok(calls.every((call) => JSON.parse(call.arguments).city === "Madrid"));
  assert.equal(chunks.at(-1).choices[0].finish_reason, "tool_calls");
});

test("the SDK runs tools in a loop until the model is done", async () => {
  const { ask, calls } = script();
  const asked = [];
  const weather = zodFunction({
    name: "weather",
    parameters: z.object({ city: z.string(), unit: z.string() }),
    function: (given) => {
      asked.push(given);
      return "31 °C";
    },
  });
  const runner = client.chat.completions.runTools({ model: "auto", messages: ask(), tools: [weather] });
  assert.equal(await runner.finalContent(), "The tools say: 31 °C");
  assert.deepEqual(asked, [ARGUMENTS]);
  assert.equal((await calls()).length, 2);
});

const City = z.object({ city: z.string(), population: z.number() });
const MADRID = { city: "Madrid", population: 3300000 };

test("the SDK parses into a zod schema, whole", async () => {
  const { ask, calls } = script();
  const response_format = zodResponseFormat(City, "city");
  const completion = await client.chat.completions.parse({ model: "auto", messages: ask(), response_format });
  assert.deepEqual(completion.choices[0].message.parsed, MADRID);
  const sent = (await calls())[0].body.response_format;
  assert.equal(sent.json_schema.name, "city");
  assert.equal(sent.json_schema.strict, true);
});

test("the SDK parses into a zod schema, streamed", async () => {
  const runner = client.chat.completions.stream({
    model: "auto", messages: script().ask(), response_format: zodResponseFormat(City, "city"),
  });
  assert.deepEqual((await runner.finalChatCompletion()).choices[0].message.parsed, MADRID);
});

test("embeddings as the SDK asks for them", async () => {
  const { turn, calls } = script();
  const answer = await client.embeddings.create({ model: "text-embedding-3-small", input: [turn(), "second"] });
  assert.deepEqual(answer.data.map((item) => item.embedding), [[0.5, -0.25, 0.125, 0], [0.5, -0.25, 0.125, 1]]);
  assert.equal((await calls())[0].body.encoding_format, "base64");
});

test("embeddings as floats", async () => {
  const { turn } = script();
  const { data: answer, response } = await client.embeddings
    .create({ model: "text-embedding-3-small", input: turn(), encoding_format: "float" })
    .withResponse();
  assert.deepEqual(answer.data[0].embedding, [0.5, -0.25, 0.125, 0]);
  sameMoney(answer.usage.cost, (9 * 0.02) / 1e6);
  sameMoney(response.headers.get("x-tollgate-cost-usd"), answer.usage.cost);
});

test("legacy completions, whole and streamed", async () => {
  const { turn } = script();
  const request = { model: "first-choice", prompt: turn(), max_tokens: 20 };
  const whole = await client.completions.create(request);
  assert.equal(whole.choices[0].text, ANSWER);
  sameMoney(whole.usage.cost, (5 * 3 + 6 * 15) / 1e6);
  const chunks = await collect(
    await client.completions.create({ ...request, prompt: script().turn(), stream: true }),
  );
  assert.equal(textOf(chunks), ANSWER);
  assert.ok(chunks.every((chunk) => !chunk.usage));
});

test("models are listed and retrieved", async () => {
  const models = await collect(await client.models.list());
  const names = models.map((model) => model.id);
  for (const name of ["auto", "cheap", "first-choice", "text-embedding-3-small"]) assert.ok(names.includes(name), name);
  assert.equal((await client.models.retrieve("first-choice")).owned_by, "scripted");
  await assert.rejects(client.models.retrieve("no-such-model"), OpenAI.NotFoundError);
});

test("every header of a whole answer", async () => {
  const { response, request_id: requestId } = await client.chat.completions
    .create(
      { model: "gpt-4o-mini", messages: script().ask("Write a Python function that reverses a linked list.") },
      { headers: { "x-tollgate-tags": "feature=search" } },
    )
    .withResponse();
  const header = (name) => response.headers.get(name);
  assert.equal(header("x-tollgate-model"), "first-choice");
  assert.equal(header("x-tollgate-provider"), "scripted");
  assert.equal(header("x-tollgate-task"), "code_generation");
  assert.match(header("x-tollgate-level"), /^(simple|complex|critical)$/);
  assert.match(header("x-tollgate-complexity"), /^[01]\.\d{3}$/);
  assert.equal(header("x-tollgate-reason"), "matrix");
  assert.equal(header("x-tollgate-cache"), "miss");
  assert.equal(header("x-tollgate-attempts"), "1");
  assert.match(header("x-tollgate-cost-usd"), /^0\.\d+$/);
  assert.ok(Number(header("x-tollgate-overhead-us")) > 0);
  assert.equal(header("x-ratelimit-limit-requests"), "6000");
  assert.ok(header("x-ratelimit-remaining-tokens") && header("x-ratelimit-reset-tokens"));
  const record = await recordOf(requestId);
  assert.deepEqual(record.tags, { feature: "search" });
  assert.equal(record.attempts[0].usage, "reported");
});

test("feedback is taken by request id", async () => {
  const completion = await client.chat.completions.create({ model: "auto", messages: script().ask() });
  await recordOf(completion._request_id);
  const body = { request_id: completion._request_id, rating: 5 };
  assert.equal((await fetchJson(`${TOLLGATE}/v1/feedback`, { body })).request_id, completion._request_id);
  // The SDK's own way to call what it has no method for.
  assert.equal((await client.post("/feedback", { body })).request_id, completion._request_id);
  await assert.rejects(fetchJson(`${TOLLGATE}/v1/feedback`, { body, key: "tg-suite-limited" }), { status: 404 });
});
