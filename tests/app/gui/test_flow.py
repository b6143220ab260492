from __future__ import annotations

from PySide6.QtCore import QRect
from PySide6.QtWidgets import QPushButton, QWidget
from pytestqt.qtbot import QtBot

from app.gui.flow import FlowLayout
from app.gui.theme import ThemeController


def test_flow_layout_wraps_widgets_that_do_not_fit(qtbot: QtBot, theme: ThemeController) -> None:
    parent = QWidget()
    qtbot.addWidget(parent)
    flow = FlowLayout(parent, gap=10)
    buttons = [QPushButton("a button") for _ in range(3)]
    for button in buttons:
        flow.addWidget(button)
    width, height = buttons[0].sizeHint().width(), buttons[0].sizeHint().height()
    assert flow.heightForWidth(3 * width + 20) == height
    assert flow.heightForWidth(3 * width + 19) == 2 * height + 10
    flow.setGeometry(QRect(0, 0, 2 * width + 10, 400))
    assert [(button.x(), button.y()) for button in buttons] == [(0, 0), (width + 10, 0), (0, height + 10)]
    assert flow.minimumSize().width() <= width
    buttons[0].hide()
    assert flow.heightForWidth(2 * width + 10) == height
