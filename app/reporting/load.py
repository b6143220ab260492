"""Stages, curve and objectives of a loaded endpoint.

Token times and rates, stage by stage.

How long a target that was started or woken took to answer, and to answer steadily.

The knees of a sweep.

The headline numbers of a loaded endpoint.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from app.analysis.curve import are_apart
from app.analysis.local.accuracy import rows_to_settle
from app.analysis.objectives import unit_of as unit_of_limit
from app.records.metrics import PERCENTILES, RUN_METRICS
from app.records.result import Estimate, Judged, Knee, Result, Stage
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


def token_rows(stages: Sequence[Stage]) -> tuple[model.TokenRow, ...]:
    """Of stages whose answers told anything of tokens, warm-ups left out."""
    return tuple(_token_row(stage) for stage in stages if stage.kind != "warmup" and _has_tokens(stage))


def _has_tokens(stage: Stage) -> bool:
    return "ttft_ms" in stage.metrics or "output_tokens" in stage.metrics


def _token_row(stage: Stage) -> model.TokenRow:
    return model.TokenRow(
        stage=f"{stage.name} #{stage.repeat}" if stage.repeat > 1 else stage.name,
        ttft_p50=stage_quantity(stage, "ttft_ms", "p50"),
        ttft_p95=stage_quantity(stage, "ttft_ms", "p95"),
        ttft_p99=stage_quantity(stage, "ttft_ms", "p99"),
        tpot_p50=stage_quantity(stage, "tpot_ms", "p50"),
        tpot_p95=stage_quantity(stage, "tpot_ms", "p95"),
        itl_p50=stage_quantity(stage, "itl_ms", "p50"),
        itl_p99=stage_quantity(stage, "itl_ms", "p99"),
        icl_p99=stage_quantity(stage, "icl_ms", "p99"),
        coalesced=stage_quantity(stage, "coalesced_share"),
        output_tokens=stage_quantity(stage, "output_tokens", "mean"),
        tokens_per_s=stage_quantity(stage, "output_tokens_per_s"),
    )


def cold_start_parts(result: Result) -> tuple[model.Named, ...]:
    """Empty where the target was up already."""
    found = result.cold_start
    if found is None:
        return ()
    parts = {"ready": found.ready_ms, "first answer": found.first_answer_ms, "steady answers": found.steady_ms}
    return tuple(model.Named(name=name, quantity=quantity(one, "ms")) for name, one in parts.items())


_METHODS = {
    "power": "power (most throughput for its latency, Kleinrock)",
    "chord": "chord (farthest below the line from first to last, Kneedle)",
    "two lines": "two lines (where they fit the logarithm of latency best)",
}


def knee_section(result: Result) -> model.KneeSection | None:
    """None without a sweep."""
    if not result.knees:
        return None
    note = None
    if are_apart(result.knees):
        note = "The methods disagree by more than 30 %: latency bends slowly here, and there is no one knee."
    return model.KneeSection(rows=tuple(map(_knee_row, result.knees)), note=note)


def _knee_row(knee: Knee) -> model.KneeRow:
    unit = "1/s" if knee.load == "rate" else "clients"
    return model.KneeRow(
        method=_METHODS[knee.method],
        name=knee.method,
        at=quantity(Estimate(knee.at, reason=knee.reason), unit),
        latency=quantity(Estimate(knee.latency_ms, reason=knee.reason), "ms"),
    )


_TOKENS = (("ttft_ms", "p95"), ("ttft_ms", "p99"), ("tpot_ms", "p95"))


def load_tiles(result: Result, stage: Stage) -> tuple[model.HeadlineTile, ...]:
    """What a user feels in the stage, and what it carries; of tokens too where answers have them."""
    times = times_of(result)
    found = [
        *([] if result.max_rate is not None and result.max_rate.per_s.value is not None else [_carried(stage)]),
        *(_time(result, stage, metric, aggregate) for metric, aggregate in _TOKENS if metric in stage.metrics),
        *(_time(result, stage, times, aggregate) for aggregate in ("p95", "p99")),
        *([_tile(result, stage, "Goodput", "goodput_share")] if _is_of_goodput(result) else []),
    ]
    if "output_tokens_per_s" in stage.metrics:
        found.append(_tile(result, stage, "Output tokens", "output_tokens_per_s"))
    if "accuracy" in stage.metrics:
        found.append(_tile(result, stage, "Accuracy", "accuracy"))
    return (*found, _tile(result, stage, "Error rate", "error_rate"))


def _carried(stage: Stage) -> model.HeadlineTile:
    note = f"in {stage.name}"
    if stage.kind == "closed":
        return model.HeadlineTile(label="Throughput", quantity=stage_quantity(stage, "completed_per_s"), note=note)
    return model.HeadlineTile(
        label="Good rate", quantity=quantity(stage.good_per_s, "1/s", stage.verdict.status), note=note
    )


def _is_of_goodput(result: Result) -> bool:
    return any(one.objective.metric == "goodput_share" for one in result.slo)


def _time(result: Result, stage: Stage, metric: str, aggregate: str) -> model.HeadlineTile:
    name = formatting.metric(metric)
    return _tile(result, stage, f"{name[:1].upper()}{name[1:]} {aggregate}", metric, aggregate)


def _tile(result: Result, stage: Stage, label: str, metric: str, aggregate: str | None = None) -> model.HeadlineTile:
    limits = {(one.objective.metric, one.objective.aggregate): limit_of(one.objective) for one in result.slo}
    return model.HeadlineTile(
        label=label,
        quantity=stage_quantity(stage, metric, aggregate or "value"),
        limit=limits.get((metric, aggregate)),
        note=f"in {stage.name}",
    )
