"""Streams that do not reach their end: cut, failed, left."""

import time

import openai
import pytest

from conftest import eventually, record_of


def read_until_error(sdk, stream):
    """What a stream yields before it raises, and what it raises."""
    seen = []
    with pytest.raises(openai.APIError) as caught:
        while True:
            seen.extend(sdk.first(stream, 1))
    return seen, caught.value


def open_stream(sdk, messages, model="first-choice"):
    raw = sdk.do(
        sdk.client.chat.completions.with_raw_response.create(model=model, messages=messages, stream=True)
    )
    return raw.headers["x-request-id"], raw.parse()


@pytest.mark.parametrize("model", ["first-choice", "auto"])
def test_a_stream_that_is_cut_ends_with_an_api_error(sdk, ask, upstream_calls, model):
    request_id, stream = open_stream(sdk, ask(case="cut"), model)
    seen, error = read_until_error(sdk, stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in seen) == "The answer"
    # Not a connection error: the client is told what happened, and the connection ends in order.
    assert type(error) is openai.APIError
    assert error.code == "upstream_error"
    assert len(upstream_calls()) == 1, "what has begun is never begun again"
    record = record_of(request_id)
    assert record["outcome"] == "stream_broken"
    assert record["attempts"][0]["usage"] == "estimated"


def test_a_stream_that_says_it_failed_ends_with_an_api_error(sdk, ask, upstream_calls):
    request_id, stream = open_stream(sdk, ask(case="error_event"))
    seen, error = read_until_error(sdk, stream)
    assert len(seen) == 3
    assert type(error) is openai.APIError
    assert error.message == "the model fell over"
    assert len(upstream_calls()) == 1
    assert record_of(request_id)["outcome"] != "ok"


def test_a_client_that_leaves_a_stream_cancels_the_provider(sdk, ask, upstream_calls):
    request_id, stream = open_stream(sdk, ask(case="trickle"))
    assert len(sdk.first(stream, 3)) == 3
    assert upstream_calls()[0]["hung_up"] is False
    left = time.monotonic()
    sdk.do(stream.close())
    assert eventually(lambda: upstream_calls()[0]["hung_up"]), "the provider went on working for nobody"
    assert time.monotonic() - left < 3
    record = record_of(request_id)
    assert record["outcome"] == "cancelled"
    assert record["attempts"][0]["usage"] == "estimated"
    assert record["estimated_cost_usd"] == record["cost_usd"] > 0


def test_a_client_that_leaves_before_the_answer_cancels_the_provider(sdk, ask, upstream_calls):
    client = sdk.open(timeout=0.4, max_retries=0)
    with pytest.raises(openai.APITimeoutError):
        sdk.do(client.chat.completions.create(model="first-choice", messages=ask(case="slow", seconds=8)))
    assert eventually(lambda: upstream_calls()[0]["hung_up"], seconds=1.5)


def test_a_stream_that_fails_before_its_first_event_is_tried_again(sdk, ask, upstream_calls):
    _, stream = open_stream(sdk, ask(case="status", status=500, times=1))
    assert sdk.items(stream)
    assert len(upstream_calls()) == 2
