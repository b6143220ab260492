"""Errors that validators raise while a profile is read; `app.profiles.loading` adds the file and the line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Self

_CUTOFF, _MIN_RATIO = 0.5, 0.62
"""Similarity ratios of difflib: the cutoff for candidates, and the minimum for a suggestion.

At 0.6, FETCH would suggest PATCH.
"""


class BadValueError(ValueError):
    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UnknownKeyError(BadValueError):
    """A mapping contains an unknown key, `key`."""

    def __init__(self, key: str, known: Iterable[str], hint: str | None) -> None:
        known = tuple(known)
        hint = hint or did_you_mean(key, known) or f"Known keys: {', '.join(known)}"
        super().__init__(f"unknown key {key!r}", hint=hint)
        self.key = key


class Suggestion(str):
    """A hint that asks whether `name` was meant."""

    name: str

    def __new__(cls, name: str) -> Self:
        hint = super().__new__(cls, f"Did you mean {name!r}?")
        hint.name = name
        return hint


def did_you_mean(name: str, known: Iterable[str]) -> Suggestion | None:
    """Return the most similar known name as a hint, or `None` if no name is similar."""
    by_folded = {known_name.casefold(): known_name for known_name in known}
    folded = name.casefold()
    near = difflib.get_close_matches(folded, by_folded, n=5, cutoff=_CUTOFF)
    close = (candidate for candidate in near if _is_close(folded, candidate))
    return next((Suggestion(by_folded[candidate]) for candidate in close), None)


def _is_close(name: str, candidate: str) -> bool:
    """Return whether two names are similar enough for a hint: one begins with the other, or few letters differ."""
    is_beginning = name.startswith(candidate) or candidate.startswith(name)
    return is_beginning or difflib.SequenceMatcher(None, candidate, name).ratio() >= _MIN_RATIO
