"""Prepare request rows for charts: rates and latencies over time, percentiles, distributions, heat
maps and errors.

The module also computes the distributions of a single stage of a stored run. It groups the requests
of the headline stages by target and by Locust name.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from app.analysis.columns import Floats, Mask, Nanoseconds
from app.analysis.estimates import estimate_proportion
from app.analysis.groups import Group, group_by_name, group_by_target
from app.analysis.pooling import select_first_samples
from app.analysis.rows import NOT_STARTED, StageRows, read_rows
from app.analysis.sample_size import count_needed_samples
from app.analysis.spans import compute_durations_ms, find_requests_within_limits
from app.profiles.generation_tests import parse_generation_test
from app.records.local import TEST_TAG
from app.records.result import Result, Stage
from app.records.stage_kinds import STAGE_KINDS
from app.reporting.quantities import build_quantity
from app.storage.run_directory import StoredRun
from reports import model
from reports.model import PercentileCurve

if TYPE_CHECKING:
    import pandas as pd

UNUSED_COLUMNS = ("stage", "index", "status", "bytes_received", "reused", "worker", "chunk_ns", "chunk_tokens")
"""Names of the columns of request rows that no chart uses."""
MAX_POINTS = 300
_FINE_BIN_WIDTHS_S = (0.1, 0.2, 0.5)
_BIN_WIDTHS_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, 21600.0, 86400.0)


@dataclass(frozen=True)
class RequestTimes:
    """Times of all arrivals of a run, ordered by scheduled start.

    Charts convert columns to other units on demand, since millions of rows in all units would take
    gigabytes of memory.
    """

    rows: StageRows
    start_ns: int
    is_good: Mask
    """Mask of the successful requests that meet all limits of the SLO for individual requests."""

    def to_seconds(self, times_ns: Nanoseconds) -> Floats:
        """Convert times in ns to seconds from the start of the run."""
        return np.asarray((times_ns - self.start_ns) / 1e9)


@dataclass(frozen=True)
class Bins:
    """Time bins of equal width; the first bin starts at `first_s`."""

    first_s: float
    width_s: float
    count: int

    @property
    def edges_s(self) -> Floats:
        return np.asarray(self.first_s + self.width_s * np.arange(self.count + 1), dtype=np.float64)

    def count_times(self, times_s: Floats) -> Nanoseconds:
        indices = np.floor((times_s - self.first_s) / self.width_s).astype(np.int64)
        is_inside = (indices >= 0) & (indices < self.count)
        return np.bincount(indices if is_inside.all() else indices[is_inside], minlength=self.count)


def read_request_times(
    rows: pd.DataFrame | pa.Table, result: Result, stage_rows: StageRows | None = None
) -> RequestTimes | None:
    """Decode the times of the requests; `None` without requests.

    `stage_rows` contains the decoded rows that charts should show; by default, charts show all
    `rows`.
    """
    if len(rows) == 0:
        return None
    stage_rows = read_rows(rows) if stage_rows is None else stage_rows
    return RequestTimes(
        stage_rows,
        result.time_zero_ns,
        find_requests_within_limits(stage_rows, [evaluation.objective for evaluation in result.slo]),
    )


def build_load_series(
    request_times: RequestTimes | None, latency_metric: str = "latency_ms"
) -> model.LoadSeries | None:
    """Build the time series of rates and latencies with at most `MAX_POINTS` bins. `latency_metric`
    is the metric of the p50 and p95 series."""
    if request_times is None:
        return None
    rows, scheduled_s = request_times.rows, request_times.to_seconds(request_times.rows.scheduled_ns)
    bins = build_time_bins(
        float(scheduled_s[0]), max(float(scheduled_s[-1]), float(request_times.to_seconds(_get_ends_ns(rows)).max()))
    )
    completed_s = request_times.to_seconds(rows.end_ns[rows.is_success])
    p50, p95 = _compute_binned_percentiles(
        rows, scheduled_s, compute_durations_ms(rows, latency_metric), bins, (0.50, 0.95)
    )
    (lag_p99,) = _compute_binned_percentiles(
        rows, scheduled_s, compute_durations_ms(rows, "send_lag_ms"), bins, (0.99,)
    )
    (ttft_p95,) = _compute_binned_percentiles(rows, scheduled_s, compute_durations_ms(rows, "ttft_ms"), bins, (0.95,))
    return model.LoadSeries(
        bin_s=bins.width_s,
        at_s=round_values((bins.edges_s[:-1] + bins.edges_s[1:]) / 2),
        offered_per_s=_compute_rates(bins, scheduled_s),
        sent_per_s=_compute_rates(bins, request_times.to_seconds(rows.sent_ns[rows.was_sent])),
        completed_per_s=_compute_rates(bins, completed_s),
        good_per_s=_compute_rates(bins, request_times.to_seconds(rows.end_ns[request_times.is_good])),
        p50_ms=p50,
        p95_ms=p95,
        in_flight=_count_in_flight(request_times, bins),
        ttft_p95_ms=ttft_p95 if any(value is not None for value in ttft_p95) else (),
        lag_p99_ms=lag_p99 if any(value is not None for value in lag_p99) else (),
    )


def build_spectra(request_times: RequestTimes | None, stages: tuple[Stage, ...]) -> tuple[model.PercentileCurve, ...]:
    """Build the percentile curves of latency, service time and TTFT, pooled over the successful
    requests of the stages."""
    if request_times is None:
        return ()
    rows, is_inside = request_times.rows, mask_stages(request_times, stages)
    metrics: tuple[model.DistributionMetric, ...] = ("latency_ms", "service_ms", "ttft_ms")
    curves = (_build_spectrum(metric, compute_durations_ms(rows, metric), is_inside) for metric in metrics)
    return tuple(curve for curve in curves if curve is not None)


def mask_stages(request_times: RequestTimes, stages: tuple[Stage, ...]) -> Mask:
    """Return a mask of the successful requests whose scheduled start is in the window of a
    stage."""
    rows = request_times.rows
    is_inside: Mask = np.zeros(rows.scheduled_ns.size, dtype=bool)
    for stage in stages:
        is_inside |= (rows.scheduled_ns >= stage.window.start_ns) & (rows.scheduled_ns < stage.window.end_ns)
    return is_inside & rows.is_success


def build_error_rows(request_times: RequestTimes | None, stages: Sequence[Stage] = ()) -> tuple[model.ErrorRow, ...]:
    """Build a row for each error class, most frequent first. All requests of the run are counted,
    including requests of probes that missed the SLO."""
    if request_times is None:
        return ()
    rows = request_times.rows
    sample_texts = {
        sample.error: sample.text for sample in select_first_samples(stage.error_samples for stage in stages)
    }
    error_rows = []
    for error, count in sorted(rows.count_errors().items(), key=lambda pair: (-pair[1], pair[0])):
        has_error = ~rows.was_started if error == NOT_STARTED else rows.is_failed & rows.error.equals(error)
        at_s = request_times.to_seconds(rows.scheduled_ns[has_error])
        error_rows.append(
            model.ErrorRow(
                error=error,
                count=count,
                share=build_quantity(estimate_proportion(count, rows.scheduled_ns.size), "share"),
                first_s=float(at_s.min()),
                last_s=float(at_s.max()),
                sample=sample_texts.get(error),
            )
        )
    return tuple(error_rows)


def _get_ends_ns(rows: StageRows) -> Nanoseconds:
    """Return the end time of each request in ns. The end time of a request that did not end is its
    scheduled start."""
    return np.where(rows.is_success | rows.is_failed, rows.end_ns, rows.scheduled_ns)


def build_time_bins(first_s: float, last_s: float, max_bins: int = MAX_POINTS, *, has_fine_bins: bool = False) -> Bins:
    """Return time bins for an interval. The bins are at least 1 s wide, or at least 0.1 s if
    `has_fine_bins` is true."""
    start_s = math.floor(first_s)
    widths = (*_FINE_BIN_WIDTHS_S, *_BIN_WIDTHS_S) if has_fine_bins else _BIN_WIDTHS_S
    width_s = next(
        (candidate for candidate in widths if (last_s - start_s) / candidate < max_bins - 1), _BIN_WIDTHS_S[-1]
    )
    return Bins(start_s, width_s, min(math.floor((last_s - start_s) / width_s) + 1, max_bins))


def _compute_rates(bins: Bins, times_s: Floats) -> tuple[float, ...]:
    return round_values(bins.count_times(times_s) / bins.width_s)


def _compute_binned_percentiles(
    rows: StageRows, scheduled_s: Floats, values_ms: Floats | None, bins: Bins, probabilities: tuple[float, ...]
) -> tuple[tuple[float | None, ...], ...]:
    """Return the percentiles of successful responses in each bin of scheduled starts, as one tuple
    per probability. The percentile of an empty bin is `None`."""
    if values_ms is None:
        return ((None,) * bins.count,) * len(probabilities)
    indices = np.searchsorted(scheduled_s, bins.edges_s)
    percentile_series: list[list[float | None]] = [[] for _ in probabilities]
    for start, end in itertools.pairwise(indices):
        bin_values_ms = values_ms[start:end][rows.is_success[start:end]]
        sorted_ms = np.sort(bin_values_ms[~np.isnan(bin_values_ms)])
        for probability, series in zip(probabilities, percentile_series, strict=True):
            series.append(
                round(float(sorted_ms[math.ceil(probability * (sorted_ms.size - 1))]), 4) if sorted_ms.size else None
            )
    return tuple(map(tuple, percentile_series))


def _count_in_flight(request_times: RequestTimes, bins: Bins) -> tuple[int, ...]:
    """Return the number of requests in flight at the end of each bin."""
    rows = request_times.rows
    has_ended = rows.was_sent & (rows.is_success | rows.is_failed)
    sent_counts = np.cumsum(bins.count_times(request_times.to_seconds(rows.sent_ns[rows.was_sent])))
    ended_counts = np.cumsum(bins.count_times(request_times.to_seconds(rows.end_ns[has_ended])))
    return tuple(int(count) for count in sent_counts - ended_counts)


def _build_spectrum(
    metric: model.DistributionMetric, values_ms: Floats | None, is_inside: Mask
) -> model.PercentileCurve | None:
    """Build the percentile curve of one metric. The tail above the median has 12 points per decade.

    The highest percentile depends on the number of values.
    """
    if values_ms is None:
        return None
    selected_ms = values_ms[is_inside & ~np.isnan(values_ms)]
    if not selected_ms.size:
        return None
    sorted_ms = np.sort(selected_ms)
    tail_probabilities = 1 - 0.5 * 10 ** (-_TAIL_STEPS)
    probabilities = [
        probability
        for probability in (*np.linspace(0.05, 0.45, 9), *tail_probabilities)
        if count_needed_samples(probability) <= len(sorted_ms)
    ]
    ranks = [math.ceil(probability * len(sorted_ms) - 1e-9) - 1 for probability in probabilities]
    return model.PercentileCurve(
        metric=metric,
        n=len(sorted_ms),
        share=round_values(np.array(probabilities), 6),
        ms=round_values(sorted_ms[ranks], 4),
    )


def round_values(values: Floats, decimals: int = 3) -> tuple[float, ...]:
    return tuple(float(value) for value in np.round(values, decimals))


MAX_STEPS = 200
_TAIL_STEPS = np.arange(0, 61) / 12
"""Decades below the median's share of 0.5 at which the tail of a distribution has steps."""
MAX_COLUMNS, MAX_ROWS = 60, 16
_DISTRIBUTION_METRICS: tuple[model.DistributionMetric, ...] = ("latency_ms", "service_ms", "ttft_ms", "tpot_ms")


