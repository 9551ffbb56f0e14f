"""Tools, parallel calls, tool results, and answers bound to a JSON schema."""

import json

import openai
import pydantic
import pytest

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"type": "string"}},
            "required": ["city"],
        },
    },
}
TIME = {
    "type": "function",
    "function": {"name": "local_time", "parameters": {"type": "object", "properties": {}}},
}
ARGUMENTS = {"city": "Madrid", "unit": "celsius"}


class City(pydantic.BaseModel):
    city: str
    population: int


class Forecast(pydantic.BaseModel):
    """The weather in a city."""

    city: str
    unit: str


SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "city",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "population": {"type": "integer"}},
            "required": ["city", "population"],
            "additionalProperties": False,
        },
    },
}


def test_parallel_tool_calls_and_their_results(sdk, ask, upstream_calls):
    messages = ask("What is the weather and the time in Madrid?")
    first = sdk.do(sdk.client.chat.completions.create(model="auto", messages=messages, tools=[WEATHER, TIME]))
    choice = first.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    assert [call.function.name for call in choice.message.tool_calls] == ["weather", "local_time"]
    assert json.loads(choice.message.tool_calls[0].function.arguments) == ARGUMENTS

    messages.append(choice.message.model_dump(exclude_none=True))
    for call, result in zip(choice.message.tool_calls, ["31 °C", "12:05"], strict=True):
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    second = sdk.do(
        sdk.client.chat.completions.create(model="auto", messages=messages, tools=[WEATHER, TIME])
    )
    assert second.choices[0].message.content == "The tools say: 31 °C; 12:05"
    assert upstream_calls()[1]["body"]["messages"] == messages


def test_one_tool_call_at_a_time(sdk, ask, upstream_calls):
    completion = sdk.do(
        sdk.client.chat.completions.create(
            model="auto",
            messages=ask(),
            tools=[WEATHER, TIME],
            tool_choice="required",
            parallel_tool_calls=False,
        )
    )
    assert [call.id for call in completion.choices[0].message.tool_calls] == ["call_0"]
    assert upstream_calls()[0]["body"]["tool_choice"] == "required"


def test_streamed_tool_calls_grow_by_deltas(sdk, ask):
    chunks = sdk.items(
        sdk.client.chat.completions.create(model="auto", messages=ask(), tools=[WEATHER, TIME], stream=True)
    )
    calls = {}
    for chunk in chunks:
        for delta in chunk.choices[0].delta.tool_calls or []:
            call = calls.setdefault(
                delta.index, {"id": delta.id, "name": delta.function.name, "arguments": ""}
            )
            call["arguments"] += delta.function.arguments or ""
    assert [(call["id"], call["name"]) for call in calls.values()] == [
        ("call_0", "weather"),
        ("call_1", "local_time"),
    ]
    assert all(json.loads(call["arguments"]) == ARGUMENTS for call in calls.values())
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_streamed_tool_results(sdk, ask):
    call = {"id": "call_0", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    messages = [
        *ask(),
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_0", "content": "31 °C"},
    ]
    chunks = sdk.items(
        sdk.client.chat.completions.create(model="auto", messages=messages, tools=[WEATHER], stream=True)
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "The tools say: 31 °C"


def test_the_sdk_parses_tool_arguments(sdk, ask):
    tool = openai.pydantic_function_tool(Forecast, name="weather")
    completion = sdk.do(sdk.client.chat.completions.parse(model="auto", messages=ask(), tools=[tool]))
    call = completion.choices[0].message.tool_calls[0]
    assert call.function.parsed_arguments == Forecast(**ARGUMENTS)


@pytest.mark.parametrize("stream", [False, True])
def test_a_json_schema_binds_the_answer(sdk, ask, upstream_calls, stream):
    pending = sdk.client.chat.completions.create(
        model="auto", messages=ask("How big is Madrid?"), response_format=SCHEMA, stream=stream
    )
    if stream:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in sdk.items(pending))
    else:
        text = sdk.do(pending).choices[0].message.content
    assert json.loads(text) == {"city": "Madrid", "population": 3300000}
    assert upstream_calls()[0]["body"]["response_format"] == SCHEMA


def test_the_sdk_parses_into_a_pydantic_model(sdk, ask):
    completion = sdk.do(sdk.client.chat.completions.parse(model="auto", messages=ask(), response_format=City))
    assert completion.choices[0].message.parsed == City(city="Madrid", population=3300000)


def test_the_streaming_helper_parses_into_a_pydantic_model(sdk, ask):
    manager = sdk.client.chat.completions.stream(model="auto", messages=ask(), response_format=City)
    parsed = sdk.within(manager, lambda events, _: [it.parsed for it in events if it.type == "content.done"])
    assert parsed == [City(city="Madrid", population=3300000)]
