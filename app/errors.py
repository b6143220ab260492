"""Errors with messages that users can act on, and the exit code of each cause."""

from __future__ import annotations

import errno
from enum import IntEnum

UNWRITABLE_FILE_HINT = "Check the permissions and the free space of its folder."


class ExitCode(IntEnum):
    """Exit code of the process, one per cause. If several causes apply, the process exits with the
    code that has the lowest rank according to `get_precedence`."""

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


def get_precedence(code: int) -> int:
    """Return the rank of an exit code other than 0. If several exit codes apply, the process exits
    with the code that has the lowest rank."""
    return _PRECEDENCE.index(ExitCode(code))


OPEN_FILES_HINT = "Raise the limit of open files: `ulimit -n 1024` in a shell, or LimitNOFILE in a systemd service."


def is_too_many_open_files(error: BaseException) -> bool:
    """Return whether an error was caused by too many open files in the process or the system."""
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)


class SizewiseError(Exception):
    """Base class of errors with a message and, in `hint`, the next step for the user. The command
    line prints each error once."""

    exit_code = ExitCode.BUG

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(SizewiseError):
    """Error that is raised for an invalid command line, profile or other user input."""

    exit_code = ExitCode.USAGE


class DamagedFileError(UsageError):
    """Error that is raised if a stored file is corrupted: bytes have changed or are missing."""


class InvalidRunError(UsageError):
    """Error that is raised if the measurement of a run is INVALID and its numbers must not be
    used."""


class ProfileError(UsageError):
    """Error that is raised for an error at one location of a profile. `line` counts from 1; it is
    `None` if the error concerns the whole file.

    `problem` is the message without the location; `cause` is the message without the location and
    the leading `key`. `key_path` is the path of keys to the location; if `is_unknown_key` is true,
    the last key of the path is unknown. `other_errors` are further errors in the same profile.
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
        location = path if line is None else f"{path}:{line}"
        self.problem = f"{key}: {message}" if key else message
        super().__init__(f"{location}: {self.problem}", hint=hint)
        self.cause, self.key, self.line, self.key_path = message, key, line, key_path
        self.is_unknown_key = False
        self.other_errors: tuple[ProfileError, ...] = ()


class UnavailableError(SizewiseError):
    """Error that is raised if the target, device or execution provider is unavailable, for example
    due to DNS, connection, TLS or HTTP errors 401, 403 and 404."""

    exit_code = ExitCode.UNAVAILABLE


class StorageError(SizewiseError):
    """Error that is raised if the run directory cannot be written, for example because the disk or
    quota is full."""

    exit_code = ExitCode.LIMIT


class MeasurementError(SizewiseError):
    """Error that is raised if the load generator or the engine failed, so that there is no reliable
    measurement."""

    exit_code = ExitCode.INVALID
