from __future__ import annotations

import math

import numpy as np
import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QColor, QContextMenuEvent, QWheelEvent
from PySide6.QtWidgets import QApplication, QMenu
from pytestqt.qtbot import QtBot

from app.gui.charts.axes import Axis
from app.gui.charts.chart import Chart
from app.gui.theme import DARK, LIGHT, ThemeController

THIN = "\u202f"


def colors(chart: Chart) -> set[str]:
    image = chart.plot.grab().toImage()
    columns, rows = range(0, image.width(), 3), range(image.height())
    return {QColor(image.pixel(column, row)).name() for column in columns for row in rows}


def test_crosshair_reads_the_nearest_sample_of_every_series(chart: Chart) -> None:
    chart.set_line("p99", "p99", np.arange(10.0), np.arange(10.0) * 3)
    chart.apply_changes()
    chart.set_crosshair(4.2)
    assert [(reading.label, reading.text) for reading in chart.readings()] == [
        ("p50", f"8.00{THIN}ms"),
        ("p99", f"12.0{THIN}ms"),
    ]
    description = f"At 4.20{THIN}s: p50 8.00{THIN}ms, p99 12.0{THIN}ms"
    assert chart.accessibleDescription() == description
    assert chart.legend.text() == f"ms at 4.20{THIN}s, p50 8.00{THIN}ms, p99 12.0{THIN}ms"


def test_gap_reads_as_na_and_a_line_has_no_reading_beyond_its_end(chart: Chart) -> None:
    chart.set_line("p50", "p50", np.arange(10.0), [math.nan, *range(9)])
    chart.apply_changes()
    chart.set_crosshair(0.1)
    assert [reading.text for reading in chart.readings()] == ["n/a"]
    chart.set_crosshair(40.0)
    assert chart.readings() == ()


def test_stepped_line_reads_the_last_value_before_the_crosshair(chart: Chart) -> None:
    chart.set_line("p50", "offered", [0.0, 10.0], [100.0, 200.0], is_stepped=True)
    chart.apply_changes()
    chart.set_crosshair(9.9)
    assert chart.readings()[0].text == f"100{THIN}ms"


def test_chart_table_has_the_visible_series(chart: Chart) -> None:
    frame = chart.frame()
    assert list(frame.columns) == ["Time (s)", "p50 (ms)"]
    assert frame["p50 (ms)"].tolist() == [2.0 * second for second in range(10)]
    chart.set_line("p99", "p99", [0.5, 1.0], [7.0, 8.0])
    assert chart.frame()["p99 (ms)"].dropna().tolist() == [7.0, 8.0]
    chart.hide_series("p50", True)
    assert list(chart.frame().columns) == ["Time (s)", "p99 (ms)"]
    chart.remove("p99")
    assert chart.frame().empty


def test_point_table_has_names_and_hollow_flags(offers: Chart) -> None:
    frame = offers.frame()
    assert frame["Name"].tolist() == ["L4 ×1", "L4 ×2", "A10 ×1"]
    assert frame["Cost (USD)"].tolist() == [100.0, 1000.0, 300.0]
    assert frame["Hollow"].tolist()[:2] == [False, True]


def test_hollow_point_is_filled_with_the_paper_color(offers: Chart) -> None:
    image = offers.plot.grab().toImage()
    inside = [offers.plot.view_to_pixel(math.log10(x), math.log10(y)).toPoint() for x, y in ((100, 50), (1000, 5))]
    assert [QColor(image.pixel(pixel)).name() for pixel in inside] == [LIGHT.series[0], LIGHT.paper]


def test_theme_change_recolors_the_chart(chart: Chart, theme: ThemeController) -> None:
    light_colors = colors(chart)
    assert {LIGHT.paper, LIGHT.series[0]} <= light_colors
    theme.set_choice("dark")
    try:
        chart.apply_changes()
        dark_colors = colors(chart)
    finally:
        theme.set_choice("light")
    assert {DARK.paper, DARK.series[0]} <= dark_colors
    assert LIGHT.paper not in dark_colors


def test_short_series_differ_by_dashes_and_long_series_do_not(chart: Chart) -> None:
    chart.set_line("p50", "p50", [0.0, 9.0], [0.0, 18.0], style_index=5)
    chart.apply_changes()
    assert not chart.legend.entries[0].is_dashed, "a single line needs no dashes"
    for series in range(6):
        chart.set_line(f"{series}", f"line {series}", [0.0, 9.0], [series, series + 1], style_index=series)
    chart.apply_changes()
    entries = chart.legend.entries[1:]
    assert all(entry.is_dashed for entry in entries)
    chart.set_line("5", "line 5", np.linspace(0, 9, 5000), np.ones(5000), style_index=5)
    chart.apply_changes()
    assert not chart.legend.entries[-1].is_dashed


