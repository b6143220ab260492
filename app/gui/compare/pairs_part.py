"""A/B pairs on the Compare page: start them, show their progress, and compare their runs when they end."""

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

_MAX_CHARACTERS = 200


class PairsProgress(QWidget):
    stop_wanted = Signal()
    watch_wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._name, self._turn = label("", "heading", wrap=True), label("", wrap=True)
        self._message, self._time = label("", "muted", wrap=True), label("", "muted", wrap=True)
        self._bar = QProgressBar()
        self._bar.setTextVisible(False)
        self._bar.setAccessibleName("Runs of the pairs that are measured")
        self.stop = button("&Stop the pairs", self.stop_wanted.emit)
        self.watch = button("Watc&h this run", self.watch_wanted.emit)
        row = QWidget()
        flow = flow_in(row)
        for widget in (self.stop, self.watch):
            flow.addWidget(widget)
        vbox(card(self._name, self._turn, self._bar, self._time, self._message, row), within=self)
        self.hide()

    @property
    def line(self) -> str:
        return self._turn.text()

    def show_state(self, state: PairsState) -> None:
        """Show the progress, or hide the widget if no pairs are running."""
        self.setVisible(state.is_running)
        progress = state.progress
        self._name.setText(one_line(state.name))
        self._turn.setText(line_of(state))
        self._time.setText(time_of(state))
        self._message.setText(one_line(f"{state.said[:1].upper()}{state.said[1:]}", _MAX_CHARACTERS))
        self._message.setVisible(bool(state.said))
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
    text = f"{elapsed(progress.elapsed_s)} so far"
    if progress.total:
        text = f"{progress.done} of {progress.total} runs, {text}"
    return text if left_s is None else f"{text}, about {elapsed(left_s)} left"


class PairsPart(QWidget):
    changed = Signal(object)
    """Emits the new `PairsState`."""

    def __init__(self, navigation: Navigation, presenter: ComparePresenter) -> None:
        super().__init__()
        self._navigation, self._presenter = navigation, presenter
        self._run = PairsRun(self)
        self._matches_current = False
        self._ready: Asked | None = None
        self.strip, self.stop_strip, self.progress = Strip(), Strip(), PairsProgress()
        vbox(self.strip, self.stop_strip, self.progress, within=self)
        self.strip.acted.connect(self._compare_ready)
        self.stop_strip.acted.connect(self.stop_now)
        self.progress.stop_wanted.connect(self.stop)
        self.progress.watch_wanted.connect(self._watch_run)
        self._run.changed.connect(self._show)
        self._run.news.connect(self._show_notice)
        self._run.ended.connect(self._on_ended)
        presenter.chosen.connect(self._update_match)

    @property
    def state(self) -> PairsState:
        return self._run.state

    def measure(self, offer: PairsOffer, pairs: int, minutes: int) -> None:
        """Ask for consent to send secrets, store the comparison, and queue a launch of the pairs in their own
        engine."""
        if not may_send(self, secrets_to_send(offer)):
            return
        request = self._presenter.asked
        launch = launch_of(request, offer, pairs, minutes, datetime.now(UTC))
        try:
            keep_beside(launch.directory, request)
        except OSError as error:
            message = f"{launch.directory} cannot be written: {error.strerror}."
            self._show_notice(Notice("error", message))
            return
        self._navigation.launch_wanted.emit(launch)

    def launch(self, launch: Launch) -> None:
        """Start the engine of the pairs, when the job queue reaches them."""
        self._matches_current = self._has_same_runs(launch.directory)
        self._run.engine.launch(launch)

    def watch(self, directory: Path) -> None:
        """Watch pairs that are running or have ended. If nothing is compared yet, restore the comparison that they were
        started for."""
        request = kept_beside(directory)
        if request is not None and not self._presenter.asked.entries:
            self._presenter.compare_sides(request)
        self._matches_current = True
        self._run.watch(directory)

    def stop(self) -> None:
        """Ask in a message on the first call, and stop on the second."""
        state = self.state
        if not state.is_running:
            return
        if not self.stop_strip.isHidden():
            self.stop_now()
            return
        if state.going == "stopping":
            message, reason = "Cut what is in flight?", "The run that is measured waits for answers to what was sent."
            action = "Cu&t it"
        else:
            message, action = "Stop these pairs?", "S&top them"
            reason = "Whole pairs until now are compared, and every run is kept."
        self.stop_strip.say(Notice("warning", message, reason), action)

    def stop_now(self) -> None:
        """Stop without asking."""
        self.stop_strip.hide()
        self._run.stop()

    def _show(self, state: PairsState) -> None:
        if not state.is_running:
            self.stop_strip.hide()
        elif state.going == "starting":
            self.strip.hide()
        self.progress.show_state(state)
        self.changed.emit(state)

    def _show_notice(self, notice: Notice) -> None:
        self._ready = None
        self.strip.say(notice)

    def _on_ended(self, state: PairsState, notice: Notice) -> None:
        assert state.directory is not None, "something was measured"
        mark_shown(state.directory)
        self._show_notice(notice)
        self._navigation.library_changed.emit()
        if not state.pairs:
            return
        request = kept_beside(state.directory) or Asked((), TOLERANCE, is_forced=False)
        if self._matches_current:
            current = self._presenter.asked
            self._presenter.compare_sides(joined(current if _have_same_runs(current, request) else request, state))
            self.strip.say(msgspec.structs.replace(notice, next_step="They are compared now, as repeats of each side."))
        else:  # the user compares other runs by now: do not replace them
            self._ready = joined(request, state)
            self.strip.say(notice, "Compare the&m")

    def _compare_ready(self) -> None:
        ready, self._ready = self._ready, None
        self.strip.hide()
        if ready is not None:
            self._presenter.compare_sides(ready)

    def _update_match(self) -> None:
        directory = self.state.directory
        if self._matches_current and directory is not None and self.state.is_running:
            self._matches_current = self._has_same_runs(directory)

    def _has_same_runs(self, directory: Path) -> bool:
        current, stored = self._presenter.asked, kept_beside(directory)
        return not current.entries or (stored is not None and _have_same_runs(current, stored))

    def _watch_run(self) -> None:
        turn = self.state.progress.turn
        if turn is not None:
            self._navigation.run_watched.emit(Path(turn.directory))


def _have_same_runs(first: Asked, second: Asked) -> bool:
    """Return whether both comparisons have the same runs on the same sides."""
    return {(run.path, run.side) for run in first.entries} == {(run.path, run.side) for run in second.entries}
