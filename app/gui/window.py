"""The window: rail, page, docks, toolbar, status bar; what happens in them is the pages'."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from PySide6.QtCore import QSettings, Qt, Signal
from PySide6.QtGui import QCloseEvent, QDragEnterEvent, QDragLeaveEvent, QDropEvent, QGuiApplication
from PySide6.QtWidgets import QDockWidget, QHBoxLayout, QMainWindow, QToolBar, QVBoxLayout, QWidget

from app.gui.actions import Actions, Deed
from app.gui.command_palette import CommandPalette, Entry, entries_of
from app.gui.dropping import Dropped, dropped
from app.gui.navigation import Navigation, Notice, PageKey
from app.gui.pages import KEYS, TITLES, Pages
from app.gui.rail import Rail
from app.gui.strip import Strip
from app.gui.theme import Look
from app.gui.widgets import label
from app.gui.window_state import WindowState

_MOST_DROPPED = 20


class Window(QMainWindow):
    """`may_close` is asked before it closes, where somebody set it."""

    closed = Signal()
    files_dropped = Signal(object)
    """A Dropped, one for each file."""

    def __init__(self, navigation: Navigation, look: Look, settings: QSettings) -> None:
        super().__init__()
        self.navigation, self.look, self.settings = navigation, look, settings
        self.setObjectName("window")
        self.setWindowTitle("Sizewise")
        self.setAccessibleName("Sizewise")
        self.setAcceptDrops(True)
        self.pages = Pages(navigation, look)
        self.strip = Strip()
        self.may_close: Callable[[], bool] | None = None
        self.rail = Rail(TITLES, look)
        self._drop_hint = label("", "heading")
        self._drop_hint.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._drop_hint.hide()
        self.setCentralWidget(self._centre())
        self.toolbar = QToolBar("Run")
        self.toolbar.setObjectName("toolbar")
        self.toolbar.setMovable(False)
        self.addToolBar(self.toolbar)
        self.state = WindowState(self, settings)
        self.actions_: Actions | None = None
        self.entries: Callable[[], list[Entry]] = list
        self.rail.chosen.connect(self.show_page)
        navigation.page_wanted.connect(self.show_page)
        navigation.told.connect(self.tell)

    def set_deeds(self, deeds: Sequence[Deed]) -> None:
        self.actions_ = Actions(self, tuple(deeds))

    def add_docks(self, docks: Sequence[tuple[Qt.DockWidgetArea, QDockWidget]]) -> None:
        """Each has an object name; the View menu shows and hides it."""
        for area, dock in docks:
            self.addDockWidget(area, dock)
            if self.actions_ is not None:
                self.actions_.menus["view"].addAction(dock.toggleViewAction())

    def open_docks(self) -> list[QDockWidget]:
        return [dock for dock in self.findChildren(QDockWidget) if dock.isVisibleTo(self)]

    def show_page(self, key: PageKey) -> None:
        if key not in KEYS:
            return
        self.rail.show_chosen(key)
        page = self.pages.show_page(key)
        self.setWindowTitle(f"{page.title()} – Sizewise")

    def tell(self, notice: Notice) -> None:
        """Above the page. What is dismissed is still in the log."""
        self.strip.say(notice)

    def open_palette(self) -> None:
        actions = self.actions_.all() if self.actions_ is not None else []
        CommandPalette(self, [*entries_of(actions), *self.entries()]).show()

    def copy_command(self) -> None:
        line = self.pages.shown.command_line()
        if line is None:
            self.navigation.tell("news", "There is nothing to copy as a command here yet.")
            return
        QGuiApplication.clipboard().setText(line)
        self.navigation.tell("news", f"Copied: {line}")

    def closeEvent(self, event: QCloseEvent) -> None:
        if self.may_close is not None and not self.may_close():
            event.ignore()
            return
        self.state.keep()
        for page in self.pages.made():
            page.leave()
        event.accept()
        self.closed.emit()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        found = _dropped(event)
        if found:
            event.acceptProposedAction()
            self._drop_hint.setText("\n".join(dict.fromkeys(one.promise for one in found)))
            self._drop_hint.show()

    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:
        self._drop_hint.hide()
        super().dragLeaveEvent(event)

    def dropEvent(self, event: QDropEvent) -> None:
        self._drop_hint.hide()
        event.acceptProposedAction()
        for one in _dropped(event):
            self.files_dropped.emit(one)

    def _centre(self) -> QWidget:
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(16, 12, 16, 8)
        for widget in (self.strip, self._drop_hint):
            column.addWidget(widget)
        column.addWidget(self.pages, 1)
        centre = QWidget()
        row = QHBoxLayout(centre)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        row.addWidget(self.rail)
        row.addWidget(page, 1)
        return centre

    def drop_hint(self) -> str:
        """What letting go would do; empty while nothing is held over the window."""
        return "" if self._drop_hint.isHidden() else self._drop_hint.text()


def _dropped(event: QDropEvent) -> list[Dropped]:
    paths = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
    return [dropped(path) for path in paths[:_MOST_DROPPED]]
