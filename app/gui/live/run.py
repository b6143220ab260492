"""Run that the Live page watches: its load generator process, its events, and the commands sent to
the load generator."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from PySide6.QtCore import QObject, Signal

from app.gui.engine.launch import build_loss_notice
from app.gui.engine.run import EngineRun
from app.gui.live.presenter import LivePresenter
from app.gui.live.state import LiveState
from app.gui.navigation import Notice, build_error_notice
from app.records.control import ControlCommand, StopRun
from app.records.events import Event
from app.storage.run_directory import RESULT

if TYPE_CHECKING:
    import pyarrow as pa

_WARNING_EXIT_CODES = (5, 10, 11, 12, 130, 143)
"""Exit codes of runs that were measured but whose outcome needs attention."""
_MAX_REASONS = 3
"""Maximum number of reasons in the notice that the run is INVALID."""


class RunNotice(msgspec.Struct, frozen=True):
    """Notice about the run. `has_results` is true if there are results to open."""

    notice: Notice
    has_results: bool = False


class LiveRun(QObject):
    """Controller that starts, watches and controls one run at a time. The load generator keeps
    running if the window closes or crashes."""

    began = Signal()
    """Signal that is emitted when another run is watched, after `presenter` has been replaced."""
    parts_changed = Signal(object)
    """Signal that is emitted with a frozenset of the `Part` values that changed."""
    state_changed = Signal(object)
    """Signal that is emitted with the `LiveState`, at most once a second if only the elapsed time
    has changed."""
    notice_emitted = Signal(object)
    """Signal that is emitted with a `RunNotice` record to show."""
    notice_cleared = Signal()
    """Signal that is emitted when the notice that the run is INVALID no longer applies."""
    ended = Signal(object, bool)
    """Signal that is emitted with the directory of the run, and whether this window started the
    run."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.presenter = LivePresenter()
        self._emitted_state: LiveState | None = None
        self._is_invalid = False
        engine = self.engine = EngineRun(self)
        engine.started.connect(self._on_began)
        engine.received.connect(self._on_event)
        engine.telemetry_received.connect(self._on_readings)
        engine.slice_finished.connect(self._on_slice_finished)
        engine.damage_detected.connect(self._on_damage_detected)
        engine.finished.connect(self._on_finished)
        engine.process_lost.connect(self._on_lost)
        engine.failed.connect(self._on_failed)
        engine.command_failed.connect(self._on_command_failed)

    @property
    def is_running(self) -> bool:
        return self.presenter.state().is_running

    @property
    def directory(self) -> Path | None:
        return self.presenter.directory

    def stop(self) -> None:
        """Stop the run. The first call lets in-flight requests finish; the second call cancels
        them."""
        directory = self.directory
        if directory is None or not self.is_running:
            return
        if self.presenter.status == "starting" and self.engine.cancel_launch():
            return
        self.engine.control.stop(directory)
        if self.presenter.status == "running":
            self.presenter.status = "stopping"
        self._emit_state()

    def add_note(self, text: str) -> None:
        if self.directory is not None:
            self.engine.control.add_note(self.directory, text)

    def change_rate(self, rate_per_s: float) -> None:
        if self.directory is not None:
            self.engine.control.change_rate(self.directory, rate_per_s)

    def extend(self, extension_s: float) -> None:
        if self.directory is not None:
            self.engine.control.extend(self.directory, extension_s)

    def _on_began(self, directory: Path, name: str) -> None:
        self.presenter, self._is_invalid = LivePresenter(directory, name), False
        self.began.emit()
        self._emit_state()

    def _on_event(self, event: Event) -> None:
        self.presenter.handle_event(event)

    def _on_readings(self, batch: pa.RecordBatch) -> None:
        self.presenter.handle_readings(batch)

    def _on_slice_finished(self, _: int) -> None:
        presenter = self.presenter
        if presenter.changed_parts:
            parts = frozenset(presenter.changed_parts)
            presenter.changed_parts.clear()
            self.parts_changed.emit(parts)
        if presenter.checks.is_invalid != self._is_invalid:
            self._is_invalid = presenter.checks.is_invalid
            self._emit_validity()
        self._emit_state()

    def _emit_validity(self) -> None:
        if not self._is_invalid:
            self.notice_cleared.emit()
            return
        all_reasons = self.presenter.checks.invalid_reasons()
        reasons = "; ".join(all_reasons[:_MAX_REASONS])
        if len(all_reasons) > _MAX_REASONS:
            reasons += f"; and {len(all_reasons) - _MAX_REASONS} more, listed under Validity"
        message = "The measurement is invalid so far. Do not use these numbers."
        next_step = "A search repeats such a stage. Otherwise stop the run, fix the cause, and run it again."
        self.notice_emitted.emit(RunNotice(Notice("error", message, reasons, next_step)))

    def _emit_state(self) -> None:
        state = self.presenter.state()
        if self._emitted_state is None or _round_to_seconds(state) != _round_to_seconds(self._emitted_state):
            self._emitted_state = state
            self.state_changed.emit(state)

    def _on_finished(self, exit_code: int, message: str) -> None:
        directory = self.directory
        assert directory is not None, "a run must be watched"
        self._on_slice_finished(0)
        has_results = (directory / RESULT).exists()
        self.notice_emitted.emit(RunNotice(_build_end_notice(self.presenter.state(), exit_code, message), has_results))
        self.ended.emit(directory, self.engine.is_started_here)

    def _on_lost(self) -> None:
        self.presenter.mark_ended("lost")
        self._on_slice_finished(0)
        assert self.directory is not None, "a run must be watched"
        self.notice_emitted.emit(RunNotice(build_loss_notice(self.directory), has_results=True))

    def _on_failed(self, notice: Notice) -> None:
        self.presenter.mark_ended("failed")
        self.presenter.failure_reason = notice.reason or notice.summary
        self._on_slice_finished(0)
        self.notice_emitted.emit(RunNotice(notice))

    def _on_damage_detected(self) -> None:
        message = "Some events of this run cannot be read and are skipped."
        reason = "They may be damaged or come from another version of Sizewise."
        self.notice_emitted.emit(RunNotice(Notice("warning", message, reason)))

    def _on_command_failed(self, command: ControlCommand, error: Exception) -> None:
        if isinstance(command, StopRun) and self.presenter.status == "stopping":
            self.presenter.status = "running"
            self._emit_state()
        self.notice_emitted.emit(RunNotice(build_error_notice(error)))


def _round_to_seconds(state: LiveState) -> LiveState:
    eta_s = None if state.eta_s is None else float(int(state.eta_s))
    steps = tuple(
        msgspec.structs.replace(
            cell,
            elapsed_s=float(int(cell.elapsed_s)),
            remaining_s=None if cell.remaining_s is None else float(int(cell.remaining_s)),
        )
        for cell in state.steps
    )
    return msgspec.structs.replace(state, elapsed_s=float(int(state.elapsed_s)), eta_s=eta_s, steps=steps)


def _build_end_notice(state: LiveState, exit_code: int, message: str) -> Notice:
    validity = state.validity or "not checked"
    if exit_code == 0:
        return Notice("news", f"The run has finished ({validity}).", message or None)
    headline = f"The run ended with exit code {exit_code} ({validity})."
    return Notice("warning" if exit_code in _WARNING_EXIT_CODES else "error", headline, message or None)
