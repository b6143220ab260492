"""All numbers of one stage, from its rows, its telemetry and what is known of it.

Where readings come from: this machine, or pages of others.
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
    """The sources that are pages of other servers, and what those tell of: `scrape1`, `scrape1/gpu0`."""
    pages = set(telemetry.loc[telemetry["metric"] == "scrape_ok", "source"].unique())
    return frozenset(str(one) for one in telemetry["source"].unique() if str(one).partition("/")[0] in pages)


Metrics = dict[str, dict[str, Estimate]]

_READ = [name for name, metric in METRICS.items() if metric.aggregates]
"""Those whose mean over a time means something: of counters and bits it does not."""


def summarise_stage(
    rows: pd.DataFrame | pa.Table, telemetry: pd.DataFrame | None, facts: StageFacts, slo: Sequence[Objective]
) -> Stage:
    """`rows` are those of this stage, `telemetry` may be the whole run's."""
    return summarise_rows(read_rows(rows), telemetry, facts, slo)


def summarise_rows(
    every: StageRows, telemetry: pd.DataFrame | None, facts: StageFacts, slo: Sequence[Objective]
) -> Stage:
    """`every` are the rows of the stage, with those of its lead-in.

    Requests are counted by their arrival, so answers that came in the drain belong to the stage; only the completed
    rates count what was answered within the window, else an overloaded endpoint's backlog would pass for throughput.
    """
    window = offered_window(every, facts)
    offered = every.where((every.intended_ns >= window.start_ns) & (every.intended_ns < window.end_ns))
    bounds = (window.start_ns, window.end_ns)
    checks = stage_checks(offered, facts, window, slo)
    good = _good(offered, bounds, slo)
    stage = Stage(
        name=facts.name,
        kind=facts.kind,
        repeat=facts.repeat,
        tags=facts.tags,
        variant=None,
        window=window,
        offered_per_s=_offered(offered, facts, bounds),
        achieved_per_s=rate(offered.sent_ns[offered.was_sent], bounds),
        good_per_s=good["good_per_s"],
        completed=int(np.count_nonzero(offered.is_success)),
        errors=offered.errors(),
        metrics={
            **_request_metrics(offered, facts.rows_per_request),
            "goodput_share": {"value": good["goodput_share"]},
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
    """The whole stage by another SLO: what `summarise_rows` makes of the same rows, without making again what hangs on
    no limit. `own` is the stage by its run's own SLO, with its telemetry."""
    window = offered_window(every, facts)
    offered = every.where((every.intended_ns >= window.start_ns) & (every.intended_ns < window.end_ns))
    checks = stage_checks(offered, facts, window, slo)
    made = {check.id for check in checks}
    checks = (*checks, *(check for check in own.checks if check.id not in made))
    good = _good(offered, (window.start_ns, window.end_ns), slo)
    stage = msgspec.structs.replace(
        own,
        good_per_s=good["good_per_s"],
        metrics={**own.metrics, "goodput_share": {"value": good["goodput_share"]}},
        verdict=verdict_of(checks),
        checks=checks,
        spike=analyse_spike(every, facts, window, binding(slo)) if facts.kind == "spike" else None,
        in_headline=False,
    )
    return msgspec.structs.replace(stage, held=_has_held(stage, facts, slo))


def with_telemetry(stage: Stage, telemetry: pd.DataFrame | None, facts: StageFacts, slo: Sequence[Objective]) -> Stage:
    """The stage with what was read inside its window, and judged by that too: some of it comes after the stage."""
    stage = msgspec.structs.replace(stage, metrics={**stage.metrics, **telemetry_metrics(telemetry, stage.window)})
    return msgspec.structs.replace(stage, held=_has_held(stage, facts, slo))


def _has_held(stage: Stage, facts: StageFacts, slo: Sequence[Objective]) -> bool | None:
    """Whether every point estimate met the SLO. One that is withheld did not in a search, whose stages are long enough
    for it; in a stage that the profile asked for it leaves open what the others do not decide.

    None where there is nothing to judge: a warm-up, no SLO, or a stage cut short by something else than its backlog.
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


def _offered(offered: StageRows, facts: StageFacts, bounds: tuple[int, int]) -> Estimate:
    if facts.arrival_kind in ("closed", "locust"):
        return Estimate(None, reason="closed loop: the next request waits for an answer")
    return rate(offered.intended_ns, bounds)


def _good(offered: StageRows, bounds: tuple[int, int], slo: Sequence[Objective]) -> dict[str, Estimate]:
    """Rate and share of what was answered inside every SLO; withheld where a limit counts from an unknown start."""
    unknown = [one.text for one in slo if one.metric in FROM_INTENDED] if not offered.knows_intended else []
    if unknown:
        nothing = Estimate(None, reason=f"{NOT_INTENDED}, which {unknown[0]} counts from")
        return {"good_per_s": nothing, "goodput_share": nothing}
    is_good = is_inside(offered, slo)
    return {"good_per_s": rate(offered.intended_ns[is_good], bounds), "goodput_share": timed_share(is_good)}


def _request_metrics(rows: StageRows, rows_per_request: int) -> Metrics:
    # Latencies are of successful requests: a quick refusal is no fast answer, and a time-out has no latency. What
    # failed shows in error_rate and goodput_share, and a stage with more than 1 % of it does not hold.
    success = rows.where(rows.is_success)
    metrics = {name: _distribution(success, name) for name in ("latency_ms", "service_ms", "first_byte_ms")}
    metrics["send_lag_ms"] = _distribution(rows, "send_lag_ms")
    metrics["error_rate"] = {"value": timed_share(rows.is_failed[rows.was_started])}
    judged = np.empty(0) if rows.right is None else rows.right[~np.isnan(rows.right)]
    if judged.size:
        metrics["accuracy"] = {"value": share(int(judged.sum()), judged.size * rows_per_request)}
    return metrics


def _distribution(rows: StageRows, metric: str) -> dict[str, Estimate]:
    values_ms = span_ms(rows, metric)
    return withheld(NOT_INTENDED) if values_ms is None else distribution(values_ms)


def telemetry_metrics(telemetry: pd.DataFrame | None, window: Window) -> Metrics:
    """Mean and maximum of every metric of the catalogue read on this machine inside the window; GPUs are pooled."""
    if telemetry is None:
        return {}
    inside = telemetry[telemetry["at_ns"].between(window.start_ns, window.end_ns, inclusive="left")]
    inside = inside[inside["metric"].isin(_READ) & ~inside["source"].isin(elsewhere(telemetry))].sort_values(
        "at_ns", kind="stable"
    )
    metrics: Metrics = {}
    for name, readings in inside.groupby("metric")["value"]:
        values = readings.to_numpy(dtype=np.float64, na_value=np.nan)
        metrics[str(name)] = {"mean": mean(values), "max": maximum(values)}
    return metrics
