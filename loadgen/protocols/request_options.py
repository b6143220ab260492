"""Add tools and the format of the response to requests, in the notation of each API, and check the
responses against the JSON schema of the format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import msgspec

from loadgen.decoding import decode_json
from loadgen.protocols.expectation import build_searcher
from loadgen.protocols.prepared import CollectedResponse, OutputCheck, WorkloadError
from loadgen.workloads import JsonFormat, RequestOptions

Fields = dict[str, Any]
CheckText = Callable[[str], str | None]
"""Function that returns why a text does not match a JSON schema; None if it does."""

_FORMAT_NAME = "response"
"""Name of the format of the responses, which some APIs require."""
_MAX_PATH_CHARS = 100
_NAMED_SCHEMAS = ("properties", "$defs", "definitions", "dependentSchemas")
"""Keywords whose value maps names to schemas, so that a name is no keyword."""
_NOT_JSON = "the response is not JSON"
_UNUSABLE = "the response is too long, or a tool call is malformed"
_NOT_CHECKED = "the response could not be checked against the JSON schema"
_DATA_KEYWORDS = ("const", "enum", "default", "examples")
"""Keywords whose values are data, not schemas."""


@lru_cache(maxsize=16)
def build_option_fields(api: str, options: RequestOptions) -> Fields:
    """Return the fields of a request body with the tools and the format of the response. The fields
    must not be changed."""
    fields: Fields = {}
    if options.tools:
        tools = decode_json(options.tools, list[Fields])
        fields["tools"] = [_build_tool(api, tool) for tool in tools]
        if options.tool_choice != "auto":
            choice = options.tool_choice
            is_messages = api == "messages"
            fields["tool_choice"] = {"type": "any" if choice == "required" else choice} if is_messages else choice
    if options.response_format is not None:
        fields |= _build_format(api, options.response_format)
    return fields


def _build_tool(api: str, tool: Fields) -> Fields:
    if api == "messages":
        return {"input_schema" if key == "parameters" else key: value for key, value in tool.items()}
    if api == "responses":
        return {"type": "function", "strict": False, **tool}
    return {"type": "function", "function": tool}


def _build_format(api: str, response_format: JsonFormat) -> Fields:
    schema = decode_json(response_format.schema)
    if api == "messages":
        return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
    named = {"name": _FORMAT_NAME, "schema": schema, "strict": response_format.strict}
    if api == "responses":
        return {"text": {"format": {"type": "json_schema", **named}}}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def build_output_check(options: RequestOptions) -> Callable[[CollectedResponse | None], OutputCheck]:
    """Return a function that checks the content of a response, which is None if it is too long or
    has a malformed tool call. A response that calls tools without a text is not checked against the
    schema. Raises WorkloadError if the schema is invalid."""
    response_format = options.response_format
    check_text = None
    if response_format is not None and response_format.check:
        check_text = build_text_check(response_format.schema)

    def check(response: CollectedResponse | None) -> OutputCheck:
        if response is None:
            return OutputCheck() if check_text is None else OutputCheck(0, False, _UNUSABLE)
        call_count = len(response.calls)
        if check_text is None or (call_count and not response.text.strip()):
            return OutputCheck(call_count)
        try:
            detail = check_text(response.text)
        except Exception:  # an exception in the validator would lose the stage
            detail = _NOT_CHECKED
        return OutputCheck(call_count, detail is None, detail)

    return check


def build_text_check(schema: bytes) -> CheckText:
    """Return a function that checks a text against a JSON schema (draft 2020-12, unless `$schema`
    names another). Regular expressions are in RE2 syntax, which needs linear time.

    Raises WorkloadError if the schema is invalid, refers to another document, or has patterns of
    property names, which are not supported.
    """
    # Import the package only here: the import is slow, and few workloads need it.
    import jsonschema
    from jsonschema import validators
    from referencing.jsonschema import EMPTY_REGISTRY

    try:
        document = decode_json(schema, Fields)
    except msgspec.DecodeError as error:
        raise WorkloadError(f"the JSON schema is not a JSON object: {error}") from error
    standard = validators.validator_for(document, default=jsonschema.Draft202012Validator)
    # With `$schema`, the package would use the standard validator again, which has other patterns.
    document.pop("$schema", None)
    try:
        standard.check_schema(document)
        searchers = _build_searchers(document)
    except jsonschema.SchemaError as error:
        raise WorkloadError(f"the JSON schema is invalid at {_format_path(error.absolute_path)}") from error
    except RecursionError as error:
        raise WorkloadError("the JSON schema is nested too deeply") from error

    def match_pattern(_validator: object, pattern: str, instance: object, _schema: object) -> Iterator[Exception]:
        if isinstance(instance, str) and not searchers[pattern](instance.encode()):
            yield jsonschema.ValidationError("the text does not match the pattern")

    extended = validators.extend(standard, {"pattern": match_pattern})  # type: ignore[no-untyped-call]
    validator = extended(document, registry=EMPTY_REGISTRY)

    def check(text: str) -> str | None:
        try:
            value = decode_json(text)
        except msgspec.DecodeError:
            return _NOT_JSON
        try:
            error = next(validator.iter_errors(value), None)
        except Exception:  # for example a number that is too large for `multipleOf`
            return "the response cannot be checked against the JSON schema"
        if error is None:
            return None
        return f"the response does not match the JSON schema at {_format_path(error.absolute_schema_path)}"

    return check


def _build_searchers(document: Fields) -> dict[str, Callable[[bytes], bool]]:
    """Return a function for each pattern of a schema that searches a text for it. Raises
    WorkloadError for a keyword that the check does not support."""
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012, EMPTY_REGISTRY

    if any(True for _ in _find_keyword(document, "patternProperties", dict)):
        raise WorkloadError("the JSON schema has patternProperties, which are not supported")
    resolver = EMPTY_REGISTRY.resolver_with_root(DRAFT202012.create_resource(document))
    for reference in _find_keyword(document, "$ref"):
        try:
            resolver.lookup(reference)
        except Unresolvable as error:
            raise WorkloadError(
                f"the JSON schema refers to {reference!r:.100}, which it does not contain",
                hint="Copy the definition to $defs, because other documents are not read.",
            ) from error
    return {pattern: build_searcher(pattern) for pattern in _find_keyword(document, "pattern")}


def _find_keyword(value: object, keyword: str, value_type: type = str, *, has_names: bool = False) -> Iterator[Any]:
    """Yield each value of a keyword of a schema. With `has_names`, the keys of `value` are names."""
    if isinstance(value, list):
        for item in value:
            yield from _find_keyword(item, keyword, value_type)
    elif isinstance(value, dict):
        for key, child in value.items():
            if key == keyword and not has_names and isinstance(child, value_type):
                yield child
            if has_names or key not in _DATA_KEYWORDS:
                is_named = key in _NAMED_SCHEMAS and not has_names
                yield from _find_keyword(child, keyword, value_type, has_names=is_named)


def _format_path(path: Any) -> str:
    text = "/".join(map(str, path))
    return f"/{text}"[:_MAX_PATH_CHARS]
