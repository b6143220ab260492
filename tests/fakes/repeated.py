"""Results of repeated runs of one profile: one steady stage with given numbers."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from app.records.result import Estimate, Result, Stage
from tests.fakes.results import full_run

FULL = full_run().result
_STEADY = next(stage for stage in FULL.stages if stage.kind == "step")


def steady(p95_ms: float, half_ms: float | None = None, *, repeat: int = 1, errors: float = 0.0) -> Stage:
    """A stage whose latency interval extends `half_ms` to both sides."""
    ci95 = None if half_ms is None else (p95_ms - half_ms, p95_ms + half_ms)
    rate = Estimate(errors, (0.0, 0.002) if errors == 0 else (0.8 * errors, 1.2 * errors), 2_000)
    return msgspec.structs.replace(
        _STEADY,
        name="steady",
        kind="steady",
        repeat=repeat,
        arrivals="Poisson at 200 req/s",
        arrival_kind="poisson",
        metrics={"latency_ms": {"p95": Estimate(p95_ms, ci95, 2_000)}, "error_rate": {"value": rate}},
    )


def result(*stages: Stage, run_id: str = "run") -> Result:
    return msgspec.structs.replace(FULL, run_id=run_id, stages=stages, max_rate=None, workload_hash="asked")


def repeats(values_ms: Sequence[float], name: str = "run") -> list[Result]:
    return [result(steady(value), run_id=f"{name}-{place}") for place, value in enumerate(values_ms)]
