"""What is told of a model that was made in another precision.

The most memory that making a model may take.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from app.records.local import Precision

GIB = 2**30
_BASE_BYTES = 3 * GIB
"""For the libraries' threads, and what a calibrating batch goes through."""

_COPIES = 12
"""Of the model: as bytes and records before and after each step, and opened by the runtime."""


def limit_memory(model_bytes: int) -> None:
    """From now on, where Linux limits it; past it the process sees MemoryError or aborts.

    Time is the parent's to end.
    """
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * resource.getpagesize() + _BASE_BYTES + _COPIES * model_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


class MadeModel(msgspec.Struct, frozen=True, kw_only=True):
    """`took_s` is None where nothing was made: it was there from before, or is the user's own file."""

    path: Path
    sha256: str
    was_cached: bool
    took_s: float | None
    calibration_rows: int | None = None
    """Whose ranges int8-static was given; accuracy on the same rows would flatter it."""
    notes: tuple[str, ...] = ()


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What the child is to make. `calibration` is an .npz of unnamed arrays, in the order of `inputs`."""

    model: str
    model_bytes: int
    precision: Precision
    draft: str
    spares_a_bit: bool
    calibration: str | None = None
    inputs: tuple[str, ...] = ()


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """What the child says of the draft it has written."""

    calibration_rows: int | None
    notes: tuple[str, ...]
