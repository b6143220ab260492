"""Standard output whose reader may leave, as `head` does."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


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
