// Each error as the SDK's own exception, retries that are not multiplied, and streams that break.
//
// Unless a test says otherwise the SDK keeps its default of two retries.

import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { eventually, metric, open, recordOf, script } from "./harness.mjs";

const client = open();

/** The exception that a call raises; it must be of this class and carry OpenAI's error object. */
async function refused(expect, call) {
  const error = await call.then(
    () => assert.fail(`no ${expect.name}`),
    (caught) => caught,
  );
  assert.equal(error.constructor, expect, error.stack);
  assert.ok(error.message && error.type && error.code && error.requestID);
  return error;
}

const isFinal = (error) => error.headers.get("x-should-retry") === "false";
const create = (body, from = client) => from.chat.completions.create({ model: "auto", ...body });

test("a malformed request is a bad request that names its field", async () => {
  const error = await refused(OpenAI.BadRequestError, create({ messages: "hello" }));
  assert.equal(error.code, "invalid_request_error");
  assert.equal(error.param, "messages");
});

test("an unknown key is an authentication error", async () => {
  const error = await refused(
    OpenAI.AuthenticationError,
    create({ messages: script().ask() }, open({ apiKey: "tg-suite-nobody" })),
  );
  assert.equal(error.status, 401);
  assert.equal(error.code, "invalid_api_key");
});

test("a model that the key may not use is a permission error", async () => {
  const limited = open({ apiKey: "tg-suite-limited" });
  const error = await refused(
    OpenAI.PermissionDeniedError,
    create({ model: "first-choice", messages: script().ask() }, limited),
  );
  assert.equal(error.status, 403);
  assert.equal(error.code, "model_not_allowed");
});

test("an unknown model is not found and the nearest is named", async () => {
  const error = await refused(OpenAI.NotFoundError, create({ model: "frist-choice", messages: script().ask() }));
  assert.equal(error.code, "model_not_found");
  assert.match(error.message, /first-choice/);
});

test("a rate limit is a rate limit error", async () => {
  const throttled = open({ apiKey: "tg-suite-throttled-node", maxRetries: 0 });
  await create({ messages: script().ask() }, throttled);
  const error = await refused(OpenAI.RateLimitError, create({ messages: script().ask() }, throttled));
  assert.equal(error.code, "rate_limit_exceeded");
  assert.ok(Number(error.headers.get("retry-after")) > 0);
});

test("the SDK waits for a short rate limit and succeeds", async () => {
  const steady = open({ apiKey: "tg-suite-steady" });
  const { ask, calls } = script();
  for (const turn of ["one", "two"]) assert.ok((await create({ messages: ask(turn) }, steady)).choices);
  assert.equal((await calls()).length, 2);
});

test("a spent budget is a rate limit error that nobody sleeps on", async () => {
  const refusals = () => metric("tollgate_requests_total", { team: "pennies" });
  const { ask, calls } = script();
  const before = await refusals();
  const started = performance.now();
  const error = await refused(
    OpenAI.RateLimitError,
    create({ messages: ask() }, open({ apiKey: "tg-suite-pennies" })),
  );
  assert.equal(error.code, "budget_exceeded");
  assert.equal(error.type, "insufficient_quota");
  assert.ok(isFinal(error));
  assert.ok(performance.now() - started < 500, "half a second is the SDK's first pause");
  assert.equal((await refusals()) - before, 1, "the SDK asked once");
  assert.deepEqual(await calls(), []);
});

for (const [status, expect] of [[400, OpenAI.BadRequestError], [422, OpenAI.UnprocessableEntityError]]) {
  test(`the provider's ${status} is handed on`, async () => {
    const { ask, calls } = script();
    const error = await refused(expect, create({ messages: ask("?", { case: "status", status, code: "odd" }) }));
    assert.equal(error.code, "odd");
    assert.equal((await calls()).length, 1);
  });
}

for (const status of [401, 403, 404]) {
  test(`the provider's ${status} is its trouble with us, not the client's`, async () => {
    const messages = script().ask("?", { case: "status", status });
    const error = await refused(OpenAI.InternalServerError, create({ model: "first-choice", messages }));
    assert.equal(error.status, 502);
    assert.ok(isFinal(error));
  });
}

