from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QToolButton
from pytestqt.qtbot import QtBot

from app.gui.rail import Rail
from app.gui.theme import Look


@pytest.fixture
def rail(qtbot: QtBot, look: Look) -> Rail:
    rail = Rail({"home": "Home", "run": "Run", "live": "Live"}, look)
    qtbot.addWidget(rail)
    rail.show_chosen("home")
    rail.show()
    return rail


def buttons(rail: Rail) -> list[QToolButton]:
    return rail.findChildren(QToolButton)


def test_icons_grow_with_the_text(rail: Rail, look: Look) -> None:
    usual = buttons(rail)[0].iconSize().height()
    look.scale_text(2)
    try:
        assert buttons(rail)[0].iconSize().height() == pytest.approx(2 * usual, abs=3)
    finally:
        look.scale_text(1)


def test_the_arrows_go_round_the_pages(rail: Rail, qtbot: QtBot) -> None:
    chosen: list[str] = []
    rail.chosen.connect(chosen.append)
    qtbot.keyClick(rail, Qt.Key.Key_Up)
    qtbot.keyClick(rail, Qt.Key.Key_Down)
    assert chosen == ["live", "home"]
