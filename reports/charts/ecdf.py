"""Chart of the latency CDF: the share of requests with a latency up to a given time, on a linear
scale."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import altair as alt

from reports import formatting
from reports.charts.picture import Chart
from reports.charts.style import DRAWN_TIMES, build_spec, fit_scale, limit_mark, new_chart, series_scales
from reports.model import PercentileCurve, Report


def latency_cdf(report: Report) -> Chart | None:
    """Build the chart of the latency CDF; `None` if the result is based on fewer than two
    successful requests."""
    spectra = [spectrum for spectrum in report.distributions if spectrum.n > 1]
    if not spectra:
        return None
    limit = report.curve.limit if report.curve.metric in DRAWN_TIMES else None
    points = [point for spectrum in spectra for point in _points(spectrum)]
    widths = [point["ms"] for point in points] + ([] if limit is None else [limit.value])
    x = alt.X("ms:Q", title="ms", **fit_scale(widths, 20))
    y = alt.Y("percent:Q", title="requests, %", scale=alt.Scale(domain=[0, 100]))
    tooltip = [
        alt.Tooltip("series:N", title="metric"),
        alt.Tooltip("ms:Q", format=",.3~r"),
        alt.Tooltip("percent:Q", title="requests, %", format=",.4~r"),
    ]
    lines = (
        new_chart(points)
        .mark_line(interpolate="step-after", strokeWidth=1.7)
        .encode(x=x, y=y, tooltip=tooltip, **series_scales([spectrum.label for spectrum in spectra]))
    )
    mark = [] if limit is None else limit_mark(limit.value, f"SLO {formatting.format_limit(limit)}")
    return Chart(
        key="ecdf",
        title="Latency distribution (CDF)",
        alternative=" ".join(map(_sentence, spectra)),
        spec=build_spec([lines, *mark], "ecdf"),
        columns=("metric", "share", "ms"),
        rows=tuple(row for spectrum in spectra for row in _rows(spectrum)),
        note=f"Empirical distribution of {formatting.format_count(spectra[0].n)} requests, the same as for the "
        "percentiles.",
    )


def _points(spectrum: PercentileCurve) -> list[dict[str, Any]]:
    """Return the points of the CDF, starting with 0 % at the minimum latency."""
    start = [{"series": spectrum.label, "ms": spectrum.ms[0], "percent": 0.0}]
    return start + [
        {"series": spectrum.label, "ms": ms, "percent": round(100 * share, 4)}
        for share, ms in zip(spectrum.share, spectrum.ms, strict=True)
    ]


def _rows(spectrum: PercentileCurve) -> list[tuple[str, ...]]:
    """Return the table of the CDF in steps of 5 %, each with the lowest latency that reaches this
    share."""
    indices = dict.fromkeys(bisect_right(spectrum.share, twentieth / 20 - 1e-9) for twentieth in range(1, 21))
    return [
        (spectrum.label, formatting.format_percent(spectrum.share[index]), formatting.format_number(spectrum.ms[index]))
        for index in indices
        if index < len(spectrum.ms)
    ]


def _sentence(spectrum: PercentileCurve) -> str:
    half_ms = spectrum.ms[bisect_right(spectrum.share, 0.5 - 1e-9)]
    lowest, median, highest = (formatting.format_number(ms) for ms in (spectrum.ms[0], half_ms, spectrum.ms[-1]))
    name = f"{spectrum.label[:1].upper()}{spectrum.label[1:]}"
    return f"{name}: {lowest} ms to {highest} ms, median {median} ms."
