// `openai`, `@anthropic-ai/sdk` and the Vercel AI SDK, unmodified, against a model at a provider of each
// dialect.
import assert from "node:assert/strict";
import { test } from "node:test";

import Anthropic from "@anthropic-ai/sdk";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { generateObject, generateText, stepCountIs, streamObject, streamText, tool } from "ai";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const tollgate = process.env.TOLLGATE_URL;
const upstreams = ["openai-chat", "openai-responses", "anthropic-messages", "gemini-generate", "bedrock-converse"];
const models = upstreams.map((upstream) => "at-" + upstream);
const openai = new OpenAI({ baseURL: tollgate + "/v1", apiKey: "unused", maxRetries: 0 });
const anthropic = new Anthropic({ baseURL: tollgate, apiKey: "unused", maxRetries: 0 });
const aiOpenai = createOpenAI({ baseURL: tollgate + "/v1", apiKey: "unused" });
const aiAnthropic = createAnthropic({ baseURL: tollgate + "/v1", apiKey: "unused" });
const said = "[Brief.] You said: héllo ✓";
const weather = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };
const png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";
const saw = `An image of ${Buffer.from(png, "base64").length} bytes`;
const place = z.object({ city: z.string(), count: z.number() });
const found = { city: "Málaga", count: 3 };
const user = (content) => ({ role: "user", content });

