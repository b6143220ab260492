"""Seeded texts of given lengths in tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from loadgen.payloads.tokenizer import CountTokens
from loadgen.payloads.words import WORDS

_FEW = 16
_ROUNDS = 8
_MOST_CUT = _MOST_FILLED = 64
_FILLERS = (" a", "a", " 1", "1", ".", ",", "!", "\n")


class TextMaker:
    """Without a tokenizer a word counts as a token, which is so, about, for English and models of today.

    With one, lengths are exact where its vocabulary allows it; `missed` counts the texts where it did not.
    """

    def __init__(self, rng: np.random.Generator, count_tokens: CountTokens | None) -> None:
        self._rng, self._count_tokens = rng, count_tokens
        self._words: Sequence[str] = WORDS if count_tokens is None else _units(count_tokens)
        self.missed = 0

    def make(self, tokens: int) -> str:
        words = self._draw(tokens)
        if self._count_tokens is None:
            return " ".join(words)
        text, made = self._near(words, tokens, self._count_tokens)
        for _ in range(_MOST_CUT):
            if made <= tokens or len(text) == 1:
                break
            text = text[:-1]
            made = self._count_tokens(text)
        if made < tokens:
            text, made = _filled(text, made, tokens, self._count_tokens)
        self.missed += made != tokens
        return text

    def _draw(self, count: int) -> list[str]:
        words = self._words
        return [words[number] for number in self._rng.integers(0, len(words), count).tolist()]

    def _near(self, words: list[str], tokens: int, count_tokens: CountTokens) -> tuple[str, int]:
        """A text of about so many tokens."""
        text = " ".join(words)
        made = count_tokens(text)
        for _ in range(_ROUNDS):
            per_word = max(made / len(words), 1.0)
            missing = int((tokens - made) / per_word)
            if made > tokens and len(words) > 1:
                del words[max(len(words) + min(missing, -1), 1) :]
            elif missing > 0:
                words += self._draw(missing)
            else:
                break
            text = " ".join(words)
            made = count_tokens(text)
        return text, made


def _units(count_tokens: CountTokens) -> Sequence[str]:
    """The words that are one token each; all words, when they are few."""
    bare = count_tokens("go go")
    units = [word for word in WORDS if count_tokens(f"go {word} go") == bare + 1]
    return units if len(units) >= _FEW else WORDS


def _filled(text: str, made: int, tokens: int, count_tokens: CountTokens) -> tuple[str, int]:
    """A token at a time, of whatever adds just one."""
    for _ in range(min(tokens - made, _MOST_FILLED)):
        for filler in _FILLERS:
            if count_tokens(text + filler) == made + 1:
                text, made = text + filler, made + 1
                break
        else:
            break
    return text, made
