"""Plan: traffic and limits in, fleets with their cost out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtGui import QUndoStack
from PySide6.QtWidgets import QLineEdit, QVBoxLayout

from app.gui.navigation import Navigation, PageKey
from app.gui.page import Page
from app.gui.theme import Look

if TYPE_CHECKING:
    from app.gui.plan.content import PlanContent


class PlanPage(Page):
    """What it holds is made when it is first needed: planning imports take longer than the window may."""

    key: PageKey = "plan"

    def __init__(self, navigation: Navigation, look: Look) -> None:
        super().__init__(navigation, look)
        self._content: PlanContent | None = None
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)

    def title(self) -> str:
        return "Plan"

    @property
    def content(self) -> PlanContent:
        if self._content is None:
            from app.gui.plan.content import PlanContent

            self._content = PlanContent(self.navigation, self.look)
            self._column.addWidget(self._content)
        return self._content

    def enter(self) -> None:
        self.content.enter()

    def open_sources(self, sources: Sequence[Path | str]) -> None:
        """As `sizewise plan` takes them: runs, results of one other tool, a plan file."""
        self.content.open_sources(tuple(str(source) for source in sources))

    def open_prices(self, path: Path) -> None:
        """A price list over the catalogue; of a plan to come, where there is none yet."""
        self.content.open_prices(path)

    def command_line(self) -> str | None:
        return None if self._content is None else self._content.presenter.command_line()

    def export(self) -> bool:
        return self._content is not None and self._content.ask_where_to()

    def filter_field(self) -> QLineEdit | None:
        return None if self._content is None else self._content.filter_field()

    def undo_stack(self) -> QUndoStack | None:
        return None if self._content is None else self._content.presenter.undo

    def runs(self) -> tuple[Path, ...]:
        return () if self._content is None else self._content.runs()
