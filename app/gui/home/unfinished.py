"""Messages at the top of the Home page about runs that are still running or stopped
unexpectedly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout, QWidget

from app.gui import formatting
from app.gui.message_strip import MessageStrip
from app.gui.navigation import Notice
from app.gui.recovery import Recovery
from app.gui.theme import TILE_MARGINS
from app.gui.widgets import button, clear, label, restyle, vbox

if TYPE_CHECKING:
    from app.storage.run_states import UnfinishedRun

_MAX_RUNS = 3


class UnfinishedRuns(QWidget):
    """List of unfinished runs, hidden if there are none."""

    def __init__(self, recovery: Recovery) -> None:
        super().__init__()
        self.setAccessibleName("Unfinished runs")
        self._recovery = recovery
        self._discarded_name = ""
        self._undo_strip = MessageStrip()
        self._undo_strip.action_triggered.connect(self._undo_discard)
        self._rows_layout = QVBoxLayout()
        self._more_label = label("", "muted", wrap=True)
        vbox(self._undo_strip, self._rows_layout, self._more_label, within=self)
        recovery.unfinished_runs_changed.connect(self._show)
        recovery.discarded.connect(self._offer_undo)
        self._show(recovery.unfinished_runs)

    def _show(self, runs: Sequence[UnfinishedRun]) -> None:
        clear(self._rows_layout)
        for run in runs[:_MAX_RUNS]:
            self._rows_layout.addWidget(UnfinishedRunRow(run, self._recovery))
        hidden_count = len(runs) - _MAX_RUNS
        self._more_label.setText(f"More unfinished runs in the Library: {hidden_count}")
        self._more_label.setVisible(hidden_count > 0)
        self.setVisible(bool(runs) or bool(self._undo_strip.text()))

    def _offer_undo(self, name: str) -> None:
        self._discarded_name = name
        self._undo_strip.show_notice(
            Notice("news", f"{name} was moved to the trash, where it stays for 30 days."), "&Undo"
        )
        self.setVisible(True)

    def _undo_discard(self) -> None:
        self._undo_strip.hide()
        self._recovery.undo_discard(self._discarded_name)


class UnfinishedRunRow(QFrame):
    def __init__(self, run: UnfinishedRun, recovery: Recovery) -> None:
        super().__init__()
        self._run, self._recovery = run, recovery
        is_running = run.state == "running"
        self.setProperty("role", "strip")
        text = label(_description(run), wrap=True)
        self.setAccessibleName(f"Unfinished run {run.directory.name}")
        self.setAccessibleDescription(text.text())
        line = QHBoxLayout()
        if is_running:
            line.addWidget(button("&Attach", self._attach))
        else:
            line.addWidget(button("&Resume", self._resume))
            line.addWidget(button("&Show results so far", self._open_results))
            line.addWidget(button("Dis&card", self._discard))
        line.addWidget(button("&Dismiss", self._dismiss))
        line.addStretch(1)
        vbox(text, line, within=self, margins=TILE_MARGINS)
        restyle(self, "plain" if is_running else "warn")

    def _attach(self) -> None:
        self._recovery.watch(self._run.directory)

    def _resume(self) -> None:
        self._recovery.resume(self._run.directory)

    def _open_results(self) -> None:
        self._recovery.open_results(self._run.directory)

    def _discard(self) -> None:
        self._recovery.discard(self._run.directory)

    def _dismiss(self) -> None:
        self._recovery.dismiss(self._run.directory)


def _description(run: UnfinishedRun) -> str:
    name = run.name or run.directory.name
    if run.state == "running":
        return f"{name} is still running. It continued without the window."
    last_written_text, size_text = (
        formatting.format_clock_time(run.last_written.isoformat()),
        formatting.format_size(run.size_bytes),
    )
    return f"{name} stopped unexpectedly on {last_written_text}. {size_text} of data was saved."
