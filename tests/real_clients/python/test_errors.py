"""Each error as the SDK's own exception, and retries that are not multiplied.

Unless a test says otherwise the SDK keeps its default of two retries: what tollgate has given up on,
the SDK must not try again.
"""

import time

import openai
import pytest

from conftest import TOLLGATE, metric, record_of


def refused(sdk, expect, method, *args, **options):
    """The exception that a call raises; it must be of this class and carry OpenAI's error object."""
    with pytest.raises(expect) as caught:
        sdk.do(method(*args, **options))
    error = caught.value
    assert type(error) is expect
    assert error.message and error.type and error.code
    assert error.request_id, "every error names its request"
    return error


def is_final(error):
    return error.response.headers["x-should-retry"] == "false"


# What tollgate itself refuses.


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"n": 0}, "n"),
        ({"stream": "yes"}, "stream"),
    ],
)
def test_a_malformed_request_is_a_bad_request_that_names_its_field(sdk, ask, upstream_calls, body, param):
    request = {"model": "auto", "messages": ask(), **body}
    error = refused(
        sdk, openai.BadRequestError, sdk.client.post, "/chat/completions", cast_to=object, body=request
    )
    assert error.code == "invalid_request_error"
    assert error.param == param
    assert upstream_calls() == []


@pytest.mark.parametrize("key", ["tg-suite-nobody", "sk-proj-an-openai-key"])
def test_an_unknown_key_is_an_authentication_error(sdk, ask, upstream_calls, key):
    client = sdk.open(api_key=key)
    error = refused(
        sdk, openai.AuthenticationError, client.chat.completions.create, model="auto", messages=ask()
    )
    assert (error.status_code, error.code) == (401, "invalid_api_key")
    assert key not in error.message
    assert upstream_calls() == []
    refused(sdk, openai.AuthenticationError, client.models.list)


def test_a_model_that_the_key_may_not_use_is_a_permission_error(sdk, ask, upstream_calls):
    client = sdk.open(api_key="tg-suite-limited")
    error = refused(
        sdk,
        openai.PermissionDeniedError,
        client.chat.completions.create,
        model="first-choice",
        messages=ask(),
    )
    assert (error.status_code, error.code, error.param) == (403, "model_not_allowed", "model")
    assert upstream_calls() == []
    routed = sdk.do(client.chat.completions.create(model="auto", messages=ask()))
    assert routed.model == "vendor-small-0701", "what may be used is still routed to"


def test_an_unknown_model_is_not_found_and_the_nearest_is_named(sdk, ask):
    error = refused(
        sdk, openai.NotFoundError, sdk.client.chat.completions.create, model="frist-choice", messages=ask()
    )
    assert (error.status_code, error.code, error.param) == (404, "model_not_found", "model")
    assert "first-choice" in error.message


def test_a_path_that_is_not_there_is_not_found(sdk):
    refused(sdk, openai.NotFoundError, sdk.client.post, "/no/such/path", cast_to=object, body={})


def test_a_rate_limit_is_a_rate_limit_error(sdk, ask):
    client = sdk.open(api_key="tg-suite-throttled-python", max_retries=0)
    # One a minute: of two requests the second is refused, or both when another flavour was here before.
    with pytest.raises(openai.RateLimitError) as caught:
        for _ in range(2):
            sdk.do(client.chat.completions.create(model="auto", messages=ask()))
    error = caught.value
    assert (error.status_code, error.code) == (429, "rate_limit_exceeded")
    assert 0 < int(error.response.headers["retry-after"]) <= 60
    assert error.response.headers["x-should-retry"] == "true"


def test_the_sdk_waits_for_a_short_rate_limit_and_succeeds(sdk, ask, upstream_calls):
    client = sdk.open(api_key="tg-suite-steady")
    for turn in range(2):
        assert sdk.do(client.chat.completions.create(model="auto", messages=ask(f"turn {turn}"))).choices
    assert len(upstream_calls()) == 2


