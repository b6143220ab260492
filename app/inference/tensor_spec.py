"""Name, data type and shape of a tensor. Also sanitize strings from a model for display in a
terminal."""

from __future__ import annotations

import msgspec

from reports.shortening import shorten


class TensorSpec(msgspec.Struct, frozen=True):
    """Name, data type and shape of a tensor.

    `dtype` is the NumPy name, `object` for strings. In `shape`, a dynamic axis is -1. `axes`
    contains the names of dynamic axes, with `None` for an axis that is fixed or unnamed; it is
    empty if the names were not read."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    axes: tuple[str | None, ...] = ()


class StoredTensor(TensorSpec, frozen=True, kw_only=True):
    """One tensor in a file of weights, as the header of the file declares it. `shape` is in the order
    of the file, and `dtype` may also be a type of quantized blocks."""

    size_bytes: int


_MAX_LENGTH = 120


def printable(text: str) -> str:
    """Return a string that is safe to print in a terminal: control characters are replaced, and the
    string is truncated to 120 characters."""
    return shorten("".join(char if char.isprintable() else "�" for char in text), _MAX_LENGTH)
