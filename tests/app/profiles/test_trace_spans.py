from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.errors import UsageError
from app.profiles import trace_spans, traces
from app.profiles.problems import BadValueError
from app.profiles.trace_spans import SpanTimes, read_span_times
from app.profiles.traces import read_trace

ATTRIBUTES = {"gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 7}


def otlp(start: object, attributes: Mapping[str, object]) -> dict[str, Any]:
    pairs = [{"key": key, "value": {"intValue": value}} for key, value in attributes.items()]
    return {"name": "chat m", "startTimeUnixNano": start, "attributes": [*pairs, {"key": "x"}]}


def line(*spans: dict[str, Any]) -> dict[str, Any]:
    return {"resourceSpans": [{"scopeSpans": [{"spans": [span]} for span in spans]}]}


def write_spans(folder: Path, *lines: object) -> Path:
    path = folder / "spans.jsonl"
    path.write_bytes(b"\n".join(map(msgspec.json.encode, lines)) + b"\n")
    return path


def test_spans_become_requests_ordered_by_start_time(tmp_path: Path) -> None:
    """Other spans are skipped, integers may be strings, and the deprecated attribute names are supported."""
    older = {"gen_ai.usage.prompt_tokens": "200", "gen_ai.usage.completion_tokens": "8"}
    second = 1_700_000_000_000_000_000
    path = write_spans(
        tmp_path,
        line(otlp(str(second + 1_500_000_000), ATTRIBUTES), otlp(second, {"http.status_code": 200})),
        line(otlp(second, older), otlp(second, {"gen_ai.usage.input_tokens": 5})),
    )
    trace = read_trace(path)
    assert trace.at_s.tolist() == [0.0, 1.5]
    assert trace.input_tokens is not None
    assert trace.output_tokens is not None
    assert (trace.input_tokens.tolist(), trace.output_tokens.tolist()) == ([200, 100], [8, 7])
    assert trace.starts_at == datetime.datetime(2023, 11, 14, 22, 13, 20)  # noqa: DTZ001 - of UTC


@pytest.mark.parametrize("zone", ["Z", "", "+02:00"])
def test_spans_in_the_format_of_the_sdk_are_read(tmp_path: Path, zone: str) -> None:
    build_vllm_span = (f"2024-01-01T00:00:01.250000{zone}", f"2024-01-01T00:00:00.000000{zone}")
    trace = read_trace(
        write_spans(tmp_path, *({"start_time": time, "attributes": ATTRIBUTES} for time in build_vllm_span))
    )
    assert trace.at_s.tolist() == [0.0, 1.25]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([line(otlp("1", {"a": 1}))], "no span has both gen_ai.usage.input_tokens and gen_ai.usage.output_tokens"),
        ([{"resourceSpans": []}], "no span has both"),
        ([{"resourceSpans": 7}], r"spans\.jsonl:1: the line is not a JSON object with a request"),
        ([line(otlp("1", ATTRIBUTES)), [1]], r"spans\.jsonl:2: the line is not a JSON object with a request"),
        ([line(otlp("soon", ATTRIBUTES))], r"spans\.jsonl:1: startTimeUnixNano is not a whole number"),
        ([line(otlp(2**63, ATTRIBUTES))], r"spans\.jsonl:1: startTimeUnixNano is not a whole number"),
        (
            [line(otlp(1, {**ATTRIBUTES, "gen_ai.usage.input_tokens": -1}))],
            r"spans\.jsonl:1: gen_ai\.usage\.input_tokens is not a whole number from 0 to 2,147,483,647",
        ),
        (
            [{"start_time": "2024-01-01T00:00:00Z", "attributes": {**ATTRIBUTES, "gen_ai.usage.output_tokens": True}}],
            r"spans\.jsonl:1: gen_ai\.usage\.output_tokens is not a whole number",
        ),
        ([{"start_time": "noon", "attributes": ATTRIBUTES}], "a start time that is not a date with a time"),
        (
            [{"start_time": "2024-01-01T00:00:00Z", "attributes": ATTRIBUTES}, line(otlp(5, ATTRIBUTES))],
            "a start time that is not a date with a time",
        ),
        ([line(otlp(0, ATTRIBUTES)), line(otlp(2**62, ATTRIBUTES))], "more than ten years after"),
    ],
)
def test_files_without_valid_spans_are_rejected_with_a_printable_message(
    tmp_path: Path, lines: list[object], message: str
) -> None:
    with pytest.raises(BadValueError, match=message) as caught:
        read_trace(write_spans(tmp_path, *lines))
    assert str(caught.value).isprintable()


