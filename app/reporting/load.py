"""Stages, curve and objectives of a loaded endpoint."""

from __future__ import annotations

import math
from typing import Literal

from app.analysis.accuracy import rows_to_settle
from app.analysis.objectives import unit_of as unit_of_limit
from app.records.metrics import PERCENTILES, RUN_METRICS
from app.records.result import Judged, Result, Stage
from app.reporting.quantities import limit_of, quantity, stage_quantity, unit_of
from reports import formatting, model

_Z = 1.959964


def headline_stages(result: Result) -> tuple[Stage, ...]:
    """The stages of a loaded endpoint that the headline is based on."""
    return tuple(stage for stage in result.stages if stage.in_headline and stage.variant is None)


def headline_stage(result: Result, curve: model.CurveLabels) -> Stage | None:
    """Of the stages the headline is based on, the one with the worst latency; None when there is none."""
    stages = headline_stages(result)
    return max(stages, key=lambda one: stage_quantity(one, curve.metric, curve.percentile).value or 0.0, default=None)


def curve_of(result: Result) -> model.CurveLabels:
    """The time the first SLO about a percentile speaks of; p95 of what answers took when none does."""
    for one in result.slo:
        objective = one.objective
        if unit_of(objective.metric) == "ms" and objective.aggregate in PERCENTILES:
            return model.CurveLabels(
                metric=objective.metric,
                percentile=objective.aggregate or "p95",
                limit=limit_of(objective),
                counts=counted(result),
            )
    return model.CurveLabels(metric=times_of(result), percentile="p95", counts=counted(result))


def counted(result: Result) -> Literal["requests", "sessions"]:
    """What the rates that were asked for are of."""
    return "sessions" if any(stage.sessions for stage in result.stages) else "requests"


def times_of(result: Result) -> str:
    """The metric that tells what answers took: service time where no stage knows when they should have started."""
    stages = [stage for stage in result.stages if stage.variant is None and stage.completed]
    withheld = [stage.metrics.get("latency_ms", {}).get("mean") for stage in stages]
    is_known = not stages or any(mean is not None and mean.value is not None for mean in withheld)
    return "latency_ms" if is_known else "service_ms"


def stage_row(stage: Stage, curve: model.CurveLabels, times: str, start_ns: int) -> model.StageRow:
    """`times` is the metric that the row's percentiles are of."""
    trust = stage.verdict.status
    return model.StageRow(
        name=stage.name,
        kind=stage.kind,
        repeat=stage.repeat,
        start_s=(stage.window.start_ns - start_ns) / 1e9,
        end_s=(stage.window.end_ns - start_ns) / 1e9,
        scheduled_per_s=stage.scheduled_per_s,
        offered=quantity(stage.offered_per_s, "1/s", trust),
        achieved=quantity(stage.achieved_per_s, "1/s", trust),
        good=quantity(stage.good_per_s, "1/s", trust),
        completed=stage.completed,
        failed=sum(stage.errors.values()),
        p50=stage_quantity(stage, times, "p50"),
        p95=stage_quantity(stage, times, "p95"),
        p99=stage_quantity(stage, times, "p99"),
        judged=stage_quantity(stage, curve.metric, curve.percentile),
        trust=trust,
        held=stage.held,
        pooled=stage.is_pooled,
        reasons=stage.verdict.reasons,
        arrivals=stage.arrivals,
        clients=stage.concurrency,
        answered=stage_quantity(stage, "completed_per_s"),
    )


def spike_rows(result: Result) -> tuple[model.SpikeSummary, ...]:
    return tuple(
        model.SpikeSummary(
            stage=stage.name,
            baseline_per_s=stage.spike.baseline_per_s,
            peak_per_s=stage.spike.peak_per_s,
            spike_s=stage.spike.spike_s,
            slo_broken=quantity(stage.spike.slo_broken_s, "s", stage.verdict.status),
            backlog_peak=quantity(stage.spike.backlog_peak, "requests", stage.verdict.status),
            drained=quantity(stage.spike.drained_s, "s", stage.verdict.status),
        )
        for stage in result.stages
        if stage.spike is not None
    )


def objective_rows(result: Result) -> tuple[model.ObjectiveRow, ...]:
    slo = (_objective_row(one, "SLO", result) for one in result.slo)
    gates = (_objective_row(one, "gate", result) for one in result.gates)
    return (*slo, *gates)


def _objective_row(one: Judged, kind: model.ObjectiveKind, result: Result) -> model.ObjectiveRow:
    objective = one.objective
    return model.ObjectiveRow(
        kind=kind,
        text=objective.text,
        limit=limit_of(objective),
        observed=quantity(one.observed, unit_of_limit(objective), result.verdict.status),
        margin=_margin(one),
        judgement=one.judgement,
        level=objective.level,
        stage=one.stage,
        why=_why_open(one, result),
        implied=objective.implied,
    )


def _why_open(one: Judged, result: Result) -> str | None:
    """What keeps it from being settled."""
    if one.judgement != "INCONCLUSIVE":
        return None
    observed, limit = one.observed, one.objective.limit
    if observed.value is None:
        return observed.reason
    if one.objective.is_change or one.objective.metric in RUN_METRICS:
        return _why_open_of_run(one)
    if one.objective.metric in ("accuracy", "accuracy_kept"):
        why = "the interval reaches past the limit" if observed.ci95 is not None else observed.reason
        return f"{why}; only more labelled rows settle it{_rows_needed(one, result)}"
    if observed.ci95 is None:
        return f"{observed.reason}; a longer stage gives one"
    if observed.value == 0 and one.objective.metric == "error_rate" and one.objective.of is None and 0 < limit < 1:
        needed = formatting.count(_faultless(limit))
        return f"the interval reaches past the limit; {needed} requests without an error would settle it"
    return "the interval reaches past the limit; a longer stage narrows it"


def _why_open_of_run(one: Judged) -> str | None:
    if one.observed.ci95 is None:
        return one.observed.reason
    remedy = "; more repeats narrow it" if one.objective.is_change else ""
    remedy = "; longer holds narrow it" if one.objective.metric == "max_rate_within_slo" and not remedy else remedy
    return f"the interval reaches past the limit{remedy}"


def _rows_needed(one: Judged, result: Result) -> str:
    """About how many rows settle what is kept, if they are like those there were; nothing where that cannot be told."""
    variant = next((stage.variant for stage in result.stages if stage.name == one.stage), None)
    variants = () if result.local is None else result.local.variants
    accuracy = next((facts.accuracy for facts in variants if facts.variant == variant), None)
    if one.objective.metric != "accuracy_kept" or accuracy is None:
        return ""
    rows = rows_to_settle(accuracy, one.objective.limit)
    return "" if rows is None else f", about {formatting.number(rows)} in all if they are like these"


def _faultless(limit: float) -> int:
    """The samples of a share of 0 whose Wilson interval ends at the limit."""
    return math.ceil(_Z * _Z * (1 - limit) / limit)


def _margin(one: Judged) -> float | None:
    observed, limit = one.observed.value, one.objective.limit
    if observed is None or limit == 0:
        return None
    distance = limit - observed if one.objective.comparator in ("<", "<=") else observed - limit
    return distance / abs(limit)
