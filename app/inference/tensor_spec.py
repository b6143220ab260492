"""Name, type and shape of a tensor, and the sanitizing of text from a model for a terminal."""

from __future__ import annotations

import msgspec


class TensorSpec(msgspec.Struct, frozen=True):
    """Name, type and shape of a tensor.

    `dtype` is NumPy's name, `object` for strings; a free axis is -1 in `shape`. `axes` are the names of free axes, with
    `None` for an axis that is fixed or has no name; empty if they were not read.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    axes: tuple[str | None, ...] = ()


_MAX_LENGTH = 120


def printable(text: str) -> str:
    """Replace control characters, which could drive the terminal, and truncate to 120 characters."""
    cleaned = "".join(char if char.isprintable() else "�" for char in text[: _MAX_LENGTH + 1])
    return cleaned if len(cleaned) <= _MAX_LENGTH else f"{cleaned[: _MAX_LENGTH - 1]}…"
