"""Markup in imported names is shown as plain text everywhere in the window, and long names are shortened."""

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
from tests.fakes.stored_runs import reseal_run
from tests.gui.screens.rendering import fill, wait_until_idle

_LONG = b"x" * 100_000
_NAME, _HOSTILE = b"window-test", b"<img src=/etc/passwd><b>&x"
_OWN_MARKUP = '<p style="white-space: pre-wrap">'
_ROWS = 30


def rename_run(run: Path, new_name: bytes = _HOSTILE) -> Path:
    """Replace the name in all files of the run; the files of an imported run may contain any text."""
    for name in ("spec.yaml", "result.json", "events.jsonl", "environment.json"):
        content = (run / name).read_bytes()
        quoted = b'"' + new_name + b'"' if name == "spec.yaml" else new_name
        (run / name).write_bytes(content.replace(_NAME, quoted).replace(b'"low"', b'"<b>low"'))
    reseal_run(run)
    return run


def find_markup(window: Window) -> Iterator[str]:
    for widget in window.findChildren(QWidget):
        if is_markup(widget.toolTip()):
            yield f"{type(widget).__name__}: {widget.toolTip()[:80]}"
        if isinstance(widget, QLabel) and widget.textFormat() != Qt.TextFormat.PlainText and is_markup(widget.text()):
            yield f"QLabel: {widget.text()[:80]}"
        if isinstance(widget, QAbstractItemView) and widget.model() is not None:
            yield from (
                f"{type(widget).__name__}: {tooltip[:80]}" for tooltip in list_tooltips(widget) if is_markup(tooltip)
            )
    for menu in window.findChildren(QMenu):
        if menu.toolTipsVisible():
            menu.aboutToShow.emit()
    for action in window.findChildren(QAction):
        menu_parent = action.parent()
        if isinstance(menu_parent, QMenu) and menu_parent.toolTipsVisible() and is_markup(action.toolTip()):
            yield f"QAction: {action.toolTip()[:80]}"


def is_markup(text: str) -> bool:
    return QtGui.Qt.mightBeRichText(text) and not text.startswith(_OWN_MARKUP)


def list_tooltips(view: QAbstractItemView, role: Qt.ItemDataRole = Qt.ItemDataRole.ToolTipRole) -> Iterator[str]:
    model = view.model()
    for row in range(min(model.rowCount(QModelIndex()), _ROWS)):
        for column in range(model.columnCount(QModelIndex())):
            tooltip = model.index(row, column).data(role)
            if isinstance(tooltip, str):
                yield tooltip


def test_markup_in_a_run_name_is_shown_as_plain_text(
    open_window: Callable[[], Window], library_runs: tuple[Path, ...], qtbot: QtBot
) -> None:
    runs = tuple(rename_run(run) for run in library_runs)
    window = open_window()
    fill(window, runs)
    markup_texts: set[str] = set()
    for key in TITLES:
        window.show_page(key)
        wait_until_idle()
        markup_texts |= set(find_markup(window))
    assert markup_texts == set()
    visible_text = " ".join(label.text() for label in window.pages.results.findChildren(QLabel))
    assert _HOSTILE.decode() in visible_text, "the name must be shown somewhere"


def list_texts(window: Window) -> Iterator[str]:
    """Yield what labels, tool tips, cells and menus of the window show."""
    for widget in window.findChildren(QWidget):
        yield widget.toolTip()
        if isinstance(widget, QLabel):
            yield widget.text()
        if isinstance(widget, QAbstractItemView) and widget.model() is not None:
            yield from list_tooltips(widget)
            yield from list_tooltips(widget, Qt.ItemDataRole.DisplayRole)
    for action in window.findChildren(QAction):
        yield action.text()


def test_long_run_name_is_shortened_everywhere(
    open_window: Callable[[], Window], library_runs: tuple[Path, ...], qtbot: QtBot
) -> None:
    runs = tuple(rename_run(run, _LONG) for run in library_runs)
    window = open_window()
    fill(window, runs)
    lines: set[str] = set()
    for key in TITLES:
        window.show_page(key)
        wait_until_idle()
        lines.update(line for text in list_texts(window) for line in text.splitlines())
    assert [line[:80] for line in lines if len(line) > MAX_LINE_CHARS] == []
    assert any(line.startswith(_LONG[:20].decode()) for line in lines), "the name is shown nowhere"