for (const model of models) {
  test(`openai, chat: ${model}`, async () => {
    const messages = [{ role: "system", content: "Brief." }, user("héllo")];
    const whole = await openai.chat.completions.create({ model, messages });
    assert.equal(whole.choices[0].message.content, said);
    let text = "";
    for await (const chunk of await openai.chat.completions.create({ model, messages, stream: true })) {
      text += chunk.choices[0]?.delta?.content ?? "";
    }
    assert.equal(text, said);
    const tools = [{ type: "function", function: { name: "get_weather", parameters: weather } }];
    const runner = openai.chat.completions.stream({ model, messages: [user("the weather?")], tools });
    const [call] = (await runner.finalChatCompletion()).choices[0].message.tool_calls;
    assert.deepEqual(JSON.parse(call.function.arguments), { city: "Málaga" });
    const image = [{ type: "text", text: "what?" }, { type: "image_url", image_url: { url: "data:image/png;base64," + png } }];
    assert.equal((await openai.chat.completions.create({ model, messages: [user(image)] })).choices[0].message.content, saw);
    let seen = "";
    for await (const chunk of await openai.chat.completions.create({ model, messages: [user(image)], stream: true })) {
      seen += chunk.choices[0]?.delta?.content ?? "";
    }
    assert.equal(seen, saw);
    const chosen = (await openai.chat.completions.create({ model, messages: [user("the weather?")], tools })).choices[0].message;
    const result = { role: "tool", tool_call_id: chosen.tool_calls[0].id, content: "sunny" };
    const after = await openai.chat.completions.create({ model, messages: [user("the weather?"), chosen, result], tools });
    assert.equal(after.choices[0].message.content, "The tool says: sunny");
    const structured = { model, messages: [user("a place")], response_format: zodResponseFormat(place, "place") };
    assert.deepEqual((await openai.chat.completions.parse(structured)).choices[0].message.parsed, found);
    assert.deepEqual((await openai.chat.completions.stream(structured).finalChatCompletion()).choices[0].message.parsed, found);
    for (const stream of [false, true]) {
      await assert.rejects(openai.chat.completions.create({ model, messages: [user("fail-400")], stream }), OpenAI.BadRequestError);
    }
  });

  test(`openai, responses: ${model}`, async () => {
    const whole = await openai.responses.create({ model, instructions: "Brief.", input: "héllo" });
    assert.equal(whole.output_text, said);
    const stream = openai.responses.stream({ model, instructions: "Brief.", input: "héllo" });
    assert.equal((await stream.finalResponse()).output_text, said);
    const tools = [{ type: "function", name: "get_weather", parameters: weather, strict: true }];
    const question = user("the weather?");
    const first = await openai.responses.create({ model, input: [question], tools });
    const call = first.output.find((item) => item.type === "function_call");
    const result = { type: "function_call_output", call_id: call.call_id, output: "sunny" };
    const second = await openai.responses.create({ model, input: [question, ...first.output, result], tools });
    assert.equal(second.output_text, "The tool says: sunny");
    const called = await openai.responses.stream({ model, input: [question], tools }).finalResponse();
    assert.deepEqual(JSON.parse(called.output.find((item) => item.type === "function_call").arguments), { city: "Málaga" });
    const image = user([{ type: "input_text", text: "what?" }, { type: "input_image", detail: "auto", image_url: "data:image/png;base64," + png }]);
    assert.equal((await openai.responses.create({ model, input: [image] })).output_text, saw);
    assert.equal((await openai.responses.stream({ model, input: [image] }).finalResponse()).output_text, saw);
    const structured = { model, input: "a place", text: { format: zodTextFormat(place, "place") } };
    assert.deepEqual((await openai.responses.parse(structured)).output_parsed, found);
    assert.deepEqual((await openai.responses.stream(structured).finalResponse()).output_parsed, found);
    for (const stream of [false, true]) {
      await assert.rejects(openai.responses.create({ model, input: "fail-400", stream }), OpenAI.BadRequestError);
    }
  });

  test(`anthropic: ${model}`, async () => {
    const asked = { model, max_tokens: 300, system: "Brief.", messages: [user("héllo")] };
    assert.equal((await anthropic.messages.create(asked)).content[0].text, said);
    assert.equal(await anthropic.messages.stream(asked).finalText(), said);
    const tools = [{ name: "get_weather", input_schema: weather }];
    const message = await anthropic.messages.stream({ ...asked, messages: [user("the weather?")], tools }).finalMessage();
    const call = message.content.find((block) => block.type === "tool_use");
    assert.deepEqual(call.input, { city: "Málaga" });
    const image = [{ type: "image", source: { type: "base64", media_type: "image/png", data: png } }, { type: "text", text: "what?" }];
    assert.equal((await anthropic.messages.create({ ...asked, messages: [user(image)] })).content[0].text, saw);
    assert.equal(await anthropic.messages.stream({ ...asked, messages: [user(image)] }).finalText(), saw);
    const result = { type: "tool_result", tool_use_id: call.id, content: "sunny" };
    const turns = [user("the weather?"), { role: "assistant", content: message.content }, user([result])];
    assert.equal((await anthropic.messages.create({ ...asked, messages: turns, tools })).content[0].text, "The tool says: sunny");
    const structured = { model, max_tokens: 300, messages: [user("a place")], output_config: { format: zodOutputFormat(place) } };
    assert.deepEqual((await anthropic.messages.parse(structured)).parsed_output, found);
    assert.deepEqual((await anthropic.messages.stream(structured).finalMessage()).parsed_output, found);
    for (const stream of [false, true]) {
      await assert.rejects(anthropic.messages.create({ ...asked, messages: [user("fail-400")], stream }), Anthropic.BadRequestError);
    }
  });

  const flavours = [["@ai-sdk/openai, responses", aiOpenai.responses(model)], ["@ai-sdk/openai, chat", aiOpenai.chat(model)], ["@ai-sdk/anthropic", aiAnthropic(model)]];
  for (const [name, languageModel] of flavours) {
    test(`${name}: ${model}`, async () => {
      const asked = { model: languageModel, system: "Brief.", prompt: "héllo", maxRetries: 0 };
      const whole = await generateText(asked);
      assert.equal(whole.text, said);
      assert.equal(whole.usage.outputTokens, 20);
      let text = "";
      for await (const piece of streamText(asked).textStream) text += piece;
      assert.equal(text, said);
      const get_weather = tool({
        description: "The weather", inputSchema: z.object({ city: z.string() }), execute: async ({ city }) => "sunny in " + city,
      });
      const agent = await generateText({ ...asked, prompt: "the weather?", tools: { get_weather }, stopWhen: stepCountIs(3) });
      assert.match(agent.text, /sunny in Málaga/);
      const streamed = streamText({ ...asked, prompt: "the weather?", tools: { get_weather }, stopWhen: stepCountIs(3) });
      assert.match(await streamed.text, /sunny in Málaga/);
      const structured = await generateObject({ ...asked, prompt: "a place", schema: place });
      assert.deepEqual(structured.object, found);
      let partial;
      for await (const so of streamObject({ ...asked, prompt: "a place", schema: place }).partialObjectStream) partial = so;
      assert.deepEqual(partial, found);
      const image = [{ type: "text", text: "what?" }, { type: "image", image: png, mediaType: "image/png" }];
      assert.equal((await generateText({ model: languageModel, messages: [user(image)], maxRetries: 0 })).text, saw);
      let seen = "";
      for await (const piece of streamText({ model: languageModel, messages: [user(image)], maxRetries: 0 }).textStream) seen += piece;
      assert.equal(seen, saw);
      await assert.rejects(generateText({ ...asked, prompt: "fail-400" }), /the provider will not have it/);
      const errors = [];
      for await (const part of streamText({ ...asked, prompt: "fail-400", onError: () => {} }).fullStream) {
        if (part.type === "error") errors.push(String(part.error));
      }
      assert.match(errors.join(), /the provider will not have it/);
    });
  }
}
