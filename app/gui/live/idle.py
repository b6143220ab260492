"""Empty state of the Live page, shown while no run is watched."""

from __future__ import annotations

from pathlib import Path

import msgspec
from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QWidget

from app.gui.widgets import button, label, tool_tip_text, vbox

_MAX_CHECKED_RUNS = 20


class LastRuns(msgspec.Struct, frozen=True):
    running_directory: Path | None = None
    last_directory: Path | None = None


def find_last_runs() -> LastRuns:
    """Read the stored runs from disk, and return a run in progress, if any, and the newest run."""
    from app.errors import UsageError
    from app.storage.control import CONTROL
    from app.storage.run_directory import list_stored_runs

    newest_runs = list_stored_runs()[: -_MAX_CHECKED_RUNS - 1 : -1]
    for run in newest_runs:
        try:
            if (run.directory / CONTROL).is_dir() and run.is_running:
                return LastRuns(run.directory, newest_runs[0].directory)
        except UsageError:
            continue  # skip a corrupted run
    return LastRuns(None, newest_runs[0].directory if newest_runs else None)


class IdleView(QWidget):
    set_up_requested = Signal()
    results_requested = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._runs = LastRuns()
        self._text = label("No run in progress", "title")
        self._hint = label(
            "Live rates, latency and machine load appear here during a run.",
            "muted",
            wrap=True,
        )
        self._hint.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.set_up_button = button("Set &up a run", self.set_up_requested.emit, primary=True)
        self.last_button = button("Open &last run", self._open_last)
        layout = vbox(2, (self._text, 0, Qt.AlignmentFlag.AlignHCenter), self._hint, within=self, margins=None)
        layout.addSpacing(12)
        for widget in (self.set_up_button, self.last_button):
            layout.addWidget(widget, 0, Qt.AlignmentFlag.AlignHCenter)
        layout.addStretch(3)
        self.show_runs(LastRuns())

    def show_runs(self, runs: LastRuns) -> None:
        directory = runs.last_directory
        self._runs = runs
        self.last_button.setVisible(directory is not None)
        self.last_button.setToolTip("" if directory is None else tool_tip_text(directory.name))

    def _open_last(self) -> None:
        if self._runs.last_directory is not None:
            self.results_requested.emit(self._runs.last_directory)
