from __future__ import annotations

import pytest

from app.serving.generation.service import ResponseText

PIECES = ("he", "llo", " wor", "ld", "", "!")


class Pieces:
    def decode(self, token: int) -> str:
        return PIECES[token]


def sent(pieces: int, *stop: str, is_stopped: bool = True) -> list[str]:
    """The texts that the first pieces make one by one, the last of which ends the response."""
    text = ResponseText(Pieces(), stop)
    return [*(text.add(token) for token in range(pieces - 1)), text.finish(pieces - 1, is_stopped=is_stopped)]


@pytest.mark.parametrize(
    ("pieces", "stop", "expected"),
    [
        (6, (), [*PIECES]),
        (6, ("none",), [*PIECES]),
        (3, ("lo w",), ["he", "l", ""]),
        (6, ("o x",), ["he", "ll", "o wor", "ld", "", "!"]),
        (3, ("orld", "wor"), ["he", "ll", "o "]),
        (2, ("hello",), ["", ""]),
        (6, ("!!",), [*PIECES]),
    ],
)
def test_text_ends_before_the_first_stop_string(pieces: int, stop: tuple[str, ...], expected: list[str]) -> None:
    assert sent(pieces, *stop) == expected


def test_stop_string_that_did_not_end_the_response_is_sent() -> None:
    assert sent(3, "llo", is_stopped=False) == ["he", "llo", " wor"]
    assert sent(2, "llo w", is_stopped=False) == ["he", "llo"]


def test_withheld_text_is_sent_at_the_end_without_a_token() -> None:
    text = ResponseText(Pieces(), ("o x",))
    assert (text.add(1), text.finish(None, is_stopped=True)) == ("ll", "o")
