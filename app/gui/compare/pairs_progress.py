"""Pairs that are measured now: which one, how long yet, and the way to stop them or to watch their run."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QProgressBar, QVBoxLayout, QWidget

from app.gui.compare.pairs_state import PairsState
from app.gui.docks.job_words import turn_line
from app.gui.flow import flow_in
from app.gui.formatting import elapsed, one_line
from app.gui.widgets import button, card, label

_LONGEST = 200


class PairsProgress(QWidget):
    stop_wanted = Signal()
    watch_wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._name, self._turn = label("", "heading", wrap=True), label("", wrap=True)
        self._said, self._time = label("", "muted", wrap=True), label("", "muted", wrap=True)
        self._bar = QProgressBar()
        self._bar.setTextVisible(False)
        self._bar.setAccessibleName("Runs of the pairs that are measured")
        self.stop = button("&Stop the pairs", self.stop_wanted.emit)
        self.watch = button("Watc&h this run", self.watch_wanted.emit)
        row = QWidget()
        flow = flow_in(row)
        for one in (self.stop, self.watch):
            flow.addWidget(one)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(card(self._name, self._turn, self._bar, self._time, self._said, row))
        self.hide()

    @property
    def line(self) -> str:
        return self._turn.text()

    def show_state(self, state: PairsState) -> None:
        """Hidden while nothing is measured."""
        self.setVisible(state.is_running)
        progress = state.progress
        self._name.setText(one_line(state.name))
        self._turn.setText(line_of(state))
        self._time.setText(time_of(state))
        self._said.setText(one_line(f"{state.said[:1].upper()}{state.said[1:]}", _LONGEST))
        self._said.setVisible(bool(state.said))
        self._bar.setRange(0, progress.total or 0)
        self._bar.setValue(progress.done)
        self.watch.setEnabled(progress.turn is not None)
        self.stop.setText("Cut &short" if state.going == "stopping" else "&Stop the pairs")
        self.stop.setAccessibleName(self.stop.text().replace("&", ""))


def line_of(state: PairsState) -> str:
    turn = state.progress.turn
    if turn is None:
        return "The engine is starting…"
    if state.going == "stopping":
        return f"{turn_line(turn)}; it is stopping"
    return turn_line(turn)


def time_of(state: PairsState) -> str:
    progress, left_s = state.progress, state.eta_s()
    told = f"{elapsed(progress.elapsed_s)} so far"
    if progress.total:
        told = f"{progress.done} of {progress.total} runs, {told}"
    return told if left_s is None else f"{told}, about {elapsed(left_s)} left"
