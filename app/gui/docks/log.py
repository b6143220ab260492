"""The dock of what was told: hidden until there is a warning."""

from __future__ import annotations

from datetime import datetime

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QGuiApplication, QKeySequence, QShortcut
from PySide6.QtWidgets import QAbstractItemView, QComboBox, QDockWidget, QHBoxLayout, QTreeView, QVBoxLayout, QWidget

from app.gui.docks.log_model import Entry, LeastSeverity, LogModel, whole_text
from app.gui.navigation import Navigation, Notice, Severity
from app.gui.widgets import button, label

_LEVELS: tuple[Severity, ...] = ("news", "warning", "error")


_LINES_SHOWN = 5


class _Messages(QTreeView):
    def sizeHint(self) -> QSize:
        """A few lines: the page above is what the window is for."""
        lines = (_LINES_SHOWN + 1) * (self.fontMetrics().lineSpacing() + 4)
        return QSize(super().sizeHint().width(), lines + 2 * self.frameWidth())


class LogDock(QDockWidget):
    """It shows itself at the first warning or error, once: whoever closes it then is left in peace."""

    def __init__(self, navigation: Navigation, parent: QWidget | None = None) -> None:
        super().__init__("Log", parent)
        self.setObjectName("log-dock")
        self.setAccessibleName("Log")
        self._has_shown_itself = False
        self.model = LogModel(self)
        self._filtered = LeastSeverity(self.model, self)
        self.severity = QComboBox()
        self.severity.setAccessibleName("Show messages from this severity on")
        self.severity.addItems(["Everything", "Warnings and errors", "Errors"])
        self.severity.currentIndexChanged.connect(self._filter)
        self.table = self._table()
        self.setWidget(self._contents())
        self.hide()
        navigation.told.connect(self.add)

    def add(self, notice: Notice) -> None:
        self.model.add(Entry(datetime.now().astimezone(), notice))
        self.table.scrollToBottom()
        if notice.severity != "news" and not self._has_shown_itself:
            self._has_shown_itself = True
            self.show()

    def copy(self) -> None:
        """What is chosen, else all that is shown."""
        chosen = self.table.selectionModel().selectedRows()
        rows = chosen or [self._filtered.index(row, 0) for row in range(self._filtered.rowCount())]
        entries = (self.model.entries[row] for row in sorted(self._filtered.mapToSource(one).row() for one in rows))
        QGuiApplication.clipboard().setText("\n".join(whole_text(entry) for entry in entries))

    def _filter(self, at: int) -> None:
        self._filtered.show_from(_LEVELS[at])

    def _table(self) -> QTreeView:
        table = _Messages()
        table.setAccessibleName("Messages")
        table.setRootIsDecorated(False)
        table.setUniformRowHeights(True)
        table.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        table.setTextElideMode(Qt.TextElideMode.ElideRight)
        table.setModel(self._filtered)
        table.header().setStretchLastSection(True)
        for column, widest in enumerate(("00:00:00 ", "▲ Warning  ")):
            table.setColumnWidth(column, table.fontMetrics().horizontalAdvance(widest) + 24)
        copy = QShortcut(QKeySequence(QKeySequence.StandardKey.Copy), table)
        copy.setContext(Qt.ShortcutContext.WidgetShortcut)
        copy.activated.connect(self.copy)
        return table

    def _contents(self) -> QWidget:
        inside = QWidget()
        shown = label("From sever&ity", "muted")
        shown.setBuddy(self.severity)
        line = QHBoxLayout()
        line.addWidget(shown)
        line.addWidget(self.severity)
        line.addStretch(1)
        line.addWidget(button("Cop&y", self.copy))
        line.addWidget(button("Cle&ar", self.model.clear))
        layout = QVBoxLayout(inside)
        layout.setContentsMargins(8, 6, 8, 6)
        layout.addLayout(line)
        layout.addWidget(self.table, 1)
        return inside
