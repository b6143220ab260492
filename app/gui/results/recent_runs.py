"""Empty state of the Results page, with a list of the most recent runs."""

from __future__ import annotations

from pathlib import Path

import msgspec
from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QPushButton, QWidget

from app.gui.background import submit
from app.gui.formatting import format_clock_time
from app.gui.widgets import Badge, button, clear, hbox, label, vbox

_MAX_RUNS = 5
_MAX_CHARACTERS = 80


class RecentRun(msgspec.Struct, frozen=True):
    directory: Path
    name: str
    wall_start: str
    outcome: str
    max_rate: str | None


def list_recent_runs() -> list[RecentRun]:
    """Return the most recent runs, newest first. Corrupted runs are skipped."""
    from app.errors import UsageError
    from app.storage.run_directory import list_stored_runs

    recent_runs: list[RecentRun] = []
    for run in reversed(list_stored_runs()):
        if len(recent_runs) == _MAX_RUNS:
            break
        try:
            recent_runs.append(_read_recent_run(run.directory))
        except UsageError:
            continue
    return recent_runs


def _read_recent_run(directory: Path) -> RecentRun:
    from app.reporting.run_rows import format_max_rate
    from app.reporting.verdict import build_verdict
    from app.storage.labels import read_labels
    from app.storage.run_directory import StoredRun

    run = StoredRun(directory)
    result = run.result
    if result is None:
        state = "running" if run.is_running else "interrupted" if run.finished_event is None else "not measured"
        return RecentRun(directory, directory.name, "", state, None)
    name = read_labels(directory).title or result.name
    return RecentRun(directory, name, result.clock.wall_start, build_verdict(result).outcome, format_max_rate(result))


class RecentRuns(QWidget):
    """List of the most recent runs. `library_requested` is emitted when the user wants to choose
    another run in the Library, `home_requested` when the user goes to Home because there are no
    runs yet."""

    run_selected = Signal(object)
    library_requested = Signal()
    home_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.heading = label("Select a run", "title", wrap=True)
        self.description_label = label(
            "The verdict, the metrics over time and the requests of the run appear here.", "muted", wrap=True
        )
        self.library_button = button("Open the &Library", self.library_requested.emit, primary=True)
        self.home_button = button("Go to the &quick check", self.home_requested.emit, primary=True)
        self.home_button.hide()
        self._list = QWidget()
        self._rows_layout = vbox(within=self._list)
        layout = vbox(self.heading, self.description_label, self._list, within=self, margins=None, spacing=10)
        for action_button in (self.library_button, self.home_button):
            layout.addWidget(action_button, 0, Qt.AlignmentFlag.AlignLeft)
        layout.addStretch(1)

    def refresh(self) -> None:
        submit(self, list_recent_runs, self.show_runs, self._show_error)

    def show_runs(self, runs: list[RecentRun]) -> None:
        clear(self._rows_layout)
        for run in runs:
            row = _Row(run)
            row.selected.connect(self.run_selected)
            self._rows_layout.addWidget(row)
        self.library_button.setVisible(bool(runs))
        self.home_button.setVisible(not runs)
        self.description_label.setText(
            "Recent runs are listed below. The Library lists all runs."
            if runs
            else "There are no runs yet. Start with the quick check on Home (1 min)."
        )

    def _show_error(self, error: Exception) -> None:
        self.description_label.setText(str(error))


class _Row(QFrame):
    selected = Signal(object)

    def __init__(self, run: RecentRun) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self._directory = run.directory
        open_button = QPushButton(run.name[:_MAX_CHARACTERS].replace("&", "&&"))
        open_button.setAccessibleName(f"Open {run.name[:_MAX_CHARACTERS]}")
        open_button.clicked.connect(self._emit_selected)
        hbox(
            open_button,
            Badge(run.outcome),
            (
                label(" · ".join(part for part in (run.max_rate, format_clock_time(run.wall_start)) if part), "muted"),
                1,
            ),
            within=self,
            margins=None,
        )

    def _emit_selected(self) -> None:
        self.selected.emit(self._directory)
