"""Telemetry of GPUs as functions of time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from app.records.result import Window

BEGAN_NS = 5_000_000_000_123
"""Start of the measurement on the monotonic clock: far from 0, as on a machine that has run for a while."""


def at(seconds: float) -> int:
    return BEGAN_NS + round(seconds * 1e9)


def window(start_s: float, end_s: float) -> Window:
    return Window(at(start_s), at(end_s))


def readings(
    metric: str, seconds: Sequence[float], value: Callable[[float], float | None], source: str = "gpu0"
) -> pd.DataFrame:
    rows = [(at(second), source, metric, value(second)) for second in seconds]
    frame = pd.DataFrame(rows, columns=["at_ns", "source", "metric", "value"])
    return frame.astype({"value": "float64"})


def sample_times(step_s: float, until_s: float, since_s: float = 0.0) -> list[float]:
    return [since_s + index * step_s for index in range(round((until_s - since_s) / step_s) + 1)]
