"""Log dock: table of the notices of this window, with time, severity and message."""

from __future__ import annotations

from datetime import datetime

import msgspec
from PySide6.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    QSize,
    QSortFilterProxyModel,
    Qt,
)
from PySide6.QtGui import QGuiApplication, QKeySequence, QShortcut
from PySide6.QtWidgets import QAbstractItemView, QComboBox, QDockWidget, QTreeView, QWidget

from app.gui.navigation import Navigation, Notice, Severity
from app.gui.theme import PANEL_MARGINS
from app.gui.widgets import button, hbox, label, tool_tip_text, vbox

Index = QModelIndex | QPersistentModelIndex
_NO_PARENT = QModelIndex()
_MAX_ENTRIES = 1_000
_SEVERITY_RANKS: dict[Severity, int] = {"news": 0, "warning": 1, "error": 2}
_SEVERITY_NAMES: dict[Severity, str] = {"news": "Info", "warning": "Warning", "error": "Error"}
_SEVERITY_SYMBOLS: dict[Severity, str] = {"news": "", "warning": "▲ ", "error": "✕ "}


class LogEntry(msgspec.Struct, frozen=True):
    time: datetime
    notice: Notice


class LogModel(QAbstractTableModel):
    """Table model of the most recent notices, newest last."""

    def __init__(self, parent: QObject | None = None, max_entries: int = _MAX_ENTRIES) -> None:
        super().__init__(parent)
        self._max_entries = max_entries
        self.entries: list[LogEntry] = []

    def add(self, entry: LogEntry) -> None:
        if len(self.entries) >= self._max_entries:
            self.beginRemoveRows(_NO_PARENT, 0, 0)
            self.entries.pop(0)
            self.endRemoveRows()
        self.beginInsertRows(_NO_PARENT, len(self.entries), len(self.entries))
        self.entries.append(entry)
        self.endInsertRows()

    def clear(self) -> None:
        self.beginResetModel()
        self.entries = []
        self.endResetModel()

    def rowCount(self, parent: Index = _NO_PARENT) -> int:
        return 0 if parent.isValid() else len(self.entries)

    def columnCount(self, parent: Index = _NO_PARENT) -> int:
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
            return (_format_time(entry), severity_text(entry.notice.severity), format_notice(entry.notice))[
                index.column()
            ]
        if role == Qt.ItemDataRole.ToolTipRole:
            return tool_tip_text(full_text(entry))
        if role == Qt.ItemDataRole.UserRole:
            return str(_SEVERITY_RANKS[entry.notice.severity])
        return None


class SeverityFilter(QSortFilterProxyModel):
    """Filter that hides notices below a minimum severity."""

    def __init__(self, source: LogModel, parent: QObject) -> None:
        super().__init__(parent)
        self.setFilterRole(Qt.ItemDataRole.UserRole)
        self.setSourceModel(source)

    def set_min_severity(self, min_severity: Severity) -> None:
        self.setFilterRegularExpression(f"[{_SEVERITY_RANKS[min_severity]}-9]")


def severity_text(severity: Severity) -> str:
    return _SEVERITY_SYMBOLS[severity] + _SEVERITY_NAMES[severity]


def format_notice(notice: Notice) -> str:
    return " ".join(part for part in (notice.summary, notice.reason, notice.next_step) if part)


def full_text(entry: LogEntry) -> str:
    """Return a log entry as text to copy, including the details of the notice."""
    time, severity = entry.time.isoformat(timespec="seconds"), _SEVERITY_NAMES[entry.notice.severity].lower()
    header = f"{time} {severity}: {format_notice(entry.notice)}"
    return header if entry.notice.details is None else f"{header}\n{entry.notice.details}"


def _format_time(entry: LogEntry) -> str:
    return entry.time.strftime("%H:%M:%S")


_SEVERITIES: tuple[Severity, ...] = ("news", "warning", "error")


_VISIBLE_ROW_COUNT = 5


class _MessageTable(QTreeView):
    def sizeHint(self) -> QSize:
        """Return a preferred height of a few lines, so that most of the space remains for the page
        above."""
        height = (_VISIBLE_ROW_COUNT + 1) * (self.fontMetrics().lineSpacing() + 4)
        return QSize(super().sizeHint().width(), height + 2 * self.frameWidth())


class LogDock(QDockWidget):
    """Dock with the notices of this window. The dock opens automatically only once, at the first
    warning or error."""

    def __init__(self, navigation: Navigation, parent: QWidget | None = None) -> None:
        super().__init__("Log", parent)
        self.setObjectName("log-dock")
        self.setAccessibleName("Log")
        self._has_opened_once = False
        self.model = LogModel(self)
        self._filter_model = SeverityFilter(self.model, self)
        self.severity_box = QComboBox()
        self.severity_box.setAccessibleName("Minimum severity")
        self.severity_box.addItems(["All messages", "Warnings and errors", "Errors"])
        self.severity_box.currentIndexChanged.connect(self._filter_by_severity)
        self.table = self._create_table()
        self.setWidget(self._create_content())
        self.hide()
        navigation.notice_emitted.connect(self.add)

    def add(self, notice: Notice) -> None:
        self.model.add(LogEntry(datetime.now().astimezone(), notice))
        self.table.scrollToBottom()
        if notice.severity != "news" and not self._has_opened_once:
            self._has_opened_once = True
            self.show()

    def copy(self) -> None:
        """Copy the selected entries, or all displayed entries if none is selected."""
        selected_indexes = self.table.selectionModel().selectedRows()
        indexes = selected_indexes or [self._filter_model.index(row, 0) for row in range(self._filter_model.rowCount())]
        entries = (
            self.model.entries[row] for row in sorted(self._filter_model.mapToSource(index).row() for index in indexes)
        )
        QGuiApplication.clipboard().setText("\n".join(full_text(entry) for entry in entries))

    def _filter_by_severity(self, index: int) -> None:
        self._filter_model.set_min_severity(_SEVERITIES[index])

    def _create_table(self) -> QTreeView:
        table = _MessageTable()
        table.setAccessibleName("Messages")
        table.setRootIsDecorated(False)
        table.setUniformRowHeights(True)
        table.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        table.setTextElideMode(Qt.TextElideMode.ElideRight)
        table.setModel(self._filter_model)
        table.header().setStretchLastSection(True)
        for column, widest_text in enumerate(("00:00:00 ", "▲ Warning  ")):
            table.setColumnWidth(column, table.fontMetrics().horizontalAdvance(widest_text) + 24)
        copy_shortcut = QShortcut(QKeySequence(QKeySequence.StandardKey.Copy), table)
        copy_shortcut.setContext(Qt.ShortcutContext.WidgetShortcut)
        copy_shortcut.activated.connect(self.copy)
        return table

    def _create_content(self) -> QWidget:
        content = QWidget()
        severity_label = label("Sever&ity", "muted", buddy=self.severity_box)
        line = hbox(
            severity_label, self.severity_box, 1, button("Cop&y", self.copy), button("Cle&ar", self.model.clear)
        )
        vbox(line, (self.table, 1), within=content, margins=PANEL_MARGINS)
        return content