def build_distributions(
    request_times: RequestTimes | None, stages: tuple[Stage, ...], *, has_tail: bool = False
) -> tuple[model.PercentileCurve, ...]:
    """Build the distribution of each latency metric, pooled over the successful requests of the
    stages. A distribution needs at least one request; `has_tail` is as for `build_empirical_cdf`.
    """
    if request_times is None:
        return ()
    is_inside = mask_stages(request_times, stages)
    curves = (
        build_empirical_cdf(metric, compute_durations_ms(request_times.rows, metric), is_inside, has_tail=has_tail)
        for metric in _DISTRIBUTION_METRICS
    )
    return tuple(curve for curve in curves if curve is not None)


def build_heat_map(
    request_times: RequestTimes | None, latency_metric: str = "latency_ms"
) -> model.LatencyHeatMap | None:
    """Build the heat map of the latencies of all responses; `None` without responses, or if all
    latencies are equal."""
    values_ms = None if request_times is None else compute_durations_ms(request_times.rows, latency_metric)
    if request_times is None or values_ms is None:
        return None
    has_latency = request_times.rows.is_success & (values_ms > 0)
    values_ms, at_s = values_ms[has_latency], request_times.to_seconds(request_times.rows.scheduled_ns[has_latency])
    if not values_ms.size or values_ms.min() == values_ms.max():
        return None
    bins = build_time_bins(float(at_s[0]), float(at_s[-1]), MAX_COLUMNS, has_fine_bins=True)
    edges_ms = _compute_log_edges(float(values_ms.min()), float(values_ms.max()))
    counts, _, _ = np.histogram2d(values_ms, at_s, bins=(edges_ms, bins.edges_s))
    return model.LatencyHeatMap(
        bin_s=bins.width_s,
        from_s=round_values(bins.edges_s[:-1]),
        edges_ms=round_values(edges_ms, 6),
        counts=tuple(tuple(int(count) for count in row) for row in counts),
    )


