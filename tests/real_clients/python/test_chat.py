"""Chat completions, whole and streamed: what an app gets that changed its base URL and nothing else."""

import json
from decimal import Decimal

import pytest

from conftest import TOLLGATE, bill, record_of

ANSWER = "The answer is forty-two, señor."
FIRST_CHOICE = {"input": "3", "cached_input": "0.3", "output": "15"}


def text_of(chunks):
    pieces = (choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    return "".join(pieces)


@pytest.mark.parametrize("base", ["/v1", "", "/v1/"])
def test_a_base_url_is_written_with_and_without_v1(sdk, ask, upstream_calls, base):
    client = sdk.open(base_url=TOLLGATE + base)
    completion = sdk.do(client.chat.completions.create(model="auto", messages=ask()))
    assert completion.choices[0].message.content == ANSWER
    assert [call["path"] for call in upstream_calls()] == ["/v1/chat/completions"]


@pytest.mark.parametrize("model", ["auto", "gpt-4o", "gpt-3.5-turbo", "first-choice", "cheap"])
def test_a_whole_answer_is_the_providers_own(sdk, ask, model):
    completion = sdk.do(sdk.client.chat.completions.create(model=model, messages=ask()))
    assert completion.object == "chat.completion"
    assert completion.id == "chatcmpl-scripted"
    assert completion.system_fingerprint == "fp_scripted"
    served = "vendor-small" if model == "cheap" else "vendor-large"
    assert completion.model == served + "-0701"
    choice = completion.choices[0]
    assert (choice.message.role, choice.message.content) == ("assistant", ANSWER)
    assert choice.finish_reason == "stop"
    assert completion.usage.total_tokens == 30
    assert completion.usage.prompt_tokens_details.cached_tokens == 8
    assert completion.usage.completion_tokens_details.reasoning_tokens == 4


def test_a_whole_answers_cost_is_the_same_everywhere(sdk, ask):
    raw = sdk.do(sdk.client.chat.completions.with_raw_response.create(model="auto", messages=ask()))
    usage = json.loads(raw.text, parse_float=Decimal)["usage"]
    expected = bill(usage, **FIRST_CHOICE)
    assert usage["cost"] == expected
    assert Decimal(raw.headers["x-tollgate-cost-usd"]) == expected
    record = record_of(raw.request_id)
    assert Decimal(str(record["cost_usd"])) == expected
    assert raw.parse().usage.cost == float(expected)


@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": False}}])
def test_a_stream_has_no_usage_chunk_unless_it_was_asked_for(sdk, ask, upstream_calls, options):
    pending = sdk.client.chat.completions.create(model="gpt-4o", messages=ask(), stream=True, **options)
    chunks = sdk.items(pending)
    assert text_of(chunks) == ANSWER
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.choices for chunk in chunks), "no chunk without choices reaches such a client"
    assert all(chunk.usage is None for chunk in chunks)
    # tollgate itself asked for it: the bill rests on what the provider counted.
    assert upstream_calls()[0]["body"]["stream_options"]["include_usage"] is True


def test_a_streams_usage_chunk_carries_the_ledgers_cost(sdk, ask):
    raw = sdk.do(
        sdk.client.chat.completions.with_raw_response.create(
            model="auto", messages=ask(), stream=True, stream_options={"include_usage": True}
        )
    )
    chunks = sdk.items(raw.parse())
    assert text_of(chunks) == ANSWER
    last = chunks[-1]
    assert last.choices == []
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (20, 10)
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    record = record_of(raw.headers["x-request-id"])
    expected = bill(last.usage.model_dump(), **FIRST_CHOICE)
    assert Decimal(str(record["cost_usd"])) == expected
    assert Decimal(str(last.usage.cost)) == expected


