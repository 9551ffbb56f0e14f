"""Every kind of answer that tollgate gives, before a provider of each dialect, byte for byte as it leaves:
it is what OpenAI and Anthropic publish (`published.py`), nothing less and nothing more."""

import anthropic
import anthropic.types
import httpx
import openai
import openai.types
import openai.types.chat
import openai.types.responses
import pytest

from conftest import PNG_URL, TOLLGATE, WEATHER
from published import openapi, read, sdk

CHAT_TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": WEATHER, "strict": True}}]
TOOLS = [{"type": "function", "name": "get_weather", "parameters": WEATHER, "strict": True}]
MESSAGES_TOOLS = [{"name": "get_weather", "input_schema": WEATHER}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
# What is said to the model, and what else is asked for.
SAID = ["héllo", "the weather?", "think of it", "go on at length", "decline it", "cite it"]


@pytest.fixture(params=SAID)
def said(request):
    return request.param


def post(path, body, status=200):
    answer = httpx.post(TOLLGATE + path, json=body, timeout=30)
    assert answer.status_code == status, answer.text
    return answer


def events(answer):
    """(name, text) of each event."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    for block in answer.text.split("\n\n"):
        # What begins with a colon only keeps the connection alive.
        lines = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        if lines:
            yield lines.get("event"), lines["data"]


def chat_body(model, said, **more):
    return {"model": model, "messages": [{"role": "system", "content": "Brief."}, {"role": "user", "content": said}],
            "tools": CHAT_TOOLS, **more}


def check_chat(raw, place):
    openapi("openai", "CreateChatCompletionResponse", read(raw), place)
    return sdk("openai", openai.types.chat.ChatCompletion, raw, place)


def check_chunks(answer, place):
    *chunks, (_, done) = events(answer)
    assert done == "[DONE]"
    for _, raw in chunks:
        openapi("openai", "CreateChatCompletionStreamResponse", read(raw), place)
        sdk("openai", openai.types.chat.ChatCompletionChunk, raw, place)
    return [read(raw) for _, raw in chunks]


def test_chat(model, said):
    check_chat(post("/v1/chat/completions", chat_body(model, said)).text, f"{model} {said}")
    answer = post("/v1/chat/completions", chat_body(model, said, stream=True))
    check_chunks(answer, f"{model} {said} stream")
    answer = post("/v1/chat/completions", chat_body(model, said, stream=True, stream_options={"include_usage": True}))
    assert check_chunks(answer, f"{model} {said} stream with usage")[-1]["usage"]["cost"] > 0


def test_chat_of_a_form(model):
    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA, "strict": True}}
    body = {"model": model, "messages": [{"role": "user", "content": "a place"}], "response_format": form}
    check_chat(post("/v1/chat/completions", body).text, model)


def test_completions(model):
    for said in ("héllo", "go on at length"):
        body = {"model": model, "prompt": said, "max_tokens": 30}
        raw = post("/v1/completions", body).text
        openapi("openai", "CreateCompletionResponse", read(raw), model)
        sdk("openai", openai.types.Completion, raw, model)
        *chunks, (_, done) = events(post("/v1/completions", {**body, "stream": True, "stream_options": {"include_usage": True}}))
        assert done == "[DONE]"
        for _, raw in chunks:
            # The document says so of whole answers; of streams it says that they are of the same shape, in
            # which no chunk but the last could have a reason to be the last.
            value = read(raw)
            for choice in value["choices"]:
                choice["finish_reason"] = choice["finish_reason"] or "stop"
            openapi("openai", "CreateCompletionResponse", value, model)


def check_response(raw, place):
    openapi("openai", "Response", read(raw), place)
    return sdk("openai", openai.types.responses.Response, raw, place)


def check_response_events(answer, place):
    found = list(events(answer))
    for number, (name, raw) in enumerate(found):
        value = read(raw)
        assert (value["type"], value["sequence_number"]) == (name, number), place
        openapi("openai", "ResponseStreamEvent", value, place)
        sdk("openai", openai.types.responses.ResponseStreamEvent, raw, place)
    return [read(raw) for _, raw in found]


def test_responses(model, said):
    body = {"model": model, "instructions": "Brief.", "input": said, "tools": TOOLS, "store": True}
    place = f"{model} {said}"
    raw = post("/v1/responses", body).text
    response = check_response(raw, place)
    kept = httpx.get(f"{TOLLGATE}/v1/responses/{response.id}")
    assert kept.text == raw
    streamed = check_response_events(post("/v1/responses", {**body, "stream": True}), place + " stream")
    again = httpx.get(f"{TOLLGATE}/v1/responses/{streamed[-1]['response']['id']}", params={"stream": "true"})
    replayed = check_response_events(again, place + " stream again")
    assert replayed[-1]["response"] == streamed[-1]["response"]


def test_what_is_kept(model):
    content = [{"type": "input_text", "text": "the weather?"}, {"type": "input_image", "image_url": PNG_URL, "detail": "auto"}]
    first = post("/v1/responses", {"model": model, "input": [{"role": "user", "content": content}], "tools": TOOLS}).json()
    [call] = [item for item in first["output"] if item["type"] == "function_call"]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
    raw = post("/v1/responses", {"model": model, "previous_response_id": first["id"], "input": [result], "tools": TOOLS}).text
    second = check_response(raw, model)
    listed = httpx.get(f"{TOLLGATE}/v1/responses/{second.id}/input_items").text
    openapi("openai", "ResponseItemList", read(listed), model)
    sdk("openai", openai.types.responses.ResponseItemList, listed, model)
    assert {item["type"] for item in read(listed)["data"]} >= {"message", "function_call", "function_call_output"}
    gone = httpx.delete(f"{TOLLGATE}/v1/responses/{second.id}").json()
    assert gone == {"id": second.id, "object": "response", "deleted": True}


def check_message(raw, place):
    openapi("anthropic", "Message", read(raw), place)
    return sdk("anthropic", anthropic.types.Message, raw, place)


def test_messages(model, said):
    body = {"model": model, "max_tokens": 300, "system": "Brief.", "tools": MESSAGES_TOOLS,
            "messages": [{"role": "user", "content": said}]}
    place = f"{model} {said}"
    check_message(post("/v1/messages", body).text, place)
    for name, raw in events(post("/v1/messages", {**body, "stream": True})):
        value = read(raw)
        assert value["type"] == name, place
        if name == "ping":
            # Documented, and in neither the published document nor the SDK's types.
            assert value == {"type": "ping"}
            continue
        openapi("anthropic", "MessageStreamEvent", value, place)
        sdk("anthropic", anthropic.types.RawMessageStreamEvent, raw, place)


def test_count_tokens(model):
    raw = post("/v1/messages/count_tokens", {"model": model, "messages": [{"role": "user", "content": "héllo"}]}).text
    openapi("anthropic", "CountMessageTokensResponse", read(raw), model)
    sdk("anthropic", anthropic.types.MessageTokensCount, raw, model)


@pytest.mark.parametrize("form", ["float", "base64"])
def test_embeddings(form):
    raw = post("/v1/embeddings", {"model": "embeddings", "input": ["a", "b"], "encoding_format": form}).text
    if form == "float":
        openapi("openai", "CreateEmbeddingResponse", read(raw), form)
        sdk("openai", openai.types.CreateEmbeddingResponse, raw, form)
    assert read(raw)["usage"]["cost"] > 0


def test_models():
    raw = httpx.get(TOLLGATE + "/v1/models").text
    openapi("openai", "ListModelsResponse", read(raw), "models")
    for model in read(raw)["data"]:
        raw = httpx.get(f"{TOLLGATE}/v1/models/{model['id']}").text
        openapi("openai", "Model", read(raw), model["id"])
        sdk("openai", openai.types.Model, raw, model["id"])
        assert read(raw) == model


def test_errors(model):
    """The provider's, in the client's dialect, and our own."""
    asked = [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "fail-400"}]}),
        ("/v1/chat/completions", {"messages": 5}),
        ("/v1/responses", {"input": "fail-400"}),
        ("/v1/responses", {"input": "hi", "previous_response_id": "resp_none"}),
    ]
    for path, body in asked:
        for stream in (False, True):
            raw = post(path, {"model": model, **body, "stream": stream}, 400).text
            openapi("openai", "ErrorResponse", read(raw), raw)
    for said in ("fail-400", 5):
        body = {"model": model, "max_tokens": 30, "messages": [{"role": "user", "content": said}]}
        raw = post("/v1/messages", body, 400).text
        openapi("anthropic", "ErrorResponse", read(raw), raw)


def test_errors_of_ours():
    for path, status in (("/v1/chat/completions", 404), ("/v1/responses", 404), ("/v1/embeddings", 404)):
        body = {"model": "nobody", "input": "hi", "messages": [{"role": "user", "content": "hi"}]}
        openapi("openai", "ErrorResponse", read(post(path, body, status).text), path)
    for method, path in (("GET", "/v1/nothing"), ("GET", "/v1/chat/completions"), ("GET", "/v1/models/nobody"), ("GET", "/v1/responses/resp_none"),
                         ("DELETE", "/v1/responses/resp_none"), ("POST", "/v1/responses/resp_none/cancel")):
        answer = httpx.request(method, TOLLGATE + path)
        assert answer.status_code in (400, 404, 405), answer.text
        openapi("openai", "ErrorResponse", read(answer.text), path)
    raw = post("/v1/messages", {"model": "nobody", "max_tokens": 3, "messages": [{"role": "user", "content": "hi"}]}, 404).text
    openapi("anthropic", "ErrorResponse", read(raw), "messages")