def test_a_spent_budget_is_a_rate_limit_error_that_nobody_sleeps_on(sdk, ask, upstream_calls):
    client = sdk.open(api_key="tg-suite-pennies")
    asked = {"name": "tollgate_requests_total", "team": "pennies"}
    before, started = metric(**asked), time.monotonic()
    error = refused(sdk, openai.RateLimitError, client.chat.completions.create, model="auto", messages=ask())
    assert (error.status_code, error.code, error.type) == (429, "budget_exceeded", "insufficient_quota")
    assert is_final(error)
    assert "pennies" in error.message
    assert metric(**asked) - before == 1, "the SDK asked once"
    assert time.monotonic() - started < 0.5, "half a second is the SDK's first pause"
    assert upstream_calls() == []


def test_what_a_request_may_cost_at_most_is_a_budget(sdk, ask, upstream_calls):
    error = refused(
        sdk,
        openai.RateLimitError,
        sdk.client.chat.completions.create,
        model="auto",
        messages=ask(),
        extra_headers={"x-tollgate-max-cost-usd": "0.000000001"},
    )
    assert error.code == "budget_exceeded"
    assert is_final(error)
    assert upstream_calls() == []


def test_a_header_that_cannot_be_read_is_a_bad_request(sdk, ask):
    assert (
        refused(
            sdk,
            openai.BadRequestError,
            sdk.client.chat.completions.create,
            model="auto",
            messages=ask(),
            extra_headers={"x-tollgate-max-cost-usd": "0,05"},
        ).param
        == "x-tollgate-max-cost-usd"
    )


def test_nothing_to_serve_with_is_an_internal_server_error(sdk, ask):
    client = sdk.open(max_retries=0)
    error = refused(
        sdk, openai.InternalServerError, client.chat.completions.create, model="switched-off", messages=ask()
    )
    assert (error.status_code, error.code) == (503, "no_candidate_available")
    assert int(error.response.headers["retry-after"]) >= 1


def test_a_provider_that_cannot_be_reached_is_an_internal_server_error(sdk, ask):
    error = refused(
        sdk,
        openai.InternalServerError,
        sdk.client.chat.completions.create,
        model="out-of-reach",
        messages=ask(),
    )
    assert (error.status_code, error.code) == (502, "upstream_error")
    assert is_final(error)


# What the provider refuses.


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "expect"),
    [(400, openai.BadRequestError), (422, openai.UnprocessableEntityError)],
)
def test_the_providers_refusal_of_a_bad_request_is_handed_on(
    sdk, ask, upstream_calls, status, expect, stream
):
    messages = ask(case="status", status=status, code="unsupported_value")
    error = refused(
        sdk, expect, sdk.client.chat.completions.create, model="auto", messages=messages, stream=stream
    )
    assert (error.status_code, error.code) == (status, "unsupported_value")
    assert f"the provider says {status}" in error.message
    assert len(upstream_calls()) == 1, "no other model would take it either"


@pytest.mark.parametrize("status", [401, 403, 404])
def test_the_providers_trouble_with_us_is_not_the_clients(sdk, ask, upstream_calls, status):
    """The provider refused tollgate's key or model name: an app must not be told that its own is wrong."""
    messages = ask(case="status", status=status)
    error = refused(
        sdk,
        openai.InternalServerError,
        sdk.client.chat.completions.create,
        model="first-choice",
        messages=messages,
    )
    assert (error.status_code, error.code) == (502, "upstream_error")
    assert "the provider says" not in error.message, "the provider's words are not passed on"
    assert is_final(error)
    assert len(upstream_calls()) == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [500, 503])
def test_retries_are_not_multiplied(sdk, ask, upstream_calls, status, stream):
    """tollgate makes two attempts; the SDK's two retries on top would make it six."""
    messages = ask(case="status", status=status)
    error = refused(
        sdk,
        openai.InternalServerError,
        sdk.client.chat.completions.create,
        model="first-choice",
        messages=messages,
        stream=stream,
    )
    assert (error.status_code, error.code) == (502, "upstream_error")
    assert error.response.headers["x-tollgate-attempts"] == "2"
    assert is_final(error)
    assert len(upstream_calls()) == 2


