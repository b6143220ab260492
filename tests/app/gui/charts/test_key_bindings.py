from __future__ import annotations

from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QKeyEvent
from pytestqt.qtbot import QtBot

from app.gui.charts.chart import Chart

KEY = Qt.Key


def test_arrow_and_end_keys_move_the_crosshair_along_the_samples(chart: Chart, qtbot: QtBot) -> None:
    with qtbot.waitSignals([chart.crosshair_moved] * 2) as _:
        qtbot.keyClick(chart, KEY.Key_Right)
        qtbot.keyClick(chart, KEY.Key_Right)
    assert chart.crosshair.x == 1.0
    qtbot.keyClick(chart, KEY.Key_Left)
    assert chart.crosshair.x == 0.0
    qtbot.keyClick(chart, KEY.Key_Left)
    assert chart.crosshair.x == 0.0
    qtbot.keyClick(chart, KEY.Key_End)
    assert chart.crosshair.x == 9.0
    assert "p50 18.0" in chart.accessibleDescription()


def test_arrow_keys_move_between_points_and_return_selects_a_point(offers: Chart, qtbot: QtBot) -> None:
    names = []
    for key in (KEY.Key_Right, KEY.Key_Right, KEY.Key_Right, KEY.Key_Up, KEY.Key_Up):
        qtbot.keyClick(offers, key)
        names.append(offers.readings()[0].text.partition(":")[0])
    assert names == ["L4 ×1", "A10 ×1", "L4 ×2", "A10 ×1", "L4 ×1"]
    with qtbot.waitSignal(offers.point_selected) as selection:
        qtbot.keyClick(offers, KEY.Key_Return)
    assert selection.args == ["l4", 0]


def test_enter_selects_the_sample_at_the_crosshair(chart: Chart, qtbot: QtBot) -> None:
    chart.set_crosshair(4.0)
    with qtbot.waitSignal(chart.point_selected) as selection:
        qtbot.keyClick(chart, KEY.Key_Enter)
    assert selection.args == ["p50", 4]


def test_chart_zoom_keys_fix_the_crosshair_position_and_home_resets_the_zoom(chart: Chart, qtbot: QtBot) -> None:
    full_range = chart.view_range.x_range()
    chart.set_crosshair(2.0)
    crosshair_px = chart.plot.view_to_pixel(2.0, 0.0).x()
    with qtbot.waitSignal(chart.range_changed):
        qtbot.keyClick(chart, KEY.Key_Plus)
    low, high = chart.view_range.x_range()
    assert high - low < full_range[1] - full_range[0]
    assert abs(chart.plot.view_to_pixel(2.0, 0.0).x() - crosshair_px) < 1e-6
    qtbot.keyClick(chart, KEY.Key_Minus)
    qtbot.keyClick(chart, KEY.Key_Minus)
    assert chart.view_range.x_range()[1] > full_range[1]
    qtbot.keyClick(chart, KEY.Key_Home)
    assert chart.view_range.x_range() == full_range


def test_chart_zoom_is_limited_in_both_directions(chart: Chart, qtbot: QtBot) -> None:
    for _ in range(200):
        qtbot.keyClick(chart, KEY.Key_Plus)
    low, high = chart.view_range.x_range()
    assert 0 < high - low < 1e-5
    for _ in range(200):
        qtbot.keyClick(chart, KEY.Key_Minus)
    assert chart.view_range.x_range()[1] < 200


def test_chart_view_pans_to_a_crosshair_outside_the_view(chart: Chart, qtbot: QtBot) -> None:
    chart.set_x_range(0.0, 2.0)
    chart.set_crosshair(2.0)
    qtbot.keyClick(chart, KEY.Key_Right)
    assert chart.crosshair.x == 3.0
    assert chart.view_range.x_range()[1] > 3.0


def test_m_key_requests_a_marker_at_the_crosshair(chart: Chart, qtbot: QtBot) -> None:
    with qtbot.assertNotEmitted(chart.marker_requested):
        qtbot.keyClick(chart, KEY.Key_M)
    chart.set_crosshair(3.0)
    with qtbot.waitSignal(chart.marker_requested) as request:
        qtbot.keyClick(chart, KEY.Key_M)
    assert request.args == [3.0]


def test_shift_and_arrow_keys_draw_a_time_range(chart: Chart, qtbot: QtBot) -> None:
    chart.set_crosshair(2.0)
    time_ranges: list[tuple[float, float, bool]] = []
    chart.time_range_drawn.connect(lambda *time_range: time_ranges.append(time_range))
    shift = Qt.KeyboardModifier.ShiftModifier
    qtbot.keyPress(chart, KEY.Key_Right, shift)
    qtbot.keyPress(chart, KEY.Key_Right, shift)
    qtbot.keyRelease(chart, KEY.Key_Shift)
    assert time_ranges == [(2.0, 3.0, False), (2.0, 4.0, False), (2.0, 4.0, True)]


def test_chart_ignores_unbound_keys(chart: Chart, qtbot: QtBot) -> None:
    event = QKeyEvent(QEvent.Type.KeyPress, KEY.Key_Q, Qt.KeyboardModifier.NoModifier, "q")
    chart.keyPressEvent(event)
    assert not event.isAccepted()
