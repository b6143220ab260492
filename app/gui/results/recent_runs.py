"""Empty state of the Results page, with a list of the most recent runs."""

from __future__ import annotations

from datetime import UTC, datetime

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QWidget

from app.gui.background import submit
from app.gui.home.cards import RunRows
from app.gui.home.presenter import RunLine, read_recent_runs
from app.gui.theme import GAP, ThemeController
from app.gui.widgets import button, label, vbox


class RecentRuns(QWidget):
    """List of the most recent runs. `library_requested` is emitted when the user wants to choose
    another run in the Library, `home_requested` when the user goes to Home because there are no
    runs yet."""

    run_selected = Signal(object)
    comparison_requested = Signal(object)
    """Signal that is emitted with the directories of the runs to compare, baseline first."""
    library_requested = Signal()
    home_requested = Signal()

    def __init__(self, theme_controller: ThemeController) -> None:
        super().__init__()
        self.heading = label("Select a run", "title", wrap=True)
        self.description_label = label(
            "The verdict, the metrics over time and the requests of the run appear here.", "muted", wrap=True
        )
        self.library_button = button("Open the &Library", self.library_requested.emit, primary=True)
        self.home_button = button("Go to the &quick check", self.home_requested.emit, primary=True)
        self.home_button.hide()
        self.run_rows = RunRows(theme_controller)
        self.run_rows.run_selected.connect(self.run_selected)
        self.run_rows.comparison_requested.connect(self.comparison_requested)
        layout = vbox(self.heading, self.description_label, self.run_rows, within=self, margins=None, spacing=GAP)
        for action_button in (self.library_button, self.home_button):
            layout.addWidget(action_button, 0, Qt.AlignmentFlag.AlignLeft)
        layout.addStretch(1)

    def refresh(self) -> None:
        submit(self, lambda: read_recent_runs(datetime.now(UTC)), self.show_runs, self._show_error)

    def show_runs(self, runs: tuple[RunLine, ...]) -> None:
        self.run_rows.show_lines(runs)
        self.library_button.setVisible(bool(runs))
        self.home_button.setVisible(not runs)
        self.description_label.setText(
            "Recent runs are listed below. The Library lists all runs."
            if runs
            else "There are no runs yet. Start with the quick check on Home (1 min)."
        )

    def _show_error(self, error: Exception) -> None:
        self.description_label.setText(str(error))
