"""Errors raised by validators while a profile is loaded; `app.profiles.loading` adds file and
line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Self

_CUTOFF, _MIN_RATIO = 0.5, 0.62
"""difflib similarity ratios: the cutoff for candidates, and the minimum for a suggestion.

With a minimum of 0.6, PATCH would be suggested for FETCH.
"""


class BadValueError(ValueError):
    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UnknownKeyError(BadValueError):
    """Error for a mapping that contains the unknown key `key`."""

    def __init__(self, key: str, known: Iterable[str], hint: str | None) -> None:
        known = tuple(known)
        hint = hint or did_you_mean(key, known) or f"Known keys: {', '.join(known)}"
        super().__init__(f"unknown key {key!r}", hint=hint)
        self.key = key


class Suggestion(str):
    """Hint that suggests the similar name `name`."""

    name: str

    def __new__(cls, name: str) -> Self:
        hint = super().__new__(cls, f"Did you mean {name!r}?")
        hint.name = name
        return hint


def did_you_mean(name: str, known: Iterable[str]) -> Suggestion | None:
    """Return a hint with the most similar known name; `None` if no known name is similar."""
    by_folded = {known_name.casefold(): known_name for known_name in known}
    folded = name.casefold()
    near = difflib.get_close_matches(folded, by_folded, n=5, cutoff=_CUTOFF)
    close = (candidate for candidate in near if _is_close(folded, candidate))
    return next((Suggestion(by_folded[candidate]) for candidate in close), None)


def _is_close(name: str, candidate: str) -> bool:
    """Return whether two names are similar enough for a suggestion: one is a prefix of the other,
    or few letters differ."""
    is_beginning = name.startswith(candidate) or candidate.startswith(name)
    return is_beginning or difflib.SequenceMatcher(None, candidate, name).ratio() >= _MIN_RATIO
