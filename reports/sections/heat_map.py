"""Section of the heat map, a figure: how the distribution of the latency changes over the run."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from reports import formatting
from reports.sections.figure import FigureAxis, HeatFigure
from reports.sections.section import Section

if TYPE_CHECKING:
    from reports.model import Report


class LatencyHeatMap(msgspec.Struct, frozen=True, kw_only=True):
    """Number of responses by scheduled start and latency.

    A column begins at `from_s` and is `bin_s` seconds wide. Row k contains latencies from
    `edges_ms[k]` to below `edges_ms[k + 1]`; the lowest latencies come first.
    """

    bin_s: float
    from_s: tuple[float, ...]
    edges_ms: tuple[float, ...]
    counts: tuple[tuple[int, ...], ...]


def build_heat_map_figure(report: Report) -> HeatFigure | None:
    """Build the heat map; `None` if there are no responses."""
    heat_map = report.heat_map
    if heat_map is None:
        return None
    metric_text = formatting.format_metric_label(report.times)
    ranges = [f"{low}–{high} ms" for low, high in pairwise(map(formatting.format_number, heat_map.edges_ms))]
    limit = report.curve.limit if report.curve.metric == report.times else None
    return HeatFigure(
        title="Latency heat map",
        x=FigureAxis("Time since start", "s"),
        y=FigureAxis(metric_text, "ms"),
        starts=heat_map.from_s,
        width=heat_map.bin_s,
        edges=heat_map.edges_ms,
        counts=heat_map.counts,
        limit=None if limit is None else limit.value,
        limit_label=f"SLO {formatting.format_metric_label(report.times, report.curve.percentile)}",
        alternative=_describe_heat_map(heat_map, ranges, metric_text),
        columns=("from (s)", *ranges),
        rows=tuple(
            (formatting.format_plain(start_s), *map(formatting.format_count, column))
            for start_s, column in zip(heat_map.from_s, zip(*heat_map.counts, strict=True), strict=True)
        ),
        note="All successful responses are counted by start time in bins of "
        f"{formatting.format_plain(heat_map.bin_s)} s.",
    )


def _describe_heat_map(heat_map: LatencyHeatMap, ranges: list[str], metric_text: str) -> str:
    row_totals = [sum(row) for row in heat_map.counts]
    total_text, max_count_text = map(formatting.format_count, (sum(row_totals), max(row_totals)))
    return (
        f"{total_text} responses are shown by {metric_text}. The most common range is "
        f"{ranges[row_totals.index(max(row_totals))]} ({max_count_text} responses); the slowest range is {ranges[-1]}."
    )


HEAT_MAP: Section[LatencyHeatMap] = Section(
    name="heat_map",
    title="Heat map",
    columns=(),
    layouts={},
    figure_key="heat",
    build_figure=build_heat_map_figure,
    part="charts",
    tab=None,
)
