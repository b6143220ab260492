"""Launching of load generator processes that outlive the window, and parsing of the failure that a
process reports."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import msgspec

from app.gui.formatting import shorten
from app.gui.navigation import Launch, Notice
from app.records.trial import Failure
from app.storage.names import PRIVATE_MODE
from loadgen.decoding import decode_json

ERROR_JSON = "--error-json"
"""Command-line option that makes a command report a failure also as JSON."""


def parse_reported_failure(output: str) -> tuple[Failure | None, str]:
    """Return the last failure reported in the output of a command, or None if there is none, and
    the output without that failure."""
    lines = output.splitlines(keepends=True)
    for index in reversed(range(len(lines))):
        try:
            failure = decode_json(lines[index], Failure)
        except msgspec.DecodeError:
            continue
        return failure, "".join((*lines[:index], *lines[index + 1 :]))
    return None, output


ENGINE_LOG = "engine.log"
"""File in the run directory that receives the output of the load generator process."""
_LOG_TAIL_BYTES = 8_000


class EngineProcess:
    """Load generator process that keeps running when the window closes.

    The parent must poll the process regularly, because a child process that has ended stays a
    zombie until it is polled.
    """

    def __init__(self, directory: Path, process: subprocess.Popen[bytes]) -> None:
        self.directory, self._process = directory, process

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        """Return the exit code, or `None` while the process runs."""
        return self._process.poll()

    def terminate(self) -> None:
        """Terminate the process with SIGTERM. Needed before the process can receive control
        commands."""
        self._process.terminate()

    def __del__(self) -> None:
        if self._process.poll() is None:
            # avoid Popen's ResourceWarning: the child process is meant to outlive this object
            self._process.returncode = 0


def start_engine(launch: Launch) -> EngineProcess:
    """Start a load generator process in its own session, so that the process does not receive
    signals sent to the terminal of the window.

    Raises OSError if the process cannot be started.
    """
    output_arguments: tuple[str, ...] = ()
    if launch.kind != "resume":
        launch.directory.mkdir(PRIVATE_MODE, parents=True, exist_ok=True)
        output_arguments = ("--record" if launch.kind == "pairs" else "--out", str(launch.directory))
    command = [sys.executable, "-P", "-m", "app", *launch.arguments, *output_arguments, ERROR_JSON]
    creation_flags = 0
    if sys.platform == "win32":
        creation_flags = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
    with (launch.directory / ENGINE_LOG).open("ab") as log_file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=log_file,
            creationflags=creation_flags,
            start_new_session=sys.platform != "win32",
        )
    return EngineProcess(launch.directory, process)


def build_early_exit_notice(engine: EngineProcess, exit_code: int) -> Notice:
    """Build the notice for a process that ended before its first event, including the failure that
    the process reported.

    The log is deleted, and so is the run directory if it contains no other files.
    """
    log_path = engine.directory / ENGINE_LOG
    output = _read_tail(log_path)
    with contextlib.suppress(OSError):
        log_path.unlink()
        engine.directory.rmdir()
    return _build_notice(f"The benchmark process ended immediately (exit code {exit_code}).", output)


def build_loss_notice(directory: Path) -> Notice:
    """Build the notice for a process that ended without reporting the end of its run, including the
    failure that the process reported, such as a full disk."""
    failure, output = read_reported_failure(directory)
    message = "The benchmark process ended unexpectedly."
    next_step = "The results so far are stored and can be opened."
    if failure is None:
        return Notice("error", message, None, next_step, output or None)
    next_step = f"{failure.hint} {next_step}" if failure.hint else next_step
    return Notice("error", message, shorten(failure.message, 500), next_step, output or None)


def read_reported_failure(directory: Path) -> tuple[Failure | None, str]:
    """Return the failure that the process of a run reported, or None if there is none, and the rest
    of its latest output."""
    return parse_reported_failure(_read_tail(directory / ENGINE_LOG))


def build_not_resumed_notice(engine: EngineProcess) -> Notice:
    """Build the notice for a process that ended without resuming its run."""
    summary = f"Run {engine.directory.name} was not resumed."
    return _build_notice(summary, _read_tail(engine.directory / ENGINE_LOG))


def _build_notice(summary: str, output: str) -> Notice:
    failure, output = parse_reported_failure(output)
    if failure is not None:
        return Notice(
            "error", summary, shorten(failure.message, 500), failure.hint and shorten(failure.hint, 500), output or None
        )
    lines = output.strip().splitlines()
    return Notice(
        "error", summary, shorten(lines[-1], 300) if lines else "The process wrote no output.", None, output or None
    )


def _read_tail(log_path: Path) -> str:
    try:
        with log_path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
            return file.read(_LOG_TAIL_BYTES).decode(errors="replace")
    except OSError:
        return ""
