"""Warm-up of a run: windows of equal length, until the median service times of three consecutive
windows agree. Each window is stored as a warm-up stage."""

from __future__ import annotations

from app.analysis.warmup import MAX_WINDOWS, WINDOW_COUNT, is_stable
from app.session.rates import build_search_arrivals, build_warmup_arrivals
from app.session.spec import ResolvedStage, RunSpec
from app.session.stages import StageRunner
from loadgen.records import Arrivals, StageLoad

MAX_DRAIN_S = 10.0


def warm_up(runner: StageRunner, spec: RunSpec) -> int | None:
    """Warm up until three consecutive windows agree on the median service time.

    Return the start of the first of these windows in monotonic ns; `None` if no three consecutive
    windows agreed or there was no warm-up."""
    arrivals = _build_arrivals(spec)
    if spec.warmup_s <= 0 or arrivals is None:
        return None
    medians: list[float] = []
    starts_ns: list[int] = []
    for repeat in range(1, MAX_WINDOWS + 1):
        if not runner.may_continue:
            return None
        stage = runner.run(
            ResolvedStage(
                name="warm-up",
                kind="warmup",
                repeat=repeat,
                load=StageLoad(arrivals, spec.warmup_s / 3),
                drain_s=min(MAX_DRAIN_S, spec.endpoint.timeouts.total_s),
            )
        )
        median = stage.metrics.get("service_ms", {}).get("p50")
        if median is not None and median.value is not None:
            medians.append(median.value)
            starts_ns.append(runner.stage_data[-1].start_ns)
        if is_stable(medians):
            return starts_ns[-WINDOW_COUNT]
    return None


def _build_arrivals(spec: RunSpec) -> Arrivals | None:
    """Return the arrivals of the warm-up, derived from the start rate of the search or from the
    first stage; `None` if the rate of the first stage depends on another stage."""
    if spec.search is not None:
        return build_search_arrivals(spec.search, spec.search.start_per_s)
    first_stage = spec.stages[0]
    return (
        None
        if first_stage.rate_share is not None
        else build_warmup_arrivals(first_stage.load.arrivals, first_stage.load.duration_s)
    )
