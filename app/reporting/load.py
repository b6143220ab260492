"""Report data of an endpoint under load: stages, labels of the load curve, objectives, token
metrics, cold start, knees of a sweep, and headline tiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from app.analysis.curve import has_disagreement
from app.analysis.local.accuracy import estimate_rows_needed
from app.analysis.objectives import get_unit as get_limit_unit
from app.records.breakdown import PART_NAMES, Evidence, LatencyPart
from app.records.metrics import PERCENTILES, RUN_METRICS
from app.records.result import (
    BatchSummary,
    Estimate,
    Knee,
    LatencyBreakdown,
    ObjectiveResult,
    PrefixReuse,
    Result,
    ServerCounters,
    SessionOutcomeName,
    SessionSummary,
    Stage,
    SteadyState,
)
from app.records.server_counters import REFUSAL_TEXTS, CountersRefusal, ServerLatencyKind
from app.records.stage_kinds import STAGE_KINDS
from app.reporting.metric_sections import read_metrics
from app.reporting.quantities import build_limit, build_quantity, build_stage_quantity, find_unit
from reports import formatting, model
from reports.sections.stages import STAGES

_NORMAL_QUANTILE_97_5 = 1.959964
_CI_CROSSES_LIMIT = "the 95 % CI crosses the limit"


def find_headline_stages(result: Result) -> tuple[Stage, ...]:
    """Return the stages of an endpoint run on which the headline is based."""
    return tuple(stage for stage in result.stages if stage.in_headline and stage.variant is None)


def find_headline_stage(result: Result, curve: model.CurveLabels) -> Stage | None:
    """Return the headline stage with the highest latency, in the metric and percentile of the load
    curve; `None` without headline stages."""
    stages = find_headline_stages(result)
    return max(
        stages, key=lambda stage: build_stage_quantity(stage, curve.metric, curve.percentile).value or 0.0, default=None
    )


def build_curve_labels(result: Result) -> model.CurveLabels:
    """Return the labels of the load curve. The metric and the percentile are those of the first
    objective on a latency percentile, or else p95 latency."""
    for evaluation in result.slo:
        objective = evaluation.objective
        is_percentile = find_unit(objective.metric) == "ms" and objective.aggregate in PERCENTILES
        if is_percentile and objective.request_class is None:
            return model.CurveLabels(
                metric=objective.metric,
                percentile=objective.aggregate or "p95",
                limit=build_limit(objective),
                counts=find_rate_unit(result),
            )
    return model.CurveLabels(metric=choose_latency_metric(result), percentile="p95", counts=find_rate_unit(result))


def find_rate_unit(result: Result) -> Literal["requests", "sessions"]:
    """Return whether the offered rates are in requests or in sessions."""
    return "sessions" if any(stage.sessions for stage in result.stages) else "requests"


def choose_latency_metric(result: Result) -> str:
    """Return the metric of the reported latencies: `latency_ms`, or `service_ms` if no stage has
    requests with a known scheduled start."""
    stages = [stage for stage in result.stages if stage.variant is None and stage.completed]
    means = [stage.metrics.get("latency_ms", {}).get("mean") for stage in stages]
    has_latency = not stages or any(mean is not None and mean.value is not None for mean in means)
    return "latency_ms" if has_latency else "service_ms"


def build_stage_row(stage: Stage, curve: model.CurveLabels, latency_metric: str, start_ns: int) -> model.StageRow:
    """Build the row of a stage. `latency_metric` is the metric of the columns p50, p95 and p99."""
    validity = stage.verdict.status
    return model.StageRow(
        name=stage.name,
        kind=stage.kind,
        repeat=stage.repeat,
        start_s=(stage.window.start_ns - start_ns) / 1e9,
        end_s=(stage.window.end_ns - start_ns) / 1e9,
        scheduled_per_s=stage.scheduled_per_s,
        offered=build_quantity(stage.offered_per_s, "1/s", validity),
        achieved=build_quantity(stage.achieved_per_s, "1/s", validity),
        good=build_quantity(stage.good_per_s, "1/s", validity),
        completed=stage.completed,
        failed=sum(stage.errors.values()),
        evaluated=build_stage_quantity(stage, curve.metric, curve.percentile),
        validity=validity,
        meets_slo=stage.meets_slo,
        pooled=stage.is_pooled,
        reasons=stage.verdict.reasons,
        arrivals=stage.arrivals,
        clients=stage.concurrency,
        **read_metrics(STAGES.columns, stage.metrics, latency_metric, validity),
    )


def build_sections(result: Result, stages: Sequence[Stage]) -> dict[str, Any]:
    """Build the sections that depend only on the result and its load stages, by the field of the
    report."""
    return {
        "batches": build_batch_rows(stages),
        "servers": build_server_rows(stages),
        "prefix_reuse": build_prefix_reuse_rows(result.prefix_reuse),
        "sessions": build_session_rows(stages),
        "spikes": build_spike_rows(result),
        "cold_start": build_cold_start_rows(result),
        "knees": build_knee_section(result),
    }


def build_spike_rows(result: Result) -> tuple[model.SpikeSummary, ...]:
    return tuple(
        model.SpikeSummary(
            stage=stage.label,
            baseline_per_s=stage.spike.baseline_per_s,
            peak_per_s=stage.spike.peak_per_s,
            spike_s=stage.spike.spike_s,
            slo_violated=build_quantity(stage.spike.slo_violated_s, "s", stage.verdict.status),
            backlog_peak=build_quantity(stage.spike.backlog_peak, "requests", stage.verdict.status),
            drained=build_quantity(stage.spike.drained_s, "s", stage.verdict.status),
        )
        for stage in result.stages
        if stage.spike is not None
    )


def build_objective_rows(result: Result) -> tuple[model.ObjectiveRow, ...]:
    slo_rows = (_build_objective_row(evaluation, "SLO", result) for evaluation in result.slo)
    gate_rows = (_build_objective_row(evaluation, "gate", result) for evaluation in result.gates)
    return (*slo_rows, *gate_rows)


def _build_objective_row(evaluation: ObjectiveResult, kind: model.ObjectiveKind, result: Result) -> model.ObjectiveRow:
    objective = evaluation.objective
    return model.ObjectiveRow(
        kind=kind,
        text=objective.text,
        label=objective.label,
        limit=build_limit(objective),
        observed=build_quantity(evaluation.observed, get_limit_unit(objective), result.verdict.status),
        margin=_compute_margin(evaluation),
        outcome=evaluation.outcome,
        level=objective.level,
        stage=evaluation.stage,
        why=_find_inconclusive_reason(evaluation, result),
        implied=objective.implied,
    )


def _find_inconclusive_reason(evaluation: ObjectiveResult, result: Result) -> str | None:
    """Return why an objective is inconclusive, and how to obtain a conclusive result; `None` if the
    objective is conclusive."""
    if evaluation.outcome != "INCONCLUSIVE":
        return None
    observed, limit = evaluation.observed, evaluation.objective.limit
    if observed.value is None:
        return observed.reason
    if evaluation.objective.is_change or evaluation.objective.metric in RUN_METRICS:
        return _find_run_inconclusive_reason(evaluation)
    if evaluation.objective.metric in ("accuracy", "accuracy_retained"):
        reason = _CI_CROSSES_LIMIT if observed.ci95 is not None else observed.reason
        return f"{reason}; add labeled rows{_format_rows_needed(evaluation, result)}"
    if observed.ci95 is None:
        return f"{observed.reason}; run longer"
    if (
        observed.value == 0
        and evaluation.objective.metric == "error_rate"
        and evaluation.objective.of is None
        and 0 < limit < 1
    ):
        needed_count_text = formatting.format_count(_count_error_free_samples(limit))
        return f"about {needed_count_text} error-free requests are needed for a conclusive result"
    return f"{_CI_CROSSES_LIMIT}; run longer"


def _find_run_inconclusive_reason(evaluation: ObjectiveResult) -> str | None:
    if evaluation.observed.ci95 is None:
        return evaluation.observed.reason
    if evaluation.objective.is_change:
        return f"{_CI_CROSSES_LIMIT}; add repeats"
    if evaluation.objective.metric == "max_rate_within_slo":
        return f"{_CI_CROSSES_LIMIT}; use longer search steps"
    return _CI_CROSSES_LIMIT


def _format_rows_needed(evaluation: ObjectiveResult, result: Result) -> str:
    """Return text about the number of labeled rows that would make the retained accuracy
    conclusive, if further rows are similar; empty if the number is unknown."""
    variant = next((stage.variant for stage in result.stages if stage.label == evaluation.stage), None)
    variants = () if result.local is None else result.local.variants
    accuracy = next((row.accuracy for row in variants if row.variant == variant), None)
    if evaluation.objective.metric != "accuracy_retained" or accuracy is None:
        return ""
    row_count = estimate_rows_needed(accuracy, evaluation.objective.limit)
    return (
        ""
        if row_count is None
        else f", about {formatting.format_number(row_count)} in total if further rows are similar"
    )


def _count_error_free_samples(limit: float) -> int:
    """Return the number of samples without errors for which the upper bound of the Wilson interval
    of the error rate equals `limit`."""
    return math.ceil(_NORMAL_QUANTILE_97_5 * _NORMAL_QUANTILE_97_5 * (1 - limit) / limit)


def _compute_margin(evaluation: ObjectiveResult) -> float | None:
    observed_value, limit = evaluation.observed.value, evaluation.objective.limit
    if observed_value is None or limit == 0:
        return None
    distance = limit - observed_value if evaluation.objective.comparator in ("<", "<=") else observed_value - limit
    return distance / abs(limit)


def build_batch_rows(stages: Sequence[Stage]) -> tuple[model.BatchJobRow, ...]:
    return tuple(_build_batch_row(stage.label, stage, stage.batch) for stage in stages if stage.batch is not None)


def _build_batch_row(name: str, stage: Stage, batch: BatchSummary) -> model.BatchJobRow:
    def build_count(tokens: int | None) -> model.Quantity:
        return model.Quantity(
            value=tokens, unit="tokens", reason="not reported by the server" if tokens is None else None
        )

    return model.BatchJobRow(
        stage=name,
        status=batch.status,
        upload=model.Quantity(value=batch.upload_s, unit="s"),
        job=model.Quantity(value=batch.job_s, unit="s"),
        outcomes={
            "requests": batch.requests,
            "completed": batch.completed,
            "failed": batch.failed,
            "expired": batch.expired,
            "canceled": batch.cancelled,
        },
        tokens_in=build_count(batch.tokens_in),
        tokens_out=build_count(batch.tokens_out),
        tokens_per_s=build_stage_quantity(stage, "output_tokens_per_s"),
        detail=batch.detail,
    )


def build_steady_rows(stages: Sequence[Stage], latency_metric: str, start_ns: int) -> tuple[model.SteadyRow, ...]:
    """Build a row for each stage that has a ramp-up or an end at fewer requests in flight. The run
    started at `start_ns`."""
    return tuple(
        _build_steady_row(stage, stage.steady_state, latency_metric, start_ns)
        for stage in stages
        if stage.steady_state is not None and STAGE_KINDS[stage.kind].is_measured
    )


def _build_steady_row(stage: Stage, steady_state: SteadyState, latency_metric: str, start_ns: int) -> model.SteadyRow:
    window = steady_state.window
    steady_stage = msgspec.structs.replace(stage, metrics=steady_state.metrics)
    return model.SteadyRow(
        stage=stage.label,
        start_s=(window.start_ns - stage.window.start_ns) / 1e9,
        end_s=(window.end_ns - stage.window.start_ns) / 1e9,
        window_s=((window.start_ns - start_ns) / 1e9, (window.end_ns - start_ns) / 1e9),
        throughput=build_stage_quantity(stage, "completed_per_s"),
        steady_throughput=build_stage_quantity(steady_stage, "completed_per_s"),
        p50=build_stage_quantity(stage, latency_metric, "p50"),
        steady_p50=build_stage_quantity(steady_stage, latency_metric, "p50"),
        p95=build_stage_quantity(stage, latency_metric, "p95"),
        steady_p95=build_stage_quantity(steady_stage, latency_metric, "p95"),
    )


_ADVICE: dict[LatencyPart, str] = {
    "send_delay": "the load generator sent late: use more load workers, or a machine with less other work",
    "connection": "requests wait for a connection: keep connections open, or raise target.max_connections",
    "network": "the round trip to the target is long: measure from a machine nearer to it",
    "queue": "more replicas, or a higher limit of concurrent requests per replica, would shorten it",
    "prefill": "shorter prompts, a prefix cache, or a GPU with more FLOP/s would shorten it",
    "processing": "a faster model, precision or machine would shorten it",
    "decode": "shorter responses, a lower precision, speculative decoding, or more memory bandwidth would shorten it",
    "stalls": "prefills of other requests often interrupt decoding: a lower token budget per step would shorten them",
    "tail": "the server ends its responses long after the last token: look at what it does then",
}
_UNKNOWN_ADVICE = "let the server report its queue and prefill times to know more"
_EVIDENCE_NOTES: dict[Evidence | None, str] = {
    "requests": "The server reports its times with each response. Unknown is the rest: network, routers and HTTP.",
    "stage": "The server's parts are means from its counters, so those of the percentiles are unknown. Unknown is the "
    "rest, which includes network, routers and HTTP.",
    None: "The server reports none of its times, so they are in the unknown part.",
}
_NO_QUEUE_NOTE = (
    "The server reports its latency without its queue time, so neither is a part, and both are in the unknown part."
)


def build_breakdown_section(stage: Stage | None) -> model.BreakdownSection | None:
    if stage is None or not stage.breakdown:
        return None
    mean = stage.breakdown[0]
    largest_part_text = _describe_largest_part(mean, has_refusal=_get_refusal(stage) is not None)
    return model.BreakdownSection(
        stage=stage.label,
        rows=tuple(build_breakdown_row(breakdown) for breakdown in stage.breakdown),
        sentence=f"In {stage.label}, {largest_part_text}",
        note=_choose_evidence_note(stage, mean),
    )


def describe_refusal(refusal: CountersRefusal) -> str:
    """Return why the server's counters are left out of a stage, with the reason's ID and what to
    do."""
    return (
        f"The server's counters are left out, because {REFUSAL_TEXTS[refusal]} ({refusal}). Measure one replica at its "
        "own address, without other clients, to see the server's times."
    )


def _get_refusal(stage: Stage) -> CountersRefusal | None:
    return None if stage.server is None else stage.server.refusal


def _choose_evidence_note(stage: Stage, mean: LatencyBreakdown) -> str:
    refusal = _get_refusal(stage)
    if mean.evidence is None and refusal is not None:
        return describe_refusal(refusal)
    kinds = {comparison.kind for comparison in stage.server_latencies}
    if mean.evidence is None and kinds & {"ttft", "e2e"} and "queue" not in kinds:
        return _NO_QUEUE_NOTE
    return _EVIDENCE_NOTES[mean.evidence]


def build_breakdown_row(breakdown: LatencyBreakdown) -> model.BreakdownRow:
    """Build the row of some requests, or of a single request."""

    def build_ms(value_ms: float | None) -> model.Quantity:
        return model.Quantity(value=value_ms, unit="ms", reason="not reported" if value_ms is None else None)

    return model.BreakdownRow(
        aggregate=breakdown.aggregate,
        requests=breakdown.requests,
        latency=build_ms(breakdown.latency_ms),
        ttft=build_ms(breakdown.ttft_ms),
        parts=tuple(
            model.NamedQuantity(name=PART_NAMES[part], quantity=build_ms(part_ms))
            for part, part_ms in breakdown.parts_ms.items()
        ),
        unknown=build_ms(breakdown.unknown_ms),
    )


def _describe_largest_part(breakdown: LatencyBreakdown, *, has_refusal: bool) -> str:
    part = breakdown.largest_part
    part_ms = breakdown.unknown_ms if part is None else breakdown.parts_ms[part]
    assert part_ms is not None
    share_text = (
        f"{100 * part_ms / breakdown.latency_ms:.0f} %" if breakdown.latency_ms > 0 else formatting.NOT_AVAILABLE
    )
    name = "an unknown part" if part is None else PART_NAMES[part]
    if part is None and has_refusal:
        return f"{share_text} of the mean latency is {name}."
    return f"{share_text} of the mean latency is {name}: {_UNKNOWN_ADVICE if part is None else _ADVICE[part]}."


def build_server_rows(stages: Sequence[Stage]) -> tuple[model.ServerRow, ...]:
    """Build a row for each stage for which the target's servers reported counters."""
    return tuple(
        _build_server_row(stage, stage.server)
        for stage in stages
        if stage.server is not None and STAGE_KINDS[stage.kind].is_measured
    )


