"""The control files of a run: wishes for its engine, and the engine's answers.

A wish is a file of its own, written under another name and renamed, so that it is read whole or not at all, whoever
else has a wish; its name sorts by time. The engine takes it away and leaves an answer under the same name. Files do
the same on every system, and a run on a shared disk can be spoken to from another machine.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from app.errors import UsageError
from app.records.control import Answer, Wish
from loadgen.decoding import decode_json, json_decoder

CONTROL = "control"
_WISH, _ANSWER = ".wish", ".answer"
_LOCK = ".engine.lock"
"""Locked by the engine as long as it lives: the operating system unlocks it whatever ends the engine."""
_LARGEST_WISH = 8192
_MOST_AT_ONCE = 100
_LOOK_S = 0.05
_SILENT_S = 3600.0
"""Without a lock (older versions, file systems without locks) a run that wrote nothing for so long is not running."""
_RUNS = "`sizewise runs list` shows the runs there are."


class ControlBox:
    """The engine's side. One thread calls `obey`."""

    def __init__(self, run_directory: Path) -> None:
        self._folder = run_directory / CONTROL
        self._folder.mkdir()
        self._lock_path = run_directory / _LOCK
        self._lock = _locked_file(self._lock_path)
        self._decode = json_decoder(Wish)

    def obey(self, obey: Callable[[Wish], Answer]) -> None:
        """Take the wishes there are, the oldest first, and leave an answer to each."""
        for path in self._wishes():
            try:
                content = _read(path)
                path.unlink()
            except OSError:
                continue  # whoever wished it has taken it back
            try:
                answer = obey(self._decode(content))
            except msgspec.DecodeError:
                answer = Answer(False, "the wish is not one this version of Sizewise understands")
            _put(path.with_suffix(_ANSWER), msgspec.json.encode(answer))

    def close(self) -> None:
        """From here on there is nobody to ask."""
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._lock is not None:
            self._lock_path.unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    def _wishes(self) -> list[Path]:
        with contextlib.suppress(OSError), os.scandir(self._folder) as entries:
            found = [entry.path for entry in entries if _is_wish(entry)]
            return [Path(path) for path in sorted(found)[:_MOST_AT_ONCE]]
        return []


def remove_control(run_directory: Path) -> None:
    """What a killed engine left behind."""
    shutil.rmtree(run_directory / CONTROL, ignore_errors=True)
    (run_directory / _LOCK).unlink(missing_ok=True)


def is_engine_there(run_directory: Path, pid: int) -> bool:
    """Whether a run's engine still hears wishes. One that was killed leaves its folder, but neither its lock nor its
    process; another process may have its pid by now."""
    if not (run_directory / CONTROL).is_dir():
        return False
    if sys.platform == "win32":  # where asking for a process is not harmless
        return True
    if not _is_process(pid):
        return False
    is_locked = _is_locked(run_directory / _LOCK)
    return _seconds_silent(run_directory) < _SILENT_S if is_locked is None else is_locked


def _is_process(pid: int) -> bool:
    if pid <= 0:  # which would mean a group of processes
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # somebody else's
        return True
    return True


def _locked_file(path: Path) -> int | None:
    """Lock a file and show it under its name, so that nobody sees it unlocked. None where that is not possible."""
    if sys.platform == "win32":
        return None
    import fcntl

    draft = path.with_name(path.name + ".part")
    file = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        draft.replace(path)
    except OSError:  # a file system without locks
        os.close(file)
        draft.unlink(missing_ok=True)
        return None
    return file


def _is_locked(path: Path) -> bool | None:
    """None where there is no such file, or it cannot be asked for."""
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(file)
    return False


def _seconds_silent(run_directory: Path) -> float:
    """Since the last write to a file of the run."""
    with contextlib.suppress(OSError), os.scandir(run_directory) as entries:
        return time.time() - max((entry.stat().st_mtime for entry in entries), default=0.0)
    return float("inf")


def ask_engine(run_directory: Path, wish: Wish, *, within_s: float = 10.0) -> str:
    """The engine's answer to a wish it granted.

    Raises UsageError when it did not grant it, when the run has ended, and when nobody answers in time.
    """
    folder = run_directory / CONTROL
    path = folder / f"{time.time_ns():020d}-{secrets.token_hex(4)}{_WISH}"
    try:
        _put(path, msgspec.json.encode(wish))
    except OSError as error:
        raise _ended(run_directory) from error
    answer = _await_answer(path, within_s)
    if not answer.granted:
        raise UsageError(answer.message)
    return answer.message


def _await_answer(wish: Path, within_s: float) -> Answer:
    answer, deadline_s = wish.with_suffix(_ANSWER), time.monotonic() + within_s
    while not answer.exists():
        if not wish.parent.exists():
            raise _ended(wish.parents[1])
        if time.monotonic() >= deadline_s:
            wish.unlink(missing_ok=True)
            hint = f"It may have been killed. {_RUNS}"
            raise UsageError(f"the run in {wish.parents[1]} does not answer", hint=hint)
        time.sleep(_LOOK_S)
    try:
        return decode_json(_read(answer), Answer)
    except (OSError, msgspec.DecodeError):
        raise _ended(wish.parents[1]) from None
    finally:
        answer.unlink(missing_ok=True)


def _ended(run_directory: Path) -> UsageError:
    return UsageError(f"the run in {run_directory} has ended: there is nobody to ask", hint=_RUNS)


def _is_wish(entry: os.DirEntry[str]) -> bool:
    return entry.name.endswith(_WISH) and entry.is_file(follow_symlinks=False)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_LARGEST_WISH)


def _put(path: Path, content: bytes) -> None:
    draft = path.with_suffix(".part")
    draft.write_bytes(content)
    draft.replace(path)
