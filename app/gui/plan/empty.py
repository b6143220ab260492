"""The Plan page before it has anything to plan from, while it reads, and where it could not."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QScrollArea, QVBoxLayout, QWidget

from app.gui.plan.assumptions import Assumptions
from app.gui.plan.sources import PlannableRun
from app.gui.widgets import button, card, clear, hbox, label, vbox

_SHOWN = 5


class EmptyPlan(QScrollArea):
    run_chosen = Signal(object)
    sweep_wanted = Signal()
    open_wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QScrollArea.Shape.NoFrame)
        self.title = label("No measurements yet", "title", wrap=True)
        self.what = label(
            (
                "A plan says which hardware, how many of it and at what cost carries your traffic inside its SLO. "
                "Plan from assumptions, or run a sweep."
            ),
            wrap=True,
        )
        self.sweep = button("&Run a sweep", self._want_sweep, primary=True)
        self.assume = button("&Plan from assumptions", self._unfold)
        self.assume.setCheckable(True)
        self.open = button("&Open a result or a plan file…", self._want_open)
        self.assumptions = Assumptions()
        self.assumptions.hide()
        self._runs_title = label("Plan from a run", "heading")
        self._runs = QVBoxLayout()
        line = hbox(self.sweep, self.assume, self.open, 1)
        inner = QWidget()
        column = vbox(self.title, self.what, line, self._runs_title, self._runs, within=inner, margins=None, spacing=12)
        self._card = card(self.assumptions)
        self._card.hide()
        column.addWidget(self._card)
        column.addStretch(1)
        self.setWidget(inner)
        self.show_runs(())

    def show_runs(self, runs: tuple[PlannableRun, ...]) -> None:
        """The newest can be planned from at once."""
        clear(self._runs)
        for place, run in enumerate(runs[:_SHOWN]):
            one = button(run.words.replace("&", "&&"), partial(self._choose, run.directory), primary=place == 0)
            self._runs.addWidget(one, 0, Qt.AlignmentFlag.AlignLeft)
        self._runs_title.setVisible(bool(runs))
        self.sweep.setProperty("role", None if runs else "primary")
        self.sweep.style().unpolish(self.sweep)
        self.sweep.style().polish(self.sweep)
        self.title.setText("What to plan from?" if runs else "No measurements yet")

    def unfold_assumptions(self) -> None:
        self.assume.setChecked(True)
        self._unfold()

    def _unfold(self) -> None:
        is_open = self.assume.isChecked()
        if is_open:
            self.assumptions.show_cards()
        self._card.setVisible(is_open)
        self.assumptions.setVisible(is_open)
        if is_open:
            self.assumptions.curve.name.setFocus()

    def _choose(self, directory: Path) -> None:
        self.run_chosen.emit(directory)

    def _want_sweep(self) -> None:
        self.sweep_wanted.emit()

    def _want_open(self) -> None:
        self.open_wanted.emit()