def _build_server_row(stage: Stage, counters: ServerCounters) -> model.ServerRow:
    comparisons = {comparison.kind: comparison for comparison in stage.server_latencies}
    missing_reason = "not reported" if counters.refusal is None else REFUSAL_TEXTS[counters.refusal]

    def build_count(count: int | None, unit: str) -> model.Quantity:
        return model.Quantity(value=count, unit=unit, reason=missing_reason if count is None else None)

    def build_server_latency(kind: ServerLatencyKind) -> model.Quantity:
        compared = comparisons.get(kind)
        if compared is None:
            return model.Quantity(value=None, unit="ms", reason=missing_reason)
        return model.Quantity(value=compared.server_ms, unit="ms", n=compared.server_count)

    def build_client_latency(kind: ServerLatencyKind) -> model.Quantity:
        compared = comparisons.get(kind)
        value = None if compared is None else compared.client_ms
        reason = "not measured" if value is None else None
        return model.Quantity(
            value=value,
            unit="ms",
            n=None if compared is None else compared.client_count,
            reason=reason,
        )

    cached, looked_up = counters.cached_input_tokens, counters.looked_up_input_tokens
    cached_share = None if cached is None or not looked_up else min(1.0, cached / looked_up)
    return model.ServerRow(
        stage=stage.label,
        requests=build_count(counters.requests, "requests"),
        cached=model.Quantity(
            value=cached_share, unit="share", reason=missing_reason if cached_share is None else None
        ),
        preemptions=build_count(counters.preemptions, "requests"),
        queue=build_server_latency("queue"),
        prefill=build_server_latency("prefill"),
        decode=build_server_latency("decode"),
        ttft=build_server_latency("ttft"),
        client_ttft=build_client_latency("ttft"),
        itl=build_server_latency("itl"),
        client_itl=build_client_latency("itl"),
        e2e=build_server_latency("e2e"),
        client_e2e=build_client_latency("e2e"),
    )


