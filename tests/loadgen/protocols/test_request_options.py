from __future__ import annotations

import json
from typing import Any

import pytest

from loadgen.protocols.prepared import CollectedResponse, OutputCheck, ToolCallRecord, WorkloadError
from loadgen.protocols.request_options import build_option_fields, build_output_check, build_text_check
from loadgen.workloads import JsonFormat, RequestOptions

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
TOOL = {"name": "find", "description": "finds", "parameters": {"type": "object"}}
OPTIONS = RequestOptions(json.dumps([TOOL]).encode(), "required", JsonFormat(json.dumps(SCHEMA).encode()))


def test_tools_and_response_format_use_notation_of_api() -> None:
    format_fields = {"name": "response", "schema": SCHEMA, "strict": True}
    assert build_option_fields("chat", OPTIONS) == {
        "tools": [{"type": "function", "function": TOOL}],
        "tool_choice": "required",
        "response_format": {"type": "json_schema", "json_schema": format_fields},
    }
    assert build_option_fields("responses", OPTIONS) == {
        "tools": [{"type": "function", "strict": False, **TOOL}],
        "tool_choice": "required",
        "text": {"format": {"type": "json_schema", **format_fields}},
    }
    assert build_option_fields("messages", OPTIONS) == {
        "tools": [{"name": "find", "description": "finds", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "any"},
        "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
    }
    assert build_option_fields("chat", RequestOptions()) == {}


def check_text(schema: dict[str, Any], text: str) -> str | None:
    return build_text_check(json.dumps(schema).encode())(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"answer": "yes"}', None),
        (' {"answer": "yes", "more": 1}\n', None),
        ('{"answer": 5}', "the response does not match the JSON schema at /properties/answer/type"),
        ("{}", "the response does not match the JSON schema at /required"),
        ('{"answer": "cut', "the response is not JSON"),
        ('```json\n{"answer": "yes"}\n```', "the response is not JSON"),
        ("[" * 50_000, "the response is not JSON"),
        ("", "the response is not JSON"),
    ],
)
def test_text_is_checked_against_json_schema(text: str, reason: str | None) -> None:
    assert check_text(SCHEMA, text) == reason


def test_definitions_and_draft_of_json_schema_are_applied() -> None:
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "definitions": {"pattern": {"type": "string", "pattern": "^[a-z]+$"}},
        "type": "array",
        "items": [{"$ref": "#/definitions/pattern"}],
        "additionalItems": False,
    }
    assert check_text(schema, '["abc"]') is None
    assert check_text(schema, '["ABC"]') == "the response does not match the JSON schema at /items/0/pattern"
    assert check_text(schema, '["abc", 1]') == "the response does not match the JSON schema at /additionalItems"


def test_nested_quantifiers_in_schema_pattern_do_not_hang() -> None:
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$ref": "#/$defs/slow",
              "$defs": {"slow": {"pattern": "^(a+)+$"}}}  # fmt: skip
    assert check_text(schema, json.dumps("a" * 5000)) is None
    assert check_text(schema, json.dumps("a" * 5000 + "b")) is not None


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"properties": {"a": {"type": "text"}}}, "the JSON schema is invalid at /properties/a/type"),
        ({"$ref": "https://example.org/other.json"}, "refers to 'https://example.org/other.json', which it does not"),
        ({"items": {"$ref": "#/$defs/none"}}, "refers to '#/[$]defs/none', which it does not contain"),
        ({"pattern": "(?=x)"}, "the regular expression is invalid"),
        ({"patternProperties": {"^a": {}}}, "patternProperties, which are not supported"),
    ],
)
def test_invalid_json_schema_is_rejected(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        build_text_check(json.dumps(schema).encode())


def test_property_names_are_not_schema_keywords() -> None:
    schema = {"properties": {"pattern": {"type": "string"}, "$ref": {}, "patternProperties": {"type": "object"}}}
    assert check_text(schema, '{"pattern": "(?=x)", "$ref": "y"}') is None
    assert check_text(schema, '{"pattern": 1}') is not None


def test_enum_and_default_values_are_not_schemas() -> None:
    schema = {"enum": [{"$ref": "#/nope"}, {"pattern": "("}], "default": {"patternProperties": {}}}
    assert check_text(schema, '{"pattern": "("}') is None
    assert check_text(schema, "{}") is not None


def make_response(text: str = "", calls: int = 0) -> CollectedResponse:
    records = tuple(ToolCallRecord(f"c{number}", "find", "{}") for number in range(calls))
    return CollectedResponse(5, 5, len(text), text, calls=records)


def test_response_with_only_tool_calls_is_not_checked_against_json_schema() -> None:
    check = build_output_check(RequestOptions(response_format=JsonFormat(json.dumps(SCHEMA).encode(), check=True)))
    assert check(make_response('{"answer": ""}')) == OutputCheck(0, True)
    assert check(make_response(calls=2)) == OutputCheck(2)
    assert check(make_response("x", calls=1)) == OutputCheck(1, False, "the response is not JSON")
    assert check(make_response()) == OutputCheck(0, False, "the response is not JSON")
    assert check(None).is_valid is False
    counting = build_output_check(OPTIONS)
    assert (counting(make_response("x", calls=1)), counting(None)) == (OutputCheck(1), OutputCheck())