def test_what_the_provider_gets_differs_only_in_the_model(sdk, ask, upstream_calls):
    request = {
        "messages": [{"role": "system", "content": 'Be brief; ñ, 漢字, \u2028, "quotes".'}, *ask()],
        "temperature": 0.25,
        "seed": 7,
        "stop": ["END"],
        "logit_bias": {"50256": -100},
        "metadata": {"ticket": "T-1"},
        "user": "ann",
        "max_completion_tokens": 99,
    }
    unknown = {"a_field_of_tomorrow": {"deep": [1, None, 2.50, "x"]}}
    sdk.do(sdk.client.chat.completions.create(model="auto", extra_body=unknown, **request))
    body = upstream_calls()[0]["body"]
    assert body == {"model": "vendor-large", **request, **unknown}


def test_the_virtual_key_stays_here(sdk, ask, upstream_calls):
    sdk.do(sdk.client.chat.completions.create(model="auto", messages=ask()))
    headers = upstream_calls()[0]["headers"]
    assert headers["authorization"] == "Bearer provider-secret"
    assert "tg-suite" not in json.dumps(headers)


def test_n_and_logprobs_whole(sdk, ask):
    completion = sdk.do(
        sdk.client.chat.completions.create(model="auto", messages=ask(), n=2, logprobs=True, top_logprobs=1)
    )
    assert [choice.index for choice in completion.choices] == [0, 1]
    for choice in completion.choices:
        assert "".join(entry.token for entry in choice.logprobs.content) == ANSWER
        assert choice.logprobs.content[0].logprob == -0.25
        assert choice.logprobs.content[0].top_logprobs[0].token == "Yes"


def test_n_and_logprobs_streamed(sdk, ask):
    chunks = sdk.items(
        sdk.client.chat.completions.create(model="auto", messages=ask(), n=2, logprobs=True, stream=True)
    )
    choices = [choice for chunk in chunks for choice in chunk.choices]
    for index in (0, 1):
        own = [choice for choice in choices if choice.index == index]
        assert "".join(choice.delta.content or "" for choice in own) == ANSWER
        assert (
            "".join(entry.token for choice in own if choice.logprobs for entry in choice.logprobs.content)
            == ANSWER
        )


@pytest.mark.parametrize("stream", [False, True])
def test_vision_parts_arrive_as_they_were_sent(sdk, script, upstream_calls, stream):
    pixel = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg=="
    content = [
        {"type": "text", "text": script("What is in these pictures?")},
        {"type": "image_url", "image_url": {"url": pixel, "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://pictures.example/cat.jpg"}},
    ]
    pending = sdk.client.chat.completions.create(
        model="auto", messages=[{"role": "user", "content": content}], stream=stream
    )
    text = text_of(sdk.items(pending)) if stream else sdk.do(pending).choices[0].message.content
    assert text == ANSWER
    assert upstream_calls()[0]["body"]["messages"][0]["content"] == content


def test_the_streaming_helper_gathers_the_answer(sdk, ask):
    manager = sdk.client.chat.completions.stream(model="auto", messages=ask())

    def look(events, _):
        deltas = [event.delta for event in events if event.type == "content.delta"]
        done = [event.content for event in events if event.type == "content.done"]
        return "".join(deltas), done

    assert sdk.within(manager, look) == (ANSWER, [ANSWER])


def test_the_same_question_again_comes_from_the_cache(sdk, ask, upstream_calls):
    def create(**options):
        return sdk.do(
            sdk.client.chat.completions.with_raw_response.create(model="auto", messages=ask(), **options)
        )

    first, second = create(), create()
    assert first.headers["x-tollgate-cache"] == "miss"
    assert second.headers["x-tollgate-cache"] == "hit-exact"
    assert second.headers["x-tollgate-cost-usd"] == "0"
    assert second.parse().choices[0].message.content == ANSWER
    assert second.parse().usage.cost == 0
    streamed = create(stream=True)
    assert streamed.headers["x-tollgate-cache"] == "hit-exact"
    assert text_of(sdk.items(streamed.parse())) == ANSWER
    assert len(upstream_calls()) == 1
    fresh = create(extra_headers={"cache-control": "no-cache"})
    assert fresh.headers["x-tollgate-cache"] != "hit-exact"
    assert len(upstream_calls()) == 2
