"""Empty state of the Live page, shown while no run is watched."""

from __future__ import annotations

from pathlib import Path

import msgspec
from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QWidget

from app.gui.widgets import button, label, tool_tip_text, vbox

_MAX_RUNS_CHECKED = 20


class LastRuns(msgspec.Struct, frozen=True):
    running: Path | None = None
    last: Path | None = None


def find_last_runs() -> LastRuns:
    """Read the stored runs from disk, and return a run in progress, if any, and the newest run."""
    from app.errors import UsageError
    from app.storage.control import CONTROL
    from app.storage.run_directory import list_stored_runs

    newest = list_stored_runs()[: -_MAX_RUNS_CHECKED - 1 : -1]
    for run in newest:
        try:
            if (run.directory / CONTROL).is_dir() and run.is_running:
                return LastRuns(run.directory, newest[0].directory)
        except UsageError:
            continue  # skip a corrupted run
    return LastRuns(None, newest[0].directory if newest else None)


class IdleView(QWidget):
    set_up_requested = Signal()
    watch_requested = Signal(object)
    """Emitted with the directory of the run in progress that the user wants to watch."""
    results_requested = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._runs = LastRuns()
        self._text = label("Nothing is running.", "title")
        self._hint = label(
            "Live rates, latency and machine load appear here during a run.",
            "muted",
            wrap=True,
        )
        self._hint.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.watch = button("&Watch current run", self._watch, primary=True)
        self.set_up = button("Set &up a run", self.set_up_requested.emit, primary=True)
        self.last = button("Open &last run", self._open_last)
        layout = vbox(2, (self._text, 0, Qt.AlignmentFlag.AlignHCenter), self._hint, within=self, margins=None)
        layout.addSpacing(12)
        for widget in (self.watch, self.set_up, self.last):
            layout.addWidget(widget, 0, Qt.AlignmentFlag.AlignHCenter)
        layout.addStretch(3)
        self.show_runs(LastRuns())

    def show_runs(self, runs: LastRuns) -> None:
        self._runs = runs
        self.watch.setVisible(runs.running is not None)
        self.last.setVisible(runs.last is not None and runs.last != runs.running)
        for widget, run in ((self.watch, runs.running), (self.last, runs.last)):
            widget.setToolTip("" if run is None else tool_tip_text(run.name))

    def focus_first(self) -> None:
        first_button = self.set_up if self.watch.isHidden() else self.watch
        first_button.setFocus(Qt.FocusReason.OtherFocusReason)

    def _watch(self) -> None:
        if self._runs.running is not None:
            self.watch_requested.emit(self._runs.running)

    def _open_last(self) -> None:
        if self._runs.last is not None:
            self.results_requested.emit(self._runs.last)
