"""What every test of the Python SDK needs: the SDK in both flavours behind one interface, and a look at
the provider's side and at tollgate's records.

Each test that takes `sdk` runs twice, with `OpenAI` and with `AsyncOpenAI`. Nothing of the SDK is
replaced; only base URL and key are given, as an app would.
"""

import asyncio
import inspect
import itertools
import json
import os
import time
import urllib.error
import urllib.request
from decimal import Decimal

import openai
import pytest

TOLLGATE = os.environ["TOLLGATE_URL"]
ADMIN = os.environ["TOLLGATE_ADMIN_URL"]
UPSTREAM = os.environ["UPSTREAM_URL"]
APP_KEY = "tg-suite-app"

_numbers = itertools.count(1)


class Sdk:
    """The SDK, sync or async: `do` finishes a call, `items` empties a stream."""

    def __init__(self, flavour):
        self.flavour = flavour
        self._runner = asyncio.Runner() if flavour == "async" else None
        self._opened = []
        self.client = self.open()

    def open(self, base_url=TOLLGATE + "/v1", api_key=APP_KEY, **options):
        kind = openai.AsyncOpenAI if self._runner else openai.OpenAI
        client = kind(base_url=base_url, api_key=api_key, **options)
        self._opened.append(client)
        return client

    def do(self, pending):
        if not inspect.isawaitable(pending):
            return pending

        async def finish():
            return await pending

        return self._runner.run(finish())

    def items(self, pending):
        """Everything that a stream, or a call that opens one, yields."""
        stream = self.do(pending)
        if not self._runner:
            return list(stream)

        async def drain():
            return [item async for item in stream]

        return self._runner.run(drain())

    def first(self, stream, count):
        """The first few items; the stream stays open."""
        if not self._runner:
            return list(itertools.islice(stream, count))

        async def take():
            return [await anext(stream) for _ in range(count)]

        return self._runner.run(take())

    def within(self, manager, use):
        """`use` inside a context manager of either flavour, which it empties by iteration."""
        if not self._runner:
            with manager as entered:
                return use(list(entered), entered)

        async def inside():
            async with manager as entered:
                return use([item async for item in entered], entered)

        return self._runner.run(inside())

    def close(self):
        for client in self._opened:
            self.do(client.close())
        if self._runner:
            self._runner.close()


@pytest.fixture(params=["sync", "async"])
def sdk(request):
    sdk = Sdk(request.param)
    yield sdk
    sdk.close()


@pytest.fixture
def call_id():
    """An id that no other test of this run uses."""
    return f"py-{os.getpid()}-{next(_numbers)}"


@pytest.fixture
def script(call_id):
    """Makes a user turn that tells the scripted provider what to do."""

    def write(text="What is the answer?", **case):
        words = " ".join(f"{name}={value}" for name, value in {"id": call_id, **case}.items())
        return f"[[{words}]] {text}"

    return write


@pytest.fixture
def ask(script):
    """Messages with one such turn."""

    def write(text="What is the answer?", **case):
        return [{"role": "user", "content": script(text, **case)}]

    return write


@pytest.fixture
def upstream_calls(call_id):
    """What the provider saw of this test."""
    return lambda: fetch(f"{UPSTREAM}/_calls/{call_id}")["calls"]


def fetch(url, body=None, key=APP_KEY):
    """Plain HTTP, for what the SDK has no method for. Numbers stay exact."""
    request = urllib.request.Request(
        url,
        data=None if body is None else json.dumps(body).encode(),
        headers={"authorization": f"Bearer {key}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read(), parse_float=Decimal)


def eventually(probe, seconds=5):
    """The first truthy value of `probe`; what it gave last when the time is up."""
    until = time.monotonic() + seconds
    while True:
        value = probe()
        if value or time.monotonic() > until:
            return value
        time.sleep(0.02)


def record_of(request_id, key=APP_KEY):
    """The decision record and bill of a request. It is written moments after the answer's end."""

    def look():
        try:
            return fetch(f"{TOLLGATE}/v1/requests/{request_id}", key=key)
        except urllib.error.HTTPError as error:
            assert error.code == 404, error.read()
            return None

    record = eventually(look)
    assert record, f"no record of {request_id}"
    return record


def metric(name, **labels):
    """The sum of a counter's series that have these labels."""
    with urllib.request.urlopen(ADMIN + "/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    series = [line for line in lines if line.startswith(name + "{") and all(it in line for it in wanted)]
    return sum(float(line.rsplit(" ", 1)[1]) for line in series)


def bill(usage, *, input, output, cached_input):
    """USD for a usage object at a price per million tokens, as routes.yaml.in has it."""
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    fresh = usage["prompt_tokens"] - cached
    total = (
        fresh * Decimal(input) + cached * Decimal(cached_input) + usage["completion_tokens"] * Decimal(output)
    )
    return total / 1_000_000
