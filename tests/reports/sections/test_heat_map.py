from __future__ import annotations

import re

from msgspec.structs import replace

from reports.charts.figures import build_chart
from reports.charts.picture import Chart, render_svg
from reports.model import Report
from reports.sections.heat_map import build_heat_map_figure


def _draw(report: Report) -> Chart | None:
    figure = build_heat_map_figure(report)
    return None if figure is None else build_chart("heat", figure)


def test_heat_map_draws_only_filled_cells_and_all_responses(full_report: Report) -> None:
    drawing, heat = _draw(full_report), full_report.heat_map
    assert drawing is not None
    assert heat is not None
    cells = drawing.spec["datasets"][drawing.spec["layer"][0]["data"]["name"]]
    assert all(cell["count"] for cell in cells)
    assert sum(cell["count"] for cell in cells) == sum(map(sum, heat.counts))
    assert drawing.alternative.startswith("5,864 responses are shown by latency. The most common range is 4.00–8.00 ms")


def test_heat_map_table_has_row_per_time_and_column_per_range(full_report: Report) -> None:
    drawing, heat = _draw(full_report), full_report.heat_map
    assert drawing is not None
    assert heat is not None
    assert len(drawing.rows) == len(heat.from_s)
    assert all(len(row) == len(drawing.columns) == len(heat.counts) + 1 for row in drawing.rows)
    assert drawing.columns[1] == "1.00–2.00 ms"


def test_run_without_responses_has_no_heat_map(empty_report: Report) -> None:
    assert _draw(empty_report) is None


def test_latency_axis_title_is_inside_heat_map(full_report: Report) -> None:
    """Vega omits the label "1,000" before it has computed the height of the chart."""
    assert full_report.heat_map is not None
    edges_ms = tuple(8 * 2 ** (index / 2) for index in range(14))
    counts = 13 * full_report.heat_map.counts[:1]
    drawing = _draw(replace(full_report, heat_map=replace(full_report.heat_map, edges_ms=edges_ms, counts=counts)))
    assert drawing is not None
    svg = render_svg(drawing)
    plot = re.search(r'transform="translate\(([\d.]+),', svg)
    title = re.search(r"translate\((-[\d.]+),[\d.]+\) rotate\(-90\)", svg)
    assert plot is not None
    assert title is not None
    assert float(plot[1]) + float(title[1]) >= 11, "the height of its letters"
