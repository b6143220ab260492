from __future__ import annotations

import pytest
from PySide6.QtCore import QPoint, Qt
from pytestqt.qtbot import QtBot

from app.gui.plan.day_curve import HOURS, CapacityLine, DayCurve
from app.gui.theme import ThemeController

RATES = tuple(50.0 if hour != 9 else 100.0 for hour in range(HOURS))


@pytest.fixture
def curve(qtbot: QtBot, theme: ThemeController) -> DayCurve:
    curve = DayCurve(theme)
    qtbot.addWidget(curve)
    curve.resize(400, 180)
    curve.show()
    curve.set_rates(RATES)
    return curve


def record_requests(curve: DayCurve) -> list[tuple[tuple[float, ...], int]]:
    requests: list[tuple[tuple[float, ...], int]] = []

    def apply_rates(rates: tuple[float, ...], merge_id: int) -> None:
        requests.append((rates, merge_id))
        curve.set_rates(rates)

    curve.rates_requested.connect(apply_rates)
    return requests


def test_day_curve_keys_select_an_hour_and_change_its_rate(qtbot: QtBot, curve: DayCurve) -> None:
    requests = record_requests(curve)
    curve.select_hour(11)
    qtbot.keyClick(curve, Qt.Key.Key_Left)
    assert curve.selected_hour == 10
    qtbot.keyClick(curve, Qt.Key.Key_Up)
    qtbot.keyClick(curve, Qt.Key.Key_Down, Qt.KeyboardModifier.ShiftModifier)
    qtbot.keyClick(curve, Qt.Key.Key_PageDown)
    assert [rates[10] for rates, _ in requests] == [55.0, 54.0, 29.0]
    assert all(rates[:10] == RATES[:10] for rates, _ in requests)
    assert curve.accessibleDescription() == "10:00 – 29.0 req/s, 29 % of peak"


def test_day_curve_drag_is_one_undo_step_and_lowers_the_rate(qtbot: QtBot, curve: DayCurve) -> None:
    requests = record_requests(curve)
    start = curve.point_position(9).toPoint()
    qtbot.mousePress(curve, Qt.MouseButton.LeftButton, pos=start)
    for offset_px in (20, 40, 60):
        qtbot.mouseMove(curve, start + QPoint(0, offset_px))
    qtbot.mouseRelease(curve, Qt.MouseButton.LeftButton, pos=start + QPoint(0, 60))
    assert len({merge_id for _, merge_id in requests}) == 1
    dragged_rates = [rates[9] for rates, _ in requests]
    assert dragged_rates == sorted(dragged_rates, reverse=True)
    assert curve.rates()[9] < 70


def test_day_curve_never_requests_a_day_without_any_load(qtbot: QtBot, curve: DayCurve) -> None:
    curve.set_rates((0.0,) * 9 + (1.0,) + (0.0,) * 14)
    requests = record_requests(curve)
    curve.select_hour(9)
    for _ in range(4):
        qtbot.keyClick(curve, Qt.Key.Key_PageDown)
    assert curve.rates()[9] > 0
    assert len(requests) < 24


def test_day_curve_axis_includes_only_capacities_near_the_peak(curve: DayCurve) -> None:
    lines = tuple(CapacityLine(name, rate, name == "N", 0.5) for name, rate in (("N−1", 80), ("N", 140), ("N+1", 400)))
    peak_y = curve.point_position(9).y()
    curve.set_capacity_lines(lines)
    assert [line.label for line in curve.visible_capacity_lines()] == ["N−1", "N"]
    assert curve.point_position(9).y() > peak_y
    assert curve.accessibleDescription().endswith("; capacity N−1: 80.0 req/s, N: 140 req/s, N+1: 400 req/s")
    curve.set_capacity_lines(())
    assert curve.point_position(9).y() == peak_y
