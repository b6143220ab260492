"""Assemble the text of a response from its tokens, and end it before a stop string."""

from __future__ import annotations

from typing import Protocol


class TokenDecoder(Protocol):
    def decode(self, token: int) -> str: ...


class ResponseText:
    """Text of one response. Text that may be the start of a stop string is withheld until it is
    known whether the stop string follows."""

    def __init__(self, decoder: TokenDecoder, stop: tuple[str, ...]) -> None:
        self._decoder, self._stop = decoder, stop
        self._withheld = ""

    def add(self, token: int) -> str:
        """Add a token, and return the text that can be sent."""
        text = self._withheld + self._decoder.decode(token)
        withheld_length = max((_count_partial(text, stop) for stop in self._stop), default=0)
        sent_length = len(text) - withheld_length
        self._withheld = text[sent_length:]
        return text[:sent_length]

    def finish(self) -> str:
        """Return the withheld text up to the first stop string."""
        ends = [index for stop in self._stop if (index := self._withheld.find(stop)) >= 0]
        return self._withheld[: min(ends, default=len(self._withheld))]


def _count_partial(text: str, stop: str) -> int:
    """Return the length of the end of `text` that starts with `stop`, or is the start of `stop`; 0
    if there is none."""
    position = text.find(stop)
    if position >= 0:
        return len(text) - position
    return next((length for length in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:length])), 0)
