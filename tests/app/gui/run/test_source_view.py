from __future__ import annotations

import pytest
from PySide6.QtGui import QTextCursor
from pytestqt.qtbot import QtBot

from app.gui.run.source_view import SourceView
from app.gui.theme import ThemeController


@pytest.fixture
def view(qtbot: QtBot, theme: ThemeController) -> SourceView:
    view = SourceView(theme)
    qtbot.addWidget(view)
    view.resize(400, 300)
    view.show()
    view.show_text("a: 1\nb: 😀 # two\nc: 3\n")
    return view


def test_only_typed_yaml_is_emitted_as_an_edit(qtbot: QtBot, view: SourceView) -> None:
    edits: list[str] = []
    view.edited.connect(edits.append)
    view.show_text("a: 1\nb: 😀 # two\nc: 34\n")
    assert edits == []
    view.yaml_edit.moveCursor(QTextCursor.MoveOperation.End)
    qtbot.keyClicks(view.yaml_edit, "d")
    assert edits == ["a: 1\nb: 😀 # two\nc: 34\nd"]


def test_cursor_position_is_unchanged_when_the_yaml_text_changes(view: SourceView) -> None:
    cursor = view.yaml_edit.textCursor()
    cursor.setPosition(len("a: 1\nb"))
    view.yaml_edit.setTextCursor(cursor)
    view.show_text("a: 1\nb: 😀 # two\nc: 😀 3\n")
    assert view.yaml_edit.toPlainText() == "a: 1\nb: 😀 # two\nc: 😀 3\n"
    assert view.yaml_edit.textCursor().position() == len("a: 1\nb")


def test_yaml_line_with_an_error_is_marked_and_reachable(view: SourceView, theme: ThemeController) -> None:
    view.show_errors((3,))
    assert [selection.cursor.blockNumber() for selection in view.yaml_edit.extraSelections()] == [2]
    view.go_to_line(3)
    assert view.yaml_edit.textCursor().blockNumber() == 2
    view.grab()
    theme.set_choice("dark")
    view.grab()
    theme.set_choice("light")
    view.show_errors(())
    assert view.yaml_edit.extraSelections() == []
