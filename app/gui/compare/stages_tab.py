"""Stages tab: changes of each headline metric (column) in each stage (row)."""

from __future__ import annotations

from PySide6.QtWidgets import QWidget

from app.gui.compare.frames import WordsModel, by_stage
from app.gui.compare.outcome import Outcome
from app.gui.tables import FrameTable, describe
from app.gui.theme import Look
from app.gui.widgets import label, vbox


class StagesTab(QWidget):
    def __init__(self, look: Look) -> None:
        super().__init__()
        self._look = look
        self._message = label("", "muted", wrap=True)
        self._layout = vbox(self._message, within=self, margins=(0, 10, 0, 0))
        self.table: FrameTable | None = None
        self._layout.addStretch(1)

    def wait(self, text: str) -> None:
        self._message.setText(text)
        if self.table is not None:
            self.table.hide()

    def show_outcome(self, outcome: Outcome) -> None:
        section = outcome.section
        if section is None or not section.rows:
            self.wait("Nothing is compared yet: the first tab says why.")
            return
        frame, states = by_stage(section)
        if self.table is not None:
            self._layout.removeWidget(self.table)
            self.table.deleteLater()
        self.table = FrameTable(WordsModel(self._look, {"stage": "Stage"}, states), "Changes by stage")
        self._layout.insertWidget(1, self.table, 100)
        self.table.set_frame(frame)
        self._message.setText("Candidate over baseline in each stage, with its verdict; n/a where one has no value.")
        describe(self.table, "Changes by stage")
