"""Charts of local language models: throughput by test, decode throughput by depth, and memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from reports import formatting
from reports.charts.picture import Chart
from reports.charts.style import (
    INK,
    MAX_SERIES,
    build_layer,
    build_point_scales,
    build_series_scales,
    build_spec,
    fit_scale,
)
from reports.generation_series import (
    MEMORY_NOTE,
    MEMORY_PARTS,
    UNSPLIT_MEMORY,
    MemoryParts,
    Phase,
    list_depth_series,
    list_memory,
    list_rates,
)
from reports.local_model import LocalSection
from reports.model import Quantity, Report

_MAX_VARIANTS = 12
_ROW_ORDER = alt.EncodingSortField(field="row", op="min")
"""Order of variants. It is a field, because Vega would compile names into an expression, and names
may come from untrusted files."""
_BAR_ORDER = alt.EncodingSortField(field="bar", op="min")
"""Order of the bars of a variant."""


def build_language_model_charts(report: Report) -> tuple[Chart, ...]:
    """Build the charts of a run of language models; empty for other runs. A chart without data is
    omitted."""
    local = report.local
    if local is None or not local.is_language_model:
        return ()
    charts = (
        _build_rate_chart(local, "decode", "Decode throughput by test"),
        _build_rate_chart(local, "prefill", "Prefill throughput by test"),
        _build_depth_chart(local),
        _build_memory_chart(local),
    )
    return tuple(chart for chart in charts if chart is not None)


def _build_rate_chart(local: LocalSection, phase: Phase, title: str) -> Chart | None:
    points = list_rates(local, phase)
    if not points:
        return None
    shown_names = list(dict.fromkeys(variant.name for variant, _, _ in points))[:_MAX_VARIANTS]
    tests = list(dict.fromkeys(row.test for _, row, _ in points))[:MAX_SERIES]
    records = [
        _build_rate_record(variant.name, row.test, rate)
        | {"row": shown_names.index(variant.name), "bar": tests.index(row.test)}
        for variant, row, rate in points
        if variant.name in shown_names and row.test in tests
    ]
    hidden_count = len(points) - len(records)
    slowest, fastest = (chooser(points, key=lambda point: point[2].value or 0.0) for chooser in (min, max))
    return Chart(
        key=f"test-{phase}",
        title=title,
        alternative=(
            f"The highest {phase} throughput is {formatting.format_quantity(fastest[2])} ({fastest[0].name}, "
            f"{fastest[1].test}); the lowest is {formatting.format_quantity(slowest[2])} ({slowest[0].name}, "
            f"{slowest[1].test})."
        ),
        spec=build_spec(_build_bar_layers(records, tests, phase), f"test_{phase}"),
        columns=("variant", "test", f"{phase} throughput"),
        rows=tuple((variant.name, row.test, formatting.format_quantity(rate)) for variant, row, rate in points),
        note=f"{hidden_count} more bars are only in the table." if hidden_count else None,
    )


def _build_rate_record(variant: str, test: str, rate: Quantity) -> dict[str, Any]:
    low, high = rate.ci95 or (rate.value, rate.value)
    return {
        "variant": variant,
        "series": test,
        "value": rate.value,
        "low": low,
        "high": high,
        "shown": formatting.format_quantity(rate),
    }


def _build_bar_layers(records: Sequence[dict[str, Any]], tests: list[str], phase: str) -> list[alt.Chart]:
    """Build horizontal bars, grouped by variant, with one bar per test and its interval."""
    y = alt.Y("variant:N", title=None, sort=_ROW_ORDER)
    offset = alt.YOffset("series:N", sort=_BAR_ORDER)
    upper_bounds = [record["high"] for record in records]
    x = alt.X(
        "value:Q",
        title=f"{phase.capitalize()} throughput (tok/s)",
        scale=alt.Scale(domain=[0, 1.05 * max(upper_bounds)], nice=True),
    )
    tooltip = [alt.Tooltip("variant:N"), alt.Tooltip("series:N", title="Test"), alt.Tooltip("shown:N", title="Rate")]
    bars = (
        build_layer(records).mark_bar().encode(x=x, y=y, yOffset=offset, tooltip=tooltip, **build_series_scales(tests))
    )
    intervals = (
        build_layer([record for record in records if record["low"] < record["high"]])
        .mark_rule(color=INK, strokeWidth=1.5)
        .encode(x=alt.X("low:Q"), x2="high:Q", y=y, yOffset=offset)
    )
    return [bars, intervals]


def _build_depth_chart(local: LocalSection) -> Chart | None:
    """Build the chart of decode throughput by depth, for tests that differ only in their depth;
    `None` with fewer than two depths."""
    all_series = list_depth_series(local)
    if not all_series:
        return None
    records = [
        {
            "series": series.name,
            "depth": point.depth,
            "value": point.rate.value,
            "shown": formatting.format_quantity(point.rate),
        }
        for series in all_series[:MAX_SERIES]
        for point in series.points
    ]
    series_names = [series.name for series in all_series[:MAX_SERIES]]
    hidden_count = len(all_series) - len(series_names)
    first, last = all_series[0].points[0], all_series[0].points[-1]
    return Chart(
        key="decode-by-depth",
        title="Decode throughput by depth",
        alternative=(
            f"The decode throughput of {series_names[0]} changes from {formatting.format_quantity(first.rate)} at "
            f"depth {formatting.format_count(first.depth)} to {formatting.format_quantity(last.rate)} at depth "
            f"{formatting.format_count(last.depth)}."
        ),
        spec=build_spec([_build_depth_lines(records, series_names)], "decode_by_depth"),
        columns=("series", "depth", "decode throughput"),
        rows=tuple(
            (series.name, formatting.format_count(point.depth), formatting.format_quantity(point.rate))
            for series in all_series
            for point in series.points
        ),
        note=f"{hidden_count} more series are only in the table." if hidden_count else None,
    )


def _build_depth_lines(records: list[dict[str, Any]], series_names: list[str]) -> alt.Chart:
    axis = alt.Axis(values=sorted({record["depth"] for record in records}))
    chart: alt.Chart = (
        build_layer(records)
        .mark_line(point=alt.OverlayMarkDef(size=50, filled=True))
        .encode(
            x=alt.X("depth:Q", title="Depth (tokens in the KV cache)", axis=axis),
            y=alt.Y(
                "value:Q",
                title="Decode throughput (tok/s)",
                **fit_scale([record["value"] for record in records], 20),
            ),
            tooltip=[
                alt.Tooltip("series:N"),
                alt.Tooltip("depth:Q", title="Depth"),
                alt.Tooltip("shown:N", title="Decode throughput"),
            ],
            **build_point_scales(series_names),
        )
    )
    return chart


def _build_memory_chart(local: LocalSection) -> Chart | None:
    """Build the chart of the peak memory of the process by variant, split into its parts; `None` if
    no memory was measured."""
    memory = list_memory(local)
    if not memory:
        return None
    names = [*MEMORY_PARTS, UNSPLIT_MEMORY]
    shown_memory = memory[:_MAX_VARIANTS]
    records = [
        {"variant": row.variant.name, "series": name, "value": gib, "shown": _format_gib(gib), "row": index,
         "bar": names.index(name)}
        for index, row in enumerate(shown_memory)
        for name, gib in _list_parts(row)
    ]  # fmt: skip
    drawn_names = [name for name in names if any(record["series"] == name for record in records)]
    largest = max(memory, key=lambda row: row.peak_gib)
    tooltip = [alt.Tooltip("variant:N"), alt.Tooltip("series:N", title="Memory"), alt.Tooltip("shown:N", title="Size")]
    bars = (
        build_layer(records)
        .mark_bar()
        .encode(
            x=alt.X("value:Q", title="Peak memory of the process (GiB)"),
            y=alt.Y("variant:N", title=None, sort=_ROW_ORDER),
            order=alt.Order("bar:Q"),
            tooltip=tooltip,
            **build_series_scales(drawn_names),
        )
    )
    hidden_count = len(memory) - len(shown_memory)
    more_note = f" {hidden_count} more variants are only in the table." if hidden_count else ""
    return Chart(
        key="model-memory",
        title="Memory by variant",
        alternative=(
            f"The highest peak memory is {formatting.format_value_unit(largest.variant.peak_memory)} "
            f"({largest.variant.name})."
        ),
        spec=build_spec([bars], "model_memory"),
        columns=("variant", *MEMORY_PARTS, "peak"),
        rows=tuple(
            (
                row.variant.name,
                *(map(_format_gib, row.parts_gib or (None,) * len(MEMORY_PARTS))),
                _format_gib(row.peak_gib),
            )
            for row in memory
        ),
        note=MEMORY_NOTE + more_note,
    )


def _list_parts(row: MemoryParts) -> list[tuple[str, float]]:
    if row.parts_gib is None:
        return [(UNSPLIT_MEMORY, row.peak_gib)]
    return list(zip(MEMORY_PARTS, row.parts_gib, strict=True))


def _format_gib(gib: float | None) -> str:
    return formatting.NOT_AVAILABLE if gib is None else formatting.with_unit(formatting.format_number(gib), "GiB")
