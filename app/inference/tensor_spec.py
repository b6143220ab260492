"""Name, data type and shape of a tensor, and sanitizing of strings from a model for the
terminal."""

from __future__ import annotations

import msgspec


class TensorSpec(msgspec.Struct, frozen=True):
    """Name, data type and shape of a tensor.

    `dtype` is the NumPy name, `object` for strings; a free axis is -1 in `shape`. `axes` contains
    the names of free axes, with `None` for an axis that is fixed or unnamed; it is empty if the
    names were not read."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    axes: tuple[str | None, ...] = ()


_MAX_LENGTH = 120


def printable(text: str) -> str:
    """Replace control characters, which could control the terminal, and truncate the string to
    120 characters."""
    sanitized_text = "".join(char if char.isprintable() else "�" for char in text[: _MAX_LENGTH + 1])
    return sanitized_text if len(sanitized_text) <= _MAX_LENGTH else f"{sanitized_text[: _MAX_LENGTH - 1]}…"
