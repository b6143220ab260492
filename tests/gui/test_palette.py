"""Ctrl+K reaches commands, pages, stored runs and profiles; a missing file is reported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from app.gui.command_palette import CommandPalette
from app.gui.window import Window
from tests.fakes.window_actions import drop_files, is_page_shown

OpenWindow = Callable[[], Window]


def open_palette(window: Window) -> CommandPalette:
    window.open_palette()
    palette = window.findChild(CommandPalette)
    assert isinstance(palette, CommandPalette)
    return palette


def test_stored_run_is_opened_from_the_palette_by_its_name(
    open_window: OpenWindow, library_runs: tuple[Path, ...], qtbot: QtBot
) -> None:
    window = open_window()
    palette = open_palette(window)
    qtbot.keyClicks(palette.field, f"run {library_runs[0].name}")
    qtbot.keyClick(palette.field, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: window.pages.results.run_directories() == (library_runs[0],))


def test_profile_is_opened_from_the_palette_by_its_name(open_window: OpenWindow, qtbot: QtBot) -> None:
    window = open_window()
    palette = open_palette(window)
    qtbot.keyClicks(palette.field, "profile chat")
    qtbot.keyClick(palette.field, Qt.Key.Key_Return)
    qtbot.waitUntil(is_page_shown(window, "run"))


def test_dropped_missing_file_is_reported(open_window: OpenWindow, tmp_path: Path) -> None:
    window = open_window()
    drop_files(window, tmp_path / "gone.onnx")
    assert window.strip.text() == f"{tmp_path / 'gone.onnx'} does not exist."