_OUTCOME_NAMES: dict[SessionOutcomeName, str] = {
    "completed": "completed",
    "failed": "failed",
    "context_limit": "context limit",
    "unusable_response": "unusable response",
    "cut_off": "cut off",
}


def build_session_rows(stages: Sequence[Stage]) -> tuple[model.LiveSessionRow, ...]:
    """Build a row for each stage whose sessions contained the server's own responses."""
    return tuple(
        _build_session_row(stage, stage.live_sessions)
        for stage in stages
        if stage.live_sessions is not None and STAGE_KINDS[stage.kind].is_measured
    )


def _build_session_row(stage: Stage, sessions: SessionSummary) -> model.LiveSessionRow:
    def build_time(time_us: float | None) -> model.Quantity:
        return model.Quantity(value=time_us, unit="µs", reason="not measured" if time_us is None else None)

    return model.LiveSessionRow(
        stage=stage.label,
        outcomes={name: sessions.outcomes.get(outcome, 0) for outcome, name in _OUTCOME_NAMES.items()},
        built_requests=sessions.built_requests,
        build_mean=build_time(sessions.build_mean_us),
        build_max=build_time(sessions.build_max_us),
    )


def build_prefix_reuse_rows(reuse: PrefixReuse | None) -> tuple[model.NamedQuantity, ...]:
    """Build the rows of what a prefix cache can serve, and what the server's cache served. The
    result is empty if the prompts do not determine the former; the latter is in the rows of the
    server, too."""
    if reuse is None or reuse.offered_share is None:
        return ()
    reason = "not reported" if reuse.served_share is None else None
    return (
        model.NamedQuantity(
            name=f"served by an unlimited cache with blocks of {reuse.block_tokens} tokens (calculated)",
            quantity=model.Quantity(value=reuse.offered_share, unit="share"),
        ),
        model.NamedQuantity(
            name="served by the server's cache",
            quantity=model.Quantity(value=reuse.served_share, unit="share", reason=reason),
        ),
    )