def test_retries_over_a_whole_plan_are_not_multiplied(sdk, ask, upstream_calls):
    error = refused(
        sdk,
        openai.InternalServerError,
        sdk.client.chat.completions.create,
        model="auto",
        messages=ask(case="status", status=500),
    )
    assert is_final(error)
    models = [call["body"]["model"] for call in upstream_calls()]
    # The candidates in their order, then the ladder, each at most twice; and no second round.
    assert models[:4] == ["vendor-large", "vendor-large", "vendor-small", "vendor-small"]
    assert all(models.count(model) == 2 for model in models)
    attempts = record_of(error.request_id)["attempts"]
    assert int(error.response.headers["x-tollgate-attempts"]) == len(attempts)
    answered = [attempt for attempt in attempts if attempt["status"] == 500]
    assert len(answered) == len(models), "the ledger has the attempts that the provider saw"


def test_a_passing_failure_is_not_seen_by_the_client(sdk, ask, upstream_calls):
    raw = sdk.do(
        sdk.client.chat.completions.with_raw_response.create(
            model="first-choice", messages=ask(case="status", status=503, times=1)
        )
    )
    assert raw.headers["x-tollgate-attempts"] == "2"
    assert raw.parse().choices
    assert len(upstream_calls()) == 2


@pytest.mark.parametrize("stream", [False, True])
def test_another_model_answers_when_the_first_is_down(sdk, ask, stream):
    raw = sdk.do(
        sdk.client.chat.completions.with_raw_response.create(
            model="auto", messages=ask(case="refuse", model="vendor-large"), stream=stream
        )
    )
    assert raw.headers["x-tollgate-model"] == "second-choice"
    assert raw.headers["x-tollgate-reason"] == "fallback"
    answer = sdk.items(raw.parse())[0] if stream else raw.parse()
    assert answer.model == "vendor-small-0701"


def test_the_providers_rate_limit_is_a_rate_limit_error(sdk, ask, upstream_calls):
    messages = ask(case="status", status=429, retry_after=2, code="rate_limit_exceeded")
    error = refused(
        sdk,
        openai.RateLimitError,
        sdk.client.chat.completions.create,
        model=f"busy-{sdk.flavour}",
        messages=messages,
    )
    assert (error.status_code, error.code) == (429, "rate_limit_exceeded")
    assert int(error.response.headers["retry-after"]) >= 1
    assert is_final(error)
    assert 1 <= len(upstream_calls()) <= 2


def test_a_provider_that_is_too_slow_is_an_internal_server_error(sdk, ask, upstream_calls):
    messages = ask(case="slow", seconds=8)
    error = refused(
        sdk,
        openai.InternalServerError,
        sdk.client.chat.completions.create,
        model="first-choice",
        messages=messages,
    )
    assert (error.status_code, error.code) == (504, "upstream_timeout")
    assert is_final(error)
    assert len(upstream_calls()) == 1


# What happens between the SDK and tollgate.


def test_a_client_that_does_not_wait_gets_its_own_time_out(sdk, ask, upstream_calls):
    client = sdk.open(timeout=0.4, max_retries=0)
    with pytest.raises(openai.APITimeoutError):
        sdk.do(client.chat.completions.create(model="first-choice", messages=ask(case="slow", seconds=8)))
    assert len(upstream_calls()) == 1


def test_a_proxy_that_is_not_there_is_a_connection_error(sdk, ask):
    # Port 9 is discard, which nobody serves any more.
    client = sdk.open(base_url="http://127.0.0.1:9/v1", max_retries=0)
    with pytest.raises(openai.APIConnectionError):
        sdk.do(client.chat.completions.create(model="auto", messages=ask()))


def test_the_connection_is_fit_for_use_after_an_error(sdk, ask):
    for _ in range(3):
        refused(sdk, openai.NotFoundError, sdk.client.chat.completions.create, model="nobody", messages=ask())
        assert sdk.do(sdk.client.chat.completions.create(model="auto", messages=ask())).choices


def test_the_path_and_method_are_told_apart(sdk):
    with pytest.raises(openai.APIStatusError) as caught:
        sdk.do(sdk.client.get(f"{TOLLGATE}/v1/chat/completions", cast_to=object))
    assert caught.value.status_code == 405
    assert caught.value.response.headers["allow"] == "POST"
