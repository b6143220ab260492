"""Runs of a comparison with their sides (baseline or candidate).

When A/B pairs are started, the comparison is stored in the directory of the pairs, so that another
window can restore it.
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
MAX_RUNS = 8
"""Maximum number of runs that the user can select and that are drawn in one chart. Measured A/B
pairs can add more runs."""
_MAX_NAME_CHARACTERS = 40


class Entry(msgspec.Struct, frozen=True):
    """A selected run.

    `problem` is the reason why the run cannot be compared. If there is none, `result` is set as
    soon as the run has been read.
    """

    path: Path
    side: Side
    result: Result | None = None
    problem: str | None = None
    is_invalid: bool = False
    """Whether the run cannot be compared because its measurement is INVALID."""
    title: str = ""
    """Title that the user gave the run."""

    @property
    def name(self) -> str:
        return self.title or (self.path.name if self.result is None else self.result.name)

    @property
    def run_id(self) -> str:
        return self.path.name if self.result is None else self.result.run_id


class ComparisonRequest(msgspec.Struct, frozen=True):
    entries: tuple[Entry, ...]
    tolerance: float
    is_forced: bool

    def side(self, side: Side) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.side == side)

    @property
    def command(self) -> str | None:
        """Command line of the same comparison, or None if the baseline or the candidate is
        missing."""
        from app.reporting.comparison import build_comparison_command

        base, candidate = (tuple(str(entry.path) for entry in self.side(side)) for side in ("base", "candidate"))
        if not base or not candidate:
            return None
        return build_comparison_command(",".join(base), candidate, self.tolerance, is_forced=self.is_forced)


def label_of(number: int, entry: Entry) -> str:
    """Return the label of a run, which is the same in all views of the Compare page."""
    return f"{number + 1} {one_line(entry.name, _MAX_NAME_CHARACTERS)}"


BESIDE, SHOWN_MARKER = "beside.json", "shown"


class _StoredComparison(msgspec.Struct, frozen=True):
    entries: tuple[tuple[str, Side], ...]
    tolerance: float
    is_forced: bool


def save_comparison(directory: Path, request: ComparisonRequest) -> None:
    """Store the comparison in the directory of its A/B pairs. Raises OSError on failure."""
    stored = _StoredComparison(
        tuple((str(entry.path), entry.side) for entry in request.entries), request.tolerance, request.is_forced
    )
    directory.mkdir(parents=True, exist_ok=True)
    (directory / BESIDE).write_bytes(msgspec.json.encode(stored))


def load_comparison(directory: Path) -> ComparisonRequest | None:
    """Return the comparison stored in the directory of A/B pairs, or None if there is none, for
    example because the pairs were started in a terminal."""
    try:
        stored = decode_json((directory / BESIDE).read_bytes(), _StoredComparison)
    except (OSError, msgspec.DecodeError):
        return None
    return ComparisonRequest(
        tuple(Entry(Path(path), side) for path, side in stored.entries), stored.tolerance, stored.is_forced
    )


def mark_shown(directory: Path) -> None:
    """Record that a window has shown how the A/B pairs ended. If this fails, the pairs will be
    shown again."""
    with contextlib.suppress(OSError):
        (directory / SHOWN_MARKER).touch()


def find_pairs_to_show() -> tuple[Path, bool] | None:
    """Return A/B pairs to show as (directory, whether they are running), or None.

    Running pairs take precedence. Otherwise, the last pairs that a window started are returned if
    they ended while no window was open.
    """
    from app.storage.comparisons import comparisons_home, find_running_comparisons

    running, home = find_running_comparisons(), comparisons_home()
    if running:
        return running[0], True
    stored = sorted(home.glob(f"*/{BESIDE}")) if home.is_dir() else []
    newest = stored[-1].parent if stored else None
    if newest is None or (newest / SHOWN_MARKER).exists() or not (newest / EVENTS).exists():
        return None
    return newest, False


def delete_comparison(directory: Path) -> None:
    """Delete the directory of A/B pairs that never started. Raises OSError if the directory
    contains other files."""
    (directory / BESIDE).unlink(missing_ok=True)
    directory.rmdir()
