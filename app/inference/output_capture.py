"""Captures as text what native code writes to standard output and standard error."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

_LIMIT_BYTES = 64 * 1024


class CapturedOutput:
    """Captured text: at most the first 64 KiB, available once the capture has ended."""

    text = ""


@contextmanager
def captured_output() -> Iterator[CapturedOutput]:
    """Redirect both streams of the whole process to a file, by file descriptor, since native loggers bypass
    Python's.
    """
    captured = CapturedOutput()
    with tempfile.TemporaryFile() as file:
        originals = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
        _flush()
        try:
            for descriptor in originals:
                os.dup2(file.fileno(), descriptor)
            yield captured
        finally:
            _flush()
            for descriptor, original in originals.items():
                os.dup2(original, descriptor)
                os.close(original)
            file.seek(0)
            captured.text = file.read(_LIMIT_BYTES).decode(errors="replace")


@contextmanager
def stdout_for_reports() -> Iterator[BinaryIO]:
    """Reserve standard output for reports: anything that native code prints there goes to standard error."""
    _flush()
    original = os.dup(1)
    os.dup2(2, 1)
    with os.fdopen(original, "wb") as reports:
        yield reports


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
