// Chat completions, whole and streamed: what an app gets that changed its base URL and nothing else.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  ANSWER, FIRST_CHOICE_BILL, TOLLGATE, collect, open, recordOf, sameMoney, script, textOf,
} from "./harness.mjs";

const client = open();

for (const base of ["/v1", "", "/v1/"]) {
  test(`a base URL that ends with "${base}"`, async () => {
    const { ask, calls } = script();
    const completion = await open({ baseURL: TOLLGATE + base }).chat.completions.create({
      model: "auto",
      messages: ask(),
    });
    assert.equal(completion.choices[0].message.content, ANSWER);
    assert.deepEqual((await calls()).map((call) => call.path), ["/v1/chat/completions"]);
  });
}

for (const model of ["auto", "gpt-4o", "gpt-3.5-turbo", "first-choice", "cheap"]) {
  test(`a whole answer is the provider's own, asked for as ${model}`, async () => {
    const completion = await client.chat.completions.create({ model, messages: script().ask() });
    assert.equal(completion.id, "chatcmpl-scripted");
    assert.equal(completion.model, model === "cheap" ? "vendor-small-0701" : "vendor-large-0701");
    assert.equal(completion.choices[0].message.content, ANSWER);
    assert.equal(completion.choices[0].finish_reason, "stop");
    assert.equal(completion.usage.prompt_tokens_details.cached_tokens, 8);
  });
}

test("a whole answer's cost is the same everywhere", async () => {
  const { data, response, request_id: requestId } = await client.chat.completions
    .create({ model: "auto", messages: script().ask() })
    .withResponse();
  assert.equal(data._request_id, requestId);
  assert.equal(response.headers.get("x-request-id"), requestId);
  sameMoney(data.usage.cost, FIRST_CHOICE_BILL);
  assert.equal(data.usage.cost, Number(response.headers.get("x-tollgate-cost-usd")));
  assert.equal(data.usage.cost, (await recordOf(requestId)).cost_usd);
});

test("a stream has no usage chunk unless it was asked for", async () => {
  const { ask, calls } = script();
  const chunks = await collect(
    await client.chat.completions.create({ model: "gpt-4o", messages: ask(), stream: true }),
  );
  assert.equal(textOf(chunks), ANSWER);
  assert.equal(chunks.at(-1).choices[0].finish_reason, "stop");
  assert.ok(chunks.every((chunk) => chunk.choices.length > 0 && !chunk.usage));
  assert.equal((await calls())[0].body.stream_options.include_usage, true);
});

test("a stream's usage chunk carries the ledger's cost", async () => {
  const { data: stream, response } = await client.chat.completions
    .create({
      model: "auto",
      messages: script().ask(),
      stream: true,
      stream_options: { include_usage: true },
    })
    .withResponse();
  const chunks = await collect(stream);
  assert.equal(textOf(chunks), ANSWER);
  const last = chunks.at(-1);
  assert.deepEqual(last.choices, []);
  assert.equal(last.usage.completion_tokens, 10);
  sameMoney(last.usage.cost, FIRST_CHOICE_BILL);
  assert.equal(last.usage.cost, (await recordOf(response.headers.get("x-request-id"))).cost_usd);
});

test("what the provider gets differs only in the model", async () => {
  const { ask, calls } = script();
  const request = {
    messages: [{ role: "system", content: 'Be brief; ñ, 漢字, \u2028, "quotes".' }, ...ask()],
    temperature: 0.25,
    seed: 7,
    stop: ["END"],
    metadata: { ticket: "T-1" },
    a_field_of_tomorrow: { deep: [1, null, 2.5, "x"] },
  };
  await client.chat.completions.create({ model: "auto", ...request });
  const [call] = await calls();
  assert.deepEqual(call.body, { model: "vendor-large", ...request });
  assert.equal(call.headers.authorization, "Bearer provider-secret");
  assert.ok(!JSON.stringify(call.headers).includes("tg-suite"), "the virtual key stays here");
});

test("n and logprobs, whole", async () => {
  const completion = await client.chat.completions.create({
    model: "auto", messages: script().ask(), n: 2, logprobs: true, top_logprobs: 1,
  });
  assert.deepEqual(completion.choices.map((choice) => choice.index), [0, 1]);
  for (const choice of completion.choices) {
    assert.equal(choice.logprobs.content.map((entry) => entry.token).join(""), ANSWER);
    assert.equal(choice.logprobs.content[0].top_logprobs[0].token, "Yes");
  }
});

test("n and logprobs, streamed", async () => {
  const chunks = await collect(
    await client.chat.completions.create({
      model: "auto", messages: script().ask(), n: 2, logprobs: true, stream: true,
    }),
  );
  const choices = chunks.flatMap((chunk) => chunk.choices);
  for (const index of [0, 1]) {
    const own = choices.filter((choice) => choice.index === index);
    assert.equal(own.map((choice) => choice.delta.content ?? "").join(""), ANSWER);
    const entries = own.flatMap((choice) => choice.logprobs?.content ?? []);
    assert.equal(entries.map((entry) => entry.token).join(""), ANSWER);
  }
});

for (const stream of [false, true]) {
  test(`vision parts arrive as they were sent, ${stream ? "streamed" : "whole"}`, async () => {
    const { turn, calls } = script();
    const content = [
      { type: "text", text: turn("What is in these pictures?") },
      { type: "image_url", image_url: { url: "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg==", detail: "low" } },
      { type: "image_url", image_url: { url: "https://pictures.example/cat.jpg" } },
    ];
    const answer = await client.chat.completions.create({
      model: "auto", messages: [{ role: "user", content }], stream,
    });
    const text = stream ? textOf(await collect(answer)) : answer.choices[0].message.content;
    assert.equal(text, ANSWER);
    assert.deepEqual((await calls())[0].body.messages[0].content, content);
  });
}

test("the streaming helper gathers the answer", async () => {
  const runner = client.chat.completions.stream({ model: "auto", messages: script().ask() });
  assert.equal(await runner.finalContent(), ANSWER);
});

test("the same question again comes from the cache", async () => {
  const { ask, calls } = script();
  const create = (options) =>
    client.chat.completions.create({ model: "auto", messages: ask(), ...options }).withResponse();
  const first = await create();
  assert.equal(first.response.headers.get("x-tollgate-cache"), "miss");
  const second = await create();
  assert.equal(second.response.headers.get("x-tollgate-cache"), "hit-exact");
  assert.equal(second.response.headers.get("x-tollgate-cost-usd"), "0");
  assert.equal(second.data.usage.cost, 0);
  const streamed = await create({ stream: true });
  assert.equal(streamed.response.headers.get("x-tollgate-cache"), "hit-exact");
  assert.equal(textOf(await collect(streamed.data)), ANSWER);
  assert.equal((await calls()).length, 1);
});
