"""What is told of a model that was made in another precision."""

from __future__ import annotations

from pathlib import Path

import msgspec

from app.records.local import Precision


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
