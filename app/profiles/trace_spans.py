"""Read requests from OpenTelemetry spans: JSON lines with the usage attributes of the semantic
conventions for generative AI.

A line is either OTLP JSON (`resourceSpans`), as file exporters write it, or one span with
`start_time` and `attributes`, as the SDK for Python writes it. Spans without the token counts of a
prompt and a response are skipped. Spans may be in any order.

The module also reads the times that vLLM states in its spans, for requests with known trace IDs.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec
import numpy as np

from app.errors import UsageError
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
    double_value: float | int | str | None = None


class _Attribute(msgspec.Struct):
    key: str
    value: _Value | None = None


class _OtlpSpan(msgspec.Struct, rename="camel"):
    trace_id: str = ""
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


SpanTimeKind = Literal["queue", "prefill", "decode"]
_TIME_KEYS: dict[str, SpanTimeKind] = {
    "gen_ai.latency.time_in_queue": "queue",
    "gen_ai.latency.time_in_model_prefill": "prefill",
    "gen_ai.latency.time_in_model_decode": "decode",
}
"""Attributes of vLLM's spans with a time of a request, in s."""
_MAX_TIME_S = 1e6
MAX_SPAN_BYTES = 2**30
MAX_SPAN_LINE_BYTES = 1 << 26
"""Maximum length of a line with spans. A span may contain the text of a whole conversation."""


class SpanTimes(msgspec.Struct, frozen=True):
    """Times in ms by trace ID, and the number of spans that were ignored because another span of
    their request already states its times."""

    times_ms: dict[str, dict[SpanTimeKind, float]]
    ignored_count: int


def read_span_times(path: Path, trace_ids: Container[str]) -> SpanTimes:
    """Read the times of requests from an OTLP JSON file, as the file exporter of the OpenTelemetry
    Collector writes it. Spans with other trace IDs are skipped.

    Raises UsageError if the file is too large, or a line is not OTLP JSON.
    """
    times_ms: dict[str, dict[SpanTimeKind, float]] = {}
    ignored_count = 0
    for number, line in enumerate(_iterate_lines(path), start=1):
        try:
            content = _decode_line(line)
        except msgspec.DecodeError as error:
            raise UsageError(f"{path}: line {number:,} is not OTLP JSON", hint=_OTLP_HINT) from error
        for span in (span for part in content.resource_spans for scope in part.scope_spans for span in scope.spans):
            trace_id = span.trace_id.lower()
            if trace_id not in trace_ids or not (span_times_ms := _find_times_ms(span)):
                continue
            if trace_id in times_ms:
                ignored_count += 1
            else:
                times_ms[trace_id] = span_times_ms
    return SpanTimes(times_ms, ignored_count)


_OTLP_HINT = "Use a file with one JSON object per line, as the file exporter of the OpenTelemetry Collector writes it."


def _iterate_lines(path: Path) -> Iterator[bytes]:
    read_bytes = 0
    try:
        with path.open("rb") as file:
            while line := file.readline(MAX_SPAN_LINE_BYTES + 1):
                read_bytes += len(line)
                if len(line) > MAX_SPAN_LINE_BYTES:
                    raise UsageError(f"{path} has a line longer than {MAX_SPAN_LINE_BYTES >> 20} MiB", hint=_OTLP_HINT)
                if read_bytes > MAX_SPAN_BYTES:
                    raise UsageError(f"{path} is larger than 1 GiB", hint="Use only the spans of this run.")
                if line.strip():
                    yield line
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint="Check the path.") from error


def _find_times_ms(span: _OtlpSpan) -> dict[SpanTimeKind, float]:
    times_ms: dict[SpanTimeKind, float] = {}
    for attribute in span.attributes:
        kind = _TIME_KEYS.get(attribute.key)
        if kind is None or attribute.value is None:
            continue
        time_s = attribute.value.double_value
        time_s = attribute.value.int_value if time_s is None else time_s
        if isinstance(time_s, int | float) and 0 <= time_s <= _MAX_TIME_S:
            times_ms[kind] = 1000.0 * time_s
    return times_ms
