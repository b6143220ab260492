from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from PySide6.QtCore import QPoint, Qt, QTimer
from PySide6.QtGui import QFont
from pytestqt.qtbot import QtBot

from app.gui.charts.axes import Axis
from app.gui.charts.chart import Chart
from app.gui.charts.legend import Legend
from app.gui.charts.linked import LinkedCharts
from app.gui.theme import ThemeController

TIME = Axis("Time", "s")
LEFT, SHIFT = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.ShiftModifier


@pytest.fixture
def linked(qtbot: QtBot, theme: ThemeController) -> LinkedCharts:
    charts = [Chart("Rate", TIME, Axis("Rate", "1/s"), theme), Chart("Latency", TIME, Axis("Latency", "ms"), theme)]
    charts[0].set_line("sent", "sent", np.arange(100.0), np.arange(100.0) * 1000)
    charts[1].set_line("p99", "p99", np.arange(100.0), np.ones(100))
    linked = LinkedCharts(charts)
    qtbot.addWidget(linked)
    linked.resize(800, 600)
    with qtbot.waitExposed(linked):
        linked.show()
    return linked


def test_linked_charts_fill_columns_and_hidden_charts_leave_no_gap(qtbot: QtBot, theme: ThemeController) -> None:
    charts = [Chart(name, TIME, Axis(name), theme) for name in "abc"]
    linked = LinkedCharts(charts, max_columns=2)
    qtbot.addWidget(linked)
    linked.resize(1200, 600)
    linked.insert(1, Chart("new", TIME, Axis("new"), theme))
    linked.arrange()
    with qtbot.waitExposed(linked):
        linked.show()
    a, inserted, b, c = linked.charts
    assert (a.title, inserted.title) == ("a", "new")
    assert a.y() == inserted.y() < b.y() == c.y()
    assert [chart.plot.x_axis.style["showValues"] for chart in linked.charts] == [False, False, True, True]
    b.hide()
    linked.arrange()
    qtbot.waitUntil(lambda: c.width() > 1.8 * a.width())
    assert [chart.plot.x_axis.style["showValues"] for chart in (a, inserted, c)] == [True, True, True]
    linked.resize(300, 600)
    qtbot.waitUntil(lambda: a.y() < inserted.y() < c.y())


def drag(qtbot: QtBot, chart: Chart, start: float, end: float, modifier: Qt.KeyboardModifier) -> None:
    at, to = (chart.plot.view_to_pixel(x, 0.5).toPoint() - QPoint(0, 20) for x in (start, end))
    view = chart.plot.viewport()
    qtbot.mousePress(view, LEFT, modifier, at)
    for share in (0.5, 1.0):
        qtbot.mouseMove(view, at + (to - at) * share)
    qtbot.mouseRelease(view, LEFT, modifier, to)


def test_linked_charts_share_the_x_range_and_the_axis_width(linked: LinkedCharts, qtbot: QtBot) -> None:
    first, second = linked.charts
    assert first.view_range.x_range() == second.view_range.x_range()
    first.view_range.zoom(0.5, 20.0, 0.0)
    assert first.view_range.x_range() == second.view_range.x_range()
    qtbot.waitUntil(lambda: first.plot.y_axis.size().width() == second.plot.y_axis.size().width())
    qtbot.waitUntil(
        lambda: first.plot.view_to_pixel(20, 0).x() == pytest.approx(second.plot.view_to_pixel(20, 0).x(), abs=0.01)
    )


def test_linked_charts_share_the_crosshair(linked: LinkedCharts, qtbot: QtBot) -> None:
    first, second = linked.charts
    with qtbot.waitSignal(linked.crosshair_moved):
        qtbot.keyClick(second, Qt.Key.Key_End)
    assert first.crosshair.x == 99.0
    assert first.readings()[0].text == "99,000\u202freq/s"
    linked.set_crosshair(None)
    assert first.readings() == second.readings() == ()


def test_shift_drag_selects_a_time_range_with_draggable_edges(linked: LinkedCharts, qtbot: QtBot) -> None:
    first, second = linked.charts
    with qtbot.waitSignal(linked.time_range_selected) as selection:
        drag(qtbot, first, 20, 60, SHIFT)
    assert selection.args == pytest.approx([20, 60], abs=0.3)
    assert second.decorations.time_range == linked.time_range()
    assert first.view_range.x_range() == second.view_range.x_range() == pytest.approx((0, 99), abs=2)
    time_range = linked.time_range()
    assert time_range is not None
    with qtbot.waitSignal(linked.time_range_selected) as selection:
        drag(qtbot, second, time_range[1], 80, Qt.KeyboardModifier.NoModifier)
    assert selection.args == pytest.approx([20, 80], abs=0.4)


def test_time_range_button_makes_one_plain_drag_select_a_time_range(linked: LinkedCharts, qtbot: QtBot) -> None:
    qtbot.mouseClick(linked.time_range_button, LEFT)
    with qtbot.waitSignal(linked.time_range_selected):
        drag(qtbot, linked.charts[0], 70, 30, Qt.KeyboardModifier.NoModifier)
    assert linked.time_range() == pytest.approx((30, 70), abs=0.4)
    assert not linked.time_range_button.isChecked()
    full_range = linked.charts[0].view_range.x_range()
    with qtbot.assertNotEmitted(linked.time_range_selected):
        drag(qtbot, linked.charts[0], 50, 45, Qt.KeyboardModifier.NoModifier)
    assert linked.charts[0].view_range.x_range()[0] > full_range[0]


