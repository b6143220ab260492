"""Controller of the A/B pairs on the Compare page: starts, watches and stops their load generator
process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns

import msgspec
from PySide6.QtCore import QObject, Signal

from app.gui.compare.entries import delete_comparison
from app.gui.compare.pairs_state import PairsState, PairsStatus, apply_event, build_end_notice
from app.gui.engine.run import EngineRun
from app.gui.navigation import Notice, build_error_notice
from app.records.control import ControlCommand
from app.records.events import Event


class PairsRun(QObject):
    """Controller of one set of A/B pairs at a time. The load generator keeps running if the window
    closes or crashes."""

    changed = Signal(object)
    """Signal that is emitted with the new `PairsState`, at most once a second if only the elapsed
    time has changed."""
    notified = Signal(object)
    """Signal that is emitted with a `Notice` to show when a command for the A/B pairs fails."""
    ended = Signal(object, object)
    """Signal that is emitted with the final `PairsState` and a `Notice` when the A/B pairs end,
    even if the measurement failed. Complete pairs can be compared."""

    def __init__(self, parent: QObject, now_ns: Callable[[], int] = perf_counter_ns) -> None:
        super().__init__(parent)
        self.state = PairsState()
        self._emitted_state = self.state
        self._now_ns = now_ns
        engine = self.engine = EngineRun(self)
        engine.started.connect(self._on_started)
        engine.received.connect(self._on_event)
        engine.slice_finished.connect(self._on_slice_finished)
        engine.finished.connect(self._on_finished)
        engine.process_lost.connect(self._on_lost)
        engine.failed.connect(self._on_failed)
        engine.command_failed.connect(self._on_command_failed)

    def watch(self, directory: Path) -> None:
        """Watch A/B pairs that are running or have ended. All their events are emitted, starting
        with the first."""
        if directory != self.state.directory or not self.state.is_running:
            self.engine.watch(directory)

    def stop(self) -> None:
        """Stop the A/B pairs. The first call lets in-flight requests finish; the second call
        cancels them. A process that is still starting is terminated."""
        directory = self.state.directory
        if directory is None or not self.state.is_running:
            return
        if self.state.status == "starting" and self.engine.cancel_launch():
            return
        self.engine.control.stop(directory)
        self._set_state(msgspec.structs.replace(self.state, status="stopping"))

    def _on_started(self, directory: Path, name: str) -> None:
        self._set_state(PairsState(status="starting", directory=directory, name=name))

    def _on_event(self, event: Event) -> None:
        self.state = apply_event(self.state, event)

    def _on_slice_finished(self, _: int) -> None:
        progress = self.state.progress
        if progress.at_ns is not None and self.state.is_running and progress.finished is None:
            at_ns = max(progress.at_ns, self._now_ns())  # no events arrive while a run is measured
            self.state = msgspec.structs.replace(self.state, progress=msgspec.structs.replace(progress, at_ns=at_ns))
        if _round_to_seconds(self.state) != _round_to_seconds(self._emitted_state):
            self._set_state(self.state)

    def _set_state(self, state: PairsState) -> None:
        self.state = self._emitted_state = state
        self.changed.emit(state)

    def _on_finished(self, exit_code: int, message: str) -> None:
        self._end("ended", build_end_notice(self.state, exit_code, message))

    def _on_lost(self) -> None:
        reason = "All runs are in the Library (complete pairs: {pairs})."
        summary = "The benchmark process of the A/B pairs ended unexpectedly."
        self._end("lost", Notice("error", summary, reason.format(pairs=self.state.complete_pair_count)))

    def _on_failed(self, notice: Notice) -> None:
        directory = self.state.directory
        if directory is not None:
            with contextlib.suppress(OSError):  # the directory contains other files
                delete_comparison(directory)
        self.state = msgspec.structs.replace(self.state, last_message=notice.reason or notice.summary)
        self._end("failed", notice)

    def _end(self, status: PairsStatus, notice: Notice) -> None:
        self._set_state(msgspec.structs.replace(self.state, status=status))
        self.ended.emit(self.state, notice)

    def _on_command_failed(self, _: ControlCommand, error: Exception) -> None:
        if self.state.status == "stopping":
            self._set_state(msgspec.structs.replace(self.state, status="running"))
        self.notified.emit(build_error_notice(error))


def _round_to_seconds(state: PairsState) -> PairsState:
    progress = state.progress
    at_ns = None if progress.at_ns is None else progress.at_ns // 1_000_000_000
    return msgspec.structs.replace(state, progress=msgspec.structs.replace(progress, at_ns=at_ns))
