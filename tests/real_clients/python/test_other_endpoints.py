"""Embeddings, legacy completions and the list of models."""

import json
from decimal import Decimal

import openai
import pytest

from conftest import TOLLGATE, record_of

EMBEDDER = "text-embedding-3-small"


def test_embeddings_as_the_sdk_asks_for_them(sdk, script, upstream_calls):
    """Without a format the SDK asks for base64 and decodes it."""
    answer = sdk.do(sdk.client.embeddings.create(model=EMBEDDER, input=[script(), "second"]))
    assert [item.embedding for item in answer.data] == [[0.5, -0.25, 0.125, 0.0], [0.5, -0.25, 0.125, 1.0]]
    assert answer.usage.prompt_tokens == 9
    assert upstream_calls()[0]["body"]["encoding_format"] == "base64"


def test_embeddings_as_floats(sdk, script, upstream_calls):
    raw = sdk.do(
        sdk.client.embeddings.with_raw_response.create(
            model=EMBEDDER, input=script(), encoding_format="float", dimensions=4
        )
    )
    answer = raw.parse()
    assert answer.data[0].embedding == [0.5, -0.25, 0.125, 0.0]
    assert upstream_calls()[0]["body"]["dimensions"] == 4
    usage = json.loads(raw.text, parse_float=Decimal)["usage"]
    expected = Decimal(9) * Decimal("0.02") / 1_000_000
    assert usage["cost"] == Decimal(raw.headers["x-tollgate-cost-usd"]) == expected
    assert Decimal(str(record_of(raw.request_id)["cost_usd"])) == expected


def test_legacy_completions_whole(sdk, script):
    answer = sdk.do(sdk.client.completions.create(model="first-choice", prompt=script(), max_tokens=20))
    assert answer.object == "text_completion"
    assert answer.choices[0].text == "The answer is forty-two, señor."
    assert answer.usage.completion_tokens == 6
    assert answer.usage.cost == pytest.approx((5 * 3 + 6 * 15) / 1e6, rel=1e-12)


@pytest.mark.parametrize("include_usage", [False, True])
def test_legacy_completions_streamed(sdk, script, include_usage):
    options = {"stream_options": {"include_usage": True}} if include_usage else {}
    chunks = sdk.items(sdk.client.completions.create(model="auto", prompt=script(), stream=True, **options))
    text = "".join(choice.text for chunk in chunks for choice in chunk.choices)
    assert text == "The answer is forty-two, señor."
    usages = [chunk.usage for chunk in chunks if chunk.usage]
    assert len(usages) == include_usage
    assert all(usage.cost > 0 for usage in usages)


@pytest.mark.parametrize("base", ["/v1", ""])
def test_models_are_listed(sdk, base):
    client = sdk.open(base_url=TOLLGATE + base)
    models = {model.id: model for model in sdk.do(client.models.list()).data}
    assert {"auto", "cheap", "first-choice", "second-choice", EMBEDDER} <= models.keys()
    assert models["auto"].owned_by == "tollgate"
    assert models["first-choice"].owned_by == "scripted"
    assert all(model.object == "model" and model.created > 0 for model in models.values())


def test_a_key_sees_only_what_it_may_use(sdk):
    client = sdk.open(api_key="tg-suite-limited")
    assert {model.id for model in sdk.do(client.models.list()).data} == {"auto", "cheap", "second-choice"}
    with pytest.raises(openai.NotFoundError):
        sdk.do(client.models.retrieve("first-choice"))


@pytest.mark.parametrize("name", ["auto", "first-choice"])
def test_one_model_is_retrieved(sdk, name):
    assert sdk.do(sdk.client.models.retrieve(name)).id == name


def test_an_unknown_model_cannot_be_retrieved(sdk):
    with pytest.raises(openai.NotFoundError) as caught:
        sdk.do(sdk.client.models.retrieve("no-such-model"))
    assert caught.value.code == "model_not_found"
