"""The first failure of each class in a stage, in words: made where that holds up no send."""

from __future__ import annotations

from collections.abc import Iterable

from loadgen.plain import plain_line
from loadgen.protocols.asking import what_failed
from loadgen.records import MOST_OF_A_SAMPLE, NOT_STARTED, FirstError
from loadgen.transport.exchange import Exchange

_UNFREED = "no connection was free for it to the end of the stage"


def error_of(exchange: Exchange) -> str:
    """The class that an exchange which failed counts to."""
    return NOT_STARTED if exchange.sent_ns is None else exchange.error or NOT_STARTED


def first_errors(exchanges: Iterable[Exchange]) -> tuple[FirstError, ...]:
    return tuple(FirstError(error_of(one), one.end_ns or one.intended_ns, _text(one)) for one in exchanges)


def _text(exchange: Exchange) -> str:
    if exchange.sent_ns is None:
        return plain_line(exchange.detail or _UNFREED, MOST_OF_A_SAMPLE)
    text = what_failed(exchange, error_of(exchange))
    if exchange.error == "timeout" and exchange.end_ns is not None:
        text = f"{text}, after {(exchange.end_ns - exchange.sent_ns) / 1e9:.3g} s"
    if exchange.error == "truncated":
        text = f"{text}, after {exchange.bytes_received:,} bytes"
    return plain_line(text, MOST_OF_A_SAMPLE)
