"""Control files of a run: commands to the engine of the run, and the engine's responses.

Each command is a separate file, which is written under a temporary name and then renamed, so that
several processes can send commands and the engine never reads an incomplete command. File names
sort by time. The engine removes a command file and writes a response file of the same name. Files
work in the same way on all operating systems, and allow a run on a shared disk to be controlled
from another machine.
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
from app.records.control import ControlCommand, ControlResponse
from loadgen.decoding import decode_json, json_decoder

CONTROL = "control"
_COMMAND_SUFFIX, _RESPONSE_SUFFIX = ".command", ".response"
_LOCK_FILE = ".engine.lock"
"""Name of the lock file that the engine holds during its lifetime.

The operating system releases the lock even if the engine is killed.
"""
_MAX_COMMAND_BYTES = 8192
_MAX_COMMANDS = 100
_POLL_INTERVAL_S = 0.05
_MAX_IDLE_S = 3600.0
"""Time in s without writes after which a run without a lock is considered ended.

Older versions of Sizewise and some file systems do not use locks.
"""
_RUNS_HINT = "List the runs with `sizewise runs list`."


class CommandInbox:
    """Receiver of the commands to the engine of a run. `process` must be called from a single
    thread."""

    def __init__(self, run_directory: Path) -> None:
        self._folder = run_directory / CONTROL
        self._folder.mkdir()
        self._lock_path = run_directory / _LOCK_FILE
        self._lock_descriptor = _create_locked_file(self._lock_path)
        self._decode = json_decoder(ControlCommand)

    def process(self, handle: Callable[[ControlCommand], ControlResponse]) -> None:
        """Handle all pending commands, oldest first, and write a response to each command."""
        for path in self._list_pending_commands():
            try:
                content = _read_message(path)
                path.unlink()
            except OSError:
                continue  # the sender has canceled the command
            try:
                response = handle(self._decode(content))
            except msgspec.DecodeError:
                response = ControlResponse(False, "this version of Sizewise does not support the command")
            _write_message(path.with_suffix(_RESPONSE_SUFFIX), msgspec.json.encode(response))

    def close(self) -> None:
        """Remove the control files, so that no further commands are accepted."""
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._lock_descriptor is not None:
            self._lock_path.unlink(missing_ok=True)
            os.close(self._lock_descriptor)
            self._lock_descriptor = None

    def _list_pending_commands(self) -> list[Path]:
        with contextlib.suppress(OSError), os.scandir(self._folder) as entries:
            paths = [entry.path for entry in entries if _is_command(entry)]
            return [Path(path) for path in sorted(paths)[:_MAX_COMMANDS]]
        return []


def remove_control_files(run_directory: Path) -> None:
    """Remove the control files that a killed engine left behind."""
    shutil.rmtree(run_directory / CONTROL, ignore_errors=True)
    (run_directory / _LOCK_FILE).unlink(missing_ok=True)


def is_engine_alive(run_directory: Path, pid: int) -> bool:
    """Return whether the engine of a run still accepts commands.

    A killed engine leaves its control folder behind, but releases its lock. Checking only `pid` is
    not sufficient, because `pid` may meanwhile belong to another process.
    """
    if not (run_directory / CONTROL).is_dir():
        return False
    if sys.platform == "win32":  # on Windows, os.kill with signal 0 would end the process
        return True
    if not _is_process_running(pid):
        return False
    is_locked = _is_locked(run_directory / _LOCK_FILE)
    return _get_idle_s(run_directory) < _MAX_IDLE_S if is_locked is None else is_locked


def _is_process_running(pid: int) -> bool:
    if pid <= 0:  # os.kill would signal a process group
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # the process belongs to another user
        return True
    return True


def _create_locked_file(path: Path) -> int | None:
    """Create a locked file, and return its descriptor; `None` if the file system does not support
    locks.

    The file is locked before it gets its final name, so that no process can see it unlocked.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    temporary_path = path.with_name(path.name + ".part")
    descriptor = os.open(temporary_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        temporary_path.replace(path)
    except OSError:  # the file system does not support locks
        os.close(descriptor)
        temporary_path.unlink(missing_ok=True)
        return None
    return descriptor


def _is_locked(path: Path) -> bool | None:
    """Return whether the file is locked; `None` if the file does not exist or cannot be checked."""
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return False


def _get_idle_s(run_directory: Path) -> float:
    """Return the time in s since the last write to any file of the run."""
    with contextlib.suppress(OSError), os.scandir(run_directory) as entries:
        return time.time() - max((entry.stat().st_mtime for entry in entries), default=0.0)
    return float("inf")


def send_command(run_directory: Path, command: ControlCommand, *, timeout_s: float = 10.0) -> str:
    """Send a command to the engine of a run and return the engine's message. Raises UsageError if
    the engine rejects the command, if the run has ended, or if there is no response within
    `timeout_s`."""
    folder = run_directory / CONTROL
    path = folder / f"{time.time_ns():020d}-{secrets.token_hex(4)}{_COMMAND_SUFFIX}"
    try:
        _write_message(path, msgspec.json.encode(command))
    except OSError as error:
        raise _build_ended_error(run_directory) from error
    response = _wait_for_response(path, timeout_s)
    if not response.is_accepted:
        raise UsageError(response.message)
    return response.message


def _wait_for_response(command_path: Path, timeout_s: float) -> ControlResponse:
    response_path, deadline_s = command_path.with_suffix(_RESPONSE_SUFFIX), time.monotonic() + timeout_s
    while not response_path.exists():
        if not command_path.parent.exists():
            raise _build_ended_error(command_path.parents[1])
        if time.monotonic() >= deadline_s:
            command_path.unlink(missing_ok=True)
            hint = f"Its process may have been killed. {_RUNS_HINT}"
            raise UsageError(f"the run in {command_path.parents[1]} does not respond", hint=hint)
        time.sleep(_POLL_INTERVAL_S)
    try:
        return decode_json(_read_message(response_path), ControlResponse)
    except (OSError, msgspec.DecodeError):
        raise _build_ended_error(command_path.parents[1]) from None
    finally:
        response_path.unlink(missing_ok=True)


def _build_ended_error(run_directory: Path) -> UsageError:
    return UsageError(f"the run in {run_directory} has already finished", hint=_RUNS_HINT)


def _is_command(entry: os.DirEntry[str]) -> bool:
    return entry.name.endswith(_COMMAND_SUFFIX) and entry.is_file(follow_symlinks=False)


def _read_message(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MAX_COMMAND_BYTES)


def _write_message(path: Path, content: bytes) -> None:
    temporary_path = path.with_suffix(".part")
    temporary_path.write_bytes(content)
    temporary_path.replace(path)
