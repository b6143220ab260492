"""The runs of a comparison, each with its side.

What was compared when pairs were asked for, kept beside them: another window can put them together
again.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Literal

import msgspec

from app.gui.formatting import one_line
from app.records.result import Result
from app.storage.run_directory import EVENTS
from loadgen.decoding import decode_json

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


BESIDE, SHOWN = "beside.json", "shown"


class _Beside(msgspec.Struct, frozen=True):
    entries: tuple[tuple[str, Side], ...]
    tolerance: float
    is_forced: bool


def keep_beside(directory: Path, asked: Asked) -> None:
    """Raises OSError."""
    kept = _Beside(tuple((str(one.path), one.side) for one in asked.entries), asked.tolerance, asked.is_forced)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / BESIDE).write_bytes(msgspec.json.encode(kept))


def kept_beside(directory: Path) -> Asked | None:
    """None where nothing was, as of pairs that were started in a terminal."""
    try:
        kept = decode_json((directory / BESIDE).read_bytes(), _Beside)
    except (OSError, msgspec.DecodeError):
        return None
    return Asked(tuple(Entry(Path(path), side) for path, side in kept.entries), kept.tolerance, kept.is_forced)


def mark_shown(directory: Path) -> None:
    """A window has shown how they ended. One that cannot be marked is shown again."""
    with contextlib.suppress(OSError):
        (directory / SHOWN).touch()


def pairs_to_show() -> tuple[Path, bool] | None:
    """Pairs that go on (True), or else the last ones of a window if they ended while none was open."""
    from app.storage.comparisons import comparisons_home, going_comparisons

    going, home = going_comparisons(), comparisons_home()
    if going:
        return going[0], True
    asked = sorted(home.glob(f"*/{BESIDE}")) if home.is_dir() else []
    last = asked[-1].parent if asked else None
    if last is None or (last / SHOWN).exists() or not (last / EVENTS).exists():
        return None
    return last, False


def forget_beside(directory: Path) -> None:
    """Of pairs that never began: nothing is left of them. Raises OSError where something else is."""
    (directory / BESIDE).unlink(missing_ok=True)
    directory.rmdir()
