"""The frameworks that people build with: LangChain, LlamaIndex, LiteLLM's client, Instructor."""

import json

import anthropic
import instructor
import litellm
import openai
import pydantic
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike

from conftest import KEY, PNG, PNG_URL, SAW, TOLLGATE, WEATHER

SAID = "[Brief.] You said: héllo ✓"


class Place(pydantic.BaseModel):
    """A place."""

    city: str
    count: int


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return "sunny in " + city


def chains(model):
    openai_options = {"model": model, "base_url": TOLLGATE + "/v1", "api_key": KEY, "max_retries": 0}
    return {
        "langchain-openai chat": ChatOpenAI(**openai_options, use_responses_api=False),
        "langchain-openai responses": ChatOpenAI(**openai_options, use_responses_api=True),
        "langchain-anthropic": ChatAnthropic(model=model, base_url=TOLLGATE, api_key=KEY, max_retries=0, max_tokens=300),
    }


@pytest.fixture(params=["langchain-openai chat", "langchain-openai responses", "langchain-anthropic"])
def chain(request, model):
    return chains(model)[request.param]


def text_of(message):
    return message.text if isinstance(message.text, str) else message.text()


def test_langchain_text(chain):
    asked = [("system", "Brief."), ("human", "héllo")]
    answer = chain.invoke(asked)
    assert text_of(answer) == SAID
    assert answer.usage_metadata["input_tokens"] == 100 and answer.usage_metadata["output_tokens"] == 20
    assert "".join(text_of(chunk) for chunk in chain.stream(asked)) == SAID


@pytest.mark.parametrize("streamed", [False, True])
def test_langchain_tools(chain, streamed):
    with_tools = chain.bind_tools([get_weather])
    asked = [HumanMessage("the weather?")]
    if streamed:
        said = None
        for chunk in with_tools.stream(asked):
            said = chunk if said is None else said + chunk
    else:
        said = with_tools.invoke(asked)
    [call] = said.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Málaga"})
    result = ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"])
    answer = with_tools.invoke([*asked, said, result])
    assert text_of(answer) == "The tool says: sunny in Málaga"


def test_langchain_structured(chain):
    assert chain.with_structured_output(Place).invoke("a place") == Place(city="Málaga", count=3)


def test_langchain_image(chain):
    content = [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": PNG_URL}}]
    assert text_of(chain.invoke([HumanMessage(content)])) == SAW
    assert "".join(text_of(chunk) for chunk in chain.stream([HumanMessage(content)])) == SAW


def test_langchain_error(chain):
    with pytest.raises((openai.BadRequestError, anthropic.BadRequestError), match="the provider will not have it"):
        chain.invoke("fail-400")
    with pytest.raises((openai.BadRequestError, anthropic.BadRequestError), match="the provider will not have it"):
        list(chain.stream("fail-400"))


def llama(model, **more):
    return OpenAILike(model=model, api_base=TOLLGATE + "/v1", api_key=KEY, is_chat_model=True,
                      is_function_calling_model=True, context_window=128000, max_retries=0, **more)


def test_llama_index(model):
    llm = llama(model)
    asked = [ChatMessage(role="system", content="Brief."), ChatMessage(role="user", content="héllo")]
    assert llm.chat(asked).message.content == SAID
    assert "".join(chunk.delta or "" for chunk in llm.stream_chat(asked)) == SAID
    weather = FunctionTool.from_defaults(fn=lambda city: "sunny in " + city, name="get_weather", description="The weather")
    answer = llm.chat_with_tools([weather], user_msg="the weather?")
    [call] = llm.get_tool_calls_from_response(answer)
    assert call.tool_name == "get_weather"
    with pytest.raises(openai.BadRequestError):
        llm.chat([ChatMessage(role="user", content="fail-400")])


def test_llama_index_tools_streamed(model):
    weather = FunctionTool.from_defaults(fn=get_weather.func, name="get_weather", description="The weather")
    llm = llama(model)
    *_, answer = llm.stream_chat_with_tools([weather], user_msg="the weather?")
    [call] = llm.get_tool_calls_from_response(answer)
    assert (call.tool_name, call.tool_kwargs) == ("get_weather", {"city": "Málaga"})


def test_llama_index_image(model):
    asked = [ChatMessage(role="user", blocks=[TextBlock(text="what?"), ImageBlock(image=PNG, image_mimetype="image/png")])]
    llm = llama(model)
    assert llm.chat(asked).message.content == SAW
    assert "".join(chunk.delta or "" for chunk in llm.stream_chat(asked)) == SAW


@pytest.mark.parametrize("by_schema", [False, True])
def test_llama_index_structured(model, by_schema):
    llm = llama(model, should_use_structured_outputs=by_schema)
    answer = llm.as_structured_llm(Place).chat([ChatMessage(role="user", content="a place")])
    assert answer.raw == Place(city="Málaga", count=3)


def test_llama_index_error_streamed(model):
    with pytest.raises(openai.BadRequestError):
        list(llama(model).stream_chat([ChatMessage(role="user", content="fail-400")]))


LITELLM = ["openai/", "anthropic/"]


def lite(model, kind, content, **more):
    base = TOLLGATE + "/v1" if kind == "openai/" else TOLLGATE
    messages = content if isinstance(content, list) and "role" in content[0] else [{"role": "user", "content": content}]
    asked = {"model": kind + model, "api_base": base, "api_key": KEY, "num_retries": 0, "messages": messages, **more}
    if not more.get("stream"):
        return litellm.completion(**asked).choices[0].message
    return litellm.stream_chunk_builder(list(litellm.completion(**asked))).choices[0].message


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", LITELLM)
def test_litellm_tools(model, kind, stream):
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}]
    said = lite(model, kind, "the weather?", tools=tools, stream=stream)
    [call] = said.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Málaga"})
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    asked = [{"role": "user", "content": "the weather?"}, said.model_dump(exclude_none=True), result]
    assert lite(model, kind, asked, tools=tools, stream=stream).content == "The tool says: sunny"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", LITELLM)
