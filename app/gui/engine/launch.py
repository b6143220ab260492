"""Starts an engine that outlives the window.

The failure that a command reported on standard error.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import msgspec

from app.gui.navigation import Launch, Notice
from app.records.trial import Failure
from loadgen.decoding import decode_json

ERROR_JSON = "--error-json"
"""The option that makes a command report its failure as JSON, too."""


def reported_failure(log: str) -> tuple[Failure | None, str]:
    """The last failure in what a command printed, and the text without it."""
    lines = log.splitlines(keepends=True)
    for place in reversed(range(len(lines))):
        try:
            failure = decode_json(lines[place], Failure)
        except msgspec.DecodeError:
            continue
        return failure, "".join((*lines[:place], *lines[place + 1 :]))
    return None, log


ENGINE_LOG = "engine.log"
"""In the run directory: what the engine printed."""
_END_OF_LOG = 8_000


class EngineProcess:
    """A child of this window that does not end with it. It is to be polled now and then: one that has ended stays in
    the system's tables until its parent has looked."""

    def __init__(self, directory: Path, process: subprocess.Popen[bytes]) -> None:
        self.directory, self._process = directory, process

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.poll()

    def end(self) -> None:
        """One that cannot be asked yet: it stops as on SIGTERM."""
        self._process.terminate()

    def __del__(self) -> None:
        if self._process.poll() is None:
            self._process.returncode = 0  # Popen warns of a child that outlives it, which this one is meant to


def start_engine(launch: Launch) -> EngineProcess:
    """In a session of its own: no signal to the window's terminal reaches it. Raises OSError where it cannot be
    started."""
    where: tuple[str, ...] = ()
    if launch.kind != "resume":
        launch.directory.mkdir(parents=True, exist_ok=True)
        where = ("--record" if launch.kind == "pairs" else "--out", str(launch.directory))
    command = [sys.executable, "-P", "-m", "app", *launch.arguments, *where, ERROR_JSON]
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
    with (launch.directory / ENGINE_LOG).open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            creationflags=flags,
            start_new_session=sys.platform != "win32",
        )
    return EngineProcess(launch.directory, process)


def tell_early_end(engine: EngineProcess, code: int) -> Notice:
    """Of an engine that ended before its first event, with the failure it reported. What it leaves is no run: a
    directory that holds nothing but its log is taken away."""
    log = engine.directory / ENGINE_LOG
    text = _end_of(log)
    with contextlib.suppress(OSError):
        log.unlink()
        engine.directory.rmdir()
    return _notice(f"The engine ended at once (exit code {code}).", text)


def tell_not_resumed(engine: EngineProcess) -> Notice:
    """Of an engine that ended without continuing the run."""
    what = f"{engine.directory.name} was not resumed."
    return _notice(what, _end_of(engine.directory / ENGINE_LOG))


def _notice(what: str, log: str) -> Notice:
    failure, log = reported_failure(log)
    if failure is not None:
        return Notice("error", what, failure.message[:500], failure.hint and failure.hint[:500], log or None)
    lines = log.strip().splitlines()
    return Notice("error", what, lines[-1][:300] if lines else "it said nothing", None, log or None)


def _end_of(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _END_OF_LOG))
            return file.read(_END_OF_LOG).decode(errors="replace")
    except OSError:
        return ""
