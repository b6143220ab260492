"""What native code writes to standard output and standard error, as text."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

_LIMIT_BYTES = 64 * 1024


class CapturedOutput:
    """`text` is filled when the capture ends; at most its first 64 KiB."""

    text = ""


@contextmanager
def captured_output() -> Iterator[CapturedOutput]:
    """Both streams of the whole process go to a file meanwhile, by file descriptor: native loggers bypass Python's."""
    captured = CapturedOutput()
    with tempfile.TemporaryFile() as file:
        kept = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
        _flush()
        try:
            for descriptor in kept:
                os.dup2(file.fileno(), descriptor)
            yield captured
        finally:
            _flush()
            for descriptor, original in kept.items():
                os.dup2(original, descriptor)
                os.close(original)
            file.seek(0)
            captured.text = file.read(_LIMIT_BYTES).decode(errors="replace")


@contextmanager
def stdout_for_reports() -> Iterator[BinaryIO]:
    """What was standard output, for us alone: whatever native code prints there goes to standard error meanwhile."""
    _flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    with os.fdopen(kept, "wb") as reports:
        yield reports


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
