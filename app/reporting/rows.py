"""Request rows as what charts draw: rates and latencies over time, percentile spectra, errors.

What answers took, whole: the share at or below each time, and how many took how long when.

What answers took in one stage of a stored run: the share at or below each time.

Requests of the answering stages by target and by name, where there are several.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from app.analysis.columns import Floats, Mask, Nanoseconds
from app.analysis.estimates import share
from app.analysis.groups import Group, by_name, by_target
from app.analysis.pooling import first_samples
from app.analysis.rows import NOT_STARTED, StageRows, read_rows
from app.analysis.sample_size import needed_samples
from app.analysis.spans import is_inside, span_ms
from app.records.result import Result, Stage
from app.reporting.quantities import quantity
from app.storage.run_directory import StoredRun
from reports import model
from reports.model import Spectrum

NOT_DRAWN = ("stage", "index", "status", "bytes_received", "reused", "worker", "chunk_ns", "chunk_tokens")
"""Columns of the rows that a report does not tell of."""
MAX_POINTS = 300
_FINE_WIDTHS_S = (0.1, 0.2, 0.5)
_BIN_WIDTHS_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, 21600.0, 86400.0)


@dataclass(frozen=True)
class RequestTimes:
    """All arrivals in the order of their intended starts. What charts draw is made of them column by column, since
    millions of rows in all their units would be gigabytes."""

    rows: StageRows
    start_ns: int
    is_good: Mask
    """Answered inside every limit of the SLO."""

    def seconds(self, times_ns: Nanoseconds) -> Floats:
        """From the start of the run."""
        return np.asarray((times_ns - self.start_ns) / 1e9)


@dataclass(frozen=True)
class Bins:
    """Equal parts of the run's time, the first from `first_s` on."""

    first_s: float
    width_s: float
    count: int

    @property
    def edges_s(self) -> Floats:
        return np.asarray(self.first_s + self.width_s * np.arange(self.count + 1), dtype=np.float64)

    def counts(self, times_s: Floats) -> Nanoseconds:
        places = np.floor((times_s - self.first_s) / self.width_s).astype(np.int64)
        inside = (places >= 0) & (places < self.count)
        return np.bincount(places if inside.all() else places[inside], minlength=self.count)


def request_times(rows: pd.DataFrame | pa.Table, result: Result, read: StageRows | None = None) -> RequestTimes | None:
    """None when nothing was asked. `read` are the same rows, where they were read before, or those of them to draw."""
    if len(rows) == 0:
        return None
    read = read_rows(rows) if read is None else read
    return RequestTimes(read, result.zero_ns, is_inside(read, [one.objective for one in result.slo]))


def load_series(requests: RequestTimes | None, times: str = "latency_ms") -> model.LoadSeries | None:
    """At most MAX_POINTS bins; `times` are those whose percentiles are shown."""
    if requests is None:
        return None
    rows, intended_s = requests.rows, requests.seconds(requests.rows.intended_ns)
    bins = time_bins(float(intended_s[0]), max(float(intended_s[-1]), float(requests.seconds(_ends_ns(rows)).max())))
    answered_s = requests.seconds(rows.end_ns[rows.is_success])
    p50, p95 = _binned_percentiles(rows, intended_s, span_ms(rows, times), bins, (0.50, 0.95))
    (lag_p99,) = _binned_percentiles(rows, intended_s, span_ms(rows, "send_lag_ms"), bins, (0.99,))
    (ttft_p95,) = _binned_percentiles(rows, intended_s, span_ms(rows, "ttft_ms"), bins, (0.95,))
    return model.LoadSeries(
        bin_s=bins.width_s,
        at_s=rounded((bins.edges_s[:-1] + bins.edges_s[1:]) / 2),
        offered_per_s=_per_s(bins, intended_s),
        sent_per_s=_per_s(bins, requests.seconds(rows.sent_ns[rows.was_sent])),
        completed_per_s=_per_s(bins, answered_s),
        good_per_s=_per_s(bins, requests.seconds(rows.end_ns[requests.is_good])),
        p50_ms=p50,
        p95_ms=p95,
        in_flight=_in_flight(requests, bins),
        ttft_p95_ms=ttft_p95 if any(one is not None for one in ttft_p95) else (),
        lag_p99_ms=lag_p99 if any(one is not None for one in lag_p99) else (),
    )


def spectra(requests: RequestTimes | None, stages: tuple[Stage, ...]) -> tuple[model.Spectrum, ...]:
    """Latency, service time and TTFT of the stages' successful requests, pooled."""
    if requests is None:
        return ()
    rows, inside = requests.rows, inside_stages(requests, stages)
    metrics: tuple[model.SpectrumMetric, ...] = ("latency_ms", "service_ms", "ttft_ms")
    drawn = (_spectrum(metric, span_ms(rows, metric), inside) for metric in metrics)
    return tuple(one for one in drawn if one is not None)


