"""Standard streams that may be missing, and a standard output whose reader may leave, as `head` does."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def replace_missing_streams() -> None:
    """Open the null device on each standard stream that the caller closed, as in `2>&-`.

    Call it before anything else opens a file: that file would get the number of the missing stream, and whatever
    Python or a child process prints would end up in it.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            os.set_inheritable(descriptor, True)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - open until the process ends
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


class Reader:
    has_left = False


@contextmanager
def leaving_reader() -> Iterator[Reader]:
    """What is printed inside is lost when nobody reads any more, and so is all that is printed later."""
    reader = Reader()
    try:
        yield reader
        sys.stdout.flush()
    except BrokenPipeError:
        reader.has_left = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def warn(sentence: str) -> None:
    print(f"warning: {sentence}", file=sys.stderr)
