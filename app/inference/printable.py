"""Text out of a model, made safe for a terminal."""

from __future__ import annotations

_LIMIT = 120


def printable(text: str) -> str:
    """Without control characters, which could drive the terminal, and at most 120 characters long."""
    shown = "".join(letter if letter.isprintable() else "�" for letter in text[: _LIMIT + 1])
    return shown if len(shown) <= _LIMIT else f"{shown[: _LIMIT - 1]}…"
