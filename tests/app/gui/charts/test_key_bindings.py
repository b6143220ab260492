from __future__ import annotations

from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QKeyEvent
from pytestqt.qtbot import QtBot

from app.gui.charts.chart import Chart

KEY = Qt.Key


def test_arrows_walk_the_samples_and_say_where_they_are(chart: Chart, qtbot: QtBot) -> None:
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


def test_arrows_walk_points_across_and_up(offers: Chart, qtbot: QtBot) -> None:
    names = []
    for key in (KEY.Key_Right, KEY.Key_Right, KEY.Key_Right, KEY.Key_Up, KEY.Key_Up):
        qtbot.keyClick(offers, key)
        names.append(offers.readings()[0].text.partition(":")[0])
    assert names == ["L4 ×1", "A10 ×1", "L4 ×2", "A10 ×1", "L4 ×1"]
    with qtbot.waitSignal(offers.point_selected) as chosen:
        qtbot.keyClick(offers, KEY.Key_Return)
    assert chosen.args == ["l4", 0]


def test_enter_chooses_the_sample_under_the_crosshair(chart: Chart, qtbot: QtBot) -> None:
    chart.set_crosshair(4.0)
    with qtbot.waitSignal(chart.point_selected) as chosen:
        qtbot.keyClick(chart, KEY.Key_Enter)
    assert chosen.args == ["p50", 4]


def test_zoom_keeps_the_crosshair_where_it_is_and_home_shows_everything(chart: Chart, qtbot: QtBot) -> None:
    whole = chart.view_range.x_range()
    chart.set_crosshair(2.0)
    before = chart.plot.view_to_pixel(2.0, 0.0).x()
    with qtbot.waitSignal(chart.range_changed):
        qtbot.keyClick(chart, KEY.Key_Plus)
    low, high = chart.view_range.x_range()
    assert high - low < whole[1] - whole[0]
    assert abs(chart.plot.view_to_pixel(2.0, 0.0).x() - before) < 1e-6
    qtbot.keyClick(chart, KEY.Key_Minus)
    qtbot.keyClick(chart, KEY.Key_Minus)
    assert chart.view_range.x_range()[1] > whole[1]
    qtbot.keyClick(chart, KEY.Key_Home)
    assert chart.view_range.x_range() == whole


def test_zoom_ends_where_there_is_nothing_more_to_see(chart: Chart, qtbot: QtBot) -> None:
    for _ in range(200):
        qtbot.keyClick(chart, KEY.Key_Plus)
    low, high = chart.view_range.x_range()
    assert 0 < high - low < 1e-5
    for _ in range(200):
        qtbot.keyClick(chart, KEY.Key_Minus)
    assert chart.view_range.x_range()[1] < 200


def test_the_view_follows_the_crosshair_out_of_it(chart: Chart, qtbot: QtBot) -> None:
    chart.set_x_range(0.0, 2.0)
    chart.set_crosshair(2.0)
    qtbot.keyClick(chart, KEY.Key_Right)
    assert chart.crosshair.x == 3.0
    assert chart.view_range.x_range()[1] > 3.0


def test_m_wants_a_marker_at_the_crosshair(chart: Chart, qtbot: QtBot) -> None:
    with qtbot.assertNotEmitted(chart.marker_requested):
        qtbot.keyClick(chart, KEY.Key_M)
    chart.set_crosshair(3.0)
    with qtbot.waitSignal(chart.marker_requested) as wanted:
        qtbot.keyClick(chart, KEY.Key_M)
    assert wanted.args == [3.0]


def test_shift_and_arrows_choose_a_stretch(chart: Chart, qtbot: QtBot) -> None:
    chart.set_crosshair(2.0)
    drawn: list[tuple[float, float, bool]] = []
    chart.time_range_drawn.connect(lambda *time_range: drawn.append(time_range))
    shift = Qt.KeyboardModifier.ShiftModifier
    qtbot.keyPress(chart, KEY.Key_Right, shift)
    qtbot.keyPress(chart, KEY.Key_Right, shift)
    qtbot.keyRelease(chart, KEY.Key_Shift)
    assert drawn == [(2.0, 3.0, False), (2.0, 4.0, False), (2.0, 4.0, True)]


def test_other_keys_are_left_to_the_page(chart: Chart, qtbot: QtBot) -> None:
    event = QKeyEvent(QEvent.Type.KeyPress, KEY.Key_Q, Qt.KeyboardModifier.NoModifier, "q")
    chart.keyPressEvent(event)
    assert not event.isAccepted()
