"""The frameworks that people build with: LangChain, LlamaIndex, LiteLLM's client, Instructor."""

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
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike

from conftest import KEY, PNG_URL, SAW, TOLLGATE

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


def test_langchain_error(chain):
    with pytest.raises((openai.BadRequestError, anthropic.BadRequestError), match="the provider will not have it"):
        chain.invoke("fail-400")


def test_llama_index(model):
    llm = OpenAILike(model=model, api_base=TOLLGATE + "/v1", api_key=KEY, is_chat_model=True,
                     is_function_calling_model=True, context_window=128000, max_retries=0)
    asked = [ChatMessage(role="system", content="Brief."), ChatMessage(role="user", content="héllo")]
    assert llm.chat(asked).message.content == SAID
    assert "".join(chunk.delta or "" for chunk in llm.stream_chat(asked)) == SAID
    weather = FunctionTool.from_defaults(fn=lambda city: "sunny in " + city, name="get_weather", description="The weather")
    answer = llm.chat_with_tools([weather], user_msg="the weather?")
    [call] = llm.get_tool_calls_from_response(answer)
    assert call.tool_name == "get_weather"
    with pytest.raises(openai.BadRequestError):
        llm.chat([ChatMessage(role="user", content="fail-400")])


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


@pytest.mark.parametrize("mode", ["openai tools", "openai json schema", "anthropic tools"])
def test_instructor(model, mode):
    if mode.startswith("openai"):
        chosen = instructor.Mode.TOOLS if mode.endswith("tools") else instructor.Mode.JSON_SCHEMA
        plain = openai.OpenAI(base_url=TOLLGATE + "/v1", api_key=KEY, max_retries=0)
        client = instructor.from_openai(plain, mode=chosen)
        more = {}
    else:
        plain = anthropic.Anthropic(base_url=TOLLGATE, api_key=KEY, max_retries=0)
        client = instructor.from_anthropic(plain, mode=instructor.Mode.ANTHROPIC_TOOLS)
        more = {"max_tokens": 300}
    asked = [{"role": "user", "content": "a place"}]
    place = client.chat.completions.create(model=model, response_model=Place, messages=asked, max_retries=1, **more)
    assert (place.city, place.count) == ("Málaga", 3)