def test_escape_and_the_clear_button_clear_the_time_range(linked: LinkedCharts, qtbot: QtBot) -> None:
    linked.select_time_range(10, 80)
    assert linked.time_range_label.text() == "Time range: 0:10.0 to 1:20.0"
    with qtbot.waitSignal(linked.time_range_cleared):
        qtbot.keyClick(linked.charts[1], Qt.Key.Key_Escape)
    assert linked.time_range() is None
    assert linked.charts[0].decorations.time_range is None
    linked.select_time_range(10, 20)
    with qtbot.waitSignal(linked.time_range_cleared):
        qtbot.mouseClick(linked.clear_button, LEFT)


def test_linked_charts_without_time_range_selection_ignore_shift_drag(qtbot: QtBot, theme: ThemeController) -> None:
    chart = Chart("Rate", TIME, Axis("Rate", "1/s"), theme)
    chart.set_line("sent", "sent", [0.0, 10.0], [1.0, 2.0])
    linked = LinkedCharts([chart], has_time_range_selection=False)
    qtbot.addWidget(linked)
    with qtbot.waitExposed(linked):
        linked.show()
    drag(qtbot, chart, 2, 6, SHIFT)
    assert linked.time_range() is None
    assert not linked.time_range_button.isVisible()


def test_linked_charts_follow_the_newest_seconds_until_the_user_pans(linked: LinkedCharts, qtbot: QtBot) -> None:
    first, second = linked.charts
    linked.follow(30)
    assert second.view_range.x_range() == (69.0, 99.0)
    first.set_line("sent", "sent", np.arange(200.0), np.ones(200))
    qtbot.waitUntil(lambda: second.view_range.x_range() == (169.0, 199.0))
    first.view_range.pan(-50.0, 0.0)
    panned_range = first.view_range.x_range()
    first.set_line("sent", "sent", np.arange(300.0), np.ones(300))
    first.apply_changes()
    assert first.view_range.x_range() == panned_range
    assert linked.fit_button.isVisible()
    assert linked.fit_button.accessibleName() == "Follow the run"
    qtbot.mouseClick(linked.fit_button, LEFT)
    assert not linked.fit_button.isVisible()
    assert second.view_range.x_range() == (269.0, 299.0)
    linked.follow(None)
    assert second.view_range.x_range() == pytest.approx((0.0, 299.0), abs=5)
    qtbot.keyClick(first, Qt.Key.Key_Plus)
    assert linked.fit_button.accessibleName() == "Reset zoom"
    qtbot.keyClick(first, Qt.Key.Key_Home)
    assert second.view_range.x_range() == pytest.approx((0.0, 299.0), abs=5)


def test_chart_with_new_data_follows_its_own_end_not_that_of_linked_charts(linked: LinkedCharts, qtbot: QtBot) -> None:
    """If the data of other charts moved the chart too, each frame would be painted twice."""
    first, second = linked.charts
    x_ends: list[float] = []
    second.view_range.changed.connect(lambda: x_ends.append(second.view_range.x_range()[1]))
    ends = iter(range(200, 230))

    def add_samples() -> None:
        last_second = next(ends)
        for chart, key, until in ((second, "p99", last_second), (first, "sent", last_second + 1)):
            chart.set_line(key, key, np.arange(float(until)), np.ones(until))
            chart.apply_changes()

    linked.follow(30)
    x_ends.clear()
    timer = QTimer(linked)
    timer.timeout.connect(add_samples)
    timer.start(20)
    qtbot.waitUntil(lambda: len(x_ends) >= 20)
    timer.stop()
    last_x = first.data_bounds().x1
    assert x_ends[:20] == [*range(199, 219)], "always its own end, never that of the other chart"
    qtbot.waitUntil(lambda: second.view_range.x_range() == (last_x - 30, last_x))


def test_marker_is_requested_from_a_linked_chart_at_the_crosshair(linked: LinkedCharts, qtbot: QtBot) -> None:
    linked.set_crosshair(12.0)
    with qtbot.waitSignal(linked.marker_requested) as request:
        qtbot.keyClick(linked.charts[0], Qt.Key.Key_M)
    assert request.args == [12.0]


def test_linked_plots_have_a_minimum_height_at_twice_the_text_size(linked: LinkedCharts, qtbot: QtBot) -> None:
    font = QFont(linked.font())
    font.setPointSizeF(font.pointSizeF() * 2)
    linked.setFont(font)
    linked.resize(500, 300)

    def is_text_shown(legend: Legend) -> bool:
        return legend.height() >= legend.heightForWidth(legend.width())

    for chart in linked.charts:
        qtbot.waitUntil(partial(is_text_shown, chart.legend))
        assert chart.plot.height() >= 5 * chart.fontMetrics().height()
