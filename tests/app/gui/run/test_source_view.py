from __future__ import annotations

import pytest
from PySide6.QtGui import QTextCursor
from pytestqt.qtbot import QtBot

from app.gui.run.source_view import SourceView
from app.gui.theme import ThemeController


@pytest.fixture
def view(qtbot: QtBot, look: ThemeController) -> SourceView:
    made = SourceView(look)
    qtbot.addWidget(made)
    made.resize(400, 300)
    made.show()
    made.show_text("a: 1\nb: 😀 # two\nc: 3\n")
    return made


def test_what_is_shown_is_not_reported_and_what_is_typed_is(qtbot: QtBot, view: SourceView) -> None:
    reported: list[str] = []
    view.edited.connect(reported.append)
    view.show_text("a: 1\nb: 😀 # two\nc: 34\n")
    assert reported == []
    view.yaml_edit.moveCursor(QTextCursor.MoveOperation.End)
    qtbot.keyClicks(view.yaml_edit, "d")
    assert reported == ["a: 1\nb: 😀 # two\nc: 34\nd"]


def test_the_cursor_stays_where_it_was(view: SourceView) -> None:
    cursor = view.yaml_edit.textCursor()
    cursor.setPosition(len("a: 1\nb"))
    view.yaml_edit.setTextCursor(cursor)
    view.show_text("a: 1\nb: 😀 # two\nc: 😀 3\n")
    assert view.yaml_edit.toPlainText() == "a: 1\nb: 😀 # two\nc: 😀 3\n"
    assert view.yaml_edit.textCursor().position() == len("a: 1\nb")


def test_a_wrong_line_is_marked_and_shown(view: SourceView, look: ThemeController) -> None:
    view.show_errors((3,))
    assert [one.cursor.blockNumber() for one in view.yaml_edit.extraSelections()] == [2]
    view.go_to_line(3)
    assert view.yaml_edit.textCursor().blockNumber() == 2
    view.grab()
    look.set_choice("dark")
    view.grab()
    look.set_choice("light")
    view.show_errors(())
    assert view.yaml_edit.extraSelections() == []
