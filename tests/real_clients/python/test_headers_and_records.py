"""What an app can learn about each answer: headers, the decision record, feedback, an explanation."""

import re
import urllib.error
from decimal import Decimal

import openai
import pytest

from conftest import TOLLGATE, fetch, record_of


def test_every_header_of_a_whole_answer(sdk, ask):
    raw = sdk.do(
        sdk.client.chat.completions.with_raw_response.create(
            model="gpt-4o-mini",
            messages=ask("Write a Python function that reverses a linked list."),
            extra_headers={"x-tollgate-tags": "feature=search,build=7", "x-tollgate-session": "s-1"},
            user="ann",
        )
    )
    headers = raw.headers
    assert headers["x-tollgate-model"] == "first-choice"
    assert headers["x-tollgate-provider"] == "scripted"
    assert headers["x-tollgate-task"] == "code_generation"
    assert headers["x-tollgate-level"] in {"simple", "complex", "critical"}
    assert re.fullmatch(r"[01]\.\d{3}", headers["x-tollgate-complexity"])
    assert headers["x-tollgate-reason"] in {"matrix", "session"}
    assert headers["x-tollgate-cache"] == "miss"
    assert headers["x-tollgate-attempts"] == "1"
    assert re.fullmatch(r"0\.\d+", headers["x-tollgate-cost-usd"])
    assert int(headers["x-tollgate-overhead-us"]) > 0
    assert headers["x-ratelimit-limit-requests"] == "6000", "the burst, a tenth of the rate"
    # At a permit per millisecond the one that was taken may be back already.
    assert int(headers["x-ratelimit-remaining-requests"]) <= 6000
    assert headers["x-ratelimit-limit-tokens"] == "1000000"
    assert 0 < int(headers["x-ratelimit-remaining-tokens"]) <= 1000000
    for kind in ("requests", "tokens"):
        assert re.fullmatch(r"(\d+h)?(\d+m)?(\d+(\.\d+)?s)?(\d+ms)?", headers[f"x-ratelimit-reset-{kind}"])
    assert headers["content-type"] == "application/json"

    request_id = headers["x-request-id"]
    assert raw.request_id == request_id
    assert raw.parse()._request_id == request_id
    record = record_of(request_id)
    assert record["asked_model"] == "gpt-4o-mini"
    assert (record["team"], record["app"], record["key"]) == ("shop", "checkout", "app")
    assert record["end_user"] == "ann"
    assert record["tags"] == {"feature": "search", "build": "7"}
    assert (record["model"], record["task"]) == (headers["x-tollgate-model"], headers["x-tollgate-task"])
    assert (record["outcome"], record["status"]) == ("ok", 200)
    [attempt] = record["attempts"]
    assert attempt["usage"] == "reported"
    assert attempt["response_model"] == "vendor-large-0701"
    assert Decimal(str(attempt["cost_usd"])) == Decimal(headers["x-tollgate-cost-usd"])


def test_every_header_of_a_stream(sdk, ask):
    raw = sdk.do(
        sdk.client.chat.completions.with_raw_response.create(
            # At 1,000,000 tokens a minute so many are held that a busy machine does not have them back at once.
            model="first-choice", messages=ask(), stream=True, max_completion_tokens=60_000
        )
    )
    headers = raw.headers
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["x-tollgate-model"] == "first-choice"
    assert headers["x-tollgate-provider"] == "scripted"
    assert headers["x-tollgate-reason"] == "pinned"
    assert headers["x-tollgate-attempts"] == "1"
    assert "x-tollgate-cost-usd" not in headers, "nobody knows a stream's cost when it begins"
    assert {
        "x-tollgate-task",
        "x-tollgate-level",
        "x-tollgate-complexity",
        "x-tollgate-cache",
    } <= headers.keys()
    assert {"x-tollgate-overhead-us", "x-ratelimit-remaining-requests", "x-request-id"} <= headers.keys()
    assert int(headers["x-ratelimit-remaining-tokens"]) < 1000000, "the stream holds what it may still use"
    sdk.items(raw.parse())
    assert record_of(headers["x-request-id"])["stream"] is True


def test_a_request_may_say_its_task_and_level(sdk, ask):
    raw = sdk.do(
        sdk.client.chat.completions.with_raw_response.create(
            model="auto",
            messages=ask(),
            extra_headers={"x-tollgate-task": "translation", "x-tollgate-level": "critical"},
        )
    )
    assert (raw.headers["x-tollgate-task"], raw.headers["x-tollgate-level"]) == ("translation", "critical")


def test_an_error_has_its_request_id_too(sdk, ask):
    with pytest.raises(openai.NotFoundError) as caught:
        sdk.do(sdk.client.chat.completions.create(model="no-such-model", messages=ask()))
    record = record_of(caught.value.request_id)
    assert (record["status"], record["error_code"]) == (404, "model_not_found")


def test_feedback_is_taken_once_and_only_from_the_key_that_asked(sdk, ask):
    request_id = sdk.do(sdk.client.chat.completions.create(model="auto", messages=ask()))._request_id
    record_of(request_id)
    feedback = {"request_id": request_id, "thumbs": "up", "comment": "just right"}
    first = fetch(f"{TOLLGATE}/v1/feedback", feedback)
    again = fetch(f"{TOLLGATE}/feedback", feedback)
    assert first["request_id"] == again["request_id"] == request_id
    with pytest.raises(urllib.error.HTTPError) as caught:
        fetch(f"{TOLLGATE}/v1/feedback", feedback, key="tg-suite-limited")
    assert caught.value.code == 404
    with pytest.raises(urllib.error.HTTPError) as caught:
        fetch(f"{TOLLGATE}/v1/requests/{request_id}", key="tg-suite-limited")
    assert caught.value.code == 404


def test_a_route_is_explained_without_a_call(ask, upstream_calls):
    explained = fetch(
        f"{TOLLGATE}/v1/route", {"model": "auto", "messages": ask("Translate to Spanish: good morning")}
    )
    assert explained["model"] == "first-choice"
    assert [candidate["model"] for candidate in explained["candidates"]][:2] == [
        "first-choice",
        "second-choice",
    ]
    assert upstream_calls() == []
