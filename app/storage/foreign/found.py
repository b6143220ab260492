"""What one format's reader found in the files of its tool.

Latencies as a rung has them: from requests, exact; from a tool's own aggregates, in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from app.records.metrics import PERCENTILES
from app.records.plan_question import CurvePrecision
from app.storage.foreign.documents import refused
from app.storage.foreign.node import Node

FROM_SEND = "latency is counted from the send, not from the intended start: waiting in the load generator is not in it"
ALL_AT_ONCE = "a load point without a rate sent its requests all at once: its throughput is an upper bound"


def only(what: str, values: Iterable[tuple[str, str | None]]) -> str | None:
    """The one value that the files, by name, agree on; None where none has any. Raises UsageError where two differ."""
    one: str | None = None
    for name, value in values:
        if one is not None and value is not None and value != one:
            hint = f"Give the files of one {what}."
            raise refused(name, f"it is of the {what} {value}, and another of these files of {one}", hint)
        one = value if one is None else one
    return one


def worst(precisions: list[CurvePrecision]) -> CurvePrecision:
    order: tuple[CurvePrecision, ...] = ("requests", "aggregates", "rounded", "typed")
    return max(precisions, key=order.index)


UNITS_S: dict[str, float] = {
    "s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "usec": 1e-6, "ns": 1e-9,
}  # fmt: skip


def percentile_name(percent: float) -> str:
    """`p99_9` for 99.9, as the catalogue of metrics has it."""
    return f"p{percent:g}".replace(".", "_")


def exact(values_s: Iterable[float]) -> dict[str, float]:
    """Mean, greatest and exact percentiles; empty of no values and of nothing but zeros.

    The q-th percentile is the ceil(n q)-th value in order, as in our own results.
    """
    ordered = np.sort(np.fromiter(values_s, dtype=np.float64))
    if not ordered.any():
        return {}
    ranks = {name: math.ceil(round(ordered.size * q, 6)) for name, q in PERCENTILES.items()}
    levels = {name: float(ordered[max(rank, 1) - 1]) for name, rank in ranks.items()}
    return {"mean": float(ordered.mean()), **levels, "max": float(ordered[-1])}


def taken(node: Node, keys: Mapping[str, str]) -> dict[str, float]:
    """The numbers under `keys`, which maps a tool's names to ours; those that are absent or null are left out."""
    found = ((ours, node.at(theirs).number_or_none()) for theirs, ours in keys.items())
    return {ours: value for ours, value in found if value is not None}


def in_seconds(aggregates: Mapping[str, float], unit_s: float) -> dict[str, float]:
    """Nothing but zeros is what several tools write where they measured nothing: empty."""
    if not any(aggregates.values()):
        return {}
    return {name: value * unit_s for name, value in aggregates.items()}


def present(latencies_s: Mapping[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Without the metrics that have no aggregate."""
    return {metric: aggregates for metric, aggregates in latencies_s.items() if aggregates}


def mean_or_none(values: Iterable[float]) -> float | None:
    numbers = np.fromiter(values, dtype=np.float64)
    return float(numbers.mean()) if numbers.size and numbers.any() else None
