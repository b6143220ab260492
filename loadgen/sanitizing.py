"""Make text and addresses from other machines safe to display."""

from __future__ import annotations

_MAX_CHARACTERS = 4_000


def sanitize_text(text: str) -> str:
    """Return the first 4,000 characters of `text`. Characters that are neither printable nor line
    breaks are replaced by spaces.

    The result has no escape sequences, which could move the cursor of a terminal or change its
    colors.
    """
    return "".join(char if char.isprintable() or char == "\n" else " " for char in text[:_MAX_CHARACTERS])


def sanitize_line(text: str, max_chars: int) -> str:
    """Return `text` as a single line of at most `max_chars` printable characters. Each run of
    whitespace is replaced by one space. A text that was cut ends with its length."""
    if len(text) <= max_chars:
        return " ".join(sanitize_text(text).split())
    end = f"… ({len(text):,} characters)"
    return f"{' '.join(sanitize_text(text[: max_chars - len(end)]).split())}{end}"


def format_host_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