def build_empirical_cdf(
    metric: model.DistributionMetric, values_ms: Floats | None, mask: Mask, *, has_tail: bool = False
) -> model.PercentileCurve | None:
    """Build the distribution of the values selected by `mask`, without missing values; `None` if no
    value remains.

    The distribution has at most `MAX_STEPS` steps, including the minimum and the maximum. With
    `has_tail`, its tail has 12 more steps per decade, as the percentile curves have.
    """
    if values_ms is None:
        return None
    sorted_ms = np.sort(values_ms[mask & ~np.isnan(values_ms)])
    if not sorted_ms.size:
        return None
    positions = np.linspace(0, sorted_ms.size - 1, min(sorted_ms.size, MAX_STEPS))
    if has_tail:
        positions = np.concatenate([positions, sorted_ms.size * (1 - 0.5 * 10 ** (-_TAIL_STEPS)) - 1])
    ranks = np.unique(np.clip(positions, 0, None).round().astype(np.int64))
    return model.PercentileCurve(
        metric=metric,
        n=sorted_ms.size,
        share=round_values((ranks + 1) / sorted_ms.size, 6),
        ms=round_values(sorted_ms[ranks], 4),
    )


def _compute_log_edges(low: float, high: float) -> Floats:
    """Return logarithmic bin edges that enclose the minimum and the maximum.

    A factor of two is divided into as many bins as `MAX_ROWS` allows, at most 4. If the range is
    too wide for one bin per factor of two, the bins are wider.
    """
    steps_per_doubling = next((steps for steps in (4, 3, 2, 1) if math.log2(high / low) * steps <= MAX_ROWS - 1), None)
    step = 1 / steps_per_doubling if steps_per_doubling else math.log2(high / low) / (MAX_ROWS - 1)
    first_exponent, last_exponent = math.floor(math.log2(low) / step), math.floor(math.log2(high) / step) + 1
    return np.asarray(2.0 ** (step * np.arange(first_exponent, last_exponent + 1)), dtype=np.float64)


