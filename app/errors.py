"""Errors with messages that a user can act on, and the exit code of each cause."""

from __future__ import annotations

import errno
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit code per cause. If several apply, the process ends with the one that `precedence` puts first."""

    OK = 0
    BUG = 1
    USAGE = 2
    UNAVAILABLE = 3
    INVALID = 4
    LIMIT = 5
    GATE_FAILED = 10
    REGRESSION = 11
    INCONCLUSIVE = 12
    INTERRUPTED = 130
    TERMINATED = 143


_PRECEDENCE = (
    ExitCode.BUG,
    ExitCode.INTERRUPTED,
    ExitCode.TERMINATED,
    ExitCode.USAGE,
    ExitCode.UNAVAILABLE,
    ExitCode.INVALID,
    ExitCode.LIMIT,
    ExitCode.GATE_FAILED,
    ExitCode.REGRESSION,
    ExitCode.INCONCLUSIVE,
)


def precedence(code: int) -> int:
    """Return the rank of an exit code: of several that apply, a process ends with the one of lowest rank."""
    return _PRECEDENCE.index(ExitCode(code))


OPEN_FILES_HINT = "Raise the limit of open files: `ulimit -n 1024` in a shell, or LimitNOFILE in a systemd service."


def is_too_many_open_files(error: BaseException) -> bool:
    """Return True if a file could not be opened because the process or the system has too many open files."""
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)


class SizewiseError(Exception):
    """Error with a message and, in `hint`, the next step for the user. Printed once, by the command line."""

    exit_code = ExitCode.BUG

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(SizewiseError):
    """Invalid command line or profile."""

    exit_code = ExitCode.USAGE


class CorruptedFileError(UsageError):
    """Corrupted stored file: bytes changed or are missing."""


class InvalidRunError(UsageError):
    """The run's measurement is INVALID, so its numbers cannot be used."""


class ProfileError(UsageError):
    """Error at one place of a profile; `line` counts from 1 and is None if the place is the whole file.

    `problem` is the message without the place, `cause` also without the leading `key`. `key_path` holds the keys that
    lead to the place; if `is_unknown_key`, the last of them is the wrong one. `other_errors` are further errors in the
    same profile.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str,
        line: int | None = None,
        hint: str | None = None,
        key_path: tuple[str | int, ...] = (),
        key: str = "",
    ) -> None:
        place = path if line is None else f"{path}:{line}"
        self.problem = f"{key}: {message}" if key else message
        super().__init__(f"{place}: {self.problem}", hint=hint)
        self.cause, self.key, self.line, self.key_path = message, key, line, key_path
        self.is_unknown_key = False
        self.other_errors: tuple[ProfileError, ...] = ()


class UnavailableError(SizewiseError):
    """The target, the device or the provider is unavailable: DNS, connect, TLS, 401/403/404, no such provider."""

    exit_code = ExitCode.UNAVAILABLE


class StorageError(SizewiseError):
    """The run directory cannot be written any more, because the disk or the quota is full."""

    exit_code = ExitCode.LIMIT


class MeasurementError(SizewiseError):
    """The load generator or engine failed, so there is no reliable measurement."""

    exit_code = ExitCode.INVALID
