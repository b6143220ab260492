"""What answers took in one stage of a stored run: the share at or below each time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from app.records.result import Result, Stage
from app.reporting.distributions import distributions, share_steps
from app.reporting.rows import NOT_DRAWN, request_times
from app.storage.run_directory import StoredRun
from reports.model import Spectrum


def compared_stages(result: Result) -> tuple[str, ...]:
    """Names of the stages that a comparison may tell of, in their order."""
    return tuple(dict.fromkeys(stage.name for stage in _told(result)))


def stage_times(run: StoredRun, result: Result, stage: str) -> tuple[Spectrum, ...]:
    """Latency from the intended start first, then the service time and those of tokens; of a local model, the time of
    its calls. Empty without answers."""
    stages = tuple(one for one in _told(result) if one.name == stage)
    if result.local is not None:
        calls = _times_of_calls(run.calls(), stages)
        if calls is not None:
            return (calls,)
    return distributions(request_times(run.requests(NOT_DRAWN), result), stages)


def _told(result: Result) -> Iterator[Stage]:
    """Nothing INVALID, and no model that was run beside its endpoint: no row of that is kept."""
    for stage in result.stages:
        if stage.variant is not None and result.local is None:
            continue
        if stage.kind != "warmup" and not stage.is_pooled and stage.verdict.status != "INVALID":
            yield stage


def _times_of_calls(calls: pa.Table, stages: tuple[Stage, ...]) -> Spectrum | None:
    begin_ns, end_ns = (
        calls[name].combine_chunks().cast(pa.float64()).to_numpy(zero_copy_only=False)
        for name in ("begin_ns", "end_ns")
    )
    inside = np.zeros(len(begin_ns), dtype=bool)
    with np.errstate(invalid="ignore"):  # a call that was never begun
        for stage in stages:
            inside |= (begin_ns >= stage.window.start_ns) & (begin_ns < stage.window.end_ns)
    return share_steps("call_ms", (end_ns - begin_ns) / 1e6, inside)
