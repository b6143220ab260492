from __future__ import annotations

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from pytestqt.qtbot import QtBot

from app.gui.charts.axes import Axis
from app.gui.charts.draggable import DraggableChart, Handle
from app.gui.theme import ThemeController

Moved = list[tuple[int, float, float, bool]]


@pytest.fixture
def chart(qtbot: QtBot, theme: ThemeController) -> DraggableChart:
    chart = DraggableChart("Planned rate", Axis("Time", "s"), Axis("Rate", "/s"), theme)
    qtbot.addWidget(chart)
    chart.resize(700, 400)
    chart.set_line("planned", "planned", np.array([0.0, 30.0, 60.0]), np.array([10.0, 40.0, 20.0]))
    chart.set_handles([Handle(30, 40, "peak"), Handle(60, 20, "end", "x"), Handle(0, 10, "start", "y")])
    with qtbot.waitExposed(chart):
        chart.show()
    return chart


def record_moves(chart: DraggableChart) -> Moved:
    moves: Moved = []
    chart.handle_moved.connect(lambda *move: moves.append(move))
    return moves


def drag(qtbot: QtBot, chart: DraggableChart, index: int, to: QPointF) -> None:
    view, start = chart.plot.viewport(), chart.handle_pixel(index).toPoint()
    qtbot.mousePress(view, Qt.MouseButton.LeftButton, pos=start)
    qtbot.mouseMove(view, (start + to.toPoint()) / 2)
    qtbot.mouseRelease(view, Qt.MouseButton.LeftButton, pos=to.toPoint())


def test_dragged_handle_reports_its_new_position_and_axis_ranges_are_unchanged(
    qtbot: QtBot, chart: DraggableChart
) -> None:
    moves, ranges = record_moves(chart), chart.plot.ranges()
    drag(qtbot, chart, 0, chart.data_to_pixel(45.0, 25.0))
    assert [move[3] for move in moves] == [False, True]
    index, x, y, _ = moves[-1]
    assert index == chart.selected_index == 0
    assert x == pytest.approx(45, abs=0.5)
    assert y == pytest.approx(25, abs=0.5)
    assert chart.plot.ranges() == ranges


def test_handle_restricted_to_one_axis_moves_only_along_that_axis(qtbot: QtBot, chart: DraggableChart) -> None:
    moves = record_moves(chart)
    drag(qtbot, chart, 1, chart.data_to_pixel(50.0, 35.0))
    assert moves[-1][1] == pytest.approx(50, abs=0.5)
    assert moves[-1][2] == 20
    drag(qtbot, chart, 2, chart.data_to_pixel(10.0, 30.0))
    assert moves[-1][1] == 0
    assert moves[-1][2] == pytest.approx(30, abs=0.5)


def test_dragging_beside_the_handles_pans_the_view(qtbot: QtBot, chart: DraggableChart) -> None:
    moves, before = record_moves(chart), chart.plot.ranges()
    start = chart.data_to_pixel(15.0, 5.0).toPoint()
    view = chart.plot.viewport()
    qtbot.mousePress(view, Qt.MouseButton.LeftButton, pos=start)
    qtbot.mouseMove(view, start + QPoint(60, 0))
    qtbot.mouseRelease(view, Qt.MouseButton.LeftButton, pos=start + QPoint(60, 0))
    assert not moves
    assert chart.plot.ranges() != before


def test_handle_is_selected_moved_and_deselected_by_keys(qtbot: QtBot, chart: DraggableChart) -> None:
    moves = record_moves(chart)
    qtbot.keyClick(chart, Qt.Key.Key_Right)
    assert not moves  # arrows move the crosshair until a handle is selected
    qtbot.keyClick(chart, Qt.Key.Key_PageDown)
    assert chart.selected_index == 0
    assert "peak" in chart.accessibleDescription()
    qtbot.keyClick(chart, Qt.Key.Key_Up)
    qtbot.keyClick(chart, Qt.Key.Key_Left, Qt.KeyboardModifier.ShiftModifier)
    (_, x0, y0, _), (_, x1, y1, is_done) = moves
    assert (x0, y1) == (30, 40)
    assert y0 > 40
    (left, right), (bottom, top) = chart.plot.ranges()
    assert y0 - 40 == pytest.approx((top - bottom) / 100)
    assert 30 - x1 == pytest.approx((right - left) / 10)
    assert is_done
    qtbot.keyClick(chart, Qt.Key.Key_PageUp)
    assert chart.selected_index == 2
    qtbot.keyClick(chart, Qt.Key.Key_Escape)
    assert chart.selected_index is None


def test_handle_selection_is_cleared_when_the_handle_is_removed(chart: DraggableChart) -> None:
    chart.select(2)
    chart.set_handles([Handle(1, 1, "only")])
    assert chart.selected_index is None
