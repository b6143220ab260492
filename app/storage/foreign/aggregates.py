"""Functions shared by all readers of result files of other tools.

Latencies are computed from requests (exact) or taken from a tool's own aggregates, and converted to
seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from app.records.metrics import PERCENTILES
from app.records.planning_inputs import CurvePrecision
from app.storage.foreign.documents import build_file_error
from app.storage.foreign.node import Node

FROM_SEND_NOTE = (
    "latency is measured from the send, not from the scheduled start, so it excludes waiting in the load generator"
)
UNLIMITED_RATE_NOTE = (
    "a load point has no rate: all its requests were sent at once, so its throughput is an upper bound"
)


def require_single_value(quantity: str, values: Iterable[tuple[str, str | None]]) -> str | None:
    """Return the value that all files have in common; `None` if no file has a value.

    Raises UsageError if two files have different values.
    """
    common_value: str | None = None
    for name, value in values:
        if common_value is not None and value is not None and value != common_value:
            hint = f"Use files of one {quantity} only."
            raise build_file_error(name, f"its {quantity} is {value}, but that of another file is {common_value}", hint)
        common_value = value if common_value is None else common_value
    return common_value


def find_lowest_precision(precisions: list[CurvePrecision]) -> CurvePrecision:
    order: tuple[CurvePrecision, ...] = ("requests", "aggregates", "rounded", "typed")
    return max(precisions, key=order.index)


UNITS_S: dict[str, float] = {
    "s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "usec": 1e-6, "ns": 1e-9,
}  # fmt: skip


def format_percentile_name(percent: float) -> str:
    """Return the name of a percentile in the metric catalog, such as `p99_9` for 99.9."""
    return f"p{percent:g}".replace(".", "_")


def compute_aggregates(values_s: Iterable[float]) -> dict[str, float]:
    """Compute mean, maximum and exact percentiles; empty if there are no values or if all values
    are 0.

    The q-th percentile is the ceil(n q)-th smallest of n values, as in the results of Sizewise.
    """
    sorted_values = np.sort(np.fromiter(values_s, dtype=np.float64))
    if not sorted_values.any():
        return {}
    ranks = {name: math.ceil(round(sorted_values.size * probability, 6)) for name, probability in PERCENTILES.items()}
    percentiles = {name: float(sorted_values[max(rank, 1) - 1]) for name, rank in ranks.items()}
    return {"mean": float(sorted_values.mean()), **percentiles, "max": float(sorted_values[-1])}


def read_aggregates(node: Node, keys: Mapping[str, str]) -> dict[str, float]:
    """Return the aggregates under `keys`, a mapping from a tool's names to Sizewise names. Missing
    and null values are omitted."""
    named_numbers = ((name, node.at(tool_name).number_or_none()) for tool_name, name in keys.items())
    return {name: value for name, value in named_numbers if value is not None}


def convert_to_seconds(aggregates: Mapping[str, float], unit_s: float) -> dict[str, float]:
    """Convert aggregates to seconds; empty if all values are 0, because several tools write 0 for
    values that were not measured."""
    if not any(aggregates.values()):
        return {}
    return {name: value * unit_s for name, value in aggregates.items()}


def drop_empty(latencies_s: Mapping[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return the latencies without the metrics that have no aggregates."""
    return {metric: aggregates for metric, aggregates in latencies_s.items() if aggregates}


def compute_mean(values: Iterable[float]) -> float | None:
    numbers = np.fromiter(values, dtype=np.float64)
    return float(numbers.mean()) if numbers.size and numbers.any() else None
