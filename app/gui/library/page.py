"""Library: runs, models, endpoints, offers and profiles; its contents are made when it is first entered."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtGui import QDragEnterEvent, QDragLeaveEvent, QDropEvent, QUndoStack
from PySide6.QtWidgets import QLineEdit, QVBoxLayout

from app.gui.dropping import is_run_directory
from app.gui.navigation import Navigation, PageKey
from app.gui.page import Page
from app.gui.theme import Look

if TYPE_CHECKING:
    from app.gui.library.shelves import Shelves


class LibraryPage(Page):
    key: PageKey = "library"

    def __init__(self, navigation: Navigation, look: Look) -> None:
        super().__init__(navigation, look)
        self._shelves: Shelves | None = None
        self._is_entered = False
        self.setAcceptDrops(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        navigation.library_changed.connect(self._refresh_if_shown)

    def title(self) -> str:
        return "Library"

    @property
    def shelves(self) -> Shelves:
        """The contents, made on first use."""
        if self._shelves is None:
            from app.gui.library.shelves import Shelves

            self._shelves = Shelves(self.navigation, self.look)
            layout = self.layout()
            assert layout is not None
            layout.addWidget(self._shelves)
        return self._shelves

    def enter(self) -> None:
        self._is_entered = True
        self.shelves.enter()

    def leave(self) -> None:
        self._is_entered = False
        self.shelves.leave()

    def refresh(self) -> None:
        self.shelves.runs.presenter.refresh()

    def runs(self) -> tuple[Path, ...]:
        """Those ticked, else the chosen one."""
        tab = self.shelves.runs
        chosen = tab.chosen()
        return tab.ticked() or (() if chosen is None else (Path(chosen.directory),))

    def import_path(self, path: Path) -> bool:
        """A bundle, or a run's directory. Whether it is one; whether it could be taken in is told when it is done."""
        if not is_importable(path):
            return False
        self.shelves.import_path(path)
        return True

    def command_line(self) -> str | None:
        return shlex.join(["sizewise", *self.shelves.words_of_command()])

    def export(self) -> bool:
        return self.shelves.shown_tab() is self.shelves.first_tab and self.shelves.runs.export()

    def filter_field(self) -> QLineEdit | None:
        return self.shelves.filter_field()

    def undo_stack(self) -> QUndoStack | None:
        return self.shelves.runs.presenter.undo

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Other files are the window's."""
        paths = _paths(event)
        if paths and all(map(is_importable, paths)) and event.source() is None:
            event.acceptProposedAction()
            self.shelves.promise(f"Import {', '.join(path.name[:80] for path in paths[:3])}")
        else:
            event.ignore()

    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:
        self.shelves.promise("")
        super().dragLeaveEvent(event)

    def dropEvent(self, event: QDropEvent) -> None:
        self.shelves.promise("")
        event.acceptProposedAction()
        for path in _paths(event):
            self.import_path(path)

    def _refresh_if_shown(self) -> None:
        if self._is_entered:
            self.refresh()


def is_importable(path: Path) -> bool:
    if path.is_dir():
        return is_run_directory(path)
    return path.suffix.lower() == ".zip" and path.is_file()


def _paths(event: QDropEvent) -> list[Path]:
    return [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
