"""What native code writes to standard output and standard error, as text."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

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


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
