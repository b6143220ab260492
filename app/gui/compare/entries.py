"""The runs of a comparison, each with its side."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from app.gui.formatting import one_line
from app.records.result import Result

Side = Literal["base", "candidate", "drawn"]
MOST_RUNS = 8
"""Chosen by hand, and drawn over each other. Pairs that were measured for it are more."""
_LONGEST_NAME = 40


class Entry(msgspec.Struct, frozen=True):
    """A chosen run. `problem` says why no number of it can be used; else `result` is there once it is read."""

    path: Path
    side: Side
    result: Result | None = None
    problem: str | None = None
    is_invalid: bool = False
    """The problem is that its measurement is INVALID."""
    title: str = ""
    """What people call it."""

    @property
    def name(self) -> str:
        return self.title or (self.path.name if self.result is None else self.result.name)

    @property
    def run_id(self) -> str:
        return self.path.name if self.result is None else self.result.run_id


class Asked(msgspec.Struct, frozen=True):
    entries: tuple[Entry, ...]
    tolerance: float
    is_forced: bool

    def side(self, side: Side) -> tuple[Entry, ...]:
        return tuple(one for one in self.entries if one.side == side)

    @property
    def command(self) -> str | None:
        """That compares so in a terminal; None where a side is empty."""
        from app.reporting.comparison import comparison_command

        base, candidate = (tuple(str(one.path) for one in self.side(side)) for side in ("base", "candidate"))
        if not base or not candidate:
            return None
        return comparison_command(",".join(base), candidate, self.tolerance, is_forced=self.is_forced)


def label_of(place: int, entry: Entry) -> str:
    """By which all parts of the page name a run."""
    return f"{place + 1} {one_line(entry.name, _LONGEST_NAME)}"
