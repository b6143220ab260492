"""What a protocol makes of a workload: requests as they go onto the wire, and a judge of the answers.

How a protocol asks the target something before its requests can be built: a model's metadata, for
instance.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from http.client import responses
from typing import Protocol

import msgspec

from loadgen.transport.exchange import Exchange, StreamReader, Tokens

MAX_BUILT_BYTES = 256 * 2**20
"""Requests are built ahead of the run. What would need more memory than this is left out, and a note says so."""


class WorkloadError(Exception):
    """The workload makes no request; `hint` says what to change."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class ResponseCheck(msgspec.Struct, frozen=True):
    """`error`: one of ERROR_CLASSES, None when the answer is as promised. `right`: how many of its rows were right,
    None when they were not held against labels. `note`: what the answer shows of the target, for the result."""

    error: str | None = None
    right: int | None = None
    note: str | None = None


AS_PROMISED = ResponseCheck()

Judge = Callable[[Exchange], ResponseCheck]
"""Called with an answer that came whole, streamed or not. It may set the exchange's `tokens`."""


Identify = Callable[[Exchange, Callable[[bytes], Awaitable[Exchange]]], Awaitable[ResponseCheck]]
"""Whether the server speaks the protocol: called in the preflight, with a response as promised and what sends
another request. It may set the exchange's `detail`."""


class Sessions(msgspec.Struct, frozen=True):
    """Requests that follow each other. `next_number[n]` is the request after n's answer, None at a session's end;
    the pause before it is `think_ns[n]`."""

    next_number: Sequence[int | None]
    think_ns: Sequence[int]


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """A workload ready to be sent.

    Arrival i sends request `picks[i % len(picks)]`; all its requests in turn where there are no picks. `shown` is
    method and URL in words, without anything secret. `new_reader` makes the reader of a streamed answer. `tokens_asked`
    has one entry a request: how many output tokens it asks for at most. `notes` are for the result: what is
    approximate, what was left out.
    """

    requests: list[bytes]
    judge: Judge
    shown: str
    is_head: bool = False
    new_reader: Callable[[], StreamReader] | None = None
    picks: Sequence[int] | None = None
    tokens_asked: Sequence[int | None] | None = None
    sessions: Sessions | None = None
    distinct: int | None = None
    """How many different prompts are in the requests; None where they hold none."""
    notes: tuple[str, ...] = ()
    identify: Identify | None = None


def judged(judge: Judge, exchange: Exchange) -> ResponseCheck:
    """What `judge` says of the answer, if one came; else the transport's error."""
    if exchange.error is not None or exchange.status is None:
        return ResponseCheck(exchange.error)
    try:
        return judge(exchange)
    except Exception:  # raised into the parser it would cost the request its row
        return ResponseCheck("bad-payload")


def tokens_of(exchange: Exchange) -> Tokens | None:
    return exchange.tokens if exchange.reader is None else exchange.reader.tokens


def status_error(status: int) -> str | None:
    """A redirect is not followed, so it is not what was promised."""
    if 200 <= status < 300:
        return None
    if status >= 500:
        return "http-5xx"
    return "http-4xx" if status >= 400 else "bad-payload"


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