for (const stream of [false, true]) {
  test(`retries are not multiplied, ${stream ? "streamed" : "whole"}`, async () => {
    const { ask, calls } = script();
    const messages = ask("?", { case: "status", status: 500 });
    const error = await refused(OpenAI.InternalServerError, create({ model: "first-choice", messages, stream }));
    assert.equal(error.status, 502);
    assert.ok(isFinal(error));
    assert.equal(error.headers.get("x-tollgate-attempts"), "2");
    assert.equal((await calls()).length, 2, "tollgate's own two attempts, and none of the SDK's");
  });
}

test("a passing failure is not seen by the client", async () => {
  const messages = script().ask("?", { case: "status", status: 503, times: 1 });
  const { response } = await create({ model: "first-choice", messages }).withResponse();
  assert.equal(response.headers.get("x-tollgate-attempts"), "2");
});

test("another model answers when the first is down", async () => {
  const messages = script().ask("?", { case: "refuse", model: "vendor-large" });
  const { data, response } = await create({ messages }).withResponse();
  assert.equal(data.model, "vendor-small-0701");
  assert.equal(response.headers.get("x-tollgate-reason"), "fallback");
});

test("the provider's rate limit is a rate limit error", async () => {
  const messages = script().ask("?", { case: "status", status: 429, retry_after: 2 });
  const error = await refused(OpenAI.RateLimitError, create({ model: "busy-node", messages }));
  assert.equal(error.code, "rate_limit_exceeded");
  assert.ok(isFinal(error));
});

test("nothing to serve with is an internal server error", async () => {
  const call = create({ model: "switched-off", messages: script().ask() }, open({ maxRetries: 0 }));
  const error = await refused(OpenAI.InternalServerError, call);
  assert.equal(error.status, 503);
  assert.equal(error.code, "no_candidate_available");
  assert.ok(Number(error.headers.get("retry-after")) >= 1);
});

test("a provider that is too slow is an internal server error", async () => {
  const messages = script().ask("?", { case: "slow", seconds: 8 });
  const error = await refused(OpenAI.InternalServerError, create({ model: "first-choice", messages }));
  assert.equal(error.status, 504);
  assert.equal(error.code, "upstream_timeout");
  assert.ok(isFinal(error));
});

test("a client that does not wait gets its own time-out, and the provider is let go", async () => {
  const { ask, calls } = script();
  const hasty = open({ timeout: 400, maxRetries: 0 });
  const messages = ask("?", { case: "slow", seconds: 8 });
  await assert.rejects(create({ model: "first-choice", messages }, hasty), OpenAI.APIConnectionTimeoutError);
  assert.ok(await eventually(async () => (await calls())[0].hung_up, 1.5));
});

test("a proxy that is not there is a connection error", async () => {
  const astray = open({ baseURL: "http://127.0.0.1:9/v1", maxRetries: 0 });
  await assert.rejects(create({ messages: script().ask() }, astray), OpenAI.APIConnectionError);
});

for (const [name, code] of [["cut", "upstream_error"], ["error_event", "server_error"]]) {
  test(`a stream that breaks (${name}) ends with an API error`, async () => {
    const { ask, calls } = script();
    const messages = ask("?", { case: name });
    const { data: stream, response } = await create({ model: "first-choice", messages, stream: true }).withResponse();
    let seen = 0;
    const drain = async () => {
      for await (const _ of stream) seen += 1;
    };
    await assert.rejects(drain(), (error) => {
      assert.equal(error.constructor, OpenAI.APIError, error.stack);
      assert.equal(error.code, code);
      return true;
    });
    assert.equal(seen, 3);
    assert.equal((await calls()).length, 1, "what has begun is never begun again");
    assert.notEqual((await recordOf(response.headers.get("x-request-id"))).outcome, "ok");
  });
}

test("a client that leaves a stream cancels the provider", async () => {
  const { ask, calls } = script();
  const messages = ask("?", { case: "trickle" });
  const { data: stream, response } = await create({ model: "first-choice", messages, stream: true }).withResponse();
  let seen = 0;
  for await (const _ of stream) if (++seen === 3) break;
  assert.ok(await eventually(async () => (await calls())[0].hung_up), "the provider went on working for nobody");
  const record = await recordOf(response.headers.get("x-request-id"));
  assert.equal(record.outcome, "cancelled");
  assert.equal(record.estimated_cost_usd, record.cost_usd);
  assert.ok(record.cost_usd > 0);
});
