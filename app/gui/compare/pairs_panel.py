"""Panel for A/B pairs on the Compare page: starts the pairs, shows their progress, and compares
their runs when they have ended."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
from PySide6.QtCore import Signal
from PySide6.QtWidgets import QProgressBar, QWidget

from app.gui.compare.entries import ComparisonRequest, load_comparison, mark_shown, save_comparison
from app.gui.compare.pairs_run import PairsRun
from app.gui.compare.pairs_state import PairsState, add_measured_runs
from app.gui.compare.pairs_suggestion import PairsSuggestion, build_launch, find_secrets_to_send
from app.gui.compare.presenter import DEFAULT_TOLERANCE, ComparePresenter
from app.gui.docks.job_text import format_pair_run
from app.gui.flow import set_flow_layout
from app.gui.formatting import format_elapsed, shorten
from app.gui.message_strip import MessageStrip
from app.gui.navigation import Launch, Navigation, Notice
from app.gui.secret_consent import confirm_secrets
from app.gui.widgets import button, card, label, vbox

_MAX_CHARACTERS = 200


class PairsProgress(QWidget):
    stop_requested = Signal()
    watch_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._name_label, self._pair_run_label = label("", "heading", wrap=True), label("", wrap=True)
        self._message_label, self._time_label = label("", "muted", wrap=True), label("", "muted", wrap=True)
        self._bar = QProgressBar()
        self._bar.setTextVisible(False)
        self._bar.setAccessibleName("Progress of the A/B pairs")
        self.stop_button = button("&Stop pairs", self.stop_requested.emit)
        self.watch_button = button("Watc&h run", self.watch_requested.emit)
        row = QWidget()
        flow = set_flow_layout(row)
        for widget in (self.stop_button, self.watch_button):
            flow.addWidget(widget)
        vbox(
            card(self._name_label, self._pair_run_label, self._bar, self._time_label, self._message_label, row),
            within=self,
        )
        self.hide()

    @property
    def text(self) -> str:
        return self._pair_run_label.text()

    def show_state(self, state: PairsState) -> None:
        """Show the progress of A/B pairs. The widget is hidden if no pairs are running."""
        self.setVisible(state.is_running)
        progress = state.progress
        self._name_label.setText(shorten(state.name))
        self._pair_run_label.setText(pair_run_text(state))
        self._time_label.setText(time_text(state))
        self._message_label.setText(
            shorten(f"{state.last_message[:1].upper()}{state.last_message[1:]}", _MAX_CHARACTERS)
        )
        self._message_label.setVisible(bool(state.last_message))
        self._bar.setRange(0, progress.total or 0)
        self._bar.setValue(progress.completed)
        self.watch_button.setEnabled(progress.pair_run is not None)
        self.stop_button.setText("&Stop now" if state.status == "stopping" else "&Stop pairs")
        self.stop_button.setAccessibleName(self.stop_button.text().replace("&", ""))


def pair_run_text(state: PairsState) -> str:
    pair_run = state.progress.pair_run
    if pair_run is None:
        return "Starting benchmark…"
    if state.status == "stopping":
        return f"{format_pair_run(pair_run)}, stopping"
    return format_pair_run(pair_run)


def time_text(state: PairsState) -> str:
    progress, remaining_s = state.progress, state.eta_s()
    text = f"{format_elapsed(progress.elapsed_s)} elapsed"
    if progress.total:
        text = f"{progress.completed} of {progress.total} runs, {text}"
    return text if remaining_s is None else f"{text}, about {format_elapsed(remaining_s)} left"


class PairsPanel(QWidget):
    changed = Signal(object)
    """Signal that is emitted with the new `PairsState` when the state of the A/B pairs changes."""

    def __init__(self, navigation: Navigation, presenter: ComparePresenter) -> None:
        super().__init__()
        self._navigation, self._presenter = navigation, presenter
        self._run = PairsRun(self)
        self._matches_current_request = False
        self._pending_request: ComparisonRequest | None = None
        self.strip, self.stop_strip, self.progress = MessageStrip(), MessageStrip(), PairsProgress()
        vbox(self.strip, self.stop_strip, self.progress, within=self)
        self.strip.action_triggered.connect(self._compare_pending_request)
        self.stop_strip.action_triggered.connect(self.stop_now)
        self.progress.stop_requested.connect(self.stop)
        self.progress.watch_requested.connect(self._watch_run)
        self._run.changed.connect(self._show_state)
        self._run.notified.connect(self._show_notice)
        self._run.ended.connect(self._on_ended)
        presenter.request_changed.connect(self._update_match)

    @property
    def state(self) -> PairsState:
        return self._run.state

    def measure(self, suggestion: PairsSuggestion, pair_count: int, time_limit_min: int) -> None:
        """Request consent to send secrets, store the comparison, and queue the launch of the A/B
        pairs in a separate process."""
        if not confirm_secrets(self, find_secrets_to_send(suggestion)):
            return
        request = self._presenter.request
        launch = build_launch(request, suggestion, pair_count, time_limit_min, datetime.now(UTC))
        try:
            save_comparison(launch.directory, request)
        except OSError as error:
            message = f"{launch.directory} cannot be written: {error.strerror}."
            self._show_notice(Notice("error", message))
            return
        self._navigation.launch_requested.emit(launch)

    def launch(self, launch: Launch) -> None:
        """Start the load generator of the A/B pairs. This method is called when the launch is next
        in the job queue."""
        self._matches_current_request = self._has_same_runs(launch.directory)
        self._run.engine.launch(launch)

    def watch(self, directory: Path) -> None:
        """Watch A/B pairs that are running or have ended. If no runs are being compared, restore
        the comparison that the pairs were started for."""
        request = load_comparison(directory)
        if request is not None and not self._presenter.request.entries:
            self._presenter.set_request(request)
        self._matches_current_request = True
        self._run.watch(directory)

    def stop(self) -> None:
        """Stop the A/B pairs. The first call only asks for confirmation in a message; the second
        call stops the pairs."""
        state = self.state
        if not state.is_running:
            return
        if not self.stop_strip.isHidden():
            self.stop_now()
            return
        if state.status == "stopping":
            message, action = "Stop now and cancel in-flight requests?", "S&top now"
            reason = "The current run is waiting for responses to in-flight requests."
        else:
            message, action = "Stop these A/B pairs?", "S&top pairs"
            reason = "Complete pairs are compared, and all runs are stored."
        self.stop_strip.show_notice(Notice("warning", message, reason), action)

    def stop_now(self) -> None:
        """Stop the A/B pairs without confirmation."""
        self.stop_strip.hide()
        self._run.stop()

    def _show_state(self, state: PairsState) -> None:
        if not state.is_running:
            self.stop_strip.hide()
        elif state.status == "starting":
            self.strip.hide()
        self.progress.show_state(state)
        self.changed.emit(state)

    def _show_notice(self, notice: Notice) -> None:
        self._pending_request = None
        self.strip.show_notice(notice)

    def _on_ended(self, state: PairsState, notice: Notice) -> None:
        assert state.directory is not None, "the pairs have a directory"
        mark_shown(state.directory)
        self._show_notice(notice)
        self._navigation.library_changed.emit()
        if not state.complete_pair_count:
            return
        request = load_comparison(state.directory) or ComparisonRequest((), DEFAULT_TOLERANCE, is_forced=False)
        if self._matches_current_request:
            current_request = self._presenter.request
            self._presenter.set_request(
                add_measured_runs(current_request if _have_same_runs(current_request, request) else request, state)
            )
            self.strip.show_notice(
                msgspec.structs.replace(
                    notice, next_step="Their runs were added to the comparison as repeats of each side."
                )
            )
        else:  # the user is comparing other runs in the meantime: do not replace them
            self._pending_request = add_measured_runs(request, state)
            self.strip.show_notice(notice, "Co&mpare pairs")

    def _compare_pending_request(self) -> None:
        pending_request, self._pending_request = self._pending_request, None
        self.strip.hide()
        if pending_request is not None:
            self._presenter.set_request(pending_request)

    def _update_match(self) -> None:
        directory = self.state.directory
        if self._matches_current_request and directory is not None and self.state.is_running:
            self._matches_current_request = self._has_same_runs(directory)

    def _has_same_runs(self, directory: Path) -> bool:
        current_request, stored_request = self._presenter.request, load_comparison(directory)
        return not current_request.entries or (
            stored_request is not None and _have_same_runs(current_request, stored_request)
        )

    def _watch_run(self) -> None:
        pair_run = self.state.progress.pair_run
        if pair_run is not None:
            self._navigation.watch_run_requested.emit(Path(pair_run.directory))


def _have_same_runs(first: ComparisonRequest, second: ComparisonRequest) -> bool:
    """Return whether both comparisons contain the same runs on the same sides."""
    return {(entry.path, entry.side) for entry in first.entries} == {
        (entry.path, entry.side) for entry in second.entries
    }
