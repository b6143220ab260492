"""Command palette (Ctrl+K): the user types part of a command and runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from PySide6.QtCore import QEvent, QObject, QStringListModel, Qt
from PySide6.QtGui import QAction, QKeyEvent
from PySide6.QtWidgets import QAbstractItemView, QDialog, QLineEdit, QListView, QWidget

from app.gui.widgets import vbox

_MAX_ENTRIES = 200


class PaletteEntry(msgspec.Struct, frozen=True):
    text: str
    run: Callable[[], object]


def build_action_entries(actions: Sequence[QAction]) -> list[PaletteEntry]:
    """Return a palette entry for each enabled action, with the shortcut of the action."""
    return [PaletteEntry(_format_entry(action), action.trigger) for action in actions if action.isEnabled()]


def filter_entries(entries: Sequence[PaletteEntry], query: str) -> list[PaletteEntry]:
    """Return the entries that contain all typed words. Entries that begin with the typed text come
    first."""
    terms = query.casefold().split()
    matches = [entry for entry in entries if all(term in entry.text.casefold() for term in terms)]
    return sorted(matches, key=lambda entry: not entry.text.casefold().startswith(query.casefold().strip()))


class CommandPalette(QDialog):
    def __init__(self, parent: QWidget, entries: Sequence[PaletteEntry]) -> None:
        super().__init__(parent, Qt.WindowType.Popup)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setProperty("role", "palette")
        self.setAccessibleName("Command palette")
        self._entries, self._matching_entries = list(entries), list(entries)
        self.field = QLineEdit()
        self.field.setPlaceholderText("Search commands, pages, runs and profiles")
        self.field.setAccessibleName("Command")
        self._model = QStringListModel(self)
        self.view = QListView()
        self.view.setModel(self._model)
        self.view.setAccessibleName("Matching commands")
        self.view.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.view.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        vbox(self.field, self.view, within=self, margins=(8, 8, 8, 8))
        self.field.textChanged.connect(self._show_matches)
        self.field.installEventFilter(self)
        self.view.clicked.connect(self._run_selected_entry)
        self._move_below_toolbar(parent)
        self._show_matches("")

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is self.field and isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            step = {Qt.Key.Key_Down: 1, Qt.Key.Key_Up: -1}.get(Qt.Key(event.key()))
            if step is not None:
                row = (self.view.currentIndex().row() + step) % max(1, len(self._matching_entries))
                self.view.setCurrentIndex(self._model.index(row))
                return True
            if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
                self._run_selected_entry()
                return True
        return super().eventFilter(watched, event)

    def _show_matches(self, query: str) -> None:
        self._matching_entries = filter_entries(self._entries, query)[:_MAX_ENTRIES]
        self._model.setStringList([entry.text for entry in self._matching_entries])
        self.view.setCurrentIndex(self._model.index(0))

    def _run_selected_entry(self) -> None:
        row = self.view.currentIndex().row()
        if not 0 <= row < len(self._matching_entries):
            return
        run = self._matching_entries[row].run
        self.close()
        run()

    def _move_below_toolbar(self, parent: QWidget) -> None:
        width = min(max(parent.width() // 2, 420), parent.width())
        self.resize(width, min(420, parent.height() - 80))
        corner = parent.mapToGlobal(parent.rect().topLeft())
        self.move(corner.x() + (parent.width() - width) // 2, corner.y() + 60)
        self.field.setFocus()


def _format_entry(action: QAction) -> str:
    keys = action.shortcut().toString()
    text = action.text().replace("&", "").removesuffix("…")
    return f"{text}    {keys}" if keys else text
