from __future__ import annotations

from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QPlainTextEdit, QPushButton
from pytestqt.qtbot import QtBot

from app.errors import UsageError
from app.gui.message_strip import MessageStrip
from app.gui.navigation import Notice, build_error_notice


def test_message_strip_is_hidden_until_a_notice_is_shown(qtbot: QtBot) -> None:
    strip = MessageStrip()
    qtbot.addWidget(strip)
    assert strip.isHidden()
    strip.show_notice(Notice("warning", "The disk is nearly full.", None, "Free some space."))
    assert strip.text() == "The disk is nearly full.\nFree some space."
    assert strip.property("state") == "warn"
    assert strip.accessibleDescription() == strip.text()


def test_known_error_becomes_a_summary_and_a_next_step_without_traceback(qtbot: QtBot) -> None:
    notice = build_error_notice(UsageError("no run matches 'x'", hint="List them."))
    assert (notice.summary, notice.next_step, notice.details) == ("No run matches 'x'.", "List them.", None)


def test_unexpected_error_has_a_traceback_to_show_and_copy(qtbot: QtBot) -> None:
    strip = MessageStrip()
    qtbot.addWidget(strip)
    try:
        raise ValueError("boom")
    except ValueError as error:
        strip.show_notice(build_error_notice(error))
    show_button, copy_button = [button for button in strip.findChildren(QPushButton) if "etails" in button.text()]
    details = strip.findChild(QPlainTextEdit)
    assert isinstance(details, QPlainTextEdit)
    assert details.isHidden()
    show_button.click()
    assert not details.isHidden()
    copy_button.click()
    assert 'raise ValueError("boom")' in QGuiApplication.clipboard().text()


def test_markup_in_a_message_is_plain_text(qtbot: QtBot) -> None:
    strip = MessageStrip()
    qtbot.addWidget(strip)
    strip.show_notice(Notice("error", "<b>not bold</b><img src=x>"))
    assert strip.text() == "<b>not bold</b><img src=x>"
