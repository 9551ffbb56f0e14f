// What every test of the Node SDK needs: a client, scripts for the provider, a look at its side and at
// tollgate's records. Nothing of the SDK is replaced; only base URL and key are given, as an app would.

import assert from "node:assert/strict";
import OpenAI from "openai";

export const TOLLGATE = process.env.TOLLGATE_URL;
export const ADMIN = process.env.TOLLGATE_ADMIN_URL;
export const UPSTREAM = process.env.UPSTREAM_URL;
export const ANSWER = "The answer is forty-two, señor.";

/** A client; `options` are the SDK's own. */
export function open(options = {}) {
  return new OpenAI({ baseURL: `${TOLLGATE}/v1`, apiKey: "tg-suite-app", ...options });
}

let number = 0;

/** One test's part of the provider: `ask` makes messages with a script, `calls` tells what was seen. */
export function script() {
  const id = `js-${process.pid}-${++number}`;
  const turn = (text = "What is the answer?", steps = {}) => {
    const words = Object.entries({ id, ...steps }).map(([name, value]) => `${name}=${value}`);
    return `[[${words.join(" ")}]] ${text}`;
  };
  const ask = (text, steps) => [{ role: "user", content: turn(text, steps) }];
  const calls = async () => (await fetchJson(`${UPSTREAM}/_calls/${id}`)).calls;
  return { turn, ask, calls };
}

/** Plain HTTP, for what the SDK has no method for. */
export async function fetchJson(url, { body, key = "tg-suite-app" } = {}) {
  const response = await fetch(url, {
    method: body === undefined ? "GET" : "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const value = await response.json();
  if (!response.ok) throw Object.assign(new Error(JSON.stringify(value)), { status: response.status });
  return value;
}

/** The first truthy value of `probe`; what it gave last when the time is up. */
export async function eventually(probe, seconds = 5) {
  const until = performance.now() + seconds * 1000;
  for (;;) {
    const value = await probe();
    if (value || performance.now() > until) return value;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** The decision record and bill of a request. It is written moments after the answer's end. */
export async function recordOf(requestId) {
  const record = await eventually(() =>
    fetchJson(`${TOLLGATE}/v1/requests/${requestId}`).catch((error) => {
      assert.equal(error.status, 404, error.message);
      return null;
    }),
  );
  assert.ok(record, `no record of ${requestId}`);
  return record;
}

/** The sum of a counter's series that have these labels. */
export async function metric(name, labels) {
  const lines = (await (await fetch(`${ADMIN}/metrics`)).text()).split("\n");
  const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  return lines
    .filter((line) => line.startsWith(`${name}{`) && wanted.every((it) => line.includes(it)))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
}

/** Everything that a stream yields. */
export async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

export const textOf = (chunks) =>
  chunks.flatMap((chunk) => chunk.choices.map((choice) => choice.delta?.content ?? choice.text ?? "")).join("");

/** USD for the scripted usage at the price of `first-choice`, as routes.yaml.in has it. */
export const FIRST_CHOICE_BILL = (12 * 3 + 8 * 0.3 + 10 * 15) / 1e6;

/** Two sums of money that differ by no more than a double's last digits. */
export function sameMoney(left, right) {
  assert.ok(Math.abs(Number(left) - Number(right)) < 1e-15, `${left} is not ${right}`);
}
