"""The window: rail, page, docks, toolbar, status bar; what happens in them is the pages'.

Where the window stood, and its docks: kept when it closes and every half minute, and given back on
screen.

The seven pages, one click or Ctrl+1…7 away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from PySide6.QtCore import QByteArray, QObject, QSettings, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QCloseEvent, QDragEnterEvent, QDragLeaveEvent, QDropEvent, QGuiApplication, QKeyEvent
from PySide6.QtWidgets import (
    QButtonGroup,
    QDockWidget,
    QFrame,
    QMainWindow,
    QSizePolicy,
    QToolBar,
    QToolButton,
    QWidget,
)

from app.gui.command_palette import CommandPalette, Entry, entries_of
from app.gui.deeds import Actions, Deed
from app.gui.dropping import Dropped, dropped
from app.gui.icons import icon
from app.gui.navigation import Navigation, Notice, PageKey
from app.gui.page import TITLES
from app.gui.pages import Pages
from app.gui.strip import Strip
from app.gui.theme import Look, Theme
from app.gui.widgets import hbox, label, vbox

LAYOUT = 1
"""Raised when docks or toolbars change, so that a state of another layout is left alone."""
_EVERY_MS = 30_000
_USUAL = QSize(1280, 820)
_LEAST_SEEN = 60


class WindowState(QObject):
    def __init__(self, window: QMainWindow, settings: QSettings) -> None:
        super().__init__(window)
        self._window, self._settings = window, settings
        self._first = QByteArray()
        self._timer = QTimer(self, interval=_EVERY_MS)
        self._timer.timeout.connect(self.keep)

    def restore(self) -> None:
        """As it was; as new where nothing was kept, it was of another layout, or it would be out of sight."""
        self._window.resize(_USUAL.boundedTo(QGuiApplication.primaryScreen().availableSize()))
        self._first = self._window.saveState(LAYOUT)
        geometry, state = self._settings.value("window/geometry"), self._settings.value("window/state")
        if isinstance(geometry, QByteArray):
            self._window.restoreGeometry(geometry)
        if isinstance(state, QByteArray) and not self._window.restoreState(state, LAYOUT):
            self._settings.remove("window/state")
        if not _is_seen(self._window):
            self._window.resize(_USUAL.boundedTo(QGuiApplication.primaryScreen().availableSize()))
            self._window.move(QGuiApplication.primaryScreen().availableGeometry().topLeft())
        self._timer.start()

    def reset(self) -> None:
        self._window.restoreState(self._first, LAYOUT)
        self._window.resize(_USUAL.boundedTo(QGuiApplication.primaryScreen().availableSize()))
        self.keep()

    def keep(self) -> None:
        self._settings.setValue("window/geometry", self._window.saveGeometry())
        self._settings.setValue("window/state", self._window.saveState(LAYOUT))
        self._settings.sync()  # Qt would with its next turn, which a window that closes does not have


def _is_seen(window: QMainWindow) -> bool:
    """Whether enough of its upper edge is on a screen to take hold of it."""
    frame = window.frameGeometry()
    screens = [screen.availableGeometry().intersected(frame) for screen in QGuiApplication.screens()]
    return any(seen.width() >= _LEAST_SEEN and seen.height() >= _LEAST_SEEN for seen in screens)


class Rail(QFrame):
    """`titles` are in the order of the pages. Up and down move between them."""

    chosen = Signal(str)

    def __init__(self, titles: Mapping[PageKey, str], look: Look) -> None:
        super().__init__()
        self.setProperty("role", "rail")
        self.setAccessibleName("Pages")
        self._group = QButtonGroup(self)
        self._buttons: dict[str, QToolButton] = {}
        layout = vbox(within=self, margins=(0, 8, 0, 8), spacing=2)
        for place, (key, title) in enumerate(titles.items(), 1):
            self._buttons[key] = self._button(key, title, place)
            layout.addWidget(self._buttons[key])
        layout.addStretch(1)
        look.changed.connect(self._recolour)
        self._recolour(look.theme)

    def show_chosen(self, key: PageKey) -> None:
        self._buttons[key].setChecked(True)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        step = {Qt.Key.Key_Down: 1, Qt.Key.Key_Up: -1}.get(Qt.Key(event.key()))
        if step is None:
            super().keyPressEvent(event)
            return
        keys = list(self._buttons)
        checked = next(place for place, key in enumerate(keys) if self._buttons[key].isChecked())
        target = self._buttons[keys[(checked + step) % len(keys)]]
        target.click()
        target.setFocus()

    def _button(self, key: PageKey, title: str, place: int) -> QToolButton:
        made = QToolButton()
        made.setObjectName(f"rail-{key}")
        made.setText(title)
        made.setCheckable(True)
        made.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        made.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        made.setToolTip(f"{title} (Ctrl+{place})")
        made.setAccessibleName(title)
        made.clicked.connect(lambda: self.chosen.emit(key))
        self._group.addButton(made)
        return made

    def _recolour(self, theme: Theme) -> None:
        """Icons are as high as the text, which may have grown with the theme."""
        side = self.fontMetrics().height()
        for key, made in self._buttons.items():
            made.setIconSize(QSize(side, side))
            made.setIcon(icon(key, theme.ink, side))


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
        if key not in TITLES:
            return
        self.rail.show_chosen(key)
        self.pages.show_page(key)
        self.setWindowTitle(f"{TITLES[key]} – Sizewise")

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
        vbox(self.strip, self._drop_hint, (self.pages, 1), within=page, margins=(16, 12, 16, 8))
        centre = QWidget()
        hbox(self.rail, (page, 1), within=centre, spacing=0)
        return centre

    def drop_hint(self) -> str:
        """What letting go would do; empty while nothing is held over the window."""
        return "" if self._drop_hint.isHidden() else self._drop_hint.text()


def _dropped(event: QDropEvent) -> list[Dropped]:
    paths = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
    return [dropped(path) for path in paths[:_MOST_DROPPED]]
