"""One reading of one GPU over time, out of a frame of telemetry."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from app.analysis.columns import Floats, Nanoseconds

GAP_NS = 1_000_000_000
"""Readings further apart than this say nothing of the time between them."""


class Readings(NamedTuple):
    """In time order; NaN where a reading could not be had."""

    at_ns: Nanoseconds
    values: Floats

    def known(self) -> Readings:
        known = ~np.isnan(self.values)
        return Readings(self.at_ns[known], self.values[known])


def whole_gpus(telemetry: pd.DataFrame) -> tuple[str, ...]:
    """The sources that are GPUs, without those that are their slices or processes."""
    return tuple(sorted(str(one) for one in telemetry["source"].unique() if one.startswith("gpu") and "/" not in one))


def readings_of(telemetry: pd.DataFrame, source: str, metric: str) -> Readings:
    rows = telemetry[(telemetry["source"] == source) & (telemetry["metric"] == metric)]
    at_ns = rows["at_ns"].to_numpy(dtype=np.int64)
    values = rows["value"].to_numpy(dtype=np.float64, na_value=np.nan)
    order = np.argsort(at_ns, kind="stable")
    return Readings(at_ns[order], values[order])
