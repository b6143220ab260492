"""What validators raise while a profile is read; `app.profiles.loading` adds the file and the line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Self

_ALIKE, _CLOSE = 0.5, 0.62
"""Of difflib's ratio. At 0.6, FETCH would be PATCH."""


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


class Suggestion(str):
    """The hint that asks whether `name` was meant."""

    name: str

    def __new__(cls, name: str) -> Self:
        hint = super().__new__(cls, f"Did you mean {name!r}?")
        hint.name = name
        return hint


def did_you_mean(name: str, known: Iterable[str]) -> Suggestion | None:
    """The nearest known name as a hint; `None` when no name is near."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    folded = name.casefold()
    near = difflib.get_close_matches(folded, by_folded, n=5, cutoff=_ALIKE)
    close = (one for one in near if _is_close(folded, one))
    return next((Suggestion(by_folded[one]) for one in close), None)


def _is_close(name: str, candidate: str) -> bool:
    """Whether a hint helps: one is the beginning of the other, or few letters differ."""
    is_beginning = name.startswith(candidate) or candidate.startswith(name)
    return is_beginning or difflib.SequenceMatcher(None, candidate, name).ratio() >= _CLOSE
