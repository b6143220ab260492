from __future__ import annotations

import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QComboBox, QVBoxLayout, QWidget
from pytestqt.qtbot import QtBot

from app.gui.plan.steppers import ChoiceField, CountField, LogSlider, NumberField
from app.gui.wheel import Choice

FIELDS = [Choice, lambda: ChoiceField((("a", "a"),)), lambda: CountField(0, 9), lambda: NumberField(0, 9, 0), LogSlider]


@pytest.mark.parametrize("make", FIELDS, ids=["choice", "stepper-choice", "count", "number", "slider"])
def test_the_wheel_is_taken_only_with_the_keyboard(qtbot: QtBot, make: type[QWidget]) -> None:
    page, field, other = QWidget(), make(), QComboBox()
    if isinstance(field, QComboBox):
        field.addItems(["b", "c"])
        field.setCurrentIndex(0)
    if isinstance(field, LogSlider):
        field.show_amount(30)
    layout = QVBoxLayout(page)
    layout.addWidget(other)
    layout.addWidget(field)
    qtbot.addWidget(page)
    page.show()
    qtbot.waitExposed(page)
    page.activateWindow()
    other.setFocus()
    qtbot.waitUntil(other.hasFocus)
    assert not _wheeled(field)
    field.setFocus()
    qtbot.waitUntil(field.hasFocus)
    assert _wheeled(field)


def _wheeled(field: QWidget) -> bool:
    """Whether it took a notch of the wheel, which changes it."""
    at, notch = QPointF(3, 3), QPoint(0, -120)
    button, modifier = Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier
    event = QWheelEvent(at, at, QPoint(), notch, button, modifier, Qt.ScrollPhase.NoScrollPhase, False)
    event.accept()
    field.wheelEvent(event)
    return event.isAccepted()
