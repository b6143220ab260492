"""Main window: navigation rail, pages, docks, toolbar and status bar.

The position, size and docks of the window are stored every 30 s and when the window closes, and are
restored if the window would then be visible on a screen. Each of the seven pages is one click or
one shortcut (Ctrl+1 to Ctrl+7) away.
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

from app.gui.action_specs import Actions, ActionSpec
from app.gui.command_palette import CommandPalette, PaletteEntry, build_action_entries
from app.gui.dropped_files import DroppedFile, classify_path
from app.gui.icons import icon
from app.gui.message_strip import MessageStrip
from app.gui.navigation import Navigation, Notice, PageKey
from app.gui.page import TITLES
from app.gui.pages import Pages
from app.gui.theme import GAP, GAP_LINE, PAGE_MARGINS, Theme, ThemeController
from app.gui.widgets import hbox, label, vbox

LAYOUT_VERSION = 1
"""Version of the window layout. Increase the version when docks or toolbars change, so that the
stored state of an older layout is ignored."""
_SAVE_INTERVAL_MS = 30_000
_DEFAULT_SIZE = QSize(1280, 820)
_MIN_VISIBLE_PX = 60


class WindowState(QObject):
    def __init__(self, window: QMainWindow, settings: QSettings) -> None:
        super().__init__(window)
        self._window, self._settings = window, settings
        self._default_state = QByteArray()
        self._timer = QTimer(self, interval=_SAVE_INTERVAL_MS)
        self._timer.timeout.connect(self.save)

    def restore(self) -> None:
        """Restore the stored position, size and docks. The defaults apply if no layout is stored,
        if the layout version differs, or if the window would be off screen."""
        self._window.resize(_DEFAULT_SIZE.boundedTo(QGuiApplication.primaryScreen().availableSize()))
        self._default_state = self._window.saveState(LAYOUT_VERSION)
        geometry, state = self._settings.value("window/geometry"), self._settings.value("window/state")
        if isinstance(geometry, QByteArray):
            self._window.restoreGeometry(geometry)
        if isinstance(state, QByteArray) and not self._window.restoreState(state, LAYOUT_VERSION):
            self._settings.remove("window/state")
        if not _is_on_screen(self._window):
            self._window.resize(_DEFAULT_SIZE.boundedTo(QGuiApplication.primaryScreen().availableSize()))
            self._window.move(QGuiApplication.primaryScreen().availableGeometry().topLeft())
        self._timer.start()

    def reset(self) -> None:
        self._window.restoreState(self._default_state, LAYOUT_VERSION)
        self._window.resize(_DEFAULT_SIZE.boundedTo(QGuiApplication.primaryScreen().availableSize()))
        self.save()

    def save(self) -> None:
        self._settings.setValue("window/geometry", self._window.saveGeometry())
        self._settings.setValue("window/state", self._window.saveState(LAYOUT_VERSION))
        self._settings.sync()  # otherwise Qt would write later, in an event loop that may have ended


def _is_on_screen(window: QMainWindow) -> bool:
    """Return whether the window overlaps a screen enough for the user to drag it."""
    frame = window.frameGeometry()
    visible_rects = [screen.availableGeometry().intersected(frame) for screen in QGuiApplication.screens()]
    return any(
        visible_rect.width() >= _MIN_VISIBLE_PX and visible_rect.height() >= _MIN_VISIBLE_PX
        for visible_rect in visible_rects
    )


class NavigationRail(QFrame):
    """Navigation rail with a button for each page. `titles` are the page titles, from top to
    bottom. The up and down keys move between the buttons."""

    page_selected = Signal(str)

    def __init__(self, titles: Mapping[PageKey, str], theme_controller: ThemeController) -> None:
        super().__init__()
        self.setProperty("role", "rail")
        self.setAccessibleName("Pages")
        self._button_group = QButtonGroup(self)
        self._buttons: dict[str, QToolButton] = {}
        layout = vbox(within=self, margins=(0, GAP, 0, GAP), spacing=GAP_LINE)
        for number, (key, title) in enumerate(titles.items(), 1):
            self._buttons[key] = self._create_button(key, title, number)
            layout.addWidget(self._buttons[key])
        layout.addStretch(1)
        theme_controller.changed.connect(self._recolor)
        self._recolor(theme_controller.theme)

    def set_current_page(self, key: PageKey) -> None:
        self._buttons[key].setChecked(True)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        step = {Qt.Key.Key_Down: 1, Qt.Key.Key_Up: -1}.get(Qt.Key(event.key()))
        if step is None:
            super().keyPressEvent(event)
            return
        keys = list(self._buttons)
        current_index = next(index for index, key in enumerate(keys) if self._buttons[key].isChecked())
        target_button = self._buttons[keys[(current_index + step) % len(keys)]]
        target_button.click()
        target_button.setFocus()

    def _create_button(self, key: PageKey, title: str, number: int) -> QToolButton:
        result = QToolButton()
        result.setObjectName(f"rail-{key}")
        result.setText(title)
        result.setCheckable(True)
        result.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        result.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        result.setToolTip(f"{title} (Ctrl+{number})")
        result.setAccessibleName(title)
        result.clicked.connect(lambda: self.page_selected.emit(key))
        self._button_group.addButton(result)
        return result

    def _recolor(self, theme: Theme) -> None:
        """Redraw the icons in the theme's color, at the current text height. Both change with the
        settings."""
        size_px = self.fontMetrics().height()
        for key, page_button in self._buttons.items():
            page_button.setIconSize(QSize(size_px, size_px))
            page_button.setIcon(icon(key, theme.ink, size_px))


_MAX_DROPPED_FILES = 20


class Window(QMainWindow):
    """Main window. `may_close`, if set, is called when the user closes the window, and returns
    whether the window may close."""

    closed = Signal()
    files_dropped = Signal(object)
    """Signal that is emitted with a `DroppedFile` for each dropped file."""

    def __init__(self, navigation: Navigation, theme_controller: ThemeController, settings: QSettings) -> None:
        super().__init__()
        self.navigation, self.theme_controller, self.settings = navigation, theme_controller, settings
        self.setObjectName("window")
        self.setWindowTitle("Sizewise")
        self.setAccessibleName("Sizewise")
        self.setAcceptDrops(True)
        self.pages = Pages(navigation, theme_controller)
        self.strip = MessageStrip()
        self._notice: Notice | None = None
        self._page_key: PageKey | None = None
        self.may_close: Callable[[], bool] | None = None
        self.rail = NavigationRail(TITLES, theme_controller)
        self._drop_hint = label("", "heading")
        self._drop_hint.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._drop_hint.hide()
        self.setCentralWidget(self._create_central_widget())
        self.toolbar = QToolBar("Run")
        self.toolbar.setObjectName("toolbar")
        self.toolbar.setMovable(False)
        self.addToolBar(self.toolbar)
        self.state = WindowState(self, settings)
        self.menu_actions: Actions | None = None
        self.list_palette_entries: Callable[[], list[PaletteEntry]] = list
        self.rail.page_selected.connect(self.show_page)
        navigation.page_requested.connect(self.show_page)
        navigation.notice_emitted.connect(self.show_notice)

    def set_actions(self, specs: Sequence[ActionSpec]) -> None:
        self.menu_actions = Actions(self, tuple(specs))

    def add_docks(self, docks: Sequence[tuple[Qt.DockWidgetArea, QDockWidget]]) -> None:
        """Add docks to the window and to the View menu. Each dock must have an object name."""
        for area, dock in docks:
            self.addDockWidget(area, dock)
            if self.menu_actions is not None:
                self.menu_actions.menus["view"].addAction(dock.toggleViewAction())

    def list_visible_docks(self) -> list[QDockWidget]:
        return [dock for dock in self.findChildren(QDockWidget) if dock.isVisibleTo(self)]

    def show_page(self, key: PageKey) -> None:
        if key not in TITLES:
            return
        self.rail.set_current_page(key)
        self._page_key = key
        self.pages.show_page(key)
        self.setWindowTitle(f"{TITLES[key]} – Sizewise")
        if self._notice is not None and self._notice.page == key:
            self.strip.hide()

    def show_notice(self, notice: Notice) -> None:
        """Show a notice above the page, unless it points to the page that is shown. The notice
        stays in the log after it is dismissed."""
        if notice.page is not None and notice.page == self._page_key:
            return
        self._notice = notice
        self.strip.show_notice(notice)

    def open_palette(self) -> None:
        actions = self.menu_actions.list_actions() if self.menu_actions is not None else []
        CommandPalette(self, [*build_action_entries(actions), *self.list_palette_entries()]).show()

    def copy_command(self) -> None:
        command_line = self.pages.current.command_line()
        if command_line is None:
            self.navigation.notify("news", "This page has no equivalent command to copy yet.")
            return
        QGuiApplication.clipboard().setText(command_line)
        self.navigation.notify("news", f"Copied: {command_line}")

    def closeEvent(self, event: QCloseEvent) -> None:
        if self.may_close is not None and not self.may_close():
            event.ignore()
            return
        self.state.save()
        for page in self.pages.created_pages():
            page.leave()
        event.accept()
        self.closed.emit()

    def close_without_question(self) -> None:
        """Close the window. A run in progress continues."""
        self.may_close = None
        self.close()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        files = _classify_dropped_files(event)
        if files:
            event.acceptProposedAction()
            self._drop_hint.setText("\n".join(dict.fromkeys(file.action_text for file in files)))
            self._drop_hint.show()

    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:
        self._drop_hint.hide()
        super().dragLeaveEvent(event)

    def dropEvent(self, event: QDropEvent) -> None:
        self._drop_hint.hide()
        event.acceptProposedAction()
        for file in _classify_dropped_files(event):
            self.files_dropped.emit(file)

    def _create_central_widget(self) -> QWidget:
        column = QWidget()
        vbox(self.strip, self._drop_hint, (self.pages, 1), within=column, margins=PAGE_MARGINS)
        central_widget = QWidget()
        hbox(self.rail, (column, 1), within=central_widget, spacing=0)
        return central_widget

    def drop_hint(self) -> str:
        """Return the displayed hint on what dropping the files would do, or an empty string if no
        files are being dragged over the window."""
        return "" if self._drop_hint.isHidden() else self._drop_hint.text()


def _classify_dropped_files(event: QDropEvent) -> list[DroppedFile]:
    paths = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
    return [classify_path(path) for path in paths[:_MAX_DROPPED_FILES]]
