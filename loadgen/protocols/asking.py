"""How a protocol asks the target something before its requests can be built: a model's metadata, for instance."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http.client import responses
from typing import Protocol

from loadgen.protocols.built import status_error
from loadgen.transport.exchange import Exchange

Ask = Callable[[bytes], Awaitable[Exchange]]
"""Sends one request as it goes onto the wire. The answer comes whole, successful or not."""


class AskMethod(Protocol):
    """An Ask that takes a gRPC method too, where it is not the workload's own."""

    def __call__(self, request: bytes, method: str = "", /) -> Awaitable[Exchange]: ...


class TargetError(Exception):
    """The target cannot be used: `error` is one of ERROR_CLASSES; the message is a sentence for the user."""

    def __init__(self, message: str, error: str, status: int | None = None) -> None:
        super().__init__(message)
        self.error, self.status = error, status


async def answer_to(request: bytes, shown: str, ask: Ask) -> Exchange:
    """A successful answer; `shown` is method and URL in words. Raises TargetError for any other."""
    exchange = await ask(request)
    error = exchange.error
    if error is None and exchange.status is not None:
        error = status_error(exchange.status)
    if error is not None:
        raise TargetError(told(shown, exchange, error), error, exchange.status)
    return exchange


_SENTENCES = {
    "connect": "no connection",
    "tls": "no trusted TLS connection",
    "send": "the connection was closed without an answer",
    "timeout": "no complete answer in time",
    "truncated": "the answer was cut off before its end",
    "bad-payload": "the answer is not what the protocol promises",
    "bad-output": "the answer is well formed and wrong",
}


def told(shown: str, exchange: Exchange, error: str | None) -> str:
    """What happened, from facts that hold no secret: neither headers nor the body, which may echo them."""
    if error is None:
        status = [] if exchange.status is None else [f"status {exchange.status}"]
        return f"{', '.join((shown, *status))}: as promised"
    return ", ".join((shown, *_failure(exchange, error)))


def what_failed(exchange: Exchange, error: str) -> str:
    """A failure as `told` tells of it, without where it was asked."""
    return ", ".join(_failure(exchange, error)) or error


def status_in_words(status: int) -> str:
    """In the standard's words: a server's own may repeat a secret."""
    known = responses.get(status)
    return f"status {status}" if known is None else f"status {status} ({known})"


def _failure(exchange: Exchange, error: str) -> list[str]:
    status = exchange.status
    parts = [] if status is None else [status_in_words(status)]
    if status is not None and 300 <= status < 400:
        return [*parts, "redirects are not followed"]
    return [*parts, *filter(None, (_SENTENCES.get(error), exchange.detail))]
