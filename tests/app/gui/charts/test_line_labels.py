from __future__ import annotations

import math

from app.gui.charts.axes import Axis
from app.gui.charts.chart import Chart
from app.gui.charts.line_labels import can_label_ends, find_line_ends, spread_rows
from app.gui.charts.series import Series, make_series

TIME, LATENCY = Axis("Time", "s"), Axis("Latency", "ms", is_log=True)


def make_line(key: str, *y: float, until: float = 10.0) -> Series:
    x = [until * place / (len(y) - 1) for place in range(len(y))]
    return make_series(key, key, "line", 0, x, y)


def test_line_labels_are_used_for_two_to_four_lines_that_end_together() -> None:
    pair = [make_line("p50", 1, 2), make_line("p95", 2, 3, math.nan, until=10.5)]
    assert not can_label_ends(pair, TIME), "the second ends in a gap, long before the first"
    pair[1] = make_line("p95", 2, 3, until=9.5)
    assert can_label_ends(pair, TIME)
    assert not can_label_ends(pair[:1], TIME), "the title names it"
    assert not can_label_ends([make_line(str(number), 1, 2) for number in range(5)], TIME)
    assert not can_label_ends([pair[0], make_line("p99", math.nan, math.nan)], TIME)


def test_line_label_is_at_the_last_visible_sample() -> None:
    lines = [make_line("a", 1, 10, 100), make_line("b", 10, math.nan, math.nan)]
    assert [(end.label, end.y) for end in find_line_ends(lines, TIME, LATENCY, (0, 7))] == [("a", 1), ("b", 1)]
    assert [(end.label, end.y) for end in find_line_ends(lines, TIME, LATENCY, (8, 20))] == [("a", 2)]


def test_line_labels_are_spread_vertically_without_overlap() -> None:
    assert spread_rows([50, 10, 52], 100, 12) == [50, 10, 62]
    assert spread_rows([99, 98, 2], 100, 12) == [94, 82, 6]
    assert spread_rows([], 100, 12) == []


def test_legend_of_labeled_lines_appears_with_the_crosshair(chart: Chart) -> None:
    assert chart.legend.are_entries_shown
    chart.set_line("p95", "p95", range(10), range(10), style_index=1)
    chart.apply_changes()
    assert chart.plot.line_labels.is_shown
    assert chart.plot.line_labels.minimumWidth() > 0
    assert not chart.legend.are_entries_shown
    chart.set_crosshair(4.0)
    assert chart.legend.are_entries_shown
    chart.remove("p95")
    chart.apply_changes()
    assert chart.plot.line_labels.minimumWidth() == 0
