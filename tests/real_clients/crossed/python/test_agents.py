"""Agents' loops with the SDKs: each is sent to `agent`, which shares conversations out among providers of every dialect, and each conversation is finished by the model that began it."""

import itertools

import anthropic
import openai
import pytest

from conftest import KEY, TOLLGATE, WEATHER

LOOPS = 12
numbers = itertools.count()
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": WEATHER, "strict": True}}]


def anthropic_loop(question):
    """The models that answered, and the last words."""
    served = []
    client = anthropic.Anthropic(base_url=TOLLGATE, api_key=KEY, max_retries=0)
    tools = [{"name": "get_weather", "input_schema": WEATHER}]
    messages = [{"role": "user", "content": question}]
    while True:
        raw = client.messages.with_raw_response.create(model="agent", max_tokens=300, messages=messages, tools=tools)
        served.append(raw.headers["x-tollgate-model"])
        message = raw.parse()
        if message.stop_reason != "tool_use":
            return served, message.content[-1].text
        messages.append({"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in message.content]})
        results = [{"type": "tool_result", "tool_use_id": block.id, "content": "sunny in Málaga"}
                   for block in message.content if block.type == "tool_use"]
        messages.append({"role": "user", "content": results})


def openai_loop(question):
    served = []
    client = openai.OpenAI(base_url=TOLLGATE + "/v1", api_key=KEY, max_retries=0)
    messages = [{"role": "user", "content": question}]
    while True:
        raw = client.chat.completions.with_raw_response.create(model="agent", messages=messages, tools=TOOLS)
        served.append(raw.headers["x-tollgate-model"])
        message = raw.parse().choices[0].message
        if not message.tool_calls:
            return served, message.content
        messages.append(message.model_dump(exclude_none=True))
        for call in message.tool_calls:
            messages.append({"role": "tool", "tool_call_id": call.id, "content": "sunny in Málaga"})


@pytest.mark.parametrize("loop", [anthropic_loop, openai_loop])
def test_a_loop_is_finished_by_whoever_began_it(loop):
    first = set()
    for _ in range(LOOPS):
        served, said = loop(f"What is the weather? ({next(numbers)} of {loop.__name__})")
        assert said == "The tool says: sunny in Málaga"
        assert len(served) == 2 and len(set(served)) == 1, served
        first.add(served[0])
    assert len(first) > 1, "conversations are shared out"
