"""Empty state of the Plan page, shown before a source is loaded and after loading has failed."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QScrollArea, QVBoxLayout, QWidget

from app.gui.plan.assumptions import Assumptions
from app.gui.plan.sources import PlannableRun
from app.gui.theme import GAP_GROUP
from app.gui.widgets import button, card, clear, hbox, label, vbox

_MAX_RUNS = 5


class EmptyPlan(QScrollArea):
    run_selected = Signal(object)
    sweep_requested = Signal()
    open_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QScrollArea.Shape.NoFrame)
        self.title = label("No measurements yet", "title", wrap=True)
        self.intro = label(
            (
                "A plan recommends hardware, instance count and cost for your traffic and SLO. "
                "Run a sweep to measure capacity, or plan from assumptions."
            ),
            wrap=True,
        )
        self.sweep_button = button("Run a s&weep", self._request_sweep, primary=True)
        self.assume_button = button("&Plan from assumptions", self._update_assumptions)
        self.assume_button.setCheckable(True)
        self.open_button = button("&Open result or plan file…", self._request_open)
        self.assumptions = Assumptions()
        self.assumptions.hide()
        self._runs_title = label("Plan from a run", "heading")
        self._runs_layout = QVBoxLayout()
        self._displayed_runs: tuple[PlannableRun, ...] | None = None
        button_row = hbox(self.sweep_button, self.assume_button, self.open_button, 1)
        content = QWidget()
        column = vbox(
            self.title,
            self.intro,
            button_row,
            self._runs_title,
            self._runs_layout,
            within=content,
            margins=None,
            spacing=GAP_GROUP,
        )
        self._assumptions_card = card(self.assumptions)
        self._assumptions_card.hide()
        column.addWidget(self._assumptions_card)
        column.addStretch(1)
        self.setWidget(content)
        self.show_runs(())

    def show_runs(self, runs: tuple[PlannableRun, ...]) -> None:
        """Show the runs that a plan can be based on. The newest run is the primary choice. The
        buttons of runs that are shown already are kept, so that a click is not lost."""
        if runs == self._displayed_runs:
            return
        self._displayed_runs = runs
        clear(self._runs_layout)
        for index, run in enumerate(runs[:_MAX_RUNS]):
            run_button = button(
                run.label.replace("&", "&&"), partial(self._select_run, run.directory), primary=index == 0
            )
            self._runs_layout.addWidget(run_button, 0, Qt.AlignmentFlag.AlignLeft)
        self._runs_title.setVisible(bool(runs))
        self.sweep_button.setProperty("role", None if runs else "primary")
        self.sweep_button.style().unpolish(self.sweep_button)
        self.sweep_button.style().polish(self.sweep_button)
        self.title.setText("Choose a source for the plan" if runs else "No measurements yet")

    def show_assumptions(self) -> None:
        self.assume_button.setChecked(True)
        self._update_assumptions()

    def _update_assumptions(self) -> None:
        is_open = self.assume_button.isChecked()
        if is_open:
            self.assumptions.load_gpus()
        self._assumptions_card.setVisible(is_open)
        self.assumptions.setVisible(is_open)
        if is_open:
            self.assumptions.curve.name.setFocus()

    def _select_run(self, directory: Path) -> None:
        self.run_selected.emit(directory)

    def _request_sweep(self) -> None:
        self.sweep_requested.emit()

    def _request_open(self) -> None:
        self.open_requested.emit()
