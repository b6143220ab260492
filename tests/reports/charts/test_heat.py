from __future__ import annotations

from reports.charts.heat import build_heat_map_chart
from reports.model import Report


def test_only_cells_with_answers_are_drawn_and_they_hold_all(full_report: Report) -> None:
    drawing, heat = build_heat_map_chart(full_report), full_report.heat_map
    assert drawing is not None
    assert heat is not None
    cells = drawing.spec["datasets"][drawing.spec["layer"][0]["data"]["name"]]
    assert all(cell["responses"] for cell in cells)
    assert sum(cell["responses"] for cell in cells) == sum(map(sum, heat.counts))
    assert drawing.alternative.startswith("5,864 responses are shown by latency. The most common range is 4.00–8.00 ms")


def test_the_table_has_a_row_a_time_and_a_column_a_range(full_report: Report) -> None:
    drawing, heat = build_heat_map_chart(full_report), full_report.heat_map
    assert drawing is not None
    assert heat is not None
    assert len(drawing.rows) == len(heat.from_s)
    assert all(len(row) == len(drawing.columns) == len(heat.counts) + 1 for row in drawing.rows)
    assert drawing.columns[1] == "1.00–2.00 ms"


def test_what_failed_is_not_there_and_a_run_without_answers_has_none(empty_report: Report) -> None:
    assert build_heat_map_chart(empty_report) is None
