"""`openai`: Chat Completions and Responses."""

import json

import openai
import pydantic
import pytest

from conftest import KEY, PNG_URL, SAW, TOLLGATE, UPSTREAMS, WEATHER

client = openai.OpenAI(base_url=TOLLGATE + "/v1", api_key=KEY, max_retries=0)
CHAT_TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": WEATHER, "strict": True}}]
TOOLS = [{"type": "function", "name": "get_weather", "parameters": WEATHER, "strict": True}]
SYSTEM = {"role": "system", "content": "Brief."}


class Place(pydantic.BaseModel):
    city: str
    count: int


def user(content):
    return {"role": "user", "content": content}


def test_chat_text(model):
    answer = client.chat.completions.create(model=model, messages=[SYSTEM, user("héllo")])
    assert answer.choices[0].message.content == "[Brief.] You said: héllo ✓"
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (100, 20)
    assert answer.usage.prompt_tokens_details.cached_tokens == 40


def test_chat_stream(model):
    stream = client.chat.completions.create(
        model=model, messages=[SYSTEM, user("héllo")], stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "[Brief.] You said: héllo ✓"
    assert chunks[-1].usage.prompt_tokens == 100
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["stop"]


@pytest.mark.parametrize("streamed", [False, True])
def test_chat_tools(model, streamed):
    asked = [SYSTEM, user("the weather?")]
    if streamed:
        with client.chat.completions.stream(model=model, messages=asked, tools=CHAT_TOOLS) as stream:
            message = stream.get_final_completion().choices[0].message
    else:
        message = client.chat.completions.create(model=model, messages=asked, tools=CHAT_TOOLS).choices[0].message
    [call] = message.tool_calls
    assert call.function.name == "get_weather" and json.loads(call.function.arguments) == {"city": "Málaga"}
    said = {"role": "assistant", "tool_calls": [
        {"id": call.id, "type": "function", "function": {"name": call.function.name, "arguments": call.function.arguments}}]}
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    answer = client.chat.completions.create(model=model, messages=[*asked, said, result], tools=CHAT_TOOLS)
    assert answer.choices[0].message.content == "The tool says: sunny"


def test_chat_forced_tool(model):
    choice = {"type": "function", "function": {"name": "get_weather"}}
    answer = client.chat.completions.create(model=model, messages=[user("hi")], tools=CHAT_TOOLS, tool_choice=choice)
    assert answer.choices[0].message.tool_calls[0].function.name == "get_weather"


@pytest.mark.parametrize("streamed", [False, True])
def test_chat_image(model, streamed):
    content = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": PNG_URL}}]
    answer = client.chat.completions.create(model=model, messages=[user(content)], stream=streamed)
    if streamed:
        assert "".join(chunk.choices[0].delta.content or "" for chunk in answer if chunk.choices) == SAW
    else:
        assert answer.choices[0].message.content == SAW


@pytest.mark.parametrize("streamed", [False, True])
def test_chat_structured(model, streamed):
    asked = {"model": model, "messages": [user("a place")], "response_format": Place}
    if streamed:
        with client.chat.completions.stream(**asked) as stream:
            parsed = stream.get_final_completion().choices[0].message.parsed
    else:
        parsed = client.chat.completions.parse(**asked).choices[0].message.parsed
    assert parsed == Place(city="Málaga", count=3)


@pytest.mark.parametrize("streamed", [False, True])
def test_chat_error(model, streamed):
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(model=model, messages=[user("fail-400")], stream=streamed)
    assert error.value.body["message"] == "the provider will not have it"


def test_responses_text(model):
    answer = client.responses.create(model=model, instructions="Brief.", input="héllo", store=False)
    assert answer.output_text == "[Brief.] You said: héllo ✓" and answer.status == "completed"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (100, 20)
    assert answer.usage.input_tokens_details.cached_tokens == 40


def test_responses_stream(model):
    with client.responses.stream(model=model, instructions="Brief.", input="héllo", store=False) as stream:
        events = list(stream)
        final = stream.get_final_response()
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == final.output_text == "[Brief.] You said: héllo ✓"
    assert events[0].type == "response.created" and final.usage.total_tokens == 120


@pytest.mark.parametrize("streamed", [False, True])
def test_responses_tools(model, streamed):
    asked = [user("the weather?")]
    if streamed:
        with client.responses.stream(model=model, input=asked, tools=TOOLS, store=False) as stream:
            answer = stream.get_final_response()
    else:
        answer = client.responses.create(model=model, input=asked, tools=TOOLS, store=False)
    [call] = [item for item in answer.output if item.type == "function_call"]
    assert call.name == "get_weather" and json.loads(call.arguments) == {"city": "Málaga"}
    asked += [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in answer.output]
    asked.append({"type": "function_call_output", "call_id": call.call_id, "output": "sunny"})
    answer = client.responses.create(model=model, input=asked, tools=TOOLS, store=False)
    assert answer.output_text == "The tool says: sunny"


@pytest.mark.parametrize("streamed", [False, True])
def test_responses_image(model, streamed):
    content = [{"type": "input_text", "text": "what is it?"}, {"type": "input_image", "image_url": PNG_URL}]
    asked = {"model": model, "input": [user(content)], "store": False}
    if streamed:
        with client.responses.stream(**asked) as stream:
            assert stream.get_final_response().output_text == SAW
    else:
        assert client.responses.create(**asked).output_text == SAW


@pytest.mark.parametrize("streamed", [False, True])
def test_responses_structured(model, streamed):
    asked = {"model": model, "input": "a place", "text_format": Place, "store": False}
    if streamed:
        with client.responses.stream(**asked) as stream:
            parsed = stream.get_final_response().output_parsed
    else:
        parsed = client.responses.parse(**asked).output_parsed
    assert parsed == Place(city="Málaga", count=3)


@pytest.mark.parametrize("streamed", [False, True])
def test_responses_error(model, streamed):
    with pytest.raises(openai.BadRequestError) as error:
        client.responses.create(model=model, input="fail-400", stream=streamed, store=False)
    assert error.value.body["message"] == "the provider will not have it"


@pytest.mark.parametrize("streamed", [False, True])
def test_a_conversation_goes_on_at_another_provider(model, streamed):
    def say(model, **asked):
        if not streamed:
            return client.responses.create(model=model, **asked)
        with client.responses.stream(model=model, **asked) as stream:
            return stream.get_final_response()

    for other in UPSTREAMS:
        first = say(model, input="the weather?", tools=TOOLS)
        [call] = [item for item in first.output if item.type == "function_call"]
        result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
        second = say("at-" + other, input=[result], tools=TOOLS, previous_response_id=first.id)
        assert second.output_text == "The tool says: sunny"
        assert second.previous_response_id == first.id != second.id
        assert client.responses.retrieve(second.id).output_text == second.output_text
        listed = [item.type for item in client.responses.input_items.list(second.id, order="asc")]
        assert listed[0] == "message" and listed[-2:] == ["function_call", "function_call_output"]
        client.responses.delete(second.id)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(second.id)


def test_a_kept_response_is_streamed_again(model):
    first = client.responses.create(model=model, input="héllo")
    events = list(client.responses.retrieve(first.id, stream=True))
    assert events[0].type == "response.created" and events[-1].type == "response.completed"
    assert events[-1].response.output_text == first.output_text


def test_what_is_not_kept_cannot_be_gone_on_from(model):
    first = client.responses.create(model=model, input="héllo", store=False)
    with pytest.raises(openai.BadRequestError) as error:
        client.responses.create(model=model, input="more", previous_response_id=first.id)
    assert error.value.code == "previous_response_not_found"
