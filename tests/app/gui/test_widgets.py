from __future__ import annotations

import pytest
from PySide6 import QtGui
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QTextDocument, QWheelEvent
from PySide6.QtWidgets import QComboBox, QVBoxLayout, QWidget
from pytestqt.qtbot import QtBot

from app.gui.formatting import format_cell, shorten
from app.gui.message_strip import MessageStrip
from app.gui.navigation import Notice
from app.gui.plan.fields import ChoiceField, CountField, LogSlider, NumberField
from app.gui.theme import ThemeController
from app.gui.widgets import Badge, WheelSafeComboBox, label, tool_tip_text
from reports.shortening import MAX_LINE_CHARS


def test_badge_is_visible_only_with_text_and_never_as_a_window(qtbot: QtBot, theme: ThemeController) -> None:
    del theme
    page = QWidget()
    qtbot.addWidget(page)
    layout = QVBoxLayout(page)
    with_text, empty = Badge("WARN", "too few"), Badge()
    assert not with_text.isVisible()
    for badge in (with_text, empty):
        layout.addWidget(badge)
    page.show()
    assert (with_text.isVisible(), empty.isVisible()) == (True, False)
    late = Badge()
    layout.addWidget(late)
    late.show_verdict("VALID")
    with_text.show_verdict("")
    assert (with_text.isVisible(), late.isVisible()) == (False, True)
    early = Badge()
    early.show_verdict("INVALID")
    layout.addWidget(early)
    assert early.isVisible()


@pytest.mark.parametrize(
    "text", ["<img src=/etc/passwd>name", "<b>bold</b>\nsecond  line", "&lt;b>", "<!DOCTYPE html>x", "a <i>b</i> & c"]
)
def test_markup_in_a_tool_tip_is_escaped(text: str) -> None:
    assert QtGui.Qt.mightBeRichText(text), "a tool tip would render the text as markup"
    document = QTextDocument()
    document.setHtml(tool_tip_text(text))
    assert document.toPlainText() == text


def test_plain_tool_tip_text_is_unchanged_and_bounded() -> None:
    assert tool_tip_text("latency_ms.p95 < 20 & more") == "latency_ms.p95 < 20 & more"
    assert len(tool_tip_text("x" * 1_000_000)) < 3_000
    assert len(tool_tip_text("<b>" * 1_000_000)) < 30_000


@pytest.mark.parametrize(
    "value", ["x" * 100_000, "word " * 20_000, f"'{'x' * 100_000}'"], ids=["letters", "words", "quoted"]
)
def test_long_value_is_shortened_wherever_the_window_shows_it(qtbot: QtBot, value: str) -> None:
    created, changed, strip = label(value), label(), MessageStrip()
    changed.setText(value)
    for widget in (created, changed, strip):
        qtbot.addWidget(widget)
    strip.show_notice(Notice("error", f"The key {value} is unknown.", value, value))
    texts = (created.text(), changed.text(), strip.text(), tool_tip_text(value), format_cell(value), shorten(value))
    for line in "\n".join(texts).splitlines():
        assert len(line) <= MAX_LINE_CHARS
        assert "characters)" in line


FIELDS = [
    WheelSafeComboBox,
    lambda: ChoiceField((("a", "a"),)),
    lambda: CountField(0, 9),
    lambda: NumberField(0, 9, 0),
    LogSlider,
]


@pytest.mark.parametrize("make", FIELDS, ids=["choice", "stepper-choice", "count", "number", "slider"])
def test_wheel_changes_a_field_only_with_keyboard_focus(qtbot: QtBot, make: type[QWidget]) -> None:
    page, field, other_box = QWidget(), make(), QComboBox()
    if isinstance(field, QComboBox):
        field.addItems(["b", "c"])
        field.setCurrentIndex(0)
    if isinstance(field, LogSlider):
        field.show_amount(30)
    layout = QVBoxLayout(page)
    layout.addWidget(other_box)
    layout.addWidget(field)
    qtbot.addWidget(page)
    with qtbot.waitActive(page):
        page.show()
        page.activateWindow()
    other_box.setFocus()
    qtbot.waitUntil(other_box.hasFocus)
    assert not _accepts_wheel(field)
    field.setFocus()
    qtbot.waitUntil(field.hasFocus)
    assert _accepts_wheel(field)


def _accepts_wheel(field: QWidget) -> bool:
    """Return whether the field accepts a wheel step."""
    position, notch = QPointF(3, 3), QPoint(0, -120)
    button, modifier = Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier
    event = QWheelEvent(position, position, QPoint(), notch, button, modifier, Qt.ScrollPhase.NoScrollPhase, False)
    event.accept()
    field.wheelEvent(event)
    return event.isAccepted()
