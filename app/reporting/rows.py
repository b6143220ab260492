"""Request rows as what charts draw: rates and latencies over time, percentile spectra, errors."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from app.analysis.columns import Floats, Mask, Nanoseconds
from app.analysis.error_samples import first_samples
from app.analysis.estimates import share
from app.analysis.rows import NOT_STARTED, StageRows, read_rows
from app.analysis.sample_size import needed_samples
from app.analysis.spans import is_inside, span_ms
from app.records.result import Result, Stage
from app.reporting.quantities import quantity
from reports import model

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
