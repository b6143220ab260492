"""Library page: tabs for runs, models, endpoints, offers and profiles, below one message strip."""

from __future__ import annotations

import shlex
from pathlib import Path

from PySide6.QtCore import QTimer
from PySide6.QtGui import QDragEnterEvent, QDragLeaveEvent, QDropEvent, QUndoStack
from PySide6.QtWidgets import QLineEdit, QTabWidget, QWidget

from app.gui.dropped_files import is_run_directory
from app.gui.formatting import shorten
from app.gui.library.endpoints_tab import EndpointsTab
from app.gui.library.models_tab import ModelsTab
from app.gui.library.offers_tab import OffersTab
from app.gui.library.profiles_tab import ProfilesTab
from app.gui.library.run_listing import ListedRuns
from app.gui.library.runs_presenter import RunsPresenter
from app.gui.library.runs_tab import RunsTab
from app.gui.library.trash_tab import TrashTab
from app.gui.message_strip import MessageStrip
from app.gui.navigation import Navigation, Notice, PageKey
from app.gui.page import Page
from app.gui.theme import ThemeController
from app.gui.widgets import label, stacked_widget, vbox

UNDO_TIMEOUT_MS = 30_000


class LibraryPage(Page):
    key: PageKey = "library"

    def __init__(self, navigation: Navigation, theme_controller: ThemeController) -> None:
        super().__init__(navigation, theme_controller)
        self._is_visible = False
        self.setAcceptDrops(True)
        self.presenter = RunsPresenter(self)
        self.strip = MessageStrip()
        self._drop_hint = label("", "heading")
        self._drop_hint.hide()
        self.runs_tab, self.trash_tab = RunsTab(navigation, theme_controller, self.presenter), TrashTab(self.presenter)
        self.runs_stack = stacked_widget(self.runs_tab, self.trash_tab)
        self.models_tab, self.endpoints_tab = ModelsTab(navigation), EndpointsTab(navigation)
        self.offers_tab, self.profiles_tab = OffersTab(navigation), ProfilesTab(navigation)
        self.tabs = QTabWidget()
        self.tabs.setAccessibleName("Library")
        self.tabs.tabBar().setAccessibleName("Library sections")
        self.tabs.setDocumentMode(True)
        for widget, title in self._titled_tabs():
            self.tabs.addTab(widget, title)
        vbox(self.strip, self._drop_hint, (self.tabs, 1), within=self)
        self._listed_runs: ListedRuns | None = None
        self._undo_timer = QTimer(self, singleShot=True, interval=UNDO_TIMEOUT_MS)
        self._connect()

    def enter(self) -> None:
        self._is_visible = True
        self.runs_tab.enter()
        self._show_tab()

    def leave(self) -> None:
        self._is_visible = False
        self.runs_tab.leave()

    def run_directories(self) -> tuple[Path, ...]:
        """Return the directories of the checked runs, or of the selected run if no run is
        checked."""
        selected_run = self.runs_tab.selected_run()
        return self.runs_tab.checked_directories() or (() if selected_run is None else (Path(selected_run.directory),))

    def export(self) -> bool:
        return self.current_tab() is self.runs_stack and self.runs_tab.export()

    def undo_stack(self) -> QUndoStack | None:
        return self.presenter.undo_stack

    def current_tab(self) -> QWidget:
        return self.tabs.currentWidget()

    @property
    def has_read_all_runs(self) -> bool:
        """True if all stored runs have been read."""
        return self._listed_runs is not None and not self._listed_runs.unread_count

    def show_trash(self) -> None:
        self.runs_stack.setCurrentWidget(self.trash_tab)
        self.trash_tab.enter()

    def show_runs(self) -> None:
        self.runs_stack.setCurrentWidget(self.runs_tab)

    def import_path(self, path: Path) -> bool:
        """Import a run bundle or a run directory. Return False if `path` is neither. The outcome is
        reported in a notice when the import ends."""
        if not is_importable(path):
            return False
        self.tabs.setCurrentWidget(self.runs_stack)
        self.show_runs()
        self.presenter.import_path(path)
        return True

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Accept dragged files that can be imported. The window handles all other files."""
        paths = _get_local_paths(event)
        if paths and all(map(is_importable, paths)) and event.source() is None:
            event.acceptProposedAction()
            self._show_drop_hint(f"Import {', '.join(shorten(path.name, 80) for path in paths[:3])}")
        else:
            event.ignore()

    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:
        self._show_drop_hint("")
        super().dragLeaveEvent(event)

    def dropEvent(self, event: QDropEvent) -> None:
        self._show_drop_hint("")
        event.acceptProposedAction()
        for path in _get_local_paths(event):
            self.import_path(path)

    def _show_drop_hint(self, text: str) -> None:
        """Show what happens if the dragged files are dropped, or hide the hint if `text` is
        empty."""
        self._drop_hint.setText(text)
        self._drop_hint.setVisible(bool(text))

    def command_line(self) -> str | None:
        return shlex.join(["sizewise", *self._command_arguments()])

    def _command_arguments(self) -> tuple[str, ...]:
        current_tab = self.current_tab()
        if current_tab is self.runs_stack:
            is_trash_visible = self.runs_stack.currentWidget() is self.trash_tab
            return ("runs", "list", "--deleted") if is_trash_visible else self.runs_tab.command_arguments()
        tab = next(
            tab
            for tab in (self.models_tab, self.endpoints_tab, self.offers_tab, self.profiles_tab)
            if tab is current_tab
        )
        return tab.command_arguments()

    def filter_field(self) -> QLineEdit | None:
        pane = getattr(self.current_tab(), "pane", None)
        return self.runs_tab.filters.search_field if pane is None else pane.filter_field

    def _titled_tabs(self) -> tuple[tuple[QWidget, str], ...]:
        return (
            (self.runs_stack, "R&uns"),
            (self.models_tab, "&Models"),
            (self.endpoints_tab, "E&ndpoints"),
            (self.offers_tab, "Offer&s"),
            (self.profiles_tab, "&Profiles"),
        )

    def _connect(self) -> None:
        self.presenter.listed.connect(self._set_listed_runs)
        self.presenter.notified.connect(self._show_notice)
        self.presenter.changed.connect(self.navigation.library_changed)
        self.presenter.imported.connect(self._select_imported_run)
        self.runs_tab.trash_requested.connect(self.show_trash)
        self.trash_tab.closed.connect(self.show_runs)
        self.tabs.currentChanged.connect(self._show_tab)
        self.strip.action_triggered.connect(self._undo)
        self._undo_timer.timeout.connect(self.strip.hide)
        self.navigation.library_changed.connect(self._refresh_if_visible)

    def _set_listed_runs(self, listed_runs: ListedRuns) -> None:
        self._listed_runs = listed_runs
        self._show_tab()

    def _show_tab(self) -> None:
        """Update the visible tab; hidden tabs are updated when the user switches to them."""
        current_tab = self.current_tab()
        if current_tab is self.offers_tab:
            self.offers_tab.enter()
        elif self._listed_runs is not None and current_tab in (self.models_tab, self.endpoints_tab, self.profiles_tab):
            for tab in (self.models_tab, self.endpoints_tab, self.profiles_tab):
                if tab is current_tab:
                    tab.show_runs(self._listed_runs.rows)

    def _show_notice(self, notice: Notice, can_undo: bool) -> None:
        self.strip.show_notice(notice, "&Undo" if can_undo else None)
        if can_undo:
            self._undo_timer.start()
        else:
            self._undo_timer.stop()

    def _undo(self) -> None:
        self.strip.hide()
        self.presenter.undo_stack.undo()

    def _select_imported_run(self, directory: Path) -> None:
        self.runs_tab.filters.clear()
        self.runs_tab.select_when_listed(directory)

    def _refresh_if_visible(self) -> None:
        if self._is_visible:
            self.presenter.refresh()


def is_importable(path: Path) -> bool:
    if path.is_dir():
        return is_run_directory(path)
    return path.suffix.lower() in (".zip", ".sizewise") and path.is_file()


def _get_local_paths(event: QDropEvent) -> list[Path]:
    return [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