def list_comparable_stages(result: Result) -> tuple[str, ...]:
    """Return the names of the stages whose distributions can be compared, in order."""
    return tuple(dict.fromkeys(stage.name for stage in _iter_comparable_stages(result)))


def build_stage_distributions(run: StoredRun, result: Result, stage: str) -> tuple[PercentileCurve, ...]:
    """Build the distributions of one stage; empty without responses.

    The order is latency from the scheduled start, service time, TTFT and TPOT. For a local model,
    the only distribution is that of the call times. For a language model, it is that of the steps
    that generate tokens (ITL) or, in a test without output, that of the prefills. The repeated
    measurement that shows drift is excluded.
    """
    stages = tuple(
        candidate
        for candidate in _iter_comparable_stages(result)
        if candidate.name == stage and (TEST_TAG not in candidate.tags or candidate.repeat == 1)
    )
    if result.local is not None:
        call_distribution = _build_call_distribution(run.calls(), stages)
        if call_distribution is not None:
            return (call_distribution,)
    request_times = read_request_times(run.requests(UNUSED_COLUMNS), result)
    return build_distributions(request_times, stages, has_tail=True)


def _iter_comparable_stages(result: Result) -> Iterator[Stage]:
    """Yield the stages that are neither INVALID nor a warm-up or pooled stage. For an endpoint run,
    standalone measurements of the served model are also excluded, because their rows are not
    stored."""
    for stage in result.stages:
        if stage.variant is not None and result.local is None:
            continue
        if STAGE_KINDS[stage.kind].is_measured and not stage.is_pooled and stage.verdict.status != "INVALID":
            yield stage


