"""Compute all metrics of one stage from its rows, its telemetry and its stage data.

Only telemetry of this machine is summarized; metrics scraped from other servers are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from app.analysis.arrivals import format_arrivals
from app.analysis.breakdown import break_down_latency
from app.analysis.estimates import (
    BATCH_COUNT,
    compute_distribution,
    estimate_mean,
    estimate_ordered_proportion,
    estimate_proportion,
    estimate_rate,
    estimate_rate_of_amounts,
    find_maximum,
)
from app.analysis.gpu_use import MetricSamples
from app.analysis.objectives import (
    count_planned_slo_samples,
    find_estimate,
    is_met,
    select_binding_objectives,
    select_run_objectives,
)
from app.analysis.rows import StageRows, compute_offered_window, read_rows
from app.analysis.server_counters import check_other_clients, compare_latencies, refuse_by_counts
from app.analysis.spans import (
    NO_SCHEDULED_START,
    RESPONSE_METRICS,
    SCHEDULED_START_METRICS,
    compute_durations_ms,
    find_requests_within_limits,
)
from app.analysis.spikes import analyze_spike
from app.analysis.stage_checks import check_stage
from app.analysis.steady_state import find_steady_state
from app.analysis.token_metrics import (
    compute_token_metrics,
    count_token_batches,
    count_tokens,
    estimate_token_goodput,
    sample_tokens,
    withhold_distribution,
)
from app.analysis.validity import compute_verdict
from app.records.metrics import METRICS
from app.records.result import ClassSummary, Estimate, Objective, Stage, Window
from app.records.stage import StageData
from app.records.stage_kinds import STAGE_KINDS

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def find_remote_sources(telemetry: pd.DataFrame) -> frozenset[str]:
    """Return the telemetry sources that are scraped from other servers, and the devices that these
    servers report, such as `scrape1` and `scrape1/gpu0`."""
    scraped_sources = set(telemetry.loc[telemetry["metric"] == "scrape_ok", "source"].unique())
    return frozenset(
        str(source) for source in telemetry["source"].unique() if str(source).partition("/")[0] in scraped_sources
    )


Metrics = dict[str, dict[str, Estimate]]

_PLANNED_SHARE = 0.99
"""Share of the planned arrivals above which a search stage counts as planned for them, because rates
and durations are rounded."""
_SAMPLED_METRICS = [name for name, metric in METRICS.items() if metric.aggregates]
"""Metrics whose mean over time is meaningful, which excludes counters and bit masks."""


def summarize_stage(
    rows: pd.DataFrame | pa.Table, telemetry: pd.DataFrame | None, stage_data: StageData, slo: Sequence[Objective]
) -> Stage:
    """Compute the results of one stage from its `rows`. `telemetry` may cover the whole run."""
    return summarize_rows(read_rows(rows), telemetry, stage_data, slo)


def summarize_rows(
    rows: StageRows, telemetry: pd.DataFrame | None, stage_data: StageData, slo: Sequence[Objective]
) -> Stage:
    """Compute the results of one stage. `rows` contains the rows of the stage, including the
    lead-in.

    Requests are counted by scheduled start, so responses during the drain belong to the stage. Only
    completion rates count the responses inside the window; otherwise, the backlog of an overloaded
    endpoint would count as throughput.
    """
    rows = name_classes(rows, stage_data)
    window = compute_offered_window(rows, stage_data)
    offered_rows = rows.filter((rows.scheduled_ns >= window.start_ns) & (rows.scheduled_ns < window.end_ns))
    bounds_ns = (window.start_ns, window.end_ns)
    server = (
        None
        if stage_data.server is None
        else refuse_by_counts(stage_data.server, int(rows.was_sent.sum()), int(np.count_nonzero(rows.is_success)))
    )
    server_latencies = () if server is None else compare_latencies(rows, server)
    has_tokens = rows.tokens is not None and bool((rows.tokens.first_token_ns > 0).any())
    other_clients_check = None if server is None else check_other_clients(int(rows.was_sent.sum()), server)
    checks = check_stage(offered_rows, stage_data, window, slo)
    checks = checks if other_clients_check is None else (*checks, other_clients_check)
    goodput = _compute_goodput(offered_rows, stage_data, bounds_ns, slo)
    stage = Stage(
        name=stage_data.name,
        kind=stage_data.kind,
        repeat=stage_data.repeat,
        tags=stage_data.tags,
        variant=None,
        window=window,
        offered_per_s=_estimate_offered_rate(offered_rows, stage_data, bounds_ns),
        achieved_per_s=estimate_rate(offered_rows.sent_ns[offered_rows.was_sent], bounds_ns),
        good_per_s=goodput["good_per_s"],
        completed=int(np.count_nonzero(offered_rows.is_success)),
        errors=offered_rows.count_errors(),
        metrics={
            **_build_request_metrics(offered_rows, stage_data.rows_per_request),
            **_select_goodput_metrics(goodput),
            "completed_per_s": {"value": estimate_rate(rows.end_ns[rows.is_success], bounds_ns)},
            **compute_token_metrics(offered_rows, bounds_ns, rows),
            **_compute_media_metrics(offered_rows, bounds_ns, rows),
        },
        verdict=compute_verdict(checks),
        checks=checks,
        scheduled_per_s=stage_data.rate_per_s,
        concurrency=stage_data.concurrency,
        arrivals=format_arrivals(stage_data),
        arrival_kind=stage_data.arrival_kind,
        arrival_cv=stage_data.cv if stage_data.arrival_kind == "gamma" else None,
        rates=stage_data.rates,
        think_s=stage_data.think_s,
        sessions=stage_data.sessions,
        spike=analyze_spike(rows, stage_data, window, select_run_objectives(select_binding_objectives(slo)))
        if stage_data.kind == "spike"
        else None,
        workers=stage_data.workers,
        error_samples=stage_data.error_samples,
        live_sessions=stage_data.live_sessions,
        outputs=stage_data.outputs,
        batch=stage_data.batch,
        lengths=sample_tokens(offered_rows),
        steady_state=find_steady_state(rows, stage_data, window),
        server=server,
        server_latencies=server_latencies,
        round_trip_ms=stage_data.round_trip_ms,
        breakdown=break_down_latency(offered_rows, rows, server_latencies, stage_data.round_trip_ms)
        if has_tokens or server_latencies
        else (),
        classes=_summarize_classes(offered_rows, rows, stage_data, bounds_ns, slo),
    )
    if stage_data.kind == "batch":
        stage = _withhold_rate_intervals(stage)
    return add_telemetry(stage, read_metric_samples(telemetry), stage_data, slo)


def _withhold_rate_intervals(stage: Stage) -> Stage:
    """Return the stage of a batch without the intervals of its rates: all responses become
    available at once, so the parts of the stage say nothing about their variation."""

    def withhold(estimate: Estimate) -> Estimate:
        return Estimate(estimate.value, None, estimate.n, reason="a single job has no interval")

    rates = {
        name: {"value": withhold(estimates["value"])}
        for name, estimates in stage.metrics.items()
        if "rate" in METRICS[name].traits
    }
    return msgspec.structs.replace(
        stage,
        achieved_per_s=withhold(stage.achieved_per_s),
        good_per_s=withhold(stage.good_per_s),
        metrics={**stage.metrics, **rates},
    )


def reevaluate_stage(rows: StageRows, stage_data: StageData, original: Stage, slo: Sequence[Objective]) -> Stage:
    """Evaluate a complete stage with another SLO. `original` is the stage as evaluated with the
    run's own SLO, including telemetry.

    The result equals that of `summarize_rows` on the same rows, but metrics that do not depend on
    an SLO limit are not recomputed."""
    rows = name_classes(rows, stage_data)
    window = compute_offered_window(rows, stage_data)
    offered_rows = rows.filter((rows.scheduled_ns >= window.start_ns) & (rows.scheduled_ns < window.end_ns))
    checks = check_stage(offered_rows, stage_data, window, slo)
    recomputed_ids = {check.id for check in checks}
    checks = (*checks, *(check for check in original.checks if check.id not in recomputed_ids))
    goodput = _compute_goodput(offered_rows, stage_data, (window.start_ns, window.end_ns), slo)
    stage = msgspec.structs.replace(
        original,
        good_per_s=goodput["good_per_s"],
        metrics={**original.metrics, **_select_goodput_metrics(goodput)},
        verdict=compute_verdict(checks),
        checks=checks,
        spike=analyze_spike(rows, stage_data, window, select_run_objectives(select_binding_objectives(slo)))
        if stage_data.kind == "spike"
        else None,
        classes=_summarize_classes(offered_rows, rows, stage_data, (window.start_ns, window.end_ns), slo),
        in_headline=False,
    )
    if stage_data.kind == "batch":
        stage = _withhold_rate_intervals(stage)
    return _evaluate_slo(stage, stage_data, slo)


def name_classes(rows: StageRows, stage_data: StageData) -> StageRows:
    return rows.name_classes([request_class.name for request_class in stage_data.classes])


def _summarize_classes(
    offered_rows: StageRows,
    rows: StageRows,
    stage_data: StageData,
    bounds_ns: tuple[int, int],
    slo: Sequence[Objective],
) -> tuple[ClassSummary, ...]:
    """Compute the results of each class of requests. A class without latency limits of its own has
    the goodput within the limits of the SLO."""
    if offered_rows.classes is None or rows.classes is None:
        return ()
    summaries = []
    for request_class in stage_data.classes:
        class_rows = offered_rows.filter(offered_rows.classes.equals(request_class.name))
        all_class_rows = rows.filter(rows.classes.equals(request_class.name))
        goodput = _compute_goodput(class_rows, stage_data, bounds_ns, slo)
        completed_per_s = estimate_rate(all_class_rows.end_ns[all_class_rows.is_success], bounds_ns)
        summary = ClassSummary(
            name=request_class.name,
            weight_share=request_class.share,
            requests=class_rows.scheduled_ns.size,
            completed=int(np.count_nonzero(class_rows.is_success)),
            errors=class_rows.count_errors(),
            offered_per_s=_estimate_offered_rate(class_rows, stage_data, bounds_ns),
            achieved_per_s=estimate_rate(class_rows.sent_ns[class_rows.was_sent], bounds_ns),
            good_per_s=goodput["good_per_s"],
            metrics={
                **_build_request_metrics(class_rows, stage_data.rows_per_request),
                **_select_goodput_metrics(goodput),
                "completed_per_s": {"value": completed_per_s},
                **compute_token_metrics(class_rows, bounds_ns, all_class_rows),
            },
            tokens=count_tokens(class_rows),
        )
        summaries.append(summary)
    return tuple(summaries)


def add_telemetry(
    stage: Stage, samples: Mapping[str, MetricSamples], stage_data: StageData, slo: Sequence[Objective]
) -> Stage:
    """Add the telemetry inside the stage's window, and evaluate the SLO again. This is a separate
    step, because some telemetry arrives after the stage."""
    stage = msgspec.structs.replace(
        stage, metrics={**stage.metrics, **compute_telemetry_metrics(samples, stage.window)}
    )
    return _evaluate_slo(stage, stage_data, slo)


def _evaluate_slo(stage: Stage, stage_data: StageData, slo: Sequence[Objective]) -> Stage:
    """Return the stage with whether it and each of its classes met the SLO."""
    binding_slo = select_binding_objectives(slo)
    classes = []
    for summary in stage.classes:
        class_slo = [objective for objective in binding_slo if objective.request_class == summary.name]
        meets_slo = _meets_slo(stage, stage_data, class_slo) if class_slo else None
        classes.append(msgspec.structs.replace(summary, meets_slo=meets_slo))
    return msgspec.structs.replace(stage, meets_slo=_meets_slo(stage, stage_data, binding_slo), classes=tuple(classes))


def _meets_slo(stage: Stage, stage_data: StageData, binding_slo: Sequence[Objective]) -> bool | None:
    """Return True if all point estimates met the SLO, False if one did not.

    In a search stage that is long enough for all percentiles, a withheld estimate counts as a
    failure. In a shorter search stage and in a stage of the profile, a withheld estimate leaves the
    result undecided (`None`), unless another estimate fails. Also return `None` if there is nothing
    to evaluate: a warm-up, no SLO, or a stage that was stopped early for a reason other than its
    backlog."""
    if stage_data.is_saturated:
        return False
    if not STAGE_KINDS[stage_data.kind].is_measured or stage_data.stopped_early or not binding_slo:
        return None
    met_flags = [is_met(objective, find_estimate(stage, objective)) for objective in binding_slo]
    if None in met_flags and False not in met_flags and not _is_long_search_stage(stage_data, binding_slo):
        return None
    return all(met_flags)


def _is_long_search_stage(stage_data: StageData, binding_slo: Sequence[Objective]) -> bool:
    """Return True for a search stage that was planned long enough for the percentiles of the SLO, so
    that only an endpoint that does not respond leaves them without enough responses."""
    if not STAGE_KINDS[stage_data.kind].is_search:
        return False
    if stage_data.rate_per_s is None:
        return True
    expected_count = stage_data.rate_per_s * stage_data.duration_s
    return expected_count >= _PLANNED_SHARE * count_planned_slo_samples(binding_slo)


def _estimate_offered_rate(offered_rows: StageRows, stage_data: StageData, bounds_ns: tuple[int, int]) -> Estimate:
    if stage_data.arrival_kind == "batch":
        return Estimate(None, reason="all requests of a batch are submitted at once")
    if stage_data.is_closed_loop:
        return Estimate(None, reason="closed loop: the next request waits for a response")
    return estimate_rate(offered_rows.scheduled_ns, bounds_ns)


def _compute_goodput(
    offered_rows: StageRows, stage_data: StageData, bounds_ns: tuple[int, int], slo: Sequence[Objective]
) -> dict[str, Estimate]:
    """Compute the goodput: the rate and the proportion of responses within all SLO limits, and the
    rate of their output tokens, if known. All are withheld if the scheduled starts are unknown and
    a limit is measured from them.

    In an open loop, the rates are of the offered requests that succeed. In a closed loop, where
    responses determine the next requests, they count responses and tokens that arrived in the
    window, and so never exceed the completion rate and the output throughput."""
    unavailable_labels = (
        [objective.label for objective in slo if objective.metric in SCHEDULED_START_METRICS]
        if not offered_rows.has_all_scheduled_starts
        else []
    )
    if unavailable_labels:
        withheld_estimate = Estimate(
            None, reason=f"{NO_SCHEDULED_START}, but {unavailable_labels[0]} is measured from it"
        )
        return {"good_per_s": withheld_estimate, "goodput_share": withheld_estimate}
    is_good = find_requests_within_limits(offered_rows, slo)
    good_rows = offered_rows.filter(is_good)
    token_goodput = estimate_token_goodput(good_rows, bounds_ns, is_closed_loop=stage_data.is_closed_loop)
    return {
        **({} if token_goodput is None else {"good_tokens_per_s": token_goodput}),
        "good_per_s": estimate_rate(
            good_rows.end_ns if stage_data.is_closed_loop else good_rows.scheduled_ns, bounds_ns
        ),
        "goodput_share": estimate_ordered_proportion(is_good),
    }


def _select_goodput_metrics(goodput: dict[str, Estimate]) -> Metrics:
    """Return the goodput metrics except the rate of responses, which is a field of the stage."""
    return {name: {"value": estimate} for name, estimate in goodput.items() if name != "good_per_s"}


def _build_request_metrics(rows: StageRows, rows_per_request: int) -> Metrics:
    # Latency covers successful requests only: a quick rejection is not a fast response, and a
    # timeout has no latency. Failures are visible in error_rate and goodput_share, and a stage with
    # an error rate over 1 % does not meet the SLO.
    success_rows = rows.filter(rows.is_success)
    metrics = {name: _compute_metric_distribution(success_rows, name) for name in RESPONSE_METRICS}
    metrics["send_lag_ms"] = _compute_metric_distribution(rows, "send_lag_ms")
    metrics["error_rate"] = {"value": estimate_ordered_proportion(rows.is_failed[rows.was_started])}
    correct_counts = np.empty(0) if rows.correct_counts is None else rows.correct_counts[~np.isnan(rows.correct_counts)]
    if correct_counts.size:
        metrics["accuracy"] = {
            "value": estimate_proportion(int(correct_counts.sum()), correct_counts.size * rows_per_request)
        }
    return metrics


def _compute_media_metrics(rows: StageRows, bounds_ns: tuple[int, int], all_rows: StageRows) -> Metrics:
    """Compute the metrics of audio and images of successful requests; metrics without data are
    omitted. `all_rows` also contains the rows before and after the stage, whose responses count for
    the rates if they ended within `bounds_ns`."""
    success_rows = rows.filter(rows.is_success)
    media = success_rows.media
    if media is None:
        return {}
    metrics: Metrics = {}
    if np.any(media.first_audio_ns > 0):
        metrics["ttfa_ms"] = _compute_metric_distribution(success_rows, "ttfa_ms")
    if np.any(media.input_end_ns > 0):
        metrics["response_ms"] = _compute_metric_distribution(success_rows, "response_ms")
    if (has_audio := np.nan_to_num(media.audio_durations_s) > 0).any():
        service_ms = compute_durations_ms(success_rows, "service_ms")
        response_ms = compute_durations_ms(success_rows, "response_ms")
        assert service_ms is not None
        assert response_ms is not None
        service_ms = np.where(np.isnan(response_ms), service_ms, response_ms)
        metrics["real_time_factor"] = compute_distribution(
            service_ms[has_audio] / 1e3 / media.audio_durations_s[has_audio]
        )
        metrics["audio_s"] = compute_distribution(media.audio_durations_s[has_audio])
    for name, amounts in (("audio_s_per_s", "audio_durations_s"), ("images_per_s", "image_counts")):
        if not np.isnan(getattr(media, amounts)).all():
            metrics[name] = {"value": _estimate_media_rate(all_rows.filter(all_rows.is_success), amounts, bounds_ns)}
    return metrics


def _estimate_media_rate(success_rows: StageRows, amounts: str, bounds_ns: tuple[int, int]) -> Estimate:
    """Estimate the seconds of audio or the images per second of the responses that ended in the
    window."""
    edges_ns = np.linspace(*bounds_ns, BATCH_COUNT + 1)
    weights = np.nan_to_num(getattr(success_rows.media, amounts))
    counts, _ = np.histogram(success_rows.end_ns, edges_ns, weights=weights)
    estimate = estimate_rate_of_amounts(counts, (bounds_ns[1] - bounds_ns[0]) / 1e9)
    is_inside = (success_rows.end_ns >= bounds_ns[0]) & (success_rows.end_ns < bounds_ns[1])
    return msgspec.structs.replace(estimate, n=int(np.count_nonzero(is_inside & (weights > 0))))


def _compute_metric_distribution(rows: StageRows, metric: str) -> dict[str, Estimate]:
    values_ms = compute_durations_ms(rows, metric)
    if values_ms is None:
        return withhold_distribution(NO_SCHEDULED_START)
    is_of_generator = metric == "send_lag_ms"
    return compute_distribution(values_ms, BATCH_COUNT if is_of_generator else count_token_batches(rows))


def read_metric_samples(telemetry: pd.DataFrame | None) -> dict[str, MetricSamples]:
    """Return the samples of each metric of the catalog that was sampled on this machine. Samples of
    all GPUs are pooled."""
    if telemetry is None:
        return {}
    samples = telemetry[
        telemetry["metric"].isin(_SAMPLED_METRICS) & ~telemetry["source"].isin(find_remote_sources(telemetry))
    ].sort_values("at_ns", kind="stable")
    return {
        str(name): MetricSamples(
            rows["at_ns"].to_numpy(dtype=np.int64), rows["value"].to_numpy(dtype=np.float64, na_value=np.nan)
        )
        for name, rows in samples.groupby("metric")
    }


def compute_telemetry_metrics(samples: Mapping[str, MetricSamples], window: Window) -> Metrics:
    """Compute the mean and maximum of each metric that was sampled inside the window."""
    metrics: Metrics = {}
    for name, metric_samples in samples.items():
        first, stop = np.searchsorted(metric_samples.times_ns, (window.start_ns, window.end_ns))
        if first < stop:
            values = metric_samples.values[first:stop]
            metrics[name] = {"mean": estimate_mean(values), "max": find_maximum(values)}
    return metrics
