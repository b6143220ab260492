"""What one format's reader found in the files of its tool."""

from __future__ import annotations

import msgspec

from app.records.curves import Precision, Rung
from app.storage.foreign.documents import Document, refused

FROM_SEND = "latency is counted from the send, not from the intended start: waiting in the load generator is not in it"
ALL_AT_ONCE = "a load point without a rate sent its requests all at once: its throughput is an upper bound"


class Found(msgspec.Struct, frozen=True):
    tool: str
    precision: Precision
    rungs: tuple[Rung, ...]
    notes: tuple[str, ...]
    version: str | None = None
    model: str | None = None


def only(what: str, values: dict[str, str | None]) -> str | None:
    """The one value that the files, by name, agree on; None where none has any. Raises UsageError where two differ."""
    named = {value: name for name, value in reversed(values.items()) if value is not None}
    if len(named) > 1:
        (first, name), (second, _) = list(named.items())[::-1][:2]
        raise refused(name, f"these files are of two {what}s, {first} and {second}", f"Give the files of one {what}.")
    return next(iter(named), None)


def by_name(documents: tuple[Document, ...], values: list[str | None]) -> dict[str, str | None]:
    """Values of documents by the documents' names, which a number keeps apart where two share one."""
    return {f"{document.name}#{at}" if at else document.name: value
            for at, (document, value) in enumerate(zip(documents, values, strict=True))}  # fmt: skip


def worst(precisions: list[Precision]) -> Precision:
    order: tuple[Precision, ...] = ("requests", "aggregates", "rounded", "typed")
    return max(precisions, key=order.index)