def _build_call_distribution(calls: pa.Table, stages: tuple[Stage, ...]) -> PercentileCurve | None:
    begin_ns, end_ns = (
        calls[name].combine_chunks().cast(pa.float64()).to_numpy(zero_copy_only=False)
        for name in ("begin_ns", "end_ns")
    )
    is_inside = np.zeros(len(begin_ns), dtype=bool)
    with np.errstate(invalid="ignore"):  # calls that never started have no times
        for stage in stages:
            is_inside |= (begin_ns >= stage.window.start_ns) & (begin_ns < stage.window.end_ns)
    if not stages or TEST_TAG not in stages[0].tags:
        return build_empirical_cdf("call_ms", (end_ns - begin_ns) / 1e6, is_inside, has_tail=True)
    test = parse_generation_test(stages[0].tags[TEST_TAG])
    has_decode = test.output_tokens > bool(test.prompt_tokens)
    if has_decode and test.prompt_tokens:
        query = calls["query"].combine_chunks().to_numpy(zero_copy_only=False)
        is_inside[1:] &= query[1:] == query[:-1]  # the first step of a repetition is its prefill
        is_inside[:1] = False
    return build_empirical_cdf(
        "itl_ms" if has_decode else "call_ms", (end_ns - begin_ns) / 1e6, is_inside, has_tail=True
    )


def build_group_tables(
    rows: pd.DataFrame | pa.Table, stages: Sequence[Stage], urls: Sequence[str] = ()
) -> tuple[model.GroupTable, ...]:
    """Build the tables of requests by target and by Locust name, without empty tables. `urls` are
    the URLs of the targets, in order."""
    if len(rows) == 0:
        return ()
    windows = [stage.window for stage in stages]
    tables = (
        ("Requests by target", "target", group_by_target(rows, windows, urls)),
        ("Requests by Locust name", "name", group_by_name(rows, windows)),
    )
    return tuple(
        model.GroupTable(title=title, column=column, rows=tuple(map(_build_group_row, groups)))
        for title, column, groups in tables
        if groups
    )


def _build_group_row(group: Group) -> model.GroupRow:
    return model.GroupRow(
        label=group.label,
        requests=group.requests,
        share=group.share,
        failed=group.failed,
        p50=build_quantity(group.p50_ms, "ms"),
        p95=build_quantity(group.p95_ms, "ms"),
    )
