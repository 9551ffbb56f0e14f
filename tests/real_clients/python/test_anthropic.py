"""Anthropic's SDK and LangChain's client of it, before a provider of OpenAI's dialect and one of Anthropic's."""

import anthropic
import pytest
from conftest import APP_KEY, TOLLGATE, record_of
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from pydantic import BaseModel

ANSWER = "The answer is forty-two, señor."
TOOL = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"type": "string"}},
        "required": ["city"],
    },
}
CALLED = {"city": "Madrid", "unit": "celsius"}
COST = (12 * 3 + 8 * 0.3 + 10 * 15) / 1e6


class City(BaseModel):
    city: str
    population: int


@pytest.fixture(params=["first-choice", "claude"])
def model(request):
    """A model whose provider speaks OpenAI's dialect, and one whose provider speaks Anthropic's."""
    return request.param


@pytest.fixture
def client():
    with anthropic.Anthropic(base_url=TOLLGATE, api_key=APP_KEY, max_retries=0) as client:
        yield client


def check_usage(usage):
    counts = (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens)
    assert counts == (12, 8, 10)


def test_a_whole_answer(client, model, ask):
    answer = client.messages.create(model=model, max_tokens=100, system="Be brief.", messages=ask())
    assert [block.text for block in answer.content] == [ANSWER]
    assert (answer.type, answer.role, answer.stop_reason) == ("message", "assistant", "end_turn")
    check_usage(answer.usage)
    assert answer.usage.cost == pytest.approx(COST, rel=1e-12)
    assert float(record_of(answer._request_id)["cost_usd"]) == pytest.approx(COST, rel=1e-12)


def test_a_stream(client, model, ask):
    with client.messages.stream(model=model, max_tokens=100, messages=ask()) as stream:
        said = "".join(stream.text_stream)
        answer = stream.get_final_message()
    assert said == ANSWER
    assert answer.stop_reason == "end_turn"
    check_usage(answer.usage)


def test_an_asynchronous_stream(model, ask):
    import asyncio

    async def run():
        async with anthropic.AsyncAnthropic(base_url=TOLLGATE, api_key=APP_KEY) as client:
            stream = await client.messages.create(model=model, max_tokens=100, messages=ask(), stream=True)
            return [event async for event in stream]

    events = asyncio.run(run())
    assert events[0].type == "message_start" and events[-1].type == "message_stop"
    text = [event.delta.text for event in events if event.type == "content_block_delta"]
    assert "".join(text) == ANSWER


@pytest.mark.parametrize("streamed", [False, True])
def test_tools_and_their_results(client, model, ask, streamed):
    other = {**TOOL, "name": "get_population"}
    asked = {"model": model, "max_tokens": 100, "tools": [TOOL, other]}
    if streamed:
        with client.messages.stream(messages=ask(), **asked) as stream:
            answer = stream.get_final_message()
    else:
        answer = client.messages.create(messages=ask(), **asked)
    assert answer.stop_reason == "tool_use"
    assert [(block.name, block.input) for block in answer.content] == [
        ("get_weather", CALLED),
        ("get_population", CALLED),
    ]
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": "fine"} for block in answer.content
    ]
    turns = [*ask(), {"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]
    after = client.messages.create(messages=turns, **asked)
    assert after.stop_reason == "end_turn"
    assert after.content[0].text.startswith("The tools")


def test_images_arrive(client, model, script, upstream_calls):
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
    remote = {"type": "image", "source": {"type": "url", "url": "https://pictures.example/a.png"}}
    content = [{"type": "text", "text": script()}, image, remote]
    client.messages.create(model=model, max_tokens=100, messages=[{"role": "user", "content": content}])
    (call,) = upstream_calls()
    _, first, second = call["body"]["messages"][0]["content"]
    if model == "claude":
        assert (first, second) == (image, remote)
    else:
        assert first["image_url"]["url"] == "data:image/png;base64,iVBORw0KGgo="
        assert second["image_url"]["url"] == "https://pictures.example/a.png"


def test_structured_output(client, model, ask):
    schema = {**City.model_json_schema(), "additionalProperties": False}
    answer = client.messages.create(
        model=model,
        max_tokens=100,
        messages=ask(),
        extra_body={"output_config": {"format": {"type": "json_schema", "schema": schema}}},
    )
    assert City.model_validate_json(answer.content[0].text) == City(city="Madrid", population=3300000)


def test_errors_are_the_sdks_own(client, model, ask):
    with pytest.raises(anthropic.BadRequestError) as refused:
        client.messages.create(model=model, max_tokens=100, messages=[])
    assert refused.value.body["error"]["type"] == "invalid_request_error"
    assert refused.value.request_id
    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(model="nobody", max_tokens=100, messages=ask())
    with pytest.raises(anthropic.AuthenticationError):
        client.with_options(api_key="tg-wrong").messages.create(model=model, max_tokens=100, messages=ask())
    with pytest.raises(anthropic.BadRequestError) as handed_on:
        client.messages.create(model=model, max_tokens=100, messages=ask(case="status", status=400))
    assert "the provider says 400" in str(handed_on.value)


def test_an_error_in_the_middle_of_a_stream(client, model, ask):
    with pytest.raises(anthropic.APIStatusError) as broken:
        with client.messages.stream(
            model=model, max_tokens=100, messages=ask(case="error_event")
        ) as stream:
            stream.until_done()
    assert "the model fell over" in str(broken.value)


def test_tokens_are_counted(client, ask):
    counted = client.messages.count_tokens(model="first-choice", messages=ask())
    assert 3 < counted.input_tokens < 60


def langchain(model, **options):
    return ChatAnthropic(model=model, base_url=TOLLGATE, api_key=APP_KEY, max_tokens=100, **options)


def test_langchain(model, script):
    chat = langchain(model)
    answer = chat.invoke(script())
    assert answer.content == ANSWER
    assert answer.usage_metadata["output_tokens"] == 10
    pieces = list(chat.stream(script()))
    assert "".join(piece.text for piece in pieces) == ANSWER


def test_langchain_calls_tools(model, script):
    chat = langchain(model).bind_tools([TOOL])
    asked = HumanMessage(script())
    answer = chat.invoke([asked])
    (call,) = answer.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", CALLED)
    after = chat.invoke([asked, answer, ToolMessage("fine", tool_call_id=call["id"])])
    assert after.text.startswith("The tools")
