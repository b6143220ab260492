"""Convert finished exchanges to record batches of request rows.

A column with the same value in all rows is built at once instead of value by value, so that a row
takes about a microsecond.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import accumulate
from operator import attrgetter
from typing import cast

import pyarrow as pa

from loadgen.protocols.prepared import get_tokens
from loadgen.records import REQUEST_SCHEMA
from loadgen.transport.exchange import Exchange, MediaDetails, ServerDetails

_EXCHANGE_FIELDS = (
    "index", "scheduled_ns", "sent_ns", "first_byte_ns", "end_ns", "status", "error", "bytes_received", "reused",
    "correct_rows", "target", "connection_wait_ms",
)  # fmt: skip
_TOKEN_FIELDS = (
    "first_token_ns", "first_output_ns", "last_token_ns", "tokens_in", "tokens_out", "token_source", "chunk_ns",
    "chunk_tokens", "first_event_ns",
)  # fmt: skip
_DETAIL_FIELDS = ServerDetails.__struct_fields__
_MEDIA_FIELDS = MediaDetails.__struct_fields__
_TURN_FIELDS = ("session", "turn")
_TYPE_BY_COLUMN = {field.name: field.type for field in REQUEST_SCHEMA}
_OFTEN_CONSTANT_COLUMNS = (
    "status", "error", "reused", "correct_rows", "target", "tokens_in", "token_source", "bytes_received",
    "max_output_tokens", "class", "connection_wait_ms",
)  # fmt: skip

_get_exchange_values: Callable[[Exchange], Sequence[object]] = attrgetter(*_EXCHANGE_FIELDS)
_get_token_values: Callable[[object], Sequence[object]] = attrgetter(*_TOKEN_FIELDS)
_get_details: Callable[[ServerDetails], Sequence[object]] = attrgetter(*_DETAIL_FIELDS)
_get_media: Callable[[MediaDetails], Sequence[object]] = attrgetter(*_MEDIA_FIELDS)


def build_record_batch(
    stage_index: int,
    exchanges: list[Exchange],
    max_output_tokens: Sequence[int | None] | None = None,
    *,
    worker_index: int = 0,
    class_indices: Sequence[int] | None = None,
) -> pa.RecordBatch:
    """Build a record batch of `REQUEST_SCHEMA` from finished exchanges.

    `max_output_tokens` has the maximum number of output tokens for each prepared request.
    `class_indices` has the class of each prepared request. `worker_index` is the index of this load
    worker.
    """
    row_count = len(exchanges)
    constant_by_column = {"stage": stage_index, "worker": worker_index, "name": None}
    columns = {name: _build_constant_column(name, value, row_count) for name, value in constant_by_column.items()}
    for name, values_by_request in (("max_output_tokens", max_output_tokens), ("class", class_indices)):
        if values_by_request is None:
            columns[name] = _build_constant_column(name, None, row_count)
        else:
            values = tuple(values_by_request[exchange.request_index] for exchange in exchanges)
            columns[name] = _build_column(name, values)
    turns = [exchange.session_turn for exchange in exchanges]
    if turns.count(None) == row_count:
        columns |= {name: _build_constant_column(name, None, row_count) for name in _TURN_FIELDS}
    else:
        numbers = ((None, None) if turn is None else (turn.session, turn.turn) for turn in turns)
        columns |= _build_columns(_TURN_FIELDS, numbers)
    columns |= _build_columns(_EXCHANGE_FIELDS, map(_get_exchange_values, exchanges))
    # A reader may count tokens with a tokenizer, so count here rather than on the sending thread.
    token_records = [exchange.tokens if exchange.reader is None else get_tokens(exchange) for exchange in exchanges]
    if token_records.count(None) == row_count:
        columns |= {name: _build_constant_column(name, None, row_count) for name in _TOKEN_FIELDS}
    else:
        no_values = (None,) * len(_TOKEN_FIELDS)
        columns |= _build_columns(
            _TOKEN_FIELDS,
            (no_values if token_record is None else _get_token_values(token_record) for token_record in token_records),
        )
    details = [None if token_record is None else token_record.details for token_record in token_records]
    if details.count(None) == row_count:
        columns |= {name: _build_constant_column(name, None, row_count) for name in _DETAIL_FIELDS}
    else:
        no_details = ServerDetails()
        columns |= _build_columns(_DETAIL_FIELDS, (_get_details(detail or no_details) for detail in details))
    media = [exchange.media for exchange in exchanges]
    if media.count(None) == row_count:
        columns |= {name: _build_constant_column(name, None, row_count) for name in _MEDIA_FIELDS}
    else:
        no_media = MediaDetails()
        columns |= _build_columns(_MEDIA_FIELDS, (_get_media(medium or no_media) for medium in media))
    return pa.RecordBatch.from_arrays([columns[name] for name in REQUEST_SCHEMA.names], schema=REQUEST_SCHEMA)


def preload_imports() -> None:
    """Build a record batch in advance, so that the modules for the first record batch of a stage
    are already imported.

    pyarrow imports pandas when it first converts a value, which would delay the sending thread by
    half a second.
    """
    build_record_batch(0, [Exchange(0, 0, 0, b"", lambda _: None)])


def _build_columns(names: Sequence[str], rows: Iterable[Sequence[object]]) -> dict[str, pa.Array]:
    return {name: _build_column(name, values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}


def _build_column(name: str, values: tuple[object, ...]) -> pa.Array:
    if name in _OFTEN_CONSTANT_COLUMNS and values.count(values[0]) == len(values):
        return _build_constant_column(name, values[0], len(values))
    if name == "chunk_ns":
        return _build_time_lists(cast(tuple[Sequence[int] | None, ...], values))
    return pa.array(values, _TYPE_BY_COLUMN[name])


def _build_time_lists(time_lists: Sequence[Sequence[int] | None]) -> pa.Array:
    """Build a column of lists of times in ns.

    The times are copied as bytes. Converting each time separately would block the sending thread
    for milliseconds if there are many long streams.
    """
    ends = list(accumulate((len(times or ()) for times in time_lists), initial=0))
    offsets = [None if times is None else end for times, end in zip(time_lists, ends, strict=False)]
    joined_bytes = b"".join(array("q", times) for times in time_lists if times is not None)
    values = pa.Array.from_buffers(pa.int64(), ends[-1], [None, pa.py_buffer(joined_bytes)])
    return pa.ListArray.from_arrays(pa.array([*offsets, ends[-1]], pa.int32()), values)


@lru_cache(maxsize=256)
def _build_constant_column(name: str, value: object, row_count: int) -> pa.Array:
    data_type = _TYPE_BY_COLUMN[name]
    return pa.nulls(row_count, data_type) if value is None else pa.repeat(pa.scalar(value, data_type), row_count)
