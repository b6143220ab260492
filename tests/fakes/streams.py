"""Rows of streamed responses with given token times, as a load worker would report them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pandas as pd
import pyarrow as pa

from loadgen.records import REQUEST_SCHEMA
from tests.fakes.queues import START_NS


class StreamedResponse(msgspec.Struct, frozen=True, kw_only=True):
    """Times are in ms from the stage's start. `chunks_ms` are the times of nonempty deltas, with `tokens` each where
    given. `first_event_ms` is the time of a first message without a delta; by default there is none. `end_ms` is the
    end of the connection, by default a millisecond after the last chunk."""

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


def stream_table(answers: Sequence[StreamedResponse]) -> pa.Table:
    return pa.Table.from_pylist([_row(index, response) for index, response in enumerate(answers)], REQUEST_SCHEMA)


def stream_rows(answers: Sequence[StreamedResponse]) -> pd.DataFrame:
    rows: pd.DataFrame = stream_table(answers).to_pandas()
    return rows


def _row(index: int, response: StreamedResponse) -> dict[str, object]:
    sent_ms = response.scheduled_ms if response.sent_ms is None else response.sent_ms
    first, last = (response.chunks_ms[0], response.chunks_ms[-1]) if response.chunks_ms else (None, None)
    token_times = {"first_token_ns": _ns(first), "last_token_ns": _ns(last)} if response.has_tokens else {}
    return {
        "stage": 0,
        "index": index,
        "scheduled_ns": _ns(response.scheduled_ms),
        "sent_ns": _ns(sent_ms),
        "first_byte_ns": _ns(first),
        "end_ns": _ns(response.end_ms if response.end_ms is not None or last is None else last + 1.0),
        "status": 200,
        "error": response.error,
        "bytes_received": 100,
        "reused": True,
        "correct_rows": None,
        "target": response.target,
        "name": response.name,
        "first_output_ns": _ns(first if response.output_ms is None else response.output_ms),
        "tokens_in": response.tokens_in,
        "tokens_out": response.tokens_out,
        "token_source": None if response.tokens_out is None else response.token_source,
        "chunk_ns": [_ns(at) for at in response.chunks_ms] or None,
        "chunk_tokens": None if not response.chunks_ms else list(response.tokens or [None] * len(response.chunks_ms)),
        "first_event_ns": _ns(first if response.first_event_ms is None else response.first_event_ms),
        "max_output_tokens": response.max_output_tokens,
        **token_times,
    }


def _ns(at_ms: float | None) -> int | None:
    return None if at_ms is None else START_NS + round(at_ms * 1e6)
