"""Trace context of requests (W3C Trace Context, version 00): the header `traceparent`.

The IDs follow from the run, the stage and the number of the request. The spans of a server can
therefore be matched with the rows of a run, which do not contain the IDs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from loadgen.transport.exchange import Exchange

_TRACE_ID_BYTES, _PARENT_ID_BYTES = 16, 8
_IS_SAMPLED = "01"


def compute_trace_id(trace_key: str, stage_index: int, request: int) -> str:
    """Return the trace ID of a request, in hexadecimal."""
    return _compute_ids(trace_key, stage_index, request)[: 2 * _TRACE_ID_BYTES]


def _compute_ids(trace_key: str, stage_index: int, request: int) -> str:
    """Return the trace ID and the ID of the parent span, one after the other."""
    text = f"{trace_key}/{stage_index}/{request}"
    return hashlib.blake2b(text.encode(), digest_size=_TRACE_ID_BYTES + _PARENT_ID_BYTES).hexdigest()


def add_traceparent(request: bytes, trace_key: str, stage_index: int, number: int) -> bytes:
    """Return an HTTP request with the header `traceparent` after its first header, which is the
    generated Host header."""
    ids = _compute_ids(trace_key, stage_index, number)
    trace_id, parent_id = ids[: 2 * _TRACE_ID_BYTES], ids[2 * _TRACE_ID_BYTES :]
    position = request.index(b"\r\n", request.index(b"\r\n") + 2) + 2
    header = f"traceparent: 00-{trace_id}-{parent_id}-{_IS_SAMPLED}\r\n".encode()
    return b"".join((request[:position], header, request[position:]))


def build_traced_submit(
    submit: Callable[[Exchange], None], trace_key: str, stage_index: int
) -> Callable[[Exchange], None]:
    """Return a function that adds the trace context to the request of an exchange, and submits it."""

    def submit_traced(exchange: Exchange) -> None:
        exchange.request = add_traceparent(exchange.request, trace_key, stage_index, exchange.index)
        submit(exchange)

    return submit_traced