def test_chart_limit_is_within_the_y_range_and_in_the_description(chart: Chart) -> None:
    chart.set_limit(100.0, "p99 < 100 ms")
    chart.apply_changes()
    assert chart.plot.ranges()[1][1] > 100
    assert "Limit: p99 < 100 ms" in chart.accessibleDescription()
    assert LIGHT.bad in colors(chart)
    chart.set_limit(None)
    chart.apply_changes()
    assert chart.plot.ranges()[1][1] < 100
    assert LIGHT.bad not in colors(chart)


def test_band_and_marker_labels_are_in_the_description_and_at_the_crosshair(chart: Chart) -> None:
    chart.set_bands(((0.0, 5.0, "ramp", "plain"), (5.0, 9.0, "throttled", "bad")))
    chart.set_markers(((7.0, "deploy"),))
    chart.apply_changes()
    assert "throttled from 5.00 to 9.00; deploy at 7.00" in chart.accessibleDescription()
    chart.set_crosshair(7.0)
    assert chart.accessibleDescription().startswith(f"At 7.00{THIN}s, throttled, deploy: ")


def test_chart_message_replaces_the_plot_until_the_message_is_cleared(chart: Chart) -> None:
    chart.set_message("Nothing was measured yet.")
    assert not chart.plot.isVisible()
    assert not chart.export_button.isVisible()
    assert chart.accessibleDescription() == "Nothing was measured yet."
    chart.set_message("")
    assert chart.plot.isVisible()
    assert chart.export_button.isVisible()
    assert chart.accessibleName() == "Latency"
    assert chart.accessibleDescription().startswith("The chart shows Latency (ms) over Time (s): p50.")


def test_chart_table_is_toggled_by_key_and_button(chart: Chart, qtbot: QtBot) -> None:
    chart.setFocus()
    qtbot.keyClick(chart, Qt.Key.Key_T)
    table = chart.table()
    assert table is not None
    assert table.isVisible()
    assert table.hasFocus()
    assert table.accessibleName() == "Latency (table)"
    assert table.frame_model.rowCount() == 10
    chart.set_line("p50", "p50", [1.0], [2.0])
    qtbot.waitUntil(lambda: table.frame_model.rowCount() == 1)
    qtbot.keyClick(table, Qt.Key.Key_T)
    assert chart.plot.isVisible()
    qtbot.mouseClick(chart.table_button, Qt.MouseButton.LeftButton)
    assert table.isVisible()
    assert chart.table_button.accessibleName() == "Show as a table: Latency"


def test_chart_is_drawn_when_it_becomes_visible(qtbot: QtBot, theme: ThemeController) -> None:
    chart = Chart("Rate", Axis("Time", "s"), Axis("Rate", "1/s"), theme)
    qtbot.addWidget(chart)
    chart.set_line("sent", "sent", [0.0, 1.0], [5.0, 6.0])
    qtbot.wait(1)
    assert chart.plot.ranges()[1] == (0.0, 1.0)
    with qtbot.waitExposed(chart):
        chart.show()
    assert chart.plot.ranges()[1][1] > 6.0


def test_click_selects_the_nearest_point_and_hovering_marks_the_point(offers: Chart, qtbot: QtBot) -> None:
    pixel = offers.plot.view_to_pixel(3.0, math.log10(5.0)).toPoint() + QPoint(3, -2)
    with qtbot.waitSignal(offers.point_selected) as selection:
        qtbot.mouseClick(offers.plot.viewport(), Qt.MouseButton.LeftButton, pos=pixel)
    assert selection.args == ["l4", 1]
    with qtbot.waitSignal(offers.crosshair_moved):
        qtbot.mouseMove(offers.plot.viewport(), pixel)
    assert [(reading.label, reading.text) for reading in offers.readings()] == [("L4", f"L4 ×2: 5.00{THIN}ms")]
    assert offers.decorations.selected_point is not None
    assert offers.decorations.selected_point.text == "L4 ×2"


def test_mouse_leave_clears_only_the_crosshair_set_by_the_mouse(chart: Chart, qtbot: QtBot) -> None:
    view = chart.plot.viewport()
    chart.set_crosshair(4.0)
    QApplication.sendEvent(chart.plot, QEvent(QEvent.Type.Leave))
    assert chart.crosshair.x == 4.0
    qtbot.mouseMove(view, view.rect().center())
    qtbot.waitUntil(lambda: chart.crosshair.x != 4.0)
    with qtbot.waitSignal(chart.crosshair_moved) as moved:
        QApplication.sendEvent(chart.plot, QEvent(QEvent.Type.Leave))
    assert moved.args is not None
    assert math.isnan(moved.args[0])
    assert chart.crosshair.x is None


