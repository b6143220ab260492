"""Pairs that Compare asks for, shows while they are measured, and puts to its runs at their end.

Pairs that are measured now: which one, how long yet, and the way to stop them or to watch their
run.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
from PySide6.QtCore import Signal
from PySide6.QtWidgets import QProgressBar, QWidget

from app.gui.compare.entries import Asked, keep_beside, kept_beside, mark_shown
from app.gui.compare.pairs_offer import PairsOffer, launch_of, secrets_to_send
from app.gui.compare.pairs_run import PairsRun
from app.gui.compare.pairs_state import PairsState, joined
from app.gui.compare.presenter import TOLERANCE, ComparePresenter
from app.gui.docks.job_words import turn_line
from app.gui.flow import flow_in
from app.gui.formatting import elapsed, one_line
from app.gui.navigation import Launch, Navigation, Notice
from app.gui.secret_consent import may_send
from app.gui.strip import Strip
from app.gui.widgets import button, card, label, vbox

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
        vbox(card(self._name, self._turn, self._bar, self._time, self._said, row), within=self)
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


class PairsPart(QWidget):
    changed = Signal(object)
    """A PairsState."""

    def __init__(self, navigation: Navigation, presenter: ComparePresenter) -> None:
        super().__init__()
        self._navigation, self._presenter = navigation, presenter
        self._run = PairsRun(self)
        self._fits = False
        self._ready: Asked | None = None
        self.strip, self.stop_strip, self.progress = Strip(), Strip(), PairsProgress()
        vbox(self.strip, self.stop_strip, self.progress, within=self)
        self.strip.acted.connect(self._compare_them)
        self.stop_strip.acted.connect(self.stop_now)
        self.progress.stop_wanted.connect(self.stop)
        self.progress.watch_wanted.connect(self._watch_run)
        self._run.changed.connect(self._show)
        self._run.news.connect(self._say)
        self._run.ended.connect(self._end)
        presenter.chosen.connect(self._look_whether_it_fits)

    @property
    def state(self) -> PairsState:
        return self._run.state

    def measure(self, offer: PairsOffer, pairs: int, minutes: int) -> None:
        """In their turn, by an engine of their own."""
        if not may_send(self, secrets_to_send(offer)):
            return
        asked = self._presenter.asked
        launch = launch_of(asked, offer, pairs, minutes, datetime.now(UTC))
        try:
            keep_beside(launch.directory, asked)
        except OSError as error:
            what = f"{launch.directory} cannot be written: {error.strerror}."
            self._say(Notice("error", what))
            return
        self._navigation.launch_wanted.emit(launch)

    def launch(self, launch: Launch) -> None:
        """Their turn has come."""
        self._fits = self._is_beside(launch.directory)
        self._run.engine.launch(launch)

    def watch(self, directory: Path) -> None:
        """Pairs that go on, or have ended. Where nothing is compared yet, what was when they were asked for is."""
        asked = kept_beside(directory)
        if asked is not None and not self._presenter.asked.entries:
            self._presenter.compare_sides(asked)
        self._fits = True
        self._run.watch(directory)

    def stop(self) -> None:
        """The first time it asks, in a strip; the second time it stops."""
        state = self.state
        if not state.is_running:
            return
        if not self.stop_strip.isHidden():
            self.stop_now()
            return
        if state.going == "stopping":
            what, why = "Cut what is in flight?", "The run that is measured waits for answers to what was sent."
            action = "Cu&t it"
        else:
            what, action = "Stop these pairs?", "S&top them"
            why = "Whole pairs until now are compared, and every run is kept."
        self.stop_strip.say(Notice("warning", what, why), action)

    def stop_now(self) -> None:
        """Without asking."""
        self.stop_strip.hide()
        self._run.stop()

    def _show(self, state: PairsState) -> None:
        if not state.is_running:
            self.stop_strip.hide()
        elif state.going == "starting":
            self.strip.hide()
        self.progress.show_state(state)
        self.changed.emit(state)

    def _say(self, notice: Notice) -> None:
        self._ready = None
        self.strip.say(notice)

    def _end(self, state: PairsState, notice: Notice) -> None:
        assert state.directory is not None, "something was measured"
        mark_shown(state.directory)
        self._say(notice)
        self._navigation.library_changed.emit()
        if not state.pairs:
            return
        asked = kept_beside(state.directory) or Asked((), TOLERANCE, is_forced=False)
        if self._fits:
            shown = self._presenter.asked
            self._presenter.compare_sides(joined(shown if _same(shown, asked) else asked, state))
            self.strip.say(msgspec.structs.replace(notice, next_step="They are compared now, as repeats of each side."))
        else:  # other runs are compared by now, and stay
            self._ready = joined(asked, state)
            self.strip.say(notice, "Compare the&m")

    def _compare_them(self) -> None:
        ready, self._ready = self._ready, None
        self.strip.hide()
        if ready is not None:
            self._presenter.compare_sides(ready)

    def _look_whether_it_fits(self) -> None:
        directory = self.state.directory
        if self._fits and directory is not None and self.state.is_running:
            self._fits = self._is_beside(directory)

    def _is_beside(self, directory: Path) -> bool:
        shown, asked = self._presenter.asked, kept_beside(directory)
        return not shown.entries or (asked is not None and _same(shown, asked))

    def _watch_run(self) -> None:
        turn = self.state.progress.turn
        if turn is not None:
            self._navigation.run_watched.emit(Path(turn.directory))


def _same(one: Asked, other: Asked) -> bool:
    """Whether the same runs are on the same sides."""
    return {(run.path, run.side) for run in one.entries} == {(run.path, run.side) for run in other.entries}
