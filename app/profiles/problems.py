"""What validators raise while a profile is read; `app.profiles.loading` adds the file and the line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BadValueError(ValueError):
    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UnknownKeyError(BadValueError):
    """`key` is what the mapping should not hold."""

    def __init__(self, key: str, known: Iterable[str], hint: str | None) -> None:
        known = tuple(known)
        hint = hint or did_you_mean(key, known) or f"Known keys: {', '.join(known)}"
        super().__init__(f"unknown key {key!r}", hint=hint)
        self.key = key


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """A question naming the nearest known name; None when nothing is near: a wrong suggestion misleads."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    near = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.65)
    return f"Did you mean {by_folded[near[0]]!r}?" if near else None
