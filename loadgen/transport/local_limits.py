"""Failures whose cause is a limit of this machine, and not the target."""

from __future__ import annotations

import errno
import os

LOCAL_LIMIT = "local-limit"
"""The error class of them."""

_NUMBERS = (errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM)
_TEXTS = tuple(os.strerror(number) for number in _NUMBERS)


def is_local_limit(error: BaseException | None) -> bool:
    """Whether this machine has no descriptor, local port, buffer or memory left."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _NUMBERS)


def names_local_limit(text: str) -> bool:
    """The same of a library that reports only the operating system's text."""
    return any(one in text for one in _TEXTS)


def connect_error(error: OSError) -> str:
    """The error class of a connection that could not be made."""
    return LOCAL_LIMIT if is_local_limit(error) else "connect"
