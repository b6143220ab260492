"""How the window writes numbers: as the reports do, so that all faces agree. Pure functions."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from reports.formatting import (
    NOT_AVAILABLE,
    count,
    interval,
    money,
    number,
    percent,
    plain,
    quantity,
    seconds,
    size,
    value_unit,
    with_unit,
)

__all__ = [
    "NOT_AVAILABLE", "cell", "clock_time", "count", "elapsed", "ended", "interval", "money", "number", "one_line",
    "percent", "plain", "quantity", "seconds", "sentence", "size", "state_of", "value_unit", "with_unit",
]  # fmt: skip

State = Literal["good", "warn", "bad", "plain"]
_STATES: dict[str, State] = {
    "VALID": "good", "PASS": "good", "held": "good", "MEASURED": "plain",
    "WARN": "warn", "INCONCLUSIVE": "warn",
    "INVALID": "bad", "FAIL": "bad", "failed": "bad",
}  # fmt: skip


def state_of(word: str) -> State:
    """The colour that a verdict's word is in."""
    return _STATES.get(word, "plain")


def cell(value: object) -> str:
    """Of a table: nothing is n/a, a number has three significant digits, a whole one its commas."""
    if value is None or value != value:  # NaN is what pandas makes of nothing
        return NOT_AVAILABLE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return count(value)
    if isinstance(value, float):
        return number(value)
    return str(value)


def one_line(text: str, most: int = 200) -> str:
    """Of another's hand, as a run's name may be: bounded, and without what breaks a line or steers a terminal."""
    cut = text[:most]
    return cut if cut.isprintable() else "".join(one if one.isprintable() else " " for one in cut)


def sentence(text: str) -> str:
    """With a capital and a full stop. A dotted first word, such as a key or a file name, stays as written."""
    return ended(text if "." in text.split(" ")[0] else f"{text[:1].upper()}{text[1:]}")


def ended(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def elapsed(duration_s: float) -> str:
    """A clock's minutes and seconds, as in 2:05."""
    minutes, rest = divmod(int(duration_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def clock_time(iso: str) -> str:
    """A moment in this machine's zone, as in 2026-11-27 14:05."""
    try:
        return datetime.fromisoformat(iso).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return iso
