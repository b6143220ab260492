"""How a run ended, as its first and last lines tell: cheap, for many runs at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import msgspec

from app.errors import ExitCode
from app.records.events import Event, RunFinished, RunStarted
from app.storage.control import is_engine_there
from app.storage.run_directory import EVENTS, RESULT, runs_home
from loadgen.decoding import json_decoder

Ending = Literal["ended", "running", "cut short"]
_DECODE: Callable[[bytes], Event] = json_decoder(Event)
_HEAD, _TAIL = 1 << 16, 1 << 16
_RECENT = timedelta(days=14)
_MOST = 50
_WHOLE = (ExitCode.OK, ExitCode.GATE_FAILED, ExitCode.REGRESSION, ExitCode.INCONCLUSIVE)
"""Of runs that took their whole time."""


class Unfinished(msgspec.Struct, frozen=True):
    """A run that goes on, or was cut short with its engine gone. `name` is of its profile, None where nothing tells."""

    directory: Path
    ending: Ending
    name: str | None
    last_written: datetime
    size_bytes: int
    """Of the rows and readings that are there."""


def unfinished_runs(now: datetime) -> tuple[Unfinished, ...]:
    """Of the runs' home, those of the last two weeks: the newest first."""
    home = runs_home()
    if not home.is_dir():
        return ()
    newest = sorted((path for path in home.iterdir() if (path / EVENTS).is_file()), reverse=True)[:_MOST]
    found = (_unfinished(path, now) for path in newest)
    return tuple(one for one in found if one is not None and now - one.last_written < _RECENT)


def ending_of(directory: Path) -> Ending:
    """A run with a result has ended, whatever befell its engine afterwards. Raises OSError."""
    if (directory / RESULT).exists() or _finished(directory / EVENTS) is not None:
        return "ended"
    started = _started(directory / EVENTS)
    is_there = started is not None and is_engine_there(directory, started.pid)
    return "running" if is_there else "cut short"


def _unfinished(directory: Path, now: datetime) -> Unfinished | None:
    try:
        ending = ending_of(directory)
        if ending == "ended":
            return None
        started = _started(directory / EVENTS)
        written = datetime.fromtimestamp((directory / EVENTS).stat().st_mtime, tz=now.tzinfo)
        size = sum(path.stat().st_size for path in directory.glob("*.arrow"))
    except OSError:  # it was deleted meanwhile, or belongs to somebody else
        return None
    return Unfinished(directory, ending, None if started is None else started.name, written, size)


def _started(events: Path) -> RunStarted | None:
    with events.open("rb") as file:
        line = file.read(_HEAD).split(b"\n", 1)[0]
    event = _event(line)
    return event if isinstance(event, RunStarted) else None


def _finished(events: Path) -> RunFinished | None:
    with events.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _TAIL))
        lines = file.read(_TAIL).split(b"\n")[:-1]
    found = (_event(line) for line in lines if b"run_finished" in line)
    return next((event for event in found if isinstance(event, RunFinished)), None)


def _event(line: bytes) -> Event | None:
    try:
        return _DECODE(line)
    except msgspec.DecodeError:
        return None


def last_lasted_s(name: str) -> float | None:
    """Seconds that the last whole run of a profile took; None where there was none among the newest."""
    home = runs_home()
    newest = sorted(home.iterdir(), reverse=True)[:_MOST] if home.is_dir() else []
    for directory in newest:
        try:
            started = _started(directory / EVENTS)
            finished = _finished(directory / EVENTS)
        except OSError:  # no run is in it
            continue
        if started is not None and finished is not None and started.name == name and finished.exit_code in _WHOLE:
            return (finished.at_ns - started.at_ns) / 1e9
    return None
