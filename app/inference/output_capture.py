"""Capture what native code writes to standard output and standard error."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

_LIMIT_BYTES = 64 * 1024


class CapturedOutput:
    """Captured output: the first 64 KiB, available after the end of the capture."""

    text = ""


@contextmanager
def capture_output() -> Iterator[CapturedOutput]:
    """Redirect standard output and standard error of this process to a file while the context is
    active. The file descriptors themselves are redirected, because native loggers bypass Python's
    streams."""
    captured_output = CapturedOutput()
    with tempfile.TemporaryFile() as file:
        saved_descriptors = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
        _flush_streams()
        try:
            for descriptor in saved_descriptors:
                os.dup2(file.fileno(), descriptor)
            yield captured_output
        finally:
            _flush_streams()
            for descriptor, saved_descriptor in saved_descriptors.items():
                os.dup2(saved_descriptor, descriptor)
                os.close(saved_descriptor)
            file.seek(0)
            captured_output.text = file.read(_LIMIT_BYTES).decode(errors="replace")


@contextmanager
def reserve_stdout_for_reports() -> Iterator[BinaryIO]:
    """Reserve standard output for reports: everything else that is written to standard output,
    including by native code, is redirected to standard error."""
    _flush_streams()
    saved_descriptor = os.dup(1)
    os.dup2(2, 1)
    with os.fdopen(saved_descriptor, "wb") as reports:
        yield reports


def _flush_streams() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