def build_cold_start_rows(result: Result) -> tuple[model.NamedQuantity, ...]:
    """Return the durations of the cold start. The result is empty if no cold start was measured,
    because the target was already running."""
    cold_start = result.cold_start
    if cold_start is None:
        return ()
    estimates = {
        "ready": cold_start.ready_ms,
        "first response": cold_start.first_response_ms,
        "steady latency": cold_start.steady_ms,
    }
    return tuple(
        model.NamedQuantity(name=name, quantity=build_quantity(estimate, "ms")) for name, estimate in estimates.items()
    )


_KNEE_METHODS = {
    "power": "power (highest throughput/latency ratio, Kleinrock)",
    "chord": "chord (farthest from the line between first and last, Kneedle)",
    "two lines": "two lines (best fit to the logarithm of latency)",
}


def build_knee_section(result: Result) -> model.KneeSection | None:
    """Build the section about the knees of a sweep; `None` without knees."""
    if not result.knees:
        return None
    note = None
    if has_disagreement(result.knees):
        note = "The methods disagree by more than 30 %. Latency rises gradually, so there is no single knee."
    return model.KneeSection(rows=tuple(map(_build_knee_row, result.knees)), note=note)


def _build_knee_row(knee: Knee) -> model.KneeRow:
    unit = "1/s" if knee.load == "rate" else "clients"
    return model.KneeRow(
        method=_KNEE_METHODS[knee.method],
        name=knee.method,
        at=build_quantity(Estimate(knee.at, reason=knee.reason), unit),
        latency=build_quantity(Estimate(knee.latency_ms, reason=knee.reason), "ms"),
    )