def inside_stages(requests: RequestTimes, stages: tuple[Stage, ...]) -> Mask:
    """The successful requests of the stages' windows."""
    rows = requests.rows
    inside: Mask = np.zeros(rows.intended_ns.size, dtype=bool)
    for stage in stages:
        inside |= (rows.intended_ns >= stage.window.start_ns) & (rows.intended_ns < stage.window.end_ns)
    return inside & rows.is_success


def error_rows(requests: RequestTimes | None, stages: Sequence[Stage] = ()) -> tuple[model.ErrorRow, ...]:
    """By class, most frequent first: all requests of the run, failed probes included."""
    if requests is None:
        return ()
    rows = requests.rows
    seen = {one.error: one.text for one in first_samples(stage.error_samples for stage in stages)}
    found = []
    for error, count in sorted(rows.errors().items(), key=lambda pair: (-pair[1], pair[0])):
        is_it = ~rows.was_started if error == NOT_STARTED else rows.is_failed & rows.error.equals(error)
        at_s = requests.seconds(rows.intended_ns[is_it])
        found.append(
            model.ErrorRow(
                error=error,
                count=count,
                share=quantity(share(count, rows.intended_ns.size), "share"),
                first_s=float(at_s.min()),
                last_s=float(at_s.max()),
                sample=seen.get(error),
            )
        )
    return tuple(found)


def _ends_ns(rows: StageRows) -> Nanoseconds:
    """Of all that came to an end; the intended start of what did not."""
    return np.where(rows.is_success | rows.is_failed, rows.end_ns, rows.intended_ns)


def time_bins(first_s: float, last_s: float, most: int = MAX_POINTS, *, fine: bool = False) -> Bins:
    """Of a second at least, but where they may be `fine`."""
    first = math.floor(first_s)
    widths = (*_FINE_WIDTHS_S, *_BIN_WIDTHS_S) if fine else _BIN_WIDTHS_S
    width = next((one for one in widths if (last_s - first) / one < most - 1), _BIN_WIDTHS_S[-1])
    return Bins(first, width, min(math.floor((last_s - first) / width) + 1, most))


def _per_s(bins: Bins, times_s: Floats) -> tuple[float, ...]:
    return rounded(bins.counts(times_s) / bins.width_s)


def _binned_percentiles(
    rows: StageRows, intended_s: Floats, values_ms: Floats | None, bins: Bins, shares: tuple[float, ...]
) -> tuple[tuple[float | None, ...], ...]:
    """Of the answers to what was intended in each bin; the value at or above each share."""
    if values_ms is None:
        return ((None,) * bins.count,) * len(shares)
    places = np.searchsorted(intended_s, bins.edges_s)
    found: list[list[float | None]] = [[] for _ in shares]
    for start, end in itertools.pairwise(places):
        part = values_ms[start:end][rows.is_success[start:end]]
        ordered = np.sort(part[~np.isnan(part)])
        for q, series in zip(shares, found, strict=True):
            series.append(round(float(ordered[math.ceil(q * (ordered.size - 1))]), 4) if ordered.size else None)
    return tuple(map(tuple, found))


def _in_flight(requests: RequestTimes, bins: Bins) -> tuple[int, ...]:
    """Sent and not yet ended at the end of each bin."""
    rows = requests.rows
    has_ended = rows.was_sent & (rows.is_success | rows.is_failed)
    sent = np.cumsum(bins.counts(requests.seconds(rows.sent_ns[rows.was_sent])))
    ended = np.cumsum(bins.counts(requests.seconds(rows.end_ns[has_ended])))
    return tuple(int(one) for one in sent - ended)


def _spectrum(metric: model.SpectrumMetric, values_ms: Floats | None, inside: Mask) -> model.Spectrum | None:
    """A twelfth of a decade apart towards the slow end, as far as the number of values allows a percentile at all."""
    if values_ms is None:
        return None
    known = values_ms[inside & ~np.isnan(values_ms)]
    if not known.size:
        return None
    ordered = np.sort(known)
    tail = 1 - 0.5 * 10 ** (-np.arange(0, 61) / 12)
    shares = [one for one in (*np.linspace(0.05, 0.45, 9), *tail) if needed_samples(one) <= len(ordered)]
    ranks = [math.ceil(one * len(ordered) - 1e-9) - 1 for one in shares]
    return model.Spectrum(
        metric=metric, n=len(ordered), share=rounded(np.array(shares), 6), ms=rounded(ordered[ranks], 4)
    )


def rounded(values: Floats, decimals: int = 3) -> tuple[float, ...]:
    return tuple(float(one) for one in np.round(values, decimals))


MOST_STEPS = 200
MOST_COLUMNS, MOST_ROWS = 60, 16
_METRICS: tuple[model.SpectrumMetric, ...] = ("latency_ms", "service_ms", "ttft_ms", "tpot_ms")


def distributions(requests: RequestTimes | None, stages: tuple[Stage, ...]) -> tuple[model.Spectrum, ...]:
    """Of the stages' successful requests, pooled, whatever their number; at most MOST_STEPS steps, least and most among
    them."""
    if requests is None:
        return ()
    inside = inside_stages(requests, stages)
    drawn = (share_steps(metric, span_ms(requests.rows, metric), inside) for metric in _METRICS)
    return tuple(one for one in drawn if one is not None)


