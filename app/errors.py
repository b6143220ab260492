"""What can go wrong, in words a user can act on, and the exit code each cause has."""

from __future__ import annotations

import errno
from enum import IntEnum


class ExitCode(IntEnum):
    """One code per cause. When several apply, the process ends with the one that `precedence` puts first."""

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
    """The place of an exit code among those that apply: a process ends with the one of the lowest place."""
    return _PRECEDENCE.index(ExitCode(code))


HINT_DESCRIPTORS = "Raise the limit of open files: `ulimit -n 1024` in a shell, LimitNOFILE of a systemd service."


def has_no_descriptor(error: BaseException) -> bool:
    """Whether a file could not be opened because the process or the machine may open no more."""
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)


class SizewiseError(Exception):
    """Says what is wrong and, in `hint`, what to do next. Printed once, at the edge."""

    exit_code = ExitCode.BUG

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(SizewiseError):
    """The command line or the profile is wrong."""

    exit_code = ExitCode.USAGE


class DamagedError(UsageError):
    """A stored file is not what was written: bytes changed, or are missing."""


class InvalidRunError(UsageError):
    """The measurement of the run is INVALID, so its numbers cannot be used."""


class ProfileError(UsageError):
    """A profile is wrong at one place; `line` counts from 1 and is None when the place is the whole file.

    `problem` is the message without the place, `cause` also without the `key` that it begins with. `where` are the keys
    that lead there; where `is_unknown_key`, the last of them is the wrong one. `others` are wrong beside it.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str,
        line: int | None = None,
        hint: str | None = None,
        where: tuple[str | int, ...] = (),
        key: str = "",
    ) -> None:
        place = path if line is None else f"{path}:{line}"
        self.problem = f"{key}: {message}" if key else message
        super().__init__(f"{place}: {self.problem}", hint=hint)
        self.cause, self.key, self.line, self.where = message, key, line, where
        self.is_unknown_key = False
        self.others: tuple[ProfileError, ...] = ()


class UnavailableError(SizewiseError):
    """The target, the device or the provider cannot be had: DNS, connect, TLS, 401/403/404, no such provider."""

    exit_code = ExitCode.UNAVAILABLE


class StorageError(SizewiseError):
    """The run directory cannot be written any more: the disk is full, or its quota."""

    exit_code = ExitCode.LIMIT


class InstrumentError(SizewiseError):
    """The measuring side failed, so there is no measurement to believe."""

    exit_code = ExitCode.INVALID