_TOKEN_TILE_METRICS = (("ttft_ms", "p95"), ("ttft_ms", "p99"), ("tpot_ms", "p95"), ("first_message_ms", "p95"))


def build_load_tiles(result: Result, stage: Stage) -> tuple[model.HeadlineTile, ...]:
    """Build tiles for the latencies and the throughput of the headline stage, and for token metrics
    if responses have tokens."""
    latency_metric = choose_latency_metric(result)
    tiles = [
        *(
            []
            if result.max_rate is not None and result.max_rate.per_s.value is not None
            else [_build_throughput_tile(stage)]
        ),
        *(
            _build_latency_tile(result, stage, metric, aggregate)
            for metric, aggregate in _TOKEN_TILE_METRICS
            if metric in stage.metrics
        ),
        *(_build_latency_tile(result, stage, latency_metric, aggregate) for aggregate in ("p95", "p99")),
        *([_build_tile(result, stage, "Goodput share", "goodput_share")] if _has_goodput_objective(result) else []),
    ]
    if "output_tokens_per_s" in stage.metrics:
        tiles.append(_build_tile(result, stage, "Output throughput", "output_tokens_per_s"))
    if "accuracy" in stage.metrics:
        tiles.append(_build_tile(result, stage, "Accuracy", "accuracy"))
    return (*tiles, _build_tile(result, stage, "Error rate", "error_rate"))


