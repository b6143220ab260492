"""What was told in this window, as a table: when, how grave, what."""

from __future__ import annotations

from datetime import datetime

import msgspec
from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, QSortFilterProxyModel, Qt

from app.gui.navigation import Notice, Severity
from app.gui.widgets import tip

Index = QModelIndex | QPersistentModelIndex
_NOWHERE = QModelIndex()
_MOST = 1_000
_GRAVITY: dict[Severity, int] = {"news": 0, "warning": 1, "error": 2}
_MARKS: dict[Severity, str] = {"news": "", "warning": "▲ ", "error": "✕ "}


class Entry(msgspec.Struct, frozen=True):
    at: datetime
    notice: Notice


class LogModel(QAbstractTableModel):
    """The last ones, the newest last."""

    def __init__(self, parent: QObject | None = None, most: int = _MOST) -> None:
        super().__init__(parent)
        self._most = most
        self.entries: list[Entry] = []

    def add(self, entry: Entry) -> None:
        if len(self.entries) >= self._most:
            self.beginRemoveRows(_NOWHERE, 0, 0)
            self.entries.pop(0)
            self.endRemoveRows()
        self.beginInsertRows(_NOWHERE, len(self.entries), len(self.entries))
        self.entries.append(entry)
        self.endInsertRows()

    def clear(self) -> None:
        self.beginResetModel()
        self.entries = []
        self.endResetModel()

    def rowCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(self.entries)

    def columnCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else 3

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if orientation != Qt.Orientation.Horizontal or role != Qt.ItemDataRole.DisplayRole:
            return None
        return ("Time", "Severity", "Message")[section]

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        if not index.isValid():
            return None
        entry = self.entries[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return (_time(entry), severity_word(entry.notice.severity), one_line(entry.notice))[index.column()]
        if role == Qt.ItemDataRole.ToolTipRole:
            return tip(whole_text(entry))
        if role == Qt.ItemDataRole.UserRole:
            return str(_GRAVITY[entry.notice.severity])
        return None


class LeastSeverity(QSortFilterProxyModel):
    """From one severity upwards."""

    def __init__(self, source: LogModel, parent: QObject) -> None:
        super().__init__(parent)
        self.setFilterRole(Qt.ItemDataRole.UserRole)
        self.setSourceModel(source)

    def show_from(self, least: Severity) -> None:
        self.setFilterRegularExpression(f"[{_GRAVITY[least]}-9]")


def severity_word(severity: Severity) -> str:
    words = {"news": "News", "warning": "Warning", "error": "Error"}
    return _MARKS[severity] + words[severity]


def one_line(notice: Notice) -> str:
    return " ".join(part for part in (notice.what, notice.why, notice.next_step) if part)


def whole_text(entry: Entry) -> str:
    """To be copied."""
    head = f"{entry.at.isoformat(timespec='seconds')} {entry.notice.severity}: {one_line(entry.notice)}"
    return head if entry.notice.details is None else f"{head}\n{entry.notice.details}"


def _time(entry: Entry) -> str:
    return entry.at.strftime("%H:%M:%S")
