"""Determine the state of runs from their first and last events only, which is fast enough for many
runs at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import msgspec

from app.errors import ExitCode
from app.records.events import Event, RunFinished
from app.storage.control import is_engine_alive
from app.storage.run_directory import EVENTS, RESULT, list_own_runs, read_started_event
from loadgen.decoding import json_decoder

RunState = Literal["ended", "running", "interrupted"]
_decode: Callable[[bytes], Event] = json_decoder(Event)
_TAIL_BYTES = 1 << 16
_MAX_AGE = timedelta(days=14)
_MAX_RUNS = 50
_COMPLETE_EXIT_CODES = (ExitCode.OK, ExitCode.GATE_FAILED, ExitCode.REGRESSION, ExitCode.INCONCLUSIVE)
"""Exit codes of runs that were not ended early."""


class UnfinishedRun(msgspec.Struct, frozen=True):
    """A run that is still running, or was interrupted because its engine died.

    `name` is the name of the run's profile, or `None` if unknown.
    """

    directory: Path
    state: RunState
    name: str | None
    last_written: datetime
    size_bytes: int
    """Total size of the stored rows and telemetry readings, in bytes."""


def find_unfinished_runs(now: datetime) -> tuple[UnfinishedRun, ...]:
    """Return the unfinished runs in the runs' home that were written to in the last two weeks,
    newest first."""
    candidates = (_read_unfinished_run(run.directory, now) for run in reversed(list_own_runs()[-_MAX_RUNS:]))
    return tuple(run for run in candidates if run is not None and now - run.last_written < _MAX_AGE)


def find_run_state(directory: Path) -> RunState:
    """Return the state of a run: "ended", "running" or "interrupted".

    A run with a result has ended, whatever happened to its engine afterwards. Raises OSError if the
    events cannot be read.
    """
    if (directory / RESULT).exists() or _read_finished_event(directory / EVENTS) is not None:
        return "ended"
    started_event = read_started_event(directory)
    is_running = started_event is not None and is_engine_alive(directory, started_event.pid)
    return "running" if is_running else "interrupted"


def _read_unfinished_run(directory: Path, now: datetime) -> UnfinishedRun | None:
    try:
        state = find_run_state(directory)
        if state == "ended":
            return None
        started_event = read_started_event(directory)
        last_write_time = datetime.fromtimestamp((directory / EVENTS).stat().st_mtime, tz=now.tzinfo)
        size_bytes = sum(path.stat().st_size for path in directory.glob("*.arrow"))
    except OSError:  # the run was deleted meanwhile or belongs to another user
        return None
    return UnfinishedRun(
        directory, state, None if started_event is None else started_event.name, last_write_time, size_bytes
    )


def _read_finished_event(events_path: Path) -> RunFinished | None:
    with events_path.open("rb") as file:
        size_bytes = file.seek(0, 2)
        file.seek(max(0, size_bytes - _TAIL_BYTES))
        lines = file.read(_TAIL_BYTES).split(b"\n")[:-1]
    events_at_end = (_decode_event(line) for line in lines if b"run_finished" in line)
    return next((event for event in events_at_end if isinstance(event, RunFinished)), None)


def _decode_event(line: bytes) -> Event | None:
    try:
        return _decode(line)
    except msgspec.DecodeError:
        return None


def find_last_duration_s(name: str) -> float | None:
    """Return the duration in s of the last complete run of a profile; `None` if the profile has no
    complete run among the latest runs."""
    for run in reversed(list_own_runs()[-_MAX_RUNS:]):
        try:
            started_event = read_started_event(run.directory)
            finished_event = _read_finished_event(run.directory / EVENTS)
        except OSError:  # the run was deleted meanwhile or belongs to another user
            continue
        if (
            started_event is None
            or finished_event is None
            or started_event.name != name
            or finished_event.status == "INVALID"
        ):
            continue  # INVALID is checked separately, because an INVALID demonstration has exit code 0
        if finished_event.exit_code in _COMPLETE_EXIT_CODES:
            return (finished_event.at_ns - started_event.at_ns) / 1e9
    return None
