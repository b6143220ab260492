"""What a protocol makes of a workload: requests as they go onto the wire, and a judge of the answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from loadgen.transport.exchange import Exchange, Headers

MAX_BUILT_BYTES = 256 * 2**20
"""Requests are built ahead of the run. What would need more memory than this is left out of the rotation."""


class WorkloadError(Exception):
    """The workload makes no request; `hint` says what to change."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


Judge = Callable[[int, int, Headers, bytes], tuple[str | None, int | None]]


class BuiltWorkload(Protocol):
    """Arrival i sends request i modulo their number."""

    @property
    def requests(self) -> Sequence[bytes]: ...

    @property
    def is_head(self) -> bool: ...

    @property
    def shown(self) -> str:
        """Method and URL in words, without anything secret."""
        ...

    def judge(self, number: int, status: int, headers: Headers, body: bytes, /) -> tuple[str | None, int | None]:
        """The error class of an answer to request `number` (None: as promised), and how many of its rows were right
        (None: not held against labels)."""
        ...


def judgement(judge: Judge, number: int, exchange: Exchange) -> tuple[str | None, int | None]:
    """What `judge` says of the answer, if one came; else the transport's error."""
    if exchange.error is not None or exchange.status is None:
        return exchange.error, None
    try:
        return judge(number, exchange.status, exchange.headers, exchange.body)
    except Exception:  # raised into the parser it would cost the request its row
        return "bad-payload", None


def status_error(status: int) -> str | None:
    """A redirect is not followed, so it is not what was promised."""
    if 200 <= status < 300:
        return None
    if status >= 500:
        return "http-5xx"
    return "http-4xx" if status >= 400 else "bad-payload"
