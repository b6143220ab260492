"""The library's tabs under one strip for news."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QLineEdit, QStackedWidget, QTabWidget, QVBoxLayout, QWidget

from app.gui.library.endpoints_tab import EndpointsTab
from app.gui.library.listed import Listed
from app.gui.library.models_tab import ModelsTab
from app.gui.library.offers_tab import OffersTab
from app.gui.library.profiles_tab import ProfilesTab
from app.gui.library.runs_presenter import RunsPresenter
from app.gui.library.runs_tab import RunsTab
from app.gui.library.trash_tab import TrashTab
from app.gui.navigation import Navigation, Notice
from app.gui.strip import Strip
from app.gui.theme import Look
from app.gui.widgets import label

UNDO_SHOWN_MS = 30_000


class Shelves(QWidget):
    def __init__(self, navigation: Navigation, look: Look) -> None:
        super().__init__()
        self._navigation = navigation
        self.presenter = RunsPresenter(self)
        self.strip = Strip()
        self._promise = label("", "heading")
        self._promise.hide()
        self.runs, self.trash = RunsTab(navigation, look, self.presenter), TrashTab(self.presenter)
        self.first_tab = QStackedWidget()
        self.first_tab.addWidget(self.runs)
        self.first_tab.addWidget(self.trash)
        self.models, self.endpoints = ModelsTab(navigation), EndpointsTab(navigation)
        self.offers, self.profiles = OffersTab(navigation), ProfilesTab(navigation)
        self.tabs = QTabWidget()
        self.tabs.setAccessibleName("Library")
        self.tabs.tabBar().setAccessibleName("Shelves of the library")
        self.tabs.setDocumentMode(True)
        for widget, title in self._titled():
            self.tabs.addTab(widget, title)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.strip)
        layout.addWidget(self._promise)
        layout.addWidget(self.tabs, 1)
        self._listed: Listed | None = None
        self._undo_shown = QTimer(self)
        self._undo_shown.setSingleShot(True)
        self._undo_shown.setInterval(UNDO_SHOWN_MS)
        self._connect()

    def enter(self) -> None:
        self.runs.enter()
        self._show_tab()

    def leave(self) -> None:
        self.runs.leave()

    def shown_tab(self) -> QWidget:
        return self.tabs.currentWidget()

    @property
    def has_listed(self) -> bool:
        """Whether the runs were read, all of them."""
        return self._listed is not None and not self._listed.unread

    def show_trash(self) -> None:
        self.first_tab.setCurrentWidget(self.trash)
        self.trash.enter()

    def show_runs(self) -> None:
        self.first_tab.setCurrentWidget(self.runs)

    def import_path(self, path: Path) -> None:
        self.tabs.setCurrentWidget(self.first_tab)
        self.show_runs()
        self.presenter.import_path(path)

    def promise(self, text: str) -> None:
        """What letting go of what is dragged would do."""
        self._promise.setText(text)
        self._promise.setVisible(bool(text))

    def words_of_command(self) -> tuple[str, ...]:
        shown = self.shown_tab()
        if shown is self.first_tab:
            in_trash = self.first_tab.currentWidget() is self.trash
            return ("runs", "list", "--deleted") if in_trash else self.runs.words_of_command()
        tab = next(tab for tab in (self.models, self.endpoints, self.offers, self.profiles) if tab is shown)
        return tab.words_of_command()

    def filter_field(self) -> QLineEdit:
        pane = getattr(self.shown_tab(), "pane", None)
        return self.runs.filters.words if pane is None else pane.filter

    def _titled(self) -> tuple[tuple[QWidget, str], ...]:
        return (
            (self.first_tab, "&Runs"),
            (self.models, "&Models"),
            (self.endpoints, "&Endpoints"),
            (self.offers, "O&ffers"),
            (self.profiles, "&Profiles"),
        )

    def _connect(self) -> None:
        self.presenter.listed.connect(self._keep)
        self.presenter.told.connect(self._tell)
        self.presenter.changed.connect(self._navigation.library_changed)
        self.presenter.imported.connect(self._show_imported)
        self.runs.trash_wanted.connect(self.show_trash)
        self.trash.left.connect(self.show_runs)
        self.tabs.currentChanged.connect(self._show_tab)
        self.strip.acted.connect(self._undo)
        self._undo_shown.timeout.connect(self.strip.hide)

    def _keep(self, listed: Listed) -> None:
        self._listed = listed
        self._show_tab()

    def _show_tab(self) -> None:
        """Only what is looked at is worked out."""
        shown = self.shown_tab()
        if shown is self.offers:
            self.offers.enter()
        elif self._listed is not None and shown in (self.models, self.endpoints, self.profiles):
            for tab in (self.models, self.endpoints, self.profiles):
                if tab is shown:
                    tab.show_runs(self._listed.rows)

    def _tell(self, notice: Notice, can_undo: bool) -> None:
        self.strip.say(notice, "&Undo" if can_undo else None)
        if can_undo:
            self._undo_shown.start()
        else:
            self._undo_shown.stop()

    def _undo(self) -> None:
        self.strip.hide()
        self.presenter.undo.undo()

    def _show_imported(self, directory: Path) -> None:
        self.runs.filters.clear()
        self.runs.want(directory)
