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
        length = len(text) - max((_count_started(text, stop) for stop in self._stop), default=0)
        self._withheld = text[length:]
        return text[:length]

    def finish(self, token: int | None, *, is_stopped: bool) -> str:
        """Add the last token, and return the rest of the text. If the response was ended by a stop
        string, the rest ends before it."""
        text = self._withheld if token is None else self._withheld + self._decoder.decode(token)
        ends = [index for stop in self._stop if is_stopped and (index := text.find(stop)) >= 0]
        return text[: min(ends, default=len(text))]


def _count_started(text: str, stop: str) -> int:
    """Return the length of the longest end of a text with which `stop` starts."""
    longest = min(len(stop) - 1, len(text))
    return next((length for length in range(longest, 0, -1) if text.endswith(stop[:length])), 0)
