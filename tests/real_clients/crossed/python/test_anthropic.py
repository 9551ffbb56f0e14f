"""`anthropic`: the Messages API."""

import anthropic
import pydantic
import pytest

from conftest import KEY, PNG_BASE64, SAW, TOLLGATE, WEATHER

client = anthropic.Anthropic(base_url=TOLLGATE, api_key=KEY, max_retries=0)
TOOLS = [{"name": "get_weather", "input_schema": WEATHER}]


def ask(model, content, streamed=False, **more):
    messages = content if isinstance(content, list) and "role" in content[0] else [{"role": "user", "content": content}]
    asked = {"model": model, "max_tokens": 300, "messages": messages, **more}
    if not streamed:
        return client.messages.create(**asked)
    with client.messages.stream(**asked) as stream:
        return stream.get_final_message()


@pytest.mark.parametrize("streamed", [False, True])
def test_text(model, streamed):
    answer = ask(model, "héllo", streamed, system="Brief.")
    assert answer.content[0].text == "[Brief.] You said: héllo ✓" and answer.stop_reason == "end_turn"
    usage = answer.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (60, 40, 20)


@pytest.mark.parametrize("streamed", [False, True])
def test_tools(model, streamed):
    answer = ask(model, "the weather?", streamed, tools=TOOLS)
    [call] = [block for block in answer.content if block.type == "tool_use"]
    assert answer.stop_reason == "tool_use"
    assert (call.name, call.input) == ("get_weather", {"city": "Málaga"})
    said = [{"type": "tool_use", "id": call.id, "name": call.name, "input": call.input}]
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    messages = [{"role": "user", "content": "the weather?"}, {"role": "assistant", "content": said},
                {"role": "user", "content": [result]}]
    answer = ask(model, messages, streamed, tools=TOOLS)
    assert answer.content[0].text == "The tool says: sunny"


def test_forced_tool(model):
    answer = ask(model, "hi", tools=TOOLS, tool_choice={"type": "tool", "name": "get_weather"})
    assert answer.content[-1].name == "get_weather"


@pytest.mark.parametrize("streamed", [False, True])
def test_image(model, streamed):
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG_BASE64}}
    assert ask(model, [image, {"type": "text", "text": "what?"}], streamed).content[0].text == SAW


@pytest.mark.parametrize("streamed", [False, True])
def test_error(model, streamed):
    with pytest.raises(anthropic.BadRequestError) as error:
        ask(model, "fail-400", streamed)
    assert error.value.body["error"]["message"] == "the provider will not have it"
    assert error.value.body["type"] == "error"


class Place(pydantic.BaseModel):
    city: str
    count: int


@pytest.mark.parametrize("streamed", [False, True])
def test_structured(model, streamed):
    asked = {"model": model, "max_tokens": 300, "messages": [{"role": "user", "content": "a place"}], "output_format": Place}
    if streamed:
        with client.messages.stream(**asked) as stream:
            parsed = stream.get_final_message().parsed_output
    else:
        parsed = client.messages.parse(**asked).parsed_output
    assert parsed == Place(city="Málaga", count=3)


def test_count_tokens(model):
    counted = client.messages.count_tokens(model=model, messages=[{"role": "user", "content": "héllo"}])
    assert counted.input_tokens > 0
