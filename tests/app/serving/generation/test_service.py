from __future__ import annotations

import pytest

from app.serving.generation.service import ResponseText

PIECES = ("he", "llo", " wor", "ld", "", "!")


class PieceDecoder:
    def decode(self, token: int) -> str:
        return PIECES[token]


def stream_texts(pieces: int, *stop: str, is_stopped: bool = True) -> list[str]:
    """Return the texts sent for the first pieces; the last one ends the response."""
    text = ResponseText(PieceDecoder(), stop)
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
def test_response_text_ends_before_the_first_stop_string(
    pieces: int, stop: tuple[str, ...], expected: list[str]
) -> None:
    assert stream_texts(pieces, *stop) == expected


def test_stop_string_of_a_response_ended_otherwise_is_sent() -> None:
    assert stream_texts(3, "llo", is_stopped=False) == ["he", "llo", " wor"]
    assert stream_texts(2, "llo w", is_stopped=False) == ["he", "llo"]


def test_withheld_text_is_sent_when_the_response_ends() -> None:
    text = ResponseText(PieceDecoder(), ("o x",))
    assert (text.add(1), text.finish(None, is_stopped=True)) == ("ll", "o")
