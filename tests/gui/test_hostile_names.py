"""Names that other people gave, as markup or without end: shown letter for letter and shortened, wherever the window
shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from PySide6 import QtGui
from PySide6.QtCore import QModelIndex, Qt
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QAbstractItemView, QLabel, QMenu, QWidget
from pytestqt.qtbot import QtBot

from app.gui.page import TITLES
from app.gui.window import Window
from reports.shortening import MAX_LINE_CHARS
from tests.fakes.stored_runs import sealed_again
from tests.gui.screens.rendering import fill, settle

_LONG = b"x" * 100_000
_NAME, _HOSTILE = b"window-test", b"<img src=/etc/passwd><b>&x"
_OURS = '<p style="white-space: pre-wrap">'
_ROWS = 30


def renamed(run: Path, new_name: bytes = _HOSTILE) -> Path:
    """What a run says of itself is whatever its maker wrote."""
    for name in ("spec.yaml", "result.json", "events.jsonl", "environment.json"):
        content = (run / name).read_bytes()
        quoted = b'"' + new_name + b'"' if name == "spec.yaml" else new_name
        (run / name).write_bytes(content.replace(_NAME, quoted).replace(b'"low"', b'"<b>low"'))
    sealed_again(run)
    return run


def taken_for_markup(window: Window) -> Iterator[str]:
    for widget in window.findChildren(QWidget):
        if is_markup(widget.toolTip()):
            yield f"{type(widget).__name__}: {widget.toolTip()[:80]}"
        if isinstance(widget, QLabel) and widget.textFormat() != Qt.TextFormat.PlainText and is_markup(widget.text()):
            yield f"QLabel: {widget.text()[:80]}"
        if isinstance(widget, QAbstractItemView) and widget.model() is not None:
            yield from (
                f"{type(widget).__name__}: {reported[:80]}" for reported in tips_of(widget) if is_markup(reported)
            )
    for menu in window.findChildren(QMenu):
        if menu.toolTipsVisible():
            menu.aboutToShow.emit()
    for action in window.findChildren(QAction):
        holder = action.parent()
        if isinstance(holder, QMenu) and holder.toolTipsVisible() and is_markup(action.toolTip()):
            yield f"QAction: {action.toolTip()[:80]}"


def is_markup(text: str) -> bool:
    return QtGui.Qt.mightBeRichText(text) and not text.startswith(_OURS)


def tips_of(view: QAbstractItemView, role: Qt.ItemDataRole = Qt.ItemDataRole.ToolTipRole) -> Iterator[str]:
    model = view.model()
    for row in range(min(model.rowCount(QModelIndex()), _ROWS)):
        for column in range(model.columnCount(QModelIndex())):
            reported = model.index(row, column).data(role)
            if isinstance(reported, str):
                yield reported


def test_no_name_is_taken_for_markup(
    open_window: Callable[[], Window], kept_runs: tuple[Path, ...], qtbot: QtBot
) -> None:
    runs = tuple(renamed(run) for run in kept_runs)
    window = open_window()
    fill(window, runs)
    found: set[str] = set()
    for key in TITLES:
        window.show_page(key)
        settle()
        found |= set(taken_for_markup(window))
    assert found == set()
    said = " ".join(label.text() for label in window.pages.results.findChildren(QLabel))
    assert _HOSTILE.decode() in said, "the name is shown nowhere, so that nothing is proved"


def texts_of(window: Window) -> Iterator[str]:
    """Yield what labels, tool tips, cells and menus of the window show."""
    for widget in window.findChildren(QWidget):
        yield widget.toolTip()
        if isinstance(widget, QLabel):
            yield widget.text()
        if isinstance(widget, QAbstractItemView) and widget.model() is not None:
            yield from tips_of(widget)
            yield from tips_of(widget, Qt.ItemDataRole.DisplayRole)
    for action in window.findChildren(QAction):
        yield action.text()


def test_no_name_is_shown_at_any_length(
    open_window: Callable[[], Window], kept_runs: tuple[Path, ...], qtbot: QtBot
) -> None:
    runs = tuple(renamed(run, _LONG) for run in kept_runs)
    window = open_window()
    fill(window, runs)
    lines: set[str] = set()
    for key in TITLES:
        window.show_page(key)
        settle()
        lines.update(line for text in texts_of(window) for line in text.splitlines())
    assert [line[:80] for line in lines if len(line) > MAX_LINE_CHARS] == []
    assert any(line.startswith(_LONG[:20].decode()) for line in lines), "the name is shown nowhere"
