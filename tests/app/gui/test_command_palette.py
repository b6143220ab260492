from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from app.gui.command_palette import CommandPalette, PaletteEntry, filter_entries


def list_rows(palette: CommandPalette) -> list[str]:
    model = palette.view.model()
    return [str(model.index(row, 0).data()) for row in range(model.rowCount())]


def test_palette_filter_needs_all_words_and_ranks_prefix_matches_first() -> None:
    entries = [
        PaletteEntry(text, lambda: None) for text in ("Reset layout", "Plan", "Open the plan file", "Layout of plan")
    ]
    assert [entry.text for entry in filter_entries(entries, "plan")] == ["Plan", "Open the plan file", "Layout of plan"]
    assert [entry.text for entry in filter_entries(entries, "lay plan")] == ["Layout of plan"]


def test_palette_filter_matches_characters_in_order_and_groups_sections() -> None:
    entries = [
        PaletteEntry("Show trash", lambda: None),
        PaletteEntry("Open run scores", lambda: None, "Runs"),
        PaletteEntry("Start", lambda: None),
        PaletteEntry("Open run stars", lambda: None, "Runs"),
    ]
    assert [entry.text for entry in filter_entries(entries, "sta")] == [
        "Start", "Show trash", "Open run stars",
    ]  # fmt: skip
    assert filter_entries(entries, "stx") == []


def test_palette_without_a_query_lists_recent_entries_first(
    qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path))
    parent = QWidget()
    qtbot.addWidget(parent)
    entries = [PaletteEntry("first", lambda: None), PaletteEntry("a run", lambda: None, "Runs")]
    palette = CommandPalette(parent, entries)
    assert list_rows(palette) == ["Commands", "first", "Runs", "a run"]
    qtbot.keyClick(palette.field, Qt.Key.Key_Up)
    qtbot.keyClick(palette.field, Qt.Key.Key_Return)
    reopened = CommandPalette(parent, entries)
    assert list_rows(reopened) == ["Recent", "a run", "Commands", "first", "Runs", "a run"]
    reopened.close()


def test_selected_palette_entry_runs_when_the_palette_closes(qtbot: QtBot) -> None:
    parent, triggered = QWidget(), []
    qtbot.addWidget(parent)
    parent.show()
    entries = [
        PaletteEntry("first", lambda: triggered.append("first")),
        PaletteEntry("second", lambda: triggered.append("second")),
    ]
    palette = CommandPalette(parent, entries)
    palette.show()
    qtbot.keyClick(palette.field, Qt.Key.Key_Down)
    qtbot.keyClick(palette.field, Qt.Key.Key_Return)
    assert triggered == ["second"]


def test_palette_without_matches_runs_nothing(qtbot: QtBot) -> None:
    parent, triggered = QWidget(), []
    qtbot.addWidget(parent)
    palette = CommandPalette(parent, [PaletteEntry("first", lambda: triggered.append("first"))])
    qtbot.keyClicks(palette.field, "zzz")
    qtbot.keyClick(palette.field, Qt.Key.Key_Return)
    assert triggered == []
    palette.close()
