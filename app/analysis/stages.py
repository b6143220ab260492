"""Computes all numbers of one stage from its rows, its telemetry and its stage data.

Telemetry is only summarized if it was read on this machine, not on pages of other servers.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa

from app.analysis.arrivals import arrivals_in_words
from app.analysis.estimates import distribution, maximum, mean, rate, share, timed_share
from app.analysis.objectives import binding, find_estimate, is_met
from app.analysis.rows import StageRows, offered_window, read_rows
from app.analysis.spans import FROM_INTENDED, NOT_INTENDED, is_inside, span_ms
from app.analysis.spikes import analyse_spike
from app.analysis.stage_checks import stage_checks
from app.analysis.token_metrics import token_metrics, token_sample, withheld
from app.analysis.validity import verdict_of
from app.records.metrics import METRICS
from app.records.result import Estimate, Objective, Stage, Window
from app.records.stage import StageFacts


def elsewhere(telemetry: pd.DataFrame) -> frozenset[str]:
    """Return the telemetry sources that are pages of other servers, and the devices these report on: `scrape1`,
    `scrape1/gpu0`."""
    pages = set(telemetry.loc[telemetry["metric"] == "scrape_ok", "source"].unique())
    return frozenset(str(source) for source in telemetry["source"].unique() if str(source).partition("/")[0] in pages)


Metrics = dict[str, dict[str, Estimate]]

_SAMPLED_METRICS = [name for name, metric in METRICS.items() if metric.aggregates]
"""Metrics whose mean over time is meaningful, unlike that of counters and bit masks."""


def summarise_stage(
    rows: pd.DataFrame | pa.Table, telemetry: pd.DataFrame | None, facts: StageFacts, slo: Sequence[Objective]
) -> Stage:
    """Summarize one stage. `rows` must be those of this stage; `telemetry` may be that of the whole run."""
    return summarise_rows(read_rows(rows), telemetry, facts, slo)


def summarise_rows(
    every: StageRows, telemetry: pd.DataFrame | None, facts: StageFacts, slo: Sequence[Objective]
) -> Stage:
    """Summarize one stage. `every` holds the rows of the stage, including those of its lead-in.

    Requests are counted by their arrival, so responses during the drain belong to the stage. Only the completed rates
    count responses within the window; otherwise the backlog of an overloaded endpoint would count as throughput.
    """
    window = offered_window(every, facts)
    offered = every.where((every.intended_ns >= window.start_ns) & (every.intended_ns < window.end_ns))
    bounds = (window.start_ns, window.end_ns)
    checks = stage_checks(offered, facts, window, slo)
    goodput = _goodput(offered, bounds, slo)
    stage = Stage(
        name=facts.name,
        kind=facts.kind,
        repeat=facts.repeat,
        tags=facts.tags,
        variant=None,
        window=window,
        offered_per_s=_offered_rate(offered, facts, bounds),
        achieved_per_s=rate(offered.sent_ns[offered.was_sent], bounds),
        good_per_s=goodput["good_per_s"],
        completed=int(np.count_nonzero(offered.is_success)),
        errors=offered.errors(),
        metrics={
            **_request_metrics(offered, facts.rows_per_request),
            "goodput_share": {"value": goodput["goodput_share"]},
            "completed_per_s": {"value": rate(every.end_ns[every.is_success], bounds)},
            **token_metrics(offered, bounds, every),
        },
        verdict=verdict_of(checks),
        checks=checks,
        scheduled_per_s=facts.rate_per_s,
        concurrency=facts.concurrency,
        arrivals=arrivals_in_words(facts),
        arrival_kind=facts.arrival_kind,
        arrival_cv=facts.cv if facts.arrival_kind == "gamma" else None,
        sessions=facts.sessions,
        spike=analyse_spike(every, facts, window, binding(slo)) if facts.kind == "spike" else None,
        workers=facts.workers,
        error_samples=facts.error_samples,
        lengths=token_sample(offered),
    )
    return with_telemetry(stage, telemetry, facts, slo)


def judge_again(every: StageRows, facts: StageFacts, own: Stage, slo: Sequence[Objective]) -> Stage:
    """Evaluate the whole stage with another SLO.

    Gives the same as `summarise_rows` on the same rows, without recomputing what does not depend on a limit. `own` is
    the stage as evaluated with its run's own SLO, including telemetry.
    """
    window = offered_window(every, facts)
    offered = every.where((every.intended_ns >= window.start_ns) & (every.intended_ns < window.end_ns))
    checks = stage_checks(offered, facts, window, slo)
    recomputed_ids = {check.id for check in checks}
    checks = (*checks, *(check for check in own.checks if check.id not in recomputed_ids))
    goodput = _goodput(offered, (window.start_ns, window.end_ns), slo)
    stage = msgspec.structs.replace(
        own,
        good_per_s=goodput["good_per_s"],
        metrics={**own.metrics, "goodput_share": {"value": goodput["goodput_share"]}},
        verdict=verdict_of(checks),
        checks=checks,
        spike=analyse_spike(every, facts, window, binding(slo)) if facts.kind == "spike" else None,
        in_headline=False,
    )
    return msgspec.structs.replace(stage, held=_meets_slo(stage, facts, slo))


def with_telemetry(stage: Stage, telemetry: pd.DataFrame | None, facts: StageFacts, slo: Sequence[Objective]) -> Stage:
    """Add the telemetry inside the stage's window and evaluate the SLO again; some of it arrives after the stage."""
    stage = msgspec.structs.replace(stage, metrics={**stage.metrics, **telemetry_metrics(telemetry, stage.window)})
    return msgspec.structs.replace(stage, held=_meets_slo(stage, facts, slo))


