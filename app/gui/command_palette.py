"""Command palette (Ctrl+K): the user types part of a command and runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

import msgspec
from PySide6.QtCore import QEvent, QObject, QSettings, Qt
from PySide6.QtGui import QAction, QKeyEvent, QStandardItem, QStandardItemModel
from PySide6.QtWidgets import QAbstractItemView, QDialog, QLineEdit, QListView, QWidget

from app.gui.settings import open_settings
from app.gui.theme import PANEL_MARGINS
from app.gui.widgets import vbox

_MAX_ENTRIES = 200
_MAX_RECENT_ENTRIES = 5
_RECENT_KEY = "palette/recent"
RECENT_SECTION = "Recent"


class PaletteEntry(msgspec.Struct, frozen=True):
    """Entry of the command palette. Entries of a section are shown together. `keys` is the shortcut
    of the command."""

    text: str
    run: Callable[[], object]
    section: str = "Commands"
    keys: str = ""


def build_action_entries(actions: Sequence[QAction]) -> list[PaletteEntry]:
    """Return a palette entry for each enabled action, with the shortcut of the action."""
    return [
        PaletteEntry(
            action.text().replace("&", "").removesuffix("…"), action.trigger, keys=action.shortcut().toString()
        )
        for action in actions
        if action.isEnabled()
    ]


def filter_entries(entries: Sequence[PaletteEntry], query: str, recent_texts: Sequence[str] = ()) -> list[PaletteEntry]:
    """Return the entries that match a query, by section.

    Entries that begin with the query come before those that contain all of its words, and these
    before those that contain its characters in this order. The section of the best match comes
    first. Without a query, a section of the entries that were used last, `recent_texts`, comes
    before all others.
    """
    if not query.strip():
        by_text = {entry.text: entry for entry in entries}
        recent = [
            msgspec.structs.replace(by_text[text], section=RECENT_SECTION) for text in recent_texts if text in by_text
        ]
        return [*recent, *entries]
    ranked = [(rank, entry) for entry in entries if (rank := _rank(entry.text.casefold(), query)) is not None]
    best_ranks: dict[str, int] = {}
    for rank, entry in ranked:
        best_ranks[entry.section] = min(rank, best_ranks.get(entry.section, rank))
    positions = {section: index for index, section in enumerate(best_ranks)}

    def sort_key(match: tuple[int, PaletteEntry]) -> tuple[int, int, bool, int]:
        rank, entry = match
        return best_ranks[entry.section], positions[entry.section], entry.text not in recent_texts, rank

    return [entry for _, entry in sorted(ranked, key=sort_key)]


def _rank(text: str, query: str) -> int | None:
    """Return how well a text in lower case matches a query, best first, or None if it does not."""
    query = query.casefold().strip()
    if text.startswith(query):
        return 0
    if all(term in text for term in query.split()):
        return 1
    characters = iter(text)
    return 2 if all(character in characters for character in query if not character.isspace()) else None


class CommandPalette(QDialog):
    def __init__(self, parent: QWidget, entries: Sequence[PaletteEntry]) -> None:
        super().__init__(parent, Qt.WindowType.Popup)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setProperty("role", "palette")
        self.setAccessibleName("Command palette")
        self._entries, self._settings = list(entries), open_settings()
        self._recent_texts = _read_recent_texts(self._settings)
        self.field = QLineEdit()
        self.field.setPlaceholderText("Search commands, pages, runs and profiles")
        self.field.setAccessibleName("Command")
        self._model = QStandardItemModel(self)
        self.view = QListView()
        self.view.setModel(self._model)
        self.view.setAccessibleName("Matching commands")
        self.view.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.view.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        vbox(self.field, self.view, within=self, margins=PANEL_MARGINS)
        self.field.textChanged.connect(self._show_matches)
        self.field.installEventFilter(self)
        self.view.clicked.connect(self._run_selected_entry)
        self._move_below_toolbar(parent)
        self._show_matches("")

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is self.field and isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            step = {Qt.Key.Key_Down: 1, Qt.Key.Key_Up: -1}.get(Qt.Key(event.key()))
            if step is not None:
                self._move_selection(step)
                return True
            if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
                self._run_selected_entry()
                return True
        return super().eventFilter(watched, event)

    def _show_matches(self, query: str) -> None:
        self._model.clear()
        self._entries_by_row: dict[int, PaletteEntry] = {}
        matches = filter_entries(self._entries, query, self._recent_texts)[:_MAX_ENTRIES]
        for section, entries in groupby(matches, key=lambda entry: entry.section):
            self._model.appendRow(_create_heading(section))
            for entry in entries:
                self._entries_by_row[self._model.rowCount()] = entry
                item = QStandardItem(f"{entry.text}    {entry.keys}" if entry.keys else entry.text)
                item.setEditable(False)
                self._model.appendRow(item)
        self.view.setCurrentIndex(self._model.index(min(self._entries_by_row, default=-1), 0))

    def _move_selection(self, step: int) -> None:
        """Select the next or the previous entry, skipping headings and starting over at the end."""
        rows = sorted(self._entries_by_row)
        if rows:
            position = rows.index(self.view.currentIndex().row())
            self.view.setCurrentIndex(self._model.index(rows[(position + step) % len(rows)], 0))

    def _run_selected_entry(self) -> None:
        entry = self._entries_by_row.get(self.view.currentIndex().row())
        if entry is None:
            return
        recent_texts = [entry.text, *(text for text in self._recent_texts if text != entry.text)]
        self._settings.setValue(_RECENT_KEY, recent_texts[:_MAX_RECENT_ENTRIES])
        self.close()
        entry.run()

    def _move_below_toolbar(self, parent: QWidget) -> None:
        width = min(max(parent.width() // 2, 420), parent.width())
        self.resize(width, min(420, parent.height() - 80))
        corner = parent.mapToGlobal(parent.rect().topLeft())
        self.move(corner.x() + (parent.width() - width) // 2, corner.y() + 60)
        self.field.setFocus()


def _create_heading(section: str) -> QStandardItem:
    item = QStandardItem(section)
    item.setFlags(Qt.ItemFlag.NoItemFlags)
    font = item.font()
    font.setBold(True)
    item.setFont(font)
    return item


def _read_recent_texts(settings: QSettings) -> list[str]:
    """Return the texts of the entries that were used last; Qt returns a list of one text as a
    text."""
    stored = settings.value(_RECENT_KEY, [])
    texts = stored if isinstance(stored, list) else [stored]
    return [str(text) for text in texts][:_MAX_RECENT_ENTRIES]
