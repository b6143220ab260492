from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from app.gui.command_palette import CommandPalette, PaletteEntry, filter_entries


def rows(palette: CommandPalette) -> list[str]:
    model = palette.view.model()
    return [str(model.index(row, 0).data()) for row in range(model.rowCount())]


def test_all_words_must_be_there_and_what_begins_with_them_comes_first() -> None:
    entries = [
        PaletteEntry(text, lambda: None) for text in ("Reset layout", "Plan", "Open the plan file", "Layout of plan")
    ]
    assert [one.text for one in filter_entries(entries, "plan")] == ["Plan", "Open the plan file", "Layout of plan"]
    assert [one.text for one in filter_entries(entries, "lay plan")] == ["Layout of plan"]


def test_characters_in_their_order_are_enough_and_sections_stay_together() -> None:
    entries = [
        PaletteEntry("Show trash", lambda: None),
        PaletteEntry("Open run scores", lambda: None, "Runs"),
        PaletteEntry("Start", lambda: None),
        PaletteEntry("Open run stars", lambda: None, "Runs"),
    ]
    assert [one.text for one in filter_entries(entries, "sta")] == [
        "Start", "Show trash", "Open run stars",
    ]  # fmt: skip
    assert filter_entries(entries, "stx") == []


def test_without_a_query_the_entries_that_were_used_last_come_first(
    qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    parent = QWidget()
    qtbot.addWidget(parent)
    entries = [PaletteEntry("first", lambda: None), PaletteEntry("a run", lambda: None, "Runs")]
    palette = CommandPalette(parent, entries)
    assert rows(palette) == ["Commands", "first", "Runs", "a run"]
    qtbot.keyClick(palette.field, Qt.Key.Key_Up)
    qtbot.keyClick(palette.field, Qt.Key.Key_Return)
    again = CommandPalette(parent, entries)
    assert rows(again) == ["Recent", "a run", "Commands", "first", "Runs", "a run"]
    again.close()


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
