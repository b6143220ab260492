"""What one format's reader found in the files of its tool."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from app.records.curves import Precision, Rung
from app.storage.foreign.documents import refused

FROM_SEND = "latency is counted from the send, not from the intended start: waiting in the load generator is not in it"
ALL_AT_ONCE = "a load point without a rate sent its requests all at once: its throughput is an upper bound"


class ParsedCurve(msgspec.Struct, frozen=True):
    tool: str
    precision: Precision
    rungs: tuple[Rung, ...]
    notes: tuple[str, ...]
    version: str | None = None
    model: str | None = None


def only(what: str, values: Iterable[tuple[str, str | None]]) -> str | None:
    """The one value that the files, by name, agree on; None where none has any. Raises UsageError where two differ."""
    one: str | None = None
    for name, value in values:
        if one is not None and value is not None and value != one:
            hint = f"Give the files of one {what}."
            raise refused(name, f"it is of the {what} {value}, and another of these files of {one}", hint)
        one = value if one is None else one
    return one


def worst(precisions: list[Precision]) -> Precision:
    order: tuple[Precision, ...] = ("requests", "aggregates", "rounded", "typed")
    return max(precisions, key=order.index)
