"""Yield the stages of a profile in order, with rates derived from earlier stages."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from app.analysis.number_format import format_number
from app.records import events
from app.records.result import SWEEP_TAG, Check
from app.session.rates import MAX_ARRIVALS, compute_peak_rate, get_constant_rate, resolve_rate_share, scale_arrivals
from app.session.run_log import RunLog
from app.session.spec import ResolvedStage, RunSpec, StageSpec
from app.session.stages import StageRunner
from loadgen.records import OpenArrivals

_MAX_SATURATED_RATES = 2
"""Number of consecutive saturated rates of a sweep after which all higher rates are skipped."""


def resolve_stages(
    spec: RunSpec, runner: StageRunner, run_log: RunLog, now_ns: Callable[[], int]
) -> Iterator[ResolvedStage]:
    """Yield the stages to run. Each stage is resolved when it is requested, from the results of the
    earlier stages.

    If the rate of a stage cannot be determined, the stage is skipped with a check. Stages of a
    sweep beyond saturation are skipped with a note."""
    skipped_names: list[str] = []
    for stage in spec.stages:
        if stage.is_in_sweep and _is_sweep_saturated(stage, runner):
            skipped_names.append(stage.name)
            continue
        load = stage.load
        if stage.rate_share is not None and isinstance(load.arrivals, OpenArrivals):
            arrivals = _resolve_rate(stage, load.arrivals, runner, run_log)
            if arrivals is None:
                continue
            load = msgspec.structs.replace(load, arrivals=arrivals)
            rate_share = stage.rate_share
            text = f"{stage.name}: {100 * rate_share.fraction:.4g} % of the completed rate of {rate_share.stage}"
            run_log.emit(events.RateResolved(now_ns(), stage.name, compute_peak_rate(arrivals), text))
        yield ResolvedStage(
            name=stage.name,
            kind=stage.kind,
            repeat=stage.repeat,
            load=load,
            drain_s=spec.endpoint.timeouts.total_s,
            ends_when_saturated=stage.is_in_sweep,
            tags={SWEEP_TAG: "yes"} if stage.is_in_sweep else {},
        )
    if skipped_names:
        names = ", ".join(dict.fromkeys(skipped_names))
        run_log.add_note(
            f"The sweep stopped after {_MAX_SATURATED_RATES} saturated rates in a row. These stages were skipped: "
            f"{names}."
        )


def _is_sweep_saturated(stage: StageSpec, runner: StageRunner) -> bool:
    """Return True if all stages at the last two rates of the sweep were ended because of a growing
    backlog."""
    rate_per_s = get_constant_rate(stage.load.arrivals)
    saturation_by_rate: dict[float, bool] = {}
    for stage_data in runner.stage_data:
        if SWEEP_TAG in stage_data.tags and stage_data.rate_per_s is not None and stage_data.rate_per_s != rate_per_s:
            saturation_by_rate[stage_data.rate_per_s] = (
                saturation_by_rate.get(stage_data.rate_per_s, True) and stage_data.is_saturated
            )
    return len(saturation_by_rate) >= _MAX_SATURATED_RATES and all(
        list(saturation_by_rate.values())[-_MAX_SATURATED_RATES:]
    )


def _resolve_rate(
    stage: StageSpec, arrivals: OpenArrivals, runner: StageRunner, run_log: RunLog
) -> OpenArrivals | None:
    rate_share = stage.rate_share
    assert rate_share is not None
    rate_per_s = resolve_rate_share(rate_share, runner.stages)
    if rate_per_s is None:
        reason = f"its rate is relative to the completed rate of {rate_share.stage}, which was 0 req/s"
    else:
        resolved_arrivals = scale_arrivals(arrivals, rate_per_s)
        if compute_peak_rate(resolved_arrivals) * stage.load.duration_s <= MAX_ARRIVALS:
            return resolved_arrivals
        reason = f"at {format_number(rate_per_s)} req/s it would exceed {MAX_ARRIVALS:,} requests"
    run_log.add_check(Check("excluded_stage", stage.name, None, None, "WARN", f"{stage.name} was skipped: {reason}."))
    return None
