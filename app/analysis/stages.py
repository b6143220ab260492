"""All numbers of one stage, from its rows, its telemetry and what is known of it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import pandas as pd

from app.analysis.estimates import distribution, maximum, mean, rate, share, timed_share
from app.analysis.objectives import binding, find_estimate, is_met
from app.analysis.rows import Mask, StageRows, offered_window, read_rows
from app.analysis.stage_checks import stage_checks
from app.analysis.validity import verdict_of
from app.records.metrics import METRICS
from app.records.result import Estimate, Objective, Stage, Window
from app.records.stage import StageFacts

Metrics = dict[str, dict[str, Estimate]]


def summarise_stage(
    rows: pd.DataFrame, telemetry: pd.DataFrame | None, facts: StageFacts, slo: Sequence[Objective]
) -> Stage:
    """`rows` are those of this stage, `telemetry` may be the whole run's.

    Requests are counted by their arrival, so answers that came in the drain belong to the stage; only the completed
    rate counts what was answered within the window, else an overloaded endpoint's backlog would pass for throughput.
    """
    every = read_rows(rows)
    window = offered_window(every, facts)
    offered = every.where(every.intended_ns < window.end_ns)
    is_good = _is_good(offered, slo)
    bounds = (window.start_ns, window.end_ns)
    checks = stage_checks(offered, facts, window, slo)
    stage = Stage(
        name=facts.name,
        kind=facts.kind,
        repeat=facts.repeat,
        tags=facts.tags,
        variant=None,
        window=window,
        offered_per_s=rate(offered.intended_ns, bounds),
        achieved_per_s=rate(offered.sent_ns[offered.was_sent], bounds),
        good_per_s=rate(offered.intended_ns[is_good], bounds),
        completed=int(np.count_nonzero(offered.is_success)),
        errors=offered.errors(),
        metrics={
            **_request_metrics(offered, is_good, bounds, facts.rows_per_request),
            **_telemetry_metrics(telemetry, window),
        },
        verdict=verdict_of(checks),
        checks=checks,
        scheduled_per_s=facts.rate_per_s,
    )
    return msgspec.structs.replace(stage, held=_has_held(stage, facts, slo))


def _has_held(stage: Stage, facts: StageFacts, slo: Sequence[Objective]) -> bool | None:
    """Whether every point estimate met the SLO; one that is withheld did not.

    None where there is nothing to judge: a warm-up, no SLO, or a stage cut short by something else than its backlog.
    """
    deciding = binding(slo)
    if facts.over_saturated:
        return False
    if facts.kind == "warmup" or facts.stopped_early or not deciding:
        return None
    return all(is_met(objective, find_estimate(stage, objective)) for objective in deciding)


def _is_good(rows: StageRows, slo: Sequence[Objective]) -> Mask:
    """Answered with success and inside every latency limit of the SLO, whatever the aggregate it is set on."""
    good = rows.is_success.copy()
    spans_ns = {
        "latency_ms": rows.end_ns - rows.intended_ns,
        "service_ms": rows.end_ns - rows.sent_ns,
        "first_byte_ms": rows.first_byte_ns - rows.intended_ns,
    }
    for objective in slo:
        if objective.metric in spans_ns and objective.comparator in ("<", "<="):
            span_ns, limit_ns = spans_ns[objective.metric], objective.limit * 1e6
            good &= span_ns < limit_ns if objective.comparator == "<" else span_ns <= limit_ns
    return good


def _request_metrics(rows: StageRows, is_good: Mask, bounds: tuple[int, int], rows_per_request: int) -> Metrics:
    # Latencies are of successful requests: a quick refusal is no fast answer, and a time-out has no latency. What
    # failed shows in error_rate and goodput_share, and a stage with more than 1 % of it does not hold.
    success = rows.where(rows.is_success)
    begun = success.has_first_byte
    metrics: Metrics = {
        "latency_ms": distribution((success.end_ns - success.intended_ns) / 1e6),
        "service_ms": distribution((success.end_ns - success.sent_ns) / 1e6),
        "first_byte_ms": distribution((success.first_byte_ns - success.intended_ns)[begun] / 1e6),
        "send_lag_ms": distribution((rows.sent_ns - rows.intended_ns)[rows.was_sent] / 1e6),
        "error_rate": {"value": timed_share(rows.is_failed[rows.was_started])},
        "goodput_share": {"value": timed_share(is_good)},
        "completed_per_s": {"value": rate(success.end_ns, bounds)},
    }
    judged = rows.right[~np.isnan(rows.right)]
    if judged.size:
        metrics["accuracy"] = {"value": share(int(judged.sum()), judged.size * rows_per_request)}
    return metrics


def _telemetry_metrics(telemetry: pd.DataFrame | None, window: Window) -> Metrics:
    """Mean and maximum of every metric of the catalogue read inside the window; GPUs are pooled."""
    if telemetry is None:
        return {}
    inside = telemetry[telemetry["at_ns"].between(window.start_ns, window.end_ns, inclusive="left")]
    inside = inside[inside["metric"].isin(list(METRICS))].sort_values("at_ns", kind="stable")
    metrics: Metrics = {}
    for name, readings in inside.groupby("metric")["value"]:
        values = readings.to_numpy(dtype=np.float64, na_value=np.nan)
        metrics[str(name)] = {"mean": mean(values), "max": maximum(values)}
    return metrics