def test_number_of_spans_and_line_length_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "MAX_JSON_LINES", 2)
    path = write_spans(tmp_path, line(*(otlp(1, ATTRIBUTES) for _ in range(3))))
    with pytest.raises(BadValueError, match="exceeds the maximum of 2 spans"):
        read_trace(path)
    monkeypatch.setattr(traces, "MAX_SPAN_LINE_BYTES", 1 << 6)
    with pytest.raises(BadValueError, match=r"spans\.jsonl:1: the line is longer than"):
        read_trace(path)


def build_vllm_span(trace_id: object, **seconds: object) -> dict[str, Any]:
    """Return a span as vLLM exports it."""
    keys = {
        "queue": "gen_ai.latency.time_in_queue",
        "prefill": "gen_ai.latency.time_in_model_prefill",
        "decode": "gen_ai.latency.time_in_model_decode",
    }
    pairs = [{"key": keys[name], "value": {"doubleValue": value}} for name, value in seconds.items()]
    return {"traceId": trace_id, "name": "llm_request", "attributes": [*pairs, {"key": "gen_ai.latency.e2e"}]}


OURS, OTHER = "0123456789abcdef" * 2, "f" * 32


def test_span_times_are_read_only_for_the_requested_trace_ids(tmp_path: Path) -> None:
    path = write_spans(
        tmp_path,
        line(
            {"traceId": OURS, "name": "POST /v1/chat"},
            build_vllm_span(OURS.upper(), queue=0.25, prefill=0.04, decode=1),
        ),
        line(build_vllm_span(OURS, queue=9), build_vllm_span(OTHER, queue=9)),
        {"resourceMetrics": []},
    )
    span_times = read_span_times(path, {OURS})
    assert span_times == SpanTimes({OURS: {"queue": 250.0, "prefill": 40.0, "decode": 1000.0}}, ignored_count=1)


@pytest.mark.parametrize("value", [-1, 1e300, "0.2", "NaN"])
def test_invalid_span_times_are_ignored(tmp_path: Path, value: object) -> None:
    path = write_spans(tmp_path, line(build_vllm_span(OURS, queue=value), build_vllm_span(OURS, prefill=0.1)))
    assert read_span_times(path, {OURS}).times_ms == {OURS: {"prefill": 100.0}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{}\nnot json\n", "line 2 is not OTLP JSON"),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": 7}]}]}]}', "line 1 is not OTLP JSON"),
        (b"[" * 100_000, "line 1 is not OTLP JSON"),
        (b"\xff\xfe{}", "line 1 is not OTLP JSON"),
        (b"x" * 41, "has a line longer than"),
        (b"{}\n" * 50, "is larger than"),
    ],
)
def test_invalid_span_exports_are_rejected(
    tmp_path: Path, content: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if message.startswith("has"):
        monkeypatch.setattr(trace_spans, "MAX_SPAN_LINE_BYTES", 40)
    if message.startswith("is larger"):
        monkeypatch.setattr(trace_spans, "MAX_SPAN_BYTES", 100)
    path = tmp_path / "spans.jsonl"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=re.escape(message)):
        read_span_times(path, {OURS})
    with pytest.raises(UsageError, match="cannot be read"):
        read_span_times(tmp_path, {OURS})
