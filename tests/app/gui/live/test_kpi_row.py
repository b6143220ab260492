from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame
from pytestqt.qtbot import QtBot

from app.gui.live.kpi_row import KpiRow
from app.gui.live.state import Kpi
from app.gui.theme import ThemeController


def test_new_kpi_card_has_the_width_of_the_others_immediately(qtbot: QtBot, theme: ThemeController) -> None:
    row = KpiRow()
    qtbot.addWidget(row)
    row.resize(1240, 72)
    row.show()
    kpis = tuple(Kpi(label=f"Metric {index}", value="1 req/s") for index in range(5))
    row.show_kpis(kpis[:4])
    row.show_kpis(kpis)
    widths = [card.width() for card in row.findChildren(QFrame, options=Qt.FindChildOption.FindDirectChildrenOnly)]
    assert max(widths) - min(widths) <= 1, "before the event loop lays them out"
    assert sum(widths) > 1_200
