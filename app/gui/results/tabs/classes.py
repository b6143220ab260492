"""Classes tab: the results of each class of requests, in one stage or over all stages."""

from __future__ import annotations

from typing import Literal

import pandas as pd

from app.gui.results.frames import build_section_frame
from app.gui.results.quantity_model import QuantityModel
from app.gui.results.section_tables import fill_section_table
from app.gui.results.state import DisplayedRun
from app.gui.results.tabs.tab import Tab, create_table
from app.gui.widgets import WheelSafeComboBox, fill_choices, hbox, label
from reports.model import ClassSection, Report
from reports.sections.classes import CLASSES
from reports.sections.section import Table

_Choice = tuple[Literal["stage"], int] | tuple[Literal["class"], str]


class ClassesTab(Tab):
    title = "Classes"

    def __init__(self) -> None:
        super().__init__()
        self._section: ClassSection | None = None
        self._choices: list[_Choice] = []
        self._report: Report | None = None
        self.selection_box = WheelSafeComboBox()
        self.selection_box.setAccessibleName("Stage or class of the table")
        self.selection_box.setSizeAdjustPolicy(WheelSafeComboBox.SizeAdjustPolicy.AdjustToContents)
        self.selection_box.currentIndexChanged.connect(self._show_selection)
        self.model = QuantityModel()
        self.table = create_table(self.model, "Classes of requests")
        self.table.horizontalHeader().setStretchLastSection(False)
        self.column.addLayout(hbox(label("Sho&w", buddy=self.selection_box), self.selection_box, 1))
        self.column.addWidget(self.table)
        note = "Goodput counts the responses within the limits of the class or, if it has none, of the SLO."
        self.column.addWidget(label(note, "muted", wrap=True))
        self.column.addStretch(1)

    def applies_to(self, displayed_run: DisplayedRun) -> bool:
        return displayed_run.own_report.classes is not None

    def show_run(self, displayed_run: DisplayedRun) -> None:
        report = displayed_run.report
        self._report, self._section, self._choices = report, report.classes, []
        section = report.classes
        selected_index = 0
        texts: list[str] = []
        if section is not None:  # None if the time range contains no stage
            stages = {row.stage_number: row.stage for row in section.rows}
            self._choices = [("stage", number) for number in stages]
            texts = [f"All classes in {name}" for name in stages.values()]
            selected_index = list(stages).index(section.stage_number)
            if len(stages) > 1:
                self._choices += [("class", name) for name in section.names]
                texts += [f"Class {name} in all stages" for name in section.names]
        fill_choices(self.selection_box, [(text, index) for index, text in enumerate(texts)], selected_index)
        self._show_selection()

    def _show_selection(self) -> None:
        index = self.selection_box.currentIndex()
        if self._report is None or self._section is None or not 0 <= index < len(self._choices):
            self.model.set_rows(pd.DataFrame())
            return
        kind, value = self._choices[index]
        rows = [row for row in self._section.rows if value == (row.stage_number if kind == "stage" else row.name)]
        table = Table(rows=rows, first="name" if kind == "stage" else "stage")
        fill_section_table(self.table, self.model, build_section_frame(CLASSES, table, self._report))
