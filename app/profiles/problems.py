"""Errors raised by validators while a profile is loaded; `app.profiles.loading` adds file and
line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Self

_CUTOFF, _MIN_RATIO = 0.5, 0.62
"""Similarity ratios of difflib: the cutoff for candidates, and the minimum for a suggestion.

With a minimum of 0.6, PATCH would be suggested for FETCH.
"""


class BadValueError(ValueError):
    """Error for a value. `key_path` is the path of the value within the settings whose validator
    raises the error."""

    def __init__(self, message: str, *, hint: str | None = None, key_path: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.hint, self.key_path = hint, key_path


class UnknownKeyError(BadValueError):
    """Error for a mapping that contains the unknown key `key`."""

    def __init__(self, key: str, valid_names: Iterable[str], hint: str | None) -> None:
        valid_names = tuple(valid_names)
        hint = hint or did_you_mean(key, valid_names) or f"Use one of these keys: {', '.join(valid_names)}."
        super().__init__(f"the key {key!r} is unknown", hint=hint)
        self.key = key


class Suggestion(str):
    """Hint that suggests a similar valid name, which is stored in `name`."""

    name: str

    def __new__(cls, name: str) -> Self:
        hint = super().__new__(cls, f"Did you mean {name!r}?")
        hint.name = name
        return hint


def did_you_mean(name: str, valid_names: Iterable[str]) -> Suggestion | None:
    """Return a hint with the most similar valid name; `None` if no valid name is similar."""
    names_by_folded_name = {valid_name.casefold(): valid_name for valid_name in valid_names}
    folded_name = name.casefold()
    candidates = difflib.get_close_matches(folded_name, names_by_folded_name, n=5, cutoff=_CUTOFF)
    close_matches = (candidate for candidate in candidates if _is_close(folded_name, candidate))
    return next((Suggestion(names_by_folded_name[candidate]) for candidate in close_matches), None)


def _is_close(name: str, candidate: str) -> bool:
    """Return whether two names are similar enough for a suggestion. Names are similar if one is a
    prefix of the other, or if only a few letters differ."""
    is_prefix = name.startswith(candidate) or candidate.startswith(name)
    return is_prefix or difflib.SequenceMatcher(None, candidate, name).ratio() >= _MIN_RATIO
