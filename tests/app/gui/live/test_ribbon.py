from __future__ import annotations

from msgspec.structs import replace
from PySide6.QtCore import QPoint, Qt
from pytestqt.qtbot import QtBot

from app.gui.live.ribbon import StageRibbon
from app.gui.live.state import StageCell
from app.gui.theme import ThemeController


def make_cells(count: int) -> tuple[StageCell, ...]:
    cell = StageCell(index=0, name="", load_text="", start_s=0, end_s=1, progress=1, validity="VALID")
    return tuple(replace(cell, index=n, name=f"probe {n}", is_slo_met=n % 2 == 0) for n in range(count))


def test_keys_and_clicks_select_a_ribbon_stage(qtbot: QtBot, theme: ThemeController) -> None:
    ribbon = StageRibbon(theme)
    qtbot.addWidget(ribbon)
    ribbon.resize(900, ribbon.sizeHint().height())
    ribbon.show()
    qtbot.keyClick(ribbon, Qt.Key.Key_Left)
    assert ribbon.selected_stage() is None, "there are no stages yet"
    ribbon.show_cells((replace(make_cells(1)[0], end_s=None, progress=0.25, remaining_s=65.0),))
    assert ribbon.accessibleDescription() == "probe 0: ▶ 1:05 left"
    ribbon.show_cells(make_cells(3))
    assert ribbon.accessibleDescription() == "probe 0: ✓ SLO met; probe 1: ✕ SLO missed; probe 2: ✓ SLO met"
    selected_stages: list[int] = []
    ribbon.stage_selected.connect(selected_stages.append)
    for key in (Qt.Key.Key_Right, Qt.Key.Key_Left, Qt.Key.Key_Left, Qt.Key.Key_Left):
        qtbot.keyClick(ribbon, key)
    qtbot.mouseClick(ribbon, Qt.MouseButton.LeftButton, pos=QPoint(330, 10))
    assert selected_stages == [2, 1, 0, 0, 1]
    assert ribbon.accessibleDescription() == "probe 1: ✕ SLO missed"


def test_ribbon_of_many_stages_shows_the_newest(qtbot: QtBot, theme: ThemeController) -> None:
    ribbon = StageRibbon(theme)
    qtbot.addWidget(ribbon)
    ribbon.resize(400, ribbon.sizeHint().height())
    ribbon.show()
    ribbon.show_cells(make_cells(500))
    ribbon.grab()
    selected_stages: list[int] = []
    ribbon.stage_selected.connect(selected_stages.append)
    qtbot.mouseClick(ribbon, Qt.MouseButton.LeftButton, pos=QPoint(395, 10))
    assert selected_stages == [499]
