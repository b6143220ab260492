"""Other machines as a user is told of them: what they say, and where they are."""

from __future__ import annotations

_MOST_CHARACTERS = 4_000


def plain_text(text: str) -> str:
    """Nothing in it moves a terminal's cursor or colours it, and it has an end; lines stay lines."""
    return "".join(one if one.isprintable() or one == "\n" else " " for one in text[:_MOST_CHARACTERS])


def plain_line(text: str, most: int) -> str:
    """Of at most so many characters, on one line."""
    return " ".join(plain_text(text[:most]).split())


def shown_place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