def test_litellm_image(model, kind, stream):
    content = [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": PNG_URL}}]
    assert lite(model, kind, content, stream=stream).content == SAW


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", LITELLM)
def test_litellm_structured(model, kind, stream):
    said = lite(model, kind, "a place", response_format=Place, stream=stream)
    assert Place.model_validate_json(said.content) == Place(city="Málaga", count=3)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", LITELLM)
def test_litellm_error(model, kind, stream):
    with pytest.raises(litellm.BadRequestError, match="the provider will not have it"):
        lite(model, kind, "fail-400", stream=stream)


def test_litellm(model):
    options = {"model": "openai/" + model, "api_base": TOLLGATE + "/v1", "api_key": KEY, "num_retries": 0,
               "messages": [{"role": "system", "content": "Brief."}, {"role": "user", "content": "héllo"}]}
    assert litellm.completion(**options).choices[0].message.content == SAID
    chunks = litellm.completion(**options, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == SAID
    options["messages"] = [{"role": "user", "content": "fail-400"}]
    with pytest.raises(litellm.BadRequestError, match="the provider will not have it"):
        litellm.completion(**options)


def test_litellm_anthropic(model):
    options = {"model": "anthropic/" + model, "api_base": TOLLGATE, "api_key": KEY, "num_retries": 0,
               "messages": [{"role": "system", "content": "Brief."}, {"role": "user", "content": "héllo"}]}
    assert litellm.completion(**options).choices[0].message.content == SAID
    chunks = litellm.completion(**options, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == SAID


MODES = ["openai tools", "openai json schema", "anthropic tools"]


def instructed(mode):
    if mode.startswith("openai"):
        chosen = instructor.Mode.TOOLS if mode.endswith("tools") else instructor.Mode.JSON_SCHEMA
        plain = openai.OpenAI(base_url=TOLLGATE + "/v1", api_key=KEY, max_retries=0)
        client = instructor.from_openai(plain, mode=chosen)
        more = {}
    else:
        plain = anthropic.Anthropic(base_url=TOLLGATE, api_key=KEY, max_retries=0)
        client = instructor.from_anthropic(plain, mode=instructor.Mode.ANTHROPIC_TOOLS)
        more = {"max_tokens": 300}
    return client, {"response_model": Place, "max_retries": 1, **more}


@pytest.mark.parametrize("mode", MODES)
def test_instructor(model, mode):
    client, more = instructed(mode)
    asked = [{"role": "user", "content": "a place"}]
    place = client.chat.completions.create(model=model, messages=asked, **more)
    assert (place.city, place.count) == ("Málaga", 3)


@pytest.mark.parametrize("mode", MODES)
def test_instructor_streamed(model, mode):
    client, more = instructed(mode)
    asked = [{"role": "user", "content": "a place"}]
    *_, place = client.chat.completions.create_partial(model=model, messages=asked, **more)
    assert (place.city, place.count) == ("Málaga", 3)


@pytest.mark.parametrize("mode", MODES)
def test_instructor_image(model, mode):
    client, more = instructed(mode)
    content = ["what?", instructor.Image.from_base64(PNG_URL)]
    place = client.chat.completions.create(model=model, messages=[{"role": "user", "content": content}], **more)
    assert (place.city, place.count) == ("Málaga", 3)


@pytest.mark.parametrize("mode", MODES)
def test_instructor_error(model, mode):
    client, more = instructed(mode)
    asked = [{"role": "user", "content": "fail-400"}]
    with pytest.raises(Exception, match="the provider will not have it"):
        client.chat.completions.create(model=model, messages=asked, **more)
