"""Rows of streamed answers whose tokens come exactly when they are told to, as a load worker would send them home."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pandas as pd
import pyarrow as pa

from loadgen.records import REQUEST_SCHEMA
from tests.fakes.queues import START_NS


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds from the stage's start. `chunks_ms` are the deltas that are not empty; `tokens` of each, where told;
    `first_event_ms` is when a first message without one came, by default there was none; `end_ms` is the
    connection's, by default a millisecond after the last chunk."""

    scheduled_ms: float | None = 0.0
    sent_ms: float | None = None
    chunks_ms: tuple[float, ...] = ()
    tokens: tuple[int, ...] | None = None
    output_ms: float | None = None
    first_event_ms: float | None = None
    end_ms: float | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    token_source: str | None = "server"
    max_output_tokens: int | None = None
    error: str | None = None
    target: int = 0
    name: str | None = None
    has_tokens: bool = True


def stream_table(answers: Sequence[Answer]) -> pa.Table:
    return pa.Table.from_pylist([_row(index, one) for index, one in enumerate(answers)], REQUEST_SCHEMA)


def stream_rows(answers: Sequence[Answer]) -> pd.DataFrame:
    rows: pd.DataFrame = stream_table(answers).to_pandas()
    return rows


def _row(index: int, one: Answer) -> dict[str, object]:
    sent_ms = one.scheduled_ms if one.sent_ms is None else one.sent_ms
    first, last = (one.chunks_ms[0], one.chunks_ms[-1]) if one.chunks_ms else (None, None)
    token_times = {"first_token_ns": _ns(first), "last_token_ns": _ns(last)} if one.has_tokens else {}
    return {
        "stage": 0,
        "index": index,
        "scheduled_ns": _ns(one.scheduled_ms),
        "sent_ns": _ns(sent_ms),
        "first_byte_ns": _ns(first),
        "end_ns": _ns(one.end_ms if one.end_ms is not None or last is None else last + 1.0),
        "status": 200,
        "error": one.error,
        "bytes_received": 100,
        "reused": True,
        "correct_rows": None,
        "target": one.target,
        "name": one.name,
        "first_output_ns": _ns(first if one.output_ms is None else one.output_ms),
        "tokens_in": one.tokens_in,
        "tokens_out": one.tokens_out,
        "token_source": None if one.tokens_out is None else one.token_source,
        "chunk_ns": [_ns(at) for at in one.chunks_ms] or None,
        "chunk_tokens": None if not one.chunks_ms else list(one.tokens or [None] * len(one.chunks_ms)),
        "first_event_ns": _ns(first if one.first_event_ms is None else one.first_event_ms),
        "max_output_tokens": one.max_output_tokens,
        **token_times,
    }


def _ns(at_ms: float | None) -> int | None:
    return None if at_ms is None else START_NS + round(at_ms * 1e6)
