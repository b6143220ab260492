"""Number and text formats of the window, identical to the formats of the reports. All functions are
pure."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from reports.formatting import (
    NOT_AVAILABLE,
    format_count,
    format_duration,
    format_interval,
    format_money,
    format_number,
    format_percent,
    format_plain,
    format_quantity,
    format_size,
    format_value_unit,
    with_unit,
)
from reports.shortening import shorten, shorten_lines, shorten_message

__all__ = [
    "NOT_AVAILABLE", "format_cell", "format_clock_time", "format_count", "format_duration", "format_elapsed",
    "format_interval", "format_money", "format_number", "format_percent", "format_plain", "format_quantity",
    "format_size", "format_value_unit", "sentence", "shorten", "shorten_lines", "shorten_message", "state_for_verdict",
    "with_full_stop", "with_unit",
]  # fmt: skip

State = Literal["good", "warn", "bad", "plain"]
_STATES: dict[str, State] = {
    "VALID": "good", "PASS": "good", "passed": "good", "MEASURED": "plain",
    "WARN": "warn", "INCONCLUSIVE": "warn",
    "INVALID": "bad", "FAIL": "bad", "failed": "bad",
}  # fmt: skip


def state_for_verdict(verdict: str) -> State:
    """Return the state (display color) of a verdict, such as PASS or INVALID."""
    return _STATES.get(verdict, "plain")


def format_cell(value: object) -> str:
    """Format the value of a table cell: None and NaN as n/a, floats with three significant digits,
    integers with thousands separators, and text with its long lines shortened."""
    if value is None or value != value:  # pandas stores missing values as NaN
        return NOT_AVAILABLE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return format_count(value)
    if isinstance(value, float):
        return format_number(value)
    return shorten_message(str(value))


def sentence(text: str) -> str:
    """Capitalize the text and end it with a full stop. A first word that contains a dot, such as a
    key or a file name, is not capitalized."""
    return with_full_stop(text if "." in text.split(" ")[0] else f"{text[:1].upper()}{text[1:]}")


def with_full_stop(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def format_elapsed(duration_s: float) -> str:
    """Format a duration as minutes and seconds (2:05), or with hours (1:02:05)."""
    minutes, seconds = divmod(int(duration_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def format_clock_time(iso: str) -> str:
    """Format an ISO 8601 time in the local time zone, such as 2026-11-27 14:05. A string that
    cannot be parsed is returned unchanged."""
    try:
        return datetime.fromisoformat(iso).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return iso


def capitalize_header(text: str) -> str:
    """Capitalize a header, except for aggregates such as p50."""
    return text if any(character.isdigit() for character in text.partition(" ")[0]) else text[:1].upper() + text[1:]
