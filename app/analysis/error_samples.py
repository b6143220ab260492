"""Of each class of errors the one that was seen first."""

from __future__ import annotations

from collections.abc import Iterable

from app.records.result import ErrorSample

MOST_CLASSES = 50


def first_samples(of_stages: Iterable[tuple[ErrorSample, ...]]) -> tuple[ErrorSample, ...]:
    """One a class, at most MOST_CLASSES, in the order of their times."""
    first: dict[str, ErrorSample] = {}
    for one in sorted((one for each in of_stages for one in each), key=lambda one: one.at_ns):
        first.setdefault(one.error, one)
    return tuple(first.values())[:MOST_CLASSES]
