"""Sections of the latency distributions, which are figures: latency by percentile, and the CDF."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from reports import formatting
from reports.sections.figure import FigureAxis, FigureLine, LineFigure
from reports.sections.section import Section

if TYPE_CHECKING:
    from reports.model import Report

DistributionMetric = Literal["latency_ms", "service_ms", "ttft_ms", "tpot_ms", "itl_ms", "call_ms"]


class PercentileCurve(msgspec.Struct, frozen=True, kw_only=True):
    """Exact percentiles of a latency metric: the fraction `share` of the requests is at or below
    `ms`. All successful requests of the stages on which the result is based are included."""

    metric: DistributionMetric
    n: int
    share: tuple[float, ...]
    ms: tuple[float, ...]

    @property
    def name(self) -> str:
        return _METRIC_NAMES[self.metric]

    @property
    def label(self) -> str:
        """Display name of the metric, with the event from which it is measured."""
        start = _START_EVENTS.get(self.metric)
        return self.name if start is None else f"{self.name} (from {start})"


_METRIC_NAMES: dict[DistributionMetric, str] = {
    "latency_ms": "latency", "service_ms": "service time", "ttft_ms": "TTFT", "tpot_ms": "TPOT",
    "itl_ms": "ITL",
    "call_ms": "call time",
}  # fmt: skip
_START_EVENTS: dict[DistributionMetric, str] = {
    "latency_ms": "scheduled start", "service_ms": "send", "ttft_ms": "scheduled start",
}  # fmt: skip


CDF_LIMIT_METRICS: tuple[DistributionMetric, ...] = ("latency_ms", "service_ms", "ttft_ms", "tpot_ms")
"""Metrics whose distributions the CDF shows. An SLO limit on one of these metrics can be drawn in the
same figure."""
_PERCENTILE_LIMIT_METRICS = ("latency_ms", "service_ms", "ttft_ms")
LATENCY_AXIS = FigureAxis("Latency", "ms")
PERCENTILE_AXIS = FigureAxis("Percentile", is_percentile=True)
SHARE_AXIS = FigureAxis("Share of requests", "%", (0, 100))
PERCENTILE_TITLE, CDF_TITLE = "Latency by percentile", "Latency distribution (CDF)"


def build_percentile_figure(report: Report) -> LineFigure | None:
    """Build the figure of latency by percentile; `None` if the result is not based on a successful
    request."""
    if not any(curve.share for curve in report.spectra):
        return None
    limit = report.curve.limit if report.curve.metric in _PERCENTILE_LIMIT_METRICS else None
    metric_text = formatting.format_metric_label(report.curve.metric, report.curve.percentile)
    request_count_text = formatting.format_count(report.spectra[0].n)
    return LineFigure(
        title=PERCENTILE_TITLE,
        x=PERCENTILE_AXIS,
        y=LATENCY_AXIS,
        lines=tuple(
            FigureLine(curve.metric, curve.label, tuple(100 * share for share in curve.share), curve.ms, curve.name)
            for curve in report.spectra
        ),
        has_points=True,
        series_label="Metric",
        limit=None if limit is None else limit.value,
        limit_label="" if limit is None else f"SLO {metric_text} {formatting.format_limit(limit)}",
        alternative=" ".join(_describe_percentiles(curve) for curve in report.spectra),
        columns=("metric", "percentile", "latency (ms)"),
        rows=tuple(
            (curve.label, f"p{100 * share:.4g}", formatting.format_number(ms))
            for curve in report.spectra
            for share, ms in zip(curve.share, curve.ms, strict=True)
        ),
        note=f"The percentiles cover {request_count_text} requests, pooled over the headline stages.",
    )


def _describe_percentiles(curve: PercentileCurve) -> str:
    median_ms = curve.ms[min(range(len(curve.share)), key=lambda index: abs(curve.share[index] - 0.5))]
    return (
        f"{curve.label[:1].upper()}{curve.label[1:]} has a median of {formatting.format_number(median_ms)} ms and a "
        f"p{100 * curve.share[-1]:.4g} of {formatting.format_number(curve.ms[-1])} ms."
    )


def build_cdf_figure(report: Report, metrics: Sequence[DistributionMetric] = CDF_LIMIT_METRICS) -> LineFigure | None:
    """Build the figure of the latency CDF, the share of requests with at most a given latency; `None`
    if the result is based on fewer than two successful requests."""
    curves = [curve for curve in report.distributions if curve.n > 1 and curve.metric in metrics]
    if not curves:
        return None
    limit = report.curve.limit if report.curve.metric in CDF_LIMIT_METRICS else None
    return LineFigure(
        title=CDF_TITLE,
        x=LATENCY_AXIS,
        y=SHARE_AXIS,
        lines=tuple(map(_build_cdf_line, curves)),
        is_stepped=True,
        series_label="Metric",
        limit=None if limit is None else limit.value,
        limit_axis="x",
        limit_label="" if limit is None else f"SLO {formatting.format_limit(limit)}",
        alternative=" ".join(map(_describe_cdf, curves)),
        columns=("metric", "share of requests", "latency (ms)"),
        rows=tuple(row for curve in curves for row in _build_cdf_rows(curve)),
        note=f"The empirical distribution is based on the same {formatting.format_count(curves[0].n)} requests as the "
        "percentiles.",
    )


def _build_cdf_line(curve: PercentileCurve) -> FigureLine:
    """Return the line of a CDF, starting with 0 % at the minimum latency."""
    percents = (0.0, *(round(100 * share, 4) for share in curve.share))
    return FigureLine(curve.metric, curve.label, (curve.ms[0], *curve.ms), percents, curve.name)


def _build_cdf_rows(curve: PercentileCurve) -> list[tuple[str, ...]]:
    """Return the table of the CDF in steps of 5 %, each with the lowest latency that reaches the
    share."""
    indices = dict.fromkeys(bisect_right(curve.share, step / 20 - 1e-9) for step in range(1, 21))
    return [
        (curve.label, formatting.format_percent(curve.share[index]), formatting.format_number(curve.ms[index]))
        for index in indices
        if index < len(curve.ms)
    ]


def _describe_cdf(curve: PercentileCurve) -> str:
    median_ms = curve.ms[bisect_right(curve.share, 0.5 - 1e-9)]
    lowest_text, median_text, highest_text = (
        formatting.format_number(ms) for ms in (curve.ms[0], median_ms, curve.ms[-1])
    )
    metric_text = f"{curve.label[:1].upper()}{curve.label[1:]}"
    return f"{metric_text} ranges from {lowest_text} ms to {highest_text} ms, with a median of {median_text} ms."


PERCENTILES: Section[PercentileCurve] = Section(
    name="spectra",
    title="Percentiles",
    columns=(),
    layouts={},
    figure_key="spectrum",
    build_figure=build_percentile_figure,
    part="charts",
    tab=None,
)
DISTRIBUTIONS: Section[PercentileCurve] = Section(
    name="distributions",
    title="Distributions",
    columns=(),
    layouts={},
    figure_key="ecdf",
    build_figure=build_cdf_figure,
    part="charts",
    tab=None,
)