def _build_throughput_tile(stage: Stage) -> model.HeadlineTile:
    note = f"in {stage.label}"
    if stage.kind == "closed":
        return model.HeadlineTile(
            label="Throughput", quantity=build_stage_quantity(stage, "completed_per_s"), note=note
        )
    return model.HeadlineTile(
        label="Goodput", quantity=build_quantity(stage.good_per_s, "1/s", stage.verdict.status), note=note
    )


def _has_goodput_objective(result: Result) -> bool:
    return any(evaluation.objective.metric == "goodput_share" for evaluation in result.slo)


def _build_latency_tile(result: Result, stage: Stage, metric: str, aggregate: str) -> model.HeadlineTile:
    name = formatting.format_metric_label(metric)
    return _build_tile(result, stage, f"{aggregate} {name}", metric, aggregate)


def _build_tile(
    result: Result, stage: Stage, label: str, metric: str, aggregate: str | None = None
) -> model.HeadlineTile:
    limits = {
        (evaluation.objective.metric, evaluation.objective.aggregate): build_limit(evaluation.objective)
        for evaluation in result.slo
        if evaluation.objective.request_class is None
    }
    return model.HeadlineTile(
        label=label,
        quantity=build_stage_quantity(stage, metric, aggregate or "value"),
        limit=limits.get((metric, aggregate)),
        note=f"in {stage.label}",
    )
