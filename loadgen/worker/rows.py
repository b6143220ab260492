"""Finished exchanges as columns.

Many columns hold one value over and over, and those are not made value by value: a row costs about a microsecond.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import accumulate
from operator import attrgetter
from typing import cast

import pyarrow as pa

from loadgen.protocols.built import tokens_of
from loadgen.records import REQUEST_SCHEMA
from loadgen.transport.exchange import Exchange

_OF_EXCHANGE = (
    "index", "intended_ns", "sent_ns", "first_byte_ns", "end_ns", "status", "error", "bytes_received", "reused",
    "right", "target",
)  # fmt: skip
_OF_TOKENS = (
    "first_token_ns", "first_output_ns", "last_token_ns", "tokens_in", "tokens_out", "tokens_from", "chunk_ns",
    "chunk_tokens", "first_event_ns",
)  # fmt: skip
_TYPES = {field.name: field.type for field in REQUEST_SCHEMA}
_ALIKE = (
    "status", "error", "reused", "right", "target", "tokens_in", "tokens_from", "bytes_received", "tokens_asked",
)  # fmt: skip

_of_exchange: Callable[[Exchange], Sequence[object]] = attrgetter(*_OF_EXCHANGE)
_of_tokens: Callable[[object], Sequence[object]] = attrgetter(*_OF_TOKENS)


def record_batch(
    stage: int, exchanges: list[Exchange], tokens_asked: Sequence[int | None] | None = None, *, worker: int = 0
) -> pa.RecordBatch:
    """`tokens_asked` has an entry for each of the built requests."""
    count = len(exchanges)
    alike = {"stage": stage, "worker": worker, "name": None, "tokens_asked": None}
    columns = {name: _repeated(name, value, count) for name, value in alike.items()}
    if tokens_asked is not None:
        columns["tokens_asked"] = _column("tokens_asked", tuple(tokens_asked[each.number] for each in exchanges))
    columns |= _columns(_OF_EXCHANGE, map(_of_exchange, exchanges))
    # a reader may have them counted by a tokenizer, which is better done here than by the thread that sends
    tokens = [exchange.tokens if exchange.reader is None else tokens_of(exchange) for exchange in exchanges]
    if tokens.count(None) == count:
        columns |= {name: _repeated(name, None, count) for name in _OF_TOKENS}
    else:
        nothing = (None,) * len(_OF_TOKENS)
        columns |= _columns(_OF_TOKENS, (nothing if each is None else _of_tokens(each) for each in tokens))
    return pa.RecordBatch.from_arrays([columns[name] for name in REQUEST_SCHEMA.names], schema=REQUEST_SCHEMA)


def load_ahead() -> None:
    """What the first batch would else wait for: pyarrow imports pandas when it first looks at a value, which takes half
    a second that the sender would be late by."""
    record_batch(0, [Exchange(0, 0, 0, b"", lambda _: None)])


def _columns(names: Sequence[str], rows: Iterable[Sequence[object]]) -> dict[str, pa.Array]:
    return {name: _column(name, values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}


def _column(name: str, values: tuple[object, ...]) -> pa.Array:
    if name in _ALIKE and values.count(values[0]) == len(values):
        return _repeated(name, values[0], len(values))
    if name == "chunk_ns":
        return _lists_of_times(cast(tuple[Sequence[int] | None, ...], values))
    return pa.array(values, _TYPES[name])


def _lists_of_times(lists: Sequence[Sequence[int] | None]) -> pa.Array:
    """By their bytes: value by value, those of many long streams would keep the sender waiting for milliseconds."""
    ends = list(accumulate((len(times or ()) for times in lists), initial=0))
    offsets = [None if times is None else end for times, end in zip(lists, ends, strict=False)]
    joined = b"".join(array("q", times) for times in lists if times is not None)
    values = pa.Array.from_buffers(pa.int64(), ends[-1], [None, pa.py_buffer(joined)])
    return pa.ListArray.from_arrays(pa.array([*offsets, ends[-1]], pa.int32()), values)


@lru_cache(maxsize=256)
def _repeated(name: str, value: object, count: int) -> pa.Array:
    kind = _TYPES[name]
    return pa.nulls(count, kind) if value is None else pa.repeat(pa.scalar(value, kind), count)
