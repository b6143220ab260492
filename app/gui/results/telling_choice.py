"""What an exported file tells: of hosts, models and prompts, of rows; and which word would stand for which name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from PySide6.QtCore import QEvent, Signal
from PySide6.QtWidgets import QCheckBox, QVBoxLayout, QWidget

from app.gui.flow import FlowLayout
from app.gui.frame_model import FrameModel
from app.gui.results.tabs.tab import fit_height
from app.gui.tables import FrameTable, describe
from app.gui.widgets import label

if TYPE_CHECKING:
    from app.reporting.hiding import Kind, StandIn

_MOST_ROWS = 5
_WIDEST = 60


class TellingChoice(QWidget):
    """A tick puts it into the file. Prompts are left out until somebody ticks them."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.hosts = QCheckBox("Hosts an&d addresses")
        self.models = QCheckBox("Mode&l names")
        self.prompts = QCheckBox("P&rompts")
        self.no_prompts = label("", "muted")
        self.beside = QCheckBox("Rows and ta&bles beside it")
        headers = {"written": "written as", "places": "places", "shown": "in the file"}
        self.names = FrameTable(FrameModel(headers=headers), "Names in the file", widest=_WIDEST)
        self.names.setToolTip("Whole names are found, in titles and notes too; parts of one are not.")
        self._told: tuple[StandIn, ...] = ()
        self._has_prompts = True
        self._build()
        self.as_usual()
        for one in (self.hosts, self.models, self.prompts, self.beside):
            one.setAccessibleName(one.text().replace("&", ""))
            one.toggled.connect(self._toggled)

    def as_usual(self) -> None:
        """Of another run. Nothing is told of its names yet."""
        for tick, is_told in ((self.hosts, True), (self.models, True), (self.prompts, False), (self.beside, True)):
            tick.blockSignals(True)
            tick.setChecked(is_told)
            tick.blockSignals(False)
        self.show_prompts(None)
        self.show_names(())

    def show_prompts(self, why_none: str | None) -> None:
        """`why_none`: why the file has no prompts, which nothing can change."""
        self._has_prompts = why_none is None
        self.no_prompts.setText(why_none or "")
        self.prompts.setVisible(self._has_prompts)
        self.no_prompts.setVisible(not self._has_prompts)
        self.show_names(self._told)

    def hidden(self) -> tuple[Kind, ...]:
        kinds: list[Kind] = [] if self.hosts.isChecked() else ["hosts"]
        if not self.models.isChecked():
            kinds.append("models")
        if self._has_prompts and not self.prompts.isChecked():
            kinds.append("prompts")
        return tuple(kinds)

    def show_names(self, told: tuple[StandIn, ...]) -> None:
        self._told = told
        told = tuple(one for one in told if self._has_prompts or one.kind != "prompts")
        hidden, as_written = self.hidden(), "as written"
        rows = [(one.written, one.places, one.shown if one.kind in hidden else as_written) for one in told]
        self.names.set_frame(pd.DataFrame(rows, columns=["written", "places", "shown"]))
        describe(self.names, "what the file tells of names, and which of them are hidden")
        self.names.setVisible(bool(told))
        self._fit()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._fit()

    def _toggled(self) -> None:
        self.show_names(self._told)
        self.changed.emit()

    def _fit(self) -> None:
        fit_height(self.names, _MOST_ROWS)

    def _build(self) -> None:
        ticks = FlowLayout(gap=16)
        ticks.addWidget(label("In the file:", "muted"))
        for one in (self.hosts, self.models, self.prompts, self.no_prompts, self.beside):
            ticks.addWidget(one)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(ticks)
        layout.addWidget(self.names)
