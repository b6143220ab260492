"""Run: one profile as a form and as YAML, and Start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtGui import QUndoStack
from PySide6.QtWidgets import QLineEdit, QVBoxLayout

from app.gui.navigation import Navigation, PageKey
from app.gui.page import Page
from app.gui.theme import Look

if TYPE_CHECKING:
    from app.gui.run.workbench import Workbench


class RunPage(Page):
    """What it holds is made when it is first needed: profiles and their settings take a while to import."""

    key: PageKey = "run"

    def __init__(self, navigation: Navigation, look: Look) -> None:
        super().__init__(navigation, look)
        self._bench: Workbench | None = None
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(16, 12, 16, 8)

    def title(self) -> str:
        return "Run"

    def bench(self) -> Workbench:
        if self._bench is None:
            from app.gui.run.workbench import Workbench

            self._bench = Workbench(self.navigation, self.look)
            self._layout.addWidget(self._bench)
        return self._bench

    def enter(self) -> None:
        self.bench().enter()

    def leave(self) -> None:
        if self._bench is not None:
            self._bench.presenter.keep()

    def start(self) -> bool:
        return self._bench is not None and self._bench.start()

    def command_line(self) -> str | None:
        return None if self._bench is None else self._bench.command_line()

    def export(self) -> bool:
        return self._bench is not None and self._bench.offer_ci_job()

    def filter_field(self) -> QLineEdit | None:
        return None if self._bench is None else self._bench.form.search

    def undo_stack(self) -> QUndoStack | None:
        return None if self._bench is None else self._bench.presenter.document.stack

    @property
    def has_unsaved_changes(self) -> bool:
        return self._bench is not None and self._bench.has_unsaved_changes
