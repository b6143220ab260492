"""Read requests from OpenTelemetry spans: JSON lines with the usage attributes of the semantic
conventions for generative AI.

A line is either OTLP JSON (`resourceSpans`), as file exporters write it, or one span with
`start_time` and `attributes`, as the SDK for Python writes it. Spans without the token counts of a
prompt and a response are skipped. Spans may be in any order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from loadgen.decoding import json_decoder

if TYPE_CHECKING:
    import pyarrow as pa

_INPUT_KEYS = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
_OUTPUT_KEYS = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
"""Attributes with token counts: the current name, and the deprecated one."""
_MAX_TOKENS = 2**31 - 1
_MAX_NS = 2**63 - 1


class SpanError(Exception):
    """Error that is raised for a line that is not a span; the message states the reason."""


class SpanRequest(NamedTuple):
    """A request: its start as a date or in ns since 1970, and its lengths in tokens."""

    start: str | int
    input_tokens: int
    output_tokens: int


class _Value(msgspec.Struct, rename="camel"):
    int_value: int | str | None = None


class _Attribute(msgspec.Struct):
    key: str
    value: _Value | None = None


class _OtlpSpan(msgspec.Struct, rename="camel"):
    start_time_unix_nano: int | str = 0
    attributes: tuple[_Attribute, ...] = ()


class _ScopeSpans(msgspec.Struct):
    spans: tuple[_OtlpSpan, ...] = ()


class _ResourceSpans(msgspec.Struct, rename="camel"):
    scope_spans: tuple[_ScopeSpans, ...] = ()


class _Line(msgspec.Struct):
    resource_spans: tuple[_ResourceSpans, ...] = msgspec.field(default=(), name="resourceSpans")
    start_time: str | None = None
    attributes: dict[str, Any] = {}


_decode_line = json_decoder(_Line)


def is_span_line(first_line: dict[str, Any]) -> bool:
    """Return whether the first line of a file is a span, or contains spans."""
    return "resourceSpans" in first_line or ("start_time" in first_line and "attributes" in first_line)


def decode_span_line(line: bytes) -> Iterator[SpanRequest]:
    """Yield the requests in a line. Raises SpanError or msgspec.DecodeError for an invalid line."""
    content = _decode_line(line)
    if content.start_time is not None:
        yield from _build_request(content.start_time, content.attributes)
    for resource_spans in content.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                attributes = {
                    attribute.key: attribute.value.int_value
                    for attribute in span.attributes
                    if attribute.value is not None
                }
                yield from _build_request(
                    _parse_number(span.start_time_unix_nano, "startTimeUnixNano", _MAX_NS), attributes
                )


def build_span_table(requests: list[SpanRequest]) -> pa.Table:
    """Return a table of requests in order of their start. Raises SpanError without requests, and for
    times that are not all of the same kind."""
    import pyarrow as pa

    if not requests:
        raise SpanError(f"no span has both {_INPUT_KEYS[0]} and {_OUTPUT_KEYS[0]}")
    starts, input_tokens, output_tokens = zip(*requests, strict=True)
    try:
        times = pa.array(starts)
        times = times.cast(pa.timestamp("ns")) if pa.types.is_integer(times.type) else _parse_dates(times)
    except pa.ArrowException as error:
        raise SpanError(
            "a span has a start time that is not a date with a time, or dates of several formats"
        ) from error
    order = np.argsort(times.cast(pa.int64()).to_numpy(), kind="stable")
    columns = {"timestamp": times, "input_tokens": pa.array(input_tokens), "output_tokens": pa.array(output_tokens)}
    return pa.table({name: column.take(pa.array(order)) for name, column in columns.items()})


def _parse_dates(texts: pa.Array) -> pa.Array:
    import pyarrow as pa

    try:
        return texts.cast(pa.timestamp("ns", tz="UTC")).cast(pa.timestamp("ns"))
    except pa.ArrowException:
        return texts.cast(pa.timestamp("ns"))


def _build_request(start: str | int, attributes: dict[str, Any]) -> Iterator[SpanRequest]:
    counts = [
        next((attributes[key] for key in keys if key in attributes), None) for keys in (_INPUT_KEYS, _OUTPUT_KEYS)
    ]
    if None not in counts:
        input_tokens, output_tokens = (
            _parse_number(count, keys[0], _MAX_TOKENS)
            for count, keys in zip(counts, (_INPUT_KEYS, _OUTPUT_KEYS), strict=True)
        )
        yield SpanRequest(start, input_tokens, output_tokens)


def _parse_number(value: object, name: str, maximum: int) -> int:
    """Parse a whole number. OTLP JSON encodes 64-bit integers as strings."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= maximum:
        raise SpanError(f"{name} is not a whole number from 0 to {maximum:,}")
    return value
