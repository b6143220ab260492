from __future__ import annotations

from msgspec.structs import replace
from PySide6.QtCore import QPoint, Qt
from pytestqt.qtbot import QtBot

from app.gui.live.ribbon import StageRibbon
from app.gui.live.state import StageCell
from app.gui.theme import ThemeController


def cells(count: int) -> tuple[StageCell, ...]:
    one = StageCell(index=0, name="", load_text="", start_s=0, end_s=1, progress=1, validity="VALID")
    return tuple(replace(one, index=n, name=f"probe {n}", is_slo_met=n % 2 == 0) for n in range(count))


def test_keys_and_clicks_choose_a_stage(qtbot: QtBot, look: ThemeController) -> None:
    ribbon = StageRibbon(look)
    qtbot.addWidget(ribbon)
    ribbon.resize(900, ribbon.sizeHint().height())
    ribbon.show()
    qtbot.keyClick(ribbon, Qt.Key.Key_Left)
    assert ribbon.selected_stage() is None, "there is none yet"
    ribbon.show_cells((replace(cells(1)[0], end_s=None, progress=0.25, remaining_s=65.0),))
    assert ribbon.accessibleDescription() == "probe 0: ▶ 1:05 left"
    ribbon.show_cells(cells(3))
    assert ribbon.accessibleDescription() == "probe 0: ✓ SLO met; probe 1: ✕ SLO missed; probe 2: ✓ SLO met"
    chosen: list[int] = []
    ribbon.stage_selected.connect(chosen.append)
    for key in (Qt.Key.Key_Right, Qt.Key.Key_Left, Qt.Key.Key_Left, Qt.Key.Key_Left):
        qtbot.keyClick(ribbon, key)
    qtbot.mouseClick(ribbon, Qt.MouseButton.LeftButton, pos=QPoint(330, 10))
    assert chosen == [2, 1, 0, 0, 1]
    assert ribbon.accessibleDescription() == "probe 1: ✕ SLO missed"


def test_of_many_the_newest_are_seen(qtbot: QtBot, look: ThemeController) -> None:
    ribbon = StageRibbon(look)
    qtbot.addWidget(ribbon)
    ribbon.resize(400, ribbon.sizeHint().height())
    ribbon.show()
    ribbon.show_cells(cells(500))
    ribbon.grab()
    chosen: list[int] = []
    ribbon.stage_selected.connect(chosen.append)
    qtbot.mouseClick(ribbon, Qt.MouseButton.LeftButton, pos=QPoint(395, 10))
    assert chosen == [499]
