"""Simulated servers in virtual time, and the rows that a load worker would report about them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from app.records.result import ArrivalKind, StageKind
from app.records.stage import StageData

Floats = npt.NDArray[np.float64]
START_NS = 1_000_000_000_000


def poisson_s(rate_per_s: float, duration_s: float, rng: np.random.Generator) -> Floats:
    return np.sort(rng.uniform(0, duration_s, rng.poisson(rate_per_s * duration_s)))


def constant_s(rate_per_s: float, duration_s: float) -> Floats:
    return np.arange(round(rate_per_s * duration_s)) / rate_per_s


def latency_s(arrivals_s: Floats, service_s: Floats) -> Floats:
    """Latencies of one server, first come, first served (Lindley's recursion, by running minima)."""
    if arrivals_s.size == 0:
        return arrivals_s
    steps = np.concatenate([[0.0], np.cumsum(service_s[:-1] - np.diff(arrivals_s))])
    return steps - np.minimum.accumulate(steps) + service_s


def mm1_latency_quantile_s(rate_per_s: float, service_per_s: float, q: float) -> float:
    return -math.log(1 - q) / (service_per_s - rate_per_s)


def request_rows(
    scheduled_s: Floats, latency: Floats, lag_s: Floats | float = 0.0, errors: Sequence[str | None] | None = None
) -> pd.DataFrame:
    """Rows as the engine receives them: in the order of their ends, with nulls as pandas makes them from Arrow."""
    scheduled_ns = START_NS + np.round(scheduled_s * 1e9).astype(np.int64)
    end_ns = scheduled_ns + np.round(latency * 1e9).astype(np.int64)
    n = scheduled_ns.size
    frame = pd.DataFrame(
        {
            "stage": np.zeros(n, dtype=np.int32),
            "index": np.arange(n),
            "scheduled_ns": scheduled_ns,
            "sent_ns": scheduled_ns + np.round(np.broadcast_to(lag_s, n) * 1e9).astype(np.int64),
            "first_byte_ns": end_ns,
            "end_ns": end_ns,
            "status": np.full(n, 200, dtype=np.int16),
            "error": pd.Series([None] * n if errors is None else list(errors), dtype="str"),
            "bytes_received": np.full(n, 100, dtype=np.int32),
            "reused": np.ones(n, dtype=bool),
        }
    )
    return frame.sort_values("end_ns", kind="stable").reset_index(drop=True)


def build_stage_data(
    rate_per_s: float = 200.0,
    duration_s: float = 10.0,
    *,
    kind: StageKind = "steady",
    arrivals: ArrivalKind = "poisson",
    drain_s: float = 1.0,
    worker_cpu_s: float = 0.1,
    ceiling_per_s: float | None = 20_000.0,
    stopped_early: bool = False,
    over_saturated: bool = False,
) -> StageData:
    return StageData(
        index=0,
        name=f"{kind} {rate_per_s:g}/s",
        kind=kind,
        repeat=1,
        tags={},
        arrival_kind=arrivals,
        rate_per_s=rate_per_s,
        duration_s=duration_s,
        start_ns=START_NS,
        end_ns=START_NS + round((duration_s + drain_s) * 1e9),
        worker_cpu_s=worker_cpu_s,
        connections_opened=1,
        stopped_early=stopped_early,
        generator_capacity_per_s=ceiling_per_s,
        is_saturated=over_saturated,
    )
