"""Charts of latency and throughput of a local model by batch size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import msgspec

from reports import formatting
from reports.charts.picture import Chart
from reports.charts.style import (
    build_layer,
    build_point_scales,
    build_spec,
    fit_scale,
    select_valid_variants,
)
from reports.local_model import LocalSection, ScenarioRow, VariantRow
from reports.model import ModelSection, Quantity, Report
from reports.sections.figure import MAX_SERIES


class _Point(msgspec.Struct, frozen=True):
    series: str
    batch: int
    quantity: Quantity


def build_batch_charts(report: Report) -> tuple[Chart, ...]:
    """Build the charts of latency and throughput by batch size; empty with fewer than two batch
    sizes, and for language models, which have charts by test."""
    latency_points, throughput_points = [], []
    if report.local is not None:
        if report.local.is_language_model:
            return ()
        latency_points, throughput_points = _build_latency_points(report.local), _build_throughput_points(report.local)
    elif report.model is not None:
        latency_points, throughput_points = (
            _build_served_latency_points(report.model),
            _build_served_throughput_points(report.model),
        )
    throughput_points = [
        msgspec.structs.replace(point, quantity=_convert_to_inferences(point.quantity)) for point in throughput_points
    ]
    latency_chart = _build_chart(latency_points, "batch-latency", "Latency by batch size", "Latency (ms)")
    throughput_chart = _build_chart(
        throughput_points, "batch-throughput", "Throughput by batch size", "Throughput (inferences/s)"
    )
    return tuple(chart for chart in (latency_chart, throughput_chart) if chart is not None)


def _convert_to_inferences(throughput: Quantity) -> Quantity:
    return msgspec.structs.replace(throughput, unit="inferences/s")


def _build_latency_points(local: LocalSection) -> list[_Point]:
    """Return the latency points of all families of variants. p95 is shown in addition to p50 only
    if there is a single family."""
    variants = select_valid_variants(local)
    has_single_family = len({variant.family for variant in variants}) == 1
    points = []
    for variant in variants:
        stage = _find_single_stream_stage(variant)
        if stage is not None:
            points.append(
                _Point(f"{variant.family} p50" if has_single_family else variant.family, variant.batch, stage.p50)
            )
            points += [_Point(f"{variant.family} p95", variant.batch, stage.p95)] if has_single_family else []
    return points


def _build_throughput_points(local: LocalSection) -> list[_Point]:
    return [_Point(variant.family, variant.batch, variant.throughput) for variant in select_valid_variants(local)]


def _find_single_stream_stage(variant: VariantRow) -> ScenarioRow | None:
    """Return the single-stream stage of a variant, in which calls are sequential; `None` if there
    is none."""
    return next((row for row in variant.scenarios if row.scenario == "single-stream"), None)


def _build_served_latency_points(model_section: ModelSection) -> list[_Point]:
    batch_percentiles = [
        (row, label, quantity)
        for row in model_section.batches
        for label, quantity in (("p50", row.p50), ("p95", row.p95))
    ]
    return [
        _Point(_format_series_name(model_section, row.provider, row.precision, label), row.batch, quantity)
        for row, label, quantity in batch_percentiles
    ]


def _build_served_throughput_points(model_section: ModelSection) -> list[_Point]:
    return [
        _Point(_format_series_name(model_section, row.provider, row.precision, "throughput"), row.batch, row.throughput)
        for row in model_section.batches
    ]


def _format_series_name(model_section: ModelSection, provider: str, precision: str, label: str) -> str:
    """Return the display name of a series, which contains provider and precision only if the run
    has several variants."""
    has_several_variants = len({(batch.provider, batch.precision) for batch in model_section.batches}) > 1
    return f"{provider} {precision} {label}" if has_several_variants else label


def _build_chart(points: Sequence[_Point], key: str, title: str, y_title: str) -> Chart | None:
    points_with_values = [point for point in points if point.quantity.value is not None]
    if len({point.batch for point in points_with_values}) < 2:
        return None
    all_series_names = list(dict.fromkeys(point.series for point in points_with_values))
    series_names = all_series_names[:MAX_SERIES]
    hidden_count = len(all_series_names) - len(series_names)
    return Chart(
        key=key,
        title=title,
        alternative=_describe_points(points_with_values),
        spec=build_spec(
            [
                _build_lines(
                    [_build_record(point) for point in points_with_values if point.series in series_names],
                    series_names,
                    y_title,
                )
            ],
            key.replace("-", "_"),
        ),
        columns=("series", "batch size", y_title),
        rows=tuple(
            (point.series, str(point.batch), formatting.format_quantity(point.quantity)) for point in points_with_values
        ),
        note=f"{hidden_count} more series are only in the table." if hidden_count else None,
    )


def _describe_points(points: Sequence[_Point]) -> str:
    """Describe the points of the first series, as the text alternative of the chart."""
    series_points = sorted(
        (point for point in points if point.series == points[0].series), key=lambda point: point.batch
    )
    first_point, last_point = series_points[0], series_points[-1]
    subject = first_point.series if len({point.series for point in points}) > 1 else "The value"
    return (
        f"{subject} changes from {formatting.format_quantity(first_point.quantity)} at batch {first_point.batch} to "
        f"{formatting.format_quantity(last_point.quantity)} at batch {last_point.batch}."
    )


def _build_record(point: _Point) -> dict[str, Any]:
    display_text = formatting.format_quantity(point.quantity)
    return {"series": point.series, "batch": point.batch, "value": point.quantity.value, "shown": display_text}


def _build_lines(records: list[dict[str, Any]], series_names: list[str], y_title: str) -> alt.Chart:
    axis = alt.Axis(values=sorted({record["batch"] for record in records}))
    scale = alt.Scale(type="log", base=2, nice=False, padding=12)
    chart: alt.Chart = (
        build_layer(records)
        .mark_line(point=alt.OverlayMarkDef(size=50, filled=True))
        .encode(
            x=alt.X("batch:Q", title="Batch size", axis=axis, scale=scale),
            y=alt.Y("value:Q", title=y_title, **fit_scale([record["value"] for record in records], 20)),
            tooltip=[
                alt.Tooltip("series:N"),
                alt.Tooltip("batch:Q", title="Batch size"),
                alt.Tooltip("shown:N", title=y_title.partition(",")[0]),
            ],
            **build_point_scales(series_names),
        )
    )
    return chart
