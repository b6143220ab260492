"""Composes streamed answers, right ones and wrong ones.

A body is pieces with their times; `chunked` and `until_close` make a Stream of one, which the others may spoil.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from loadgen.reference.courses import LAST_CHUNK, chunk, head_bytes
from loadgen.reference.script import Stream

Pieces = list[tuple[float, bytes]]

SSE = ("Content-Type: text/event-stream", "Cache-Control: no-cache")
_BLOCK = b"x" * 65_536


def chunked(body: Pieces, *, head_s: float = 0.0, status: int = 200, fields: Sequence[str] = SSE) -> Stream:
    """Each piece is one chunk; the head goes out at `head_s`."""
    head = (head_s, head_bytes(status, [*fields, "Transfer-Encoding: chunked"]))
    end_s = body[-1][0] if body else head_s
    return Stream((head, *((at_s, chunk(data)) for at_s, data in body), (end_s, LAST_CHUNK)))


def until_close(body: Pieces, *, version: Literal["1.0", "1.1"] = "1.0", fields: Sequence[str] = SSE) -> Stream:
    """The end of the connection is the end of the body, as in HTTP/1.0."""
    return Stream(((0.0, head_bytes(200, fields, version)), *body), "close")


def closing(stream: Stream) -> Stream:
    """The same, whole, on a connection that is closed afterwards, and says so."""
    (at_s, head), *rest = stream.pieces
    return Stream(((at_s, head[:-2] + b"Connection: close\r\n\r\n"), *rest), "close")


def cut(stream: Stream, pieces: int, end: Literal["open", "close", "reset"]) -> Stream:
    """Only so many pieces, the head being the first; then the connection stalls, is closed or is reset."""
    return Stream(stream.pieces[:pieces], end)


def sliced(stream: Stream, size: int, every_s: float = 0.0005) -> Stream:
    """The same bytes in slices of `size`, apart by `every_s` at least, so that they are read one by one."""
    pieces: Pieces = []
    free_s = 0.0
    for at_s, data in stream.pieces:
        for at in range(0, len(data), size):
            free_s = max(at_s, free_s)
            pieces.append((free_s, data[at : at + size]))
            free_s += every_s
    return Stream(tuple(pieces), stream.end)


def endless(body: Pieces, *, repeated: int, period_s: float) -> Stream:
    """Chunks of which the last `repeated` come for ever, every `period_s`."""
    return Stream(chunked(body).pieces[:-1], "repeat", repeated, period_s)


def without_newline(total_bytes: int) -> Stream:
    """An event of one line, as fast as it is read."""
    opened, last = chunked([(0.0, b"data: ")]).pieces[:-1], (0.0, LAST_CHUNK)
    # the pieces are one and the same in memory
    return Stream((*opened, *[(0.0, chunk(_BLOCK))] * (total_bytes // len(_BLOCK)), last))