def heat_map(requests: RequestTimes | None, times: str = "latency_ms") -> model.LatencyHeatMap | None:
    """All answers of the run. None where nothing was answered, or everything took the same time."""
    values_ms = None if requests is None else span_ms(requests.rows, times)
    if requests is None or values_ms is None:
        return None
    is_known = requests.rows.is_success & (values_ms > 0)
    values_ms, at_s = values_ms[is_known], requests.seconds(requests.rows.intended_ns[is_known])
    if not values_ms.size or values_ms.min() == values_ms.max():
        return None
    bins = time_bins(float(at_s[0]), float(at_s[-1]), MOST_COLUMNS, fine=True)
    edges_ms = _log_edges(float(values_ms.min()), float(values_ms.max()))
    counts, _, _ = np.histogram2d(values_ms, at_s, bins=(edges_ms, bins.edges_s))
    return model.LatencyHeatMap(
        bin_s=bins.width_s,
        from_s=rounded(bins.edges_s[:-1]),
        edges_ms=rounded(edges_ms, 6),
        counts=tuple(tuple(int(one) for one in row) for row in counts),
    )


def share_steps(metric: model.SpectrumMetric, values_ms: Floats | None, inside: Mask) -> model.Spectrum | None:
    """Of the values inside that are known; None where there is none. At most MOST_STEPS, least and most among them."""
    if values_ms is None:
        return None
    ordered = np.sort(values_ms[inside & ~np.isnan(values_ms)])
    if not ordered.size:
        return None
    ranks = np.unique(np.linspace(0, ordered.size - 1, min(ordered.size, MOST_STEPS)).round().astype(np.int64))
    return model.Spectrum(
        metric=metric, n=ordered.size, share=rounded((ranks + 1) / ordered.size, 6), ms=rounded(ordered[ranks], 4)
    )


def _log_edges(low: float, high: float) -> Floats:
    """As many to a factor of two, or fewer, as MOST_ROWS allow; the outermost hold least and most."""
    per_doubling = next((one for one in (4, 3, 2, 1) if math.log2(high / low) * one <= MOST_ROWS - 1), None)
    step = 1 / per_doubling if per_doubling else math.log2(high / low) / (MOST_ROWS - 1)
    first, last = math.floor(math.log2(low) / step), math.floor(math.log2(high) / step) + 1
    return np.asarray(2.0 ** (step * np.arange(first, last + 1)), dtype=np.float64)


def compared_stages(result: Result) -> tuple[str, ...]:
    """Names of the stages that a comparison may tell of, in their order."""
    return tuple(dict.fromkeys(stage.name for stage in _told(result)))


def stage_times(run: StoredRun, result: Result, stage: str) -> tuple[Spectrum, ...]:
    """Latency from the intended start first, then the service time and those of tokens; of a local model, the time of
    its calls. Empty without answers."""
    stages = tuple(one for one in _told(result) if one.name == stage)
    if result.local is not None:
        calls = _times_of_calls(run.calls(), stages)
        if calls is not None:
            return (calls,)
    return distributions(request_times(run.requests(NOT_DRAWN), result), stages)


def _told(result: Result) -> Iterator[Stage]:
    """Nothing INVALID, and no model that was run beside its endpoint: no row of that is kept."""
    for stage in result.stages:
        if stage.variant is not None and result.local is None:
            continue
        if stage.kind != "warmup" and not stage.is_pooled and stage.verdict.status != "INVALID":
            yield stage


def _times_of_calls(calls: pa.Table, stages: tuple[Stage, ...]) -> Spectrum | None:
    begin_ns, end_ns = (
        calls[name].combine_chunks().cast(pa.float64()).to_numpy(zero_copy_only=False)
        for name in ("begin_ns", "end_ns")
    )
    inside = np.zeros(len(begin_ns), dtype=bool)
    with np.errstate(invalid="ignore"):  # a call that was never begun
        for stage in stages:
            inside |= (begin_ns >= stage.window.start_ns) & (begin_ns < stage.window.end_ns)
    return share_steps("call_ms", (end_ns - begin_ns) / 1e6, inside)


def group_tables(
    rows: pd.DataFrame | pa.Table, stages: Sequence[Stage], urls: Sequence[str] = ()
) -> tuple[model.GroupTable, ...]:
    """Empty tables are left out. `urls` are the targets', in their order."""
    if len(rows) == 0:
        return ()
    windows = [stage.window for stage in stages]
    found = (
        ("Requests by target", "target", by_target(rows, windows, urls)),
        ("Requests by the name the Locust test gave them", "name", by_name(rows, windows)),
    )
    return tuple(
        model.GroupTable(title=title, column=column, rows=tuple(map(_row, groups)))
        for title, column, groups in found
        if groups
    )


def _row(group: Group) -> model.GroupRow:
    return model.GroupRow(
        label=group.label,
        requests=group.requests,
        share=group.share,
        failed=group.failed,
        p50=quantity(group.p50_ms, "ms"),
        p95=quantity(group.p95_ms, "ms"),
    )
