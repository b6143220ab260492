"""Execute the control commands that other processes send to a running session through its run
directory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol, assert_never

from app.errors import ExitCode, UsageError
from app.records.control import AddNote, ControlCommand, ControlResponse, Extend, SetRate, StopRun
from app.session.interruption import Interruption
from loadgen.process import LoadError

_POLL_INTERVAL_S = 0.2
_MAX_NOTES = 100


class CommandSource(Protocol):
    """Source of control commands for a running session."""

    def process_commands(self, handle: Callable[[ControlCommand], ControlResponse]) -> None:
        """Execute all control commands received since the last call, in order, and write a reply to
        each."""


class CommandPoller:
    """Poller that executes control commands in a background thread while the context is active."""

    def __init__(
        self,
        command_source: CommandSource,
        interruption: Interruption,
        *,
        add_note: Callable[[str], None],
        change_rate: Callable[[float], str],
        extend_stage: Callable[[float], str],
        has_requests: bool = True,
    ) -> None:
        """Create the poller. `change_rate` and `extend_stage` execute a command and return a
        confirmation message, or raise UsageError or LoadError. `has_requests` is false for a
        session that sends no requests."""
        self._command_source, self._interruption = command_source, interruption
        self._add_note, self._change_rate, self._extend_stage = add_note, change_rate, extend_stage
        self._has_requests, self._note_count = has_requests, 0
        self._stop_event = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="control", daemon=True)

    def __enter__(self) -> CommandPoller:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_event.set()
        self._thread.join()

    def _poll(self) -> None:
        while not self._stop_event.wait(_POLL_INTERVAL_S):
            try:
                self._command_source.process_commands(self._handle)
            except OSError:  # Typically a full disk, which the thread that writes rows reports; commands are retried.
                continue

    def _handle(self, command: ControlCommand) -> ControlResponse:
        try:
            return ControlResponse(True, self._execute(command))
        except (UsageError, LoadError) as error:
            return ControlResponse(False, str(error))

    def _execute(self, command: ControlCommand) -> str:
        match command:
            case StopRun():
                is_second_request = self._interruption.is_requested
                self._interruption.request_without_exit(ExitCode.INTERRUPTED)
                effect = "in-flight requests are canceled" if is_second_request else "in-flight requests may finish"
                return f"the run is stopping: {effect if self._has_requests else 'the running measurement ends now'}"
            case AddNote(text=text):
                if self._note_count >= _MAX_NOTES:
                    raise UsageError(f"the run already has the maximum of {_MAX_NOTES} notes")
                self._note_count += 1
                self._add_note(_sanitize_text(text))
                return "noted"
            case SetRate(rate_per_s=rate_per_s):
                return self._change_rate(rate_per_s)
            case Extend(by_s=by_s):
                return self._extend_stage(by_s)
            case _:
                assert_never(command)


def _sanitize_text(text: str) -> str:
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
