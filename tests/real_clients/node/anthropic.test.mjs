// Anthropic's SDK and the Vercel AI SDK's provider of it, before a provider of OpenAI's dialect and one of
// Anthropic's.

import assert from "node:assert/strict";
import { test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import { createAnthropic } from "@ai-sdk/anthropic";
import { generateText, streamText, tool } from "ai";
import { z } from "zod";
import { ANSWER, FIRST_CHOICE_BILL, TOLLGATE, recordOf, sameMoney, script } from "./harness.mjs";

const client = new Anthropic({ baseURL: TOLLGATE, apiKey: "tg-suite-app", maxRetries: 0 });
const provider = createAnthropic({ baseURL: `${TOLLGATE}/v1`, apiKey: "tg-suite-app" });
const weather = {
  name: "get_weather",
  input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};
const CALLED = { city: "Madrid", unit: "celsius" };

for (const model of ["first-choice", "claude"]) {
  const asked = (text, steps) => ({ model, max_tokens: 100, messages: script().ask(text, steps) });

  test(`a whole message of ${model}`, async () => {
    const { data, request_id: requestId } = await client.messages.create(asked()).withResponse();
    assert.equal(data.content[0].text, ANSWER);
    assert.equal(data.stop_reason, "end_turn");
    assert.equal(data.usage.output_tokens, 10);
    sameMoney(data.usage.cost, FIRST_CHOICE_BILL);
    sameMoney((await recordOf(requestId)).cost_usd, FIRST_CHOICE_BILL);
  });

  test(`a streamed message of ${model}`, async () => {
    const stream = client.messages.stream(asked());
    let said = "";
    stream.on("text", (text) => (said += text));
    const message = await stream.finalMessage();
    assert.equal(said, ANSWER);
    assert.equal(message.content[0].text, ANSWER);
    assert.equal(message.usage.output_tokens, 10);
  });

  test(`tools of ${model}, whole and streamed`, async () => {
    const whole = await client.messages.create({ ...asked(), tools: [weather] });
    const streamed = await client.messages.stream({ ...asked(), tools: [weather] }).finalMessage();
    for (const message of [whole, streamed]) {
      assert.equal(message.stop_reason, "tool_use");
      assert.deepEqual(message.content[0].input, CALLED);
    }
  });

  test(`errors of ${model}`, async () => {
    await assert.rejects(
      client.messages.create(asked("x", { case: "status", status: 400 })),
      (error) => error instanceof Anthropic.BadRequestError && error.message.includes("the provider says 400"),
    );
    await assert.rejects(client.messages.stream(asked("x", { case: "error_event" })).finalMessage(), /fell over/);
  });

  test(`the AI SDK with ${model}`, async () => {
    const prompt = () => script().turn();
    const { text, usage } = await generateText({ model: provider(model), prompt: prompt() });
    assert.equal(text, ANSWER);
    assert.equal(usage.outputTokens, 10);
    const stream = streamText({ model: provider(model), prompt: prompt() });
    let said = "";
    for await (const piece of stream.textStream) said += piece;
    assert.equal(said, ANSWER);
    assert.equal(await stream.finishReason, "stop");
    const tools = { get_weather: tool({ inputSchema: z.object({ city: z.string(), unit: z.string() }) }) };
    const called = await generateText({ model: provider(model), prompt: prompt(), tools });
    assert.deepEqual(called.toolCalls.map((call) => [call.toolName, call.input]), [["get_weather", CALLED]]);
  });
}

test("an error that is ours", async () => {
  await assert.rejects(
    client.messages.create({ model: "nobody", max_tokens: 1, messages: script().ask() }),
    (error) => error instanceof Anthropic.NotFoundError && Boolean(error.requestID),
  );
});
