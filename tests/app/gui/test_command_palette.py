from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from app.gui.command_palette import CommandPalette, PaletteEntry, filter_entries


def test_all_words_must_be_there_and_what_begins_with_them_comes_first() -> None:
    entries = [
        PaletteEntry(text, lambda: None) for text in ("Reset layout", "Plan", "Open the plan file", "Layout of plan")
    ]
    assert [one.text for one in filter_entries(entries, "plan")] == ["Plan", "Open the plan file", "Layout of plan"]
    assert [one.text for one in filter_entries(entries, "lay plan")] == ["Layout of plan"]


def test_what_is_chosen_with_the_keys_is_done_once_it_is_closed(qtbot: QtBot) -> None:
    parent, done = QWidget(), []
    qtbot.addWidget(parent)
    parent.show()
    entries = [
        PaletteEntry("first", lambda: done.append("first")),
        PaletteEntry("second", lambda: done.append("second")),
    ]
    palette = CommandPalette(parent, entries)
    palette.show()
    qtbot.keyClick(palette.field, Qt.Key.Key_Down)
    qtbot.keyClick(palette.field, Qt.Key.Key_Return)
    assert done == ["second"]


def test_nothing_is_done_where_nothing_matches(qtbot: QtBot) -> None:
    parent, done = QWidget(), []
    qtbot.addWidget(parent)
    palette = CommandPalette(parent, [PaletteEntry("first", lambda: done.append("first"))])
    qtbot.keyClicks(palette.field, "zzz")
    qtbot.keyClick(palette.field, Qt.Key.Key_Return)
    assert done == []
    palette.close()
