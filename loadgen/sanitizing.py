"""Make text and addresses from other machines safe to show to a user."""

from __future__ import annotations

_MAX_CHARACTERS = 4_000


def sanitize_text(text: str) -> str:
    """Return the first 4,000 characters of `text`, with characters that are neither printable nor
    line breaks replaced by spaces.

    The result contains no escape sequences that could move the cursor of a terminal or change its
    colors.
    """
    return "".join(char if char.isprintable() or char == "\n" else " " for char in text[:_MAX_CHARACTERS])


def sanitize_line(text: str, max_chars: int) -> str:
    """Return `text` as a single line of at most `max_chars` printable characters, with whitespace
    collapsed."""
    return " ".join(sanitize_text(text[:max_chars]).split())


def format_host_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
