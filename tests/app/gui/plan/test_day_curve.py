from __future__ import annotations

import pytest
from PySide6.QtCore import QPoint, Qt
from pytestqt.qtbot import QtBot

from app.gui.plan.day_curve import HOURS, CapacityLine, DayCurve
from app.gui.theme import ThemeController

RATES = tuple(50.0 if hour != 9 else 100.0 for hour in range(HOURS))


@pytest.fixture
def curve(qtbot: QtBot, look: ThemeController) -> DayCurve:
    curve = DayCurve(look)
    qtbot.addWidget(curve)
    curve.resize(400, 180)
    curve.show()
    curve.set_rates(RATES)
    return curve


def wanted(curve: DayCurve) -> list[tuple[tuple[float, ...], int]]:
    reported: list[tuple[tuple[float, ...], int]] = []

    def take(rates: tuple[float, ...], merge_id: int) -> None:
        reported.append((rates, merge_id))
        curve.set_rates(rates)

    curve.rates_requested.connect(take)
    return reported


def test_keys_choose_the_hour_and_move_it(qtbot: QtBot, curve: DayCurve) -> None:
    reported = wanted(curve)
    curve.select_hour(11)
    qtbot.keyClick(curve, Qt.Key.Key_Left)
    assert curve.selected_hour == 10
    qtbot.keyClick(curve, Qt.Key.Key_Up)
    qtbot.keyClick(curve, Qt.Key.Key_Down, Qt.KeyboardModifier.ShiftModifier)
    qtbot.keyClick(curve, Qt.Key.Key_PageDown)
    assert [rates[10] for rates, _ in reported] == [55.0, 54.0, 29.0]
    assert all(rates[:10] == RATES[:10] for rates, _ in reported)
    assert curve.accessibleDescription() == "10:00 – 29.0 req/s, 29 % of peak"


def test_a_drag_is_one_stroke_and_keeps_its_scale(qtbot: QtBot, curve: DayCurve) -> None:
    reported = wanted(curve)
    at = curve.point_position(9).toPoint()
    qtbot.mousePress(curve, Qt.MouseButton.LeftButton, pos=at)
    for lower in (20, 40, 60):
        qtbot.mouseMove(curve, at + QPoint(0, lower))
    qtbot.mouseRelease(curve, Qt.MouseButton.LeftButton, pos=at + QPoint(0, 60))
    assert len({merge_id for _, merge_id in reported}) == 1
    moved = [rates[9] for rates, _ in reported]
    assert moved == sorted(moved, reverse=True)
    assert curve.rates()[9] < 70


def test_a_day_without_any_request_is_not_asked_for(qtbot: QtBot, curve: DayCurve) -> None:
    curve.set_rates((0.0,) * 9 + (1.0,) + (0.0,) * 14)
    reported = wanted(curve)
    curve.select_hour(9)
    for _ in range(4):
        qtbot.keyClick(curve, Qt.Key.Key_PageDown)
    assert curve.rates()[9] > 0
    assert len(reported) < 24


def test_the_axis_reaches_the_capacity_near_the_peak_only(curve: DayCurve) -> None:
    lines = tuple(CapacityLine(name, rate, name == "N", 0.5) for name, rate in (("N−1", 80), ("N", 140), ("N+1", 400)))
    before = curve.point_position(9).y()
    curve.set_capacity_lines(lines)
    assert [line.label for line in curve.visible_capacity_lines()] == ["N−1", "N"]
    assert curve.point_position(9).y() > before
    assert curve.accessibleDescription().endswith("; capacity N−1: 80.0 req/s, N: 140 req/s, N+1: 400 req/s")
    curve.set_capacity_lines(())
    assert curve.point_position(9).y() == before