def test_series_with_arrays_of_unequal_length_is_rejected(chart: Chart) -> None:
    with pytest.raises(ValueError, match="all arrays of a series must have the same length"):
        chart.set_line("p99", "p99", [0.0, 1.0], [1.0])


def test_nan_infinite_and_empty_series_have_a_finite_y_range(chart: Chart) -> None:
    chart.clear()
    chart.set_line("gap", "only gaps", [0.0, 1.0], [math.nan, math.nan])
    chart.set_line("none", "none", [], [])
    chart.set_line("far", "infinite", [0.0, 1.0], [math.inf, 3.0])
    chart.set_points("one", "one", [0.5], [3.0])
    chart.apply_changes()
    assert LIGHT.paper in colors(chart)
    assert math.isfinite(chart.plot.ranges()[1][1])


def test_context_menu_of_a_chart_hides_lines_and_offers_exports(chart: Chart, qtbot: QtBot) -> None:
    chart.set_line("p99", "p99 & more", np.arange(10.0), np.arange(10.0) * 3, style_index=1)
    chart.apply_changes()
    view = chart.plot.viewport()
    center = view.rect().center()
    QApplication.sendEvent(view, QContextMenuEvent(QContextMenuEvent.Reason.Mouse, center, view.mapToGlobal(center)))
    menu = QApplication.activePopupWidget()
    assert isinstance(menu, QMenu)
    texts = [action.text().partition("\t")[0].replace("&", "") for action in menu.actions() if action.text()]
    assert texts[:4] == ["Zoom in", "Zoom out", "Reset zoom", "Visible lines"]
    assert texts[-4:] == ["Save as PNG…", "Save as SVG…", "Save as CSV…", "Copy image"]
    (lines,) = (action.menu() for action in menu.actions() if action.menu() is not None)
    assert isinstance(lines, QMenu)
    lines.actions()[1].trigger()
    menu.close()
    qtbot.waitUntil(lambda: [entry.label for entry in chart.legend.entries] == ["p50"])
    assert LIGHT.series[1] not in colors(chart)


def test_marker_action_needs_a_connected_receiver(chart: Chart) -> None:
    def has_marker_action() -> bool:
        menu = QMenu()
        chart.fill_menu(menu)
        return any("marker" in action.text() for action in menu.actions())

    chart.set_crosshair(3.0)
    assert not has_marker_action()
    reported: list[float] = []
    chart.marker_requested.connect(reported.append)
    assert has_marker_action()


def test_wheel_zooms_only_with_the_control_key(chart: Chart, qtbot: QtBot) -> None:
    full_range, center = chart.x_range(), QPointF(chart.plot.viewport().rect().center())

    def wheel(modifier: Qt.KeyboardModifier) -> None:
        nothing, notch = QPoint(), QPoint(0, 120)
        phase, button = Qt.ScrollPhase.NoScrollPhase, Qt.MouseButton.NoButton
        QApplication.sendEvent(
            chart.plot.viewport(), QWheelEvent(center, center, nothing, notch, button, modifier, phase, False)
        )

    chart.clearFocus()
    wheel(Qt.KeyboardModifier.NoModifier)
    assert chart.x_range() == full_range
    wheel(Qt.KeyboardModifier.ControlModifier)
    low, high = chart.x_range()
    assert high - low < full_range[1] - full_range[0]


def test_interval_band_is_hidden_and_removed_with_its_line(chart: Chart) -> None:
    x, gaps = np.arange(10.0), np.full(10, np.nan)
    before = chart.plot.grab().toImage()
    low, high = (np.where(x == 5, np.nan, edge) for edge in (x, x + 40))
    chart.set_interval("p50", x, low, high)
    chart.apply_changes()
    assert chart.data_bounds().y1 == 49
    assert "95 % CI" in chart.notes()
    chart.set_limit(None)
    shaded = chart.plot.grab().toImage()
    assert shaded != before
    chart.hide_series("p50", is_hidden=True)
    chart.apply_changes()
    assert not chart.decorations.intervals
    chart.hide_series("p50", is_hidden=False)
    chart.set_interval("p50", x, gaps, gaps)
    chart.remove("p50")
    chart.apply_changes()
    assert not chart.decorations.intervals