def _meets_slo(stage: Stage, facts: StageFacts, slo: Sequence[Objective]) -> bool | None:
    """Return whether every point estimate met the SLO.

    A withheld estimate counts as a failure in a search, whose stages are long enough for it; in a stage that the
    profile requested, it leaves the result open unless others fail. None if there is nothing to evaluate: a warm-up, no
    SLO, or a stage cut short for another reason than its backlog.
    """
    deciding = binding(slo)
    if facts.over_saturated:
        return False
    if facts.kind == "warmup" or facts.stopped_early or not deciding:
        return None
    met = [is_met(objective, find_estimate(stage, objective)) for objective in deciding]
    if None in met and False not in met and facts.kind not in ("probe", "hold"):
        return None
    return all(met)


def _offered_rate(offered: StageRows, facts: StageFacts, bounds: tuple[int, int]) -> Estimate:
    if facts.arrival_kind in ("closed", "locust"):
        return Estimate(None, reason="closed loop: the next request waits for an answer")
    return rate(offered.intended_ns, bounds)


def _goodput(offered: StageRows, bounds: tuple[int, int], slo: Sequence[Objective]) -> dict[str, Estimate]:
    """Compute rate and share of the responses within every SLO limit; withheld if a limit counts from an unknown
    start."""
    unknowns = (
        [objective.text for objective in slo if objective.metric in FROM_INTENDED] if not offered.knows_intended else []
    )
    if unknowns:
        unavailable = Estimate(None, reason=f"{NOT_INTENDED}, which {unknowns[0]} counts from")
        return {"good_per_s": unavailable, "goodput_share": unavailable}
    is_good = is_inside(offered, slo)
    return {"good_per_s": rate(offered.intended_ns[is_good], bounds), "goodput_share": timed_share(is_good)}


def _request_metrics(rows: StageRows, rows_per_request: int) -> Metrics:
    # Latency covers successful requests only: a quick refusal is not a fast response, and a time-out has no latency.
    # Failures are visible in error_rate and goodput_share, and a stage with an error rate over 1 % does not meet the
    # SLO.
    success = rows.where(rows.is_success)
    metrics = {name: _distribution(success, name) for name in ("latency_ms", "service_ms", "first_byte_ms")}
    metrics["send_lag_ms"] = _distribution(rows, "send_lag_ms")
    metrics["error_rate"] = {"value": timed_share(rows.is_failed[rows.was_started])}
    labeled = np.empty(0) if rows.right is None else rows.right[~np.isnan(rows.right)]
    if labeled.size:
        metrics["accuracy"] = {"value": share(int(labeled.sum()), labeled.size * rows_per_request)}
    return metrics


def _distribution(rows: StageRows, metric: str) -> dict[str, Estimate]:
    values_ms = span_ms(rows, metric)
    return withheld(NOT_INTENDED) if values_ms is None else distribution(values_ms)


def telemetry_metrics(telemetry: pd.DataFrame | None, window: Window) -> Metrics:
    """Compute mean and maximum of every catalog metric read on this machine inside the window; GPUs are pooled."""
    if telemetry is None:
        return {}
    inside = telemetry[telemetry["at_ns"].between(window.start_ns, window.end_ns, inclusive="left")]
    inside = inside[inside["metric"].isin(_SAMPLED_METRICS) & ~inside["source"].isin(elsewhere(telemetry))].sort_values(
        "at_ns", kind="stable"
    )
    metrics: Metrics = {}
    for name, readings in inside.groupby("metric")["value"]:
        values = readings.to_numpy(dtype=np.float64, na_value=np.nan)
        metrics[str(name)] = {"mean": mean(values), "max": maximum(values)}
    return metrics
