"""The By stage tab: change of each headline metric (columns) in each stage (rows)."""

from __future__ import annotations

from PySide6.QtWidgets import QWidget

from app.gui.compare.frames import StateColoredModel, build_stage_table, metric_text
from app.gui.compare.outcome import Outcome
from app.gui.tables import FrameTable, set_table_description
from app.gui.theme import TAB_MARGINS, ThemeController
from app.gui.widgets import label, vbox


class StagesTab(QWidget):
    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__()
        self._theme_controller = theme_controller
        self._message = label("", "muted", wrap=True)
        self._layout = vbox(self._message, within=self, margins=TAB_MARGINS)
        self.table: FrameTable | None = None
        self._layout.addStretch(1)

    def show_message(self, text: str) -> None:
        self._message.setText(text)
        if self.table is not None:
            self.table.hide()

    def show_outcome(self, outcome: Outcome) -> None:
        section = outcome.section
        if section is None or not section.rows:
            self.show_message("There are no changes to show. The Verdict tab shows the reason.")
            return
        frame, states = build_stage_table(section)
        if self.table is not None:
            self._layout.removeWidget(self.table)
            self.table.deleteLater()
        headers = {"stage": "Stage", **{name: metric_text(name) for name in states}}
        self.table = FrameTable(StateColoredModel(self._theme_controller, headers, states), "Changes by stage")
        self._layout.insertWidget(1, self.table, 100)
        self.table.set_frame(frame)
        self._message.setText(
            "The table shows the changes from baseline to candidate by stage, with verdicts (n/a: no value)."
        )
        set_table_description(self.table, "Changes by stage")
