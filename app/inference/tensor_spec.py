"""The name, type and shape of a tensor.

Text out of a model, made safe for a terminal.
"""

from __future__ import annotations

import msgspec


class TensorSpec(msgspec.Struct, frozen=True):
    """`dtype` is NumPy's name, `object` for strings; an axis of any length is -1 in `shape`.

    `axes` are the names of such axes, None for one that has none or is fixed; empty where nobody asked for them.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    axes: tuple[str | None, ...] = ()


_LIMIT = 120


def printable(text: str) -> str:
    """Without control characters, which could drive the terminal, and at most 120 characters long."""
    shown = "".join(letter if letter.isprintable() else "�" for letter in text[: _LIMIT + 1])
    return shown if len(shown) <= _LIMIT else f"{shown[: _LIMIT - 1]}…"
