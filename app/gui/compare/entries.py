"""Runs of a comparison with their sides: baseline, candidate, or only drawn in the charts.

When A/B pairs are started, the comparison is stored in the directory of the pairs, so that another
window can restore the comparison.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Literal

import msgspec

from app.gui.formatting import shorten
from app.records.result import Result
from app.storage.run_directory import EVENTS
from loadgen.decoding import decode_json

Side = Literal["baseline", "candidate", "drawn"]
MAX_RUNS = 8
"""Maximum number of runs that the user can select, and that are drawn in one chart. Measured A/B
pairs can add more runs to a comparison."""
_MAX_NAME_CHARACTERS = 40


class ComparisonEntry(msgspec.Struct, frozen=True):
    """Run that the user selected for a comparison.

    `problem` is the reason why the run cannot be compared. If there is no problem, `result` is set
    as soon as the run has been read.
    """

    path: Path
    side: Side
    result: Result | None = None
    problem: str | None = None
    is_invalid: bool = False
    """True if the run cannot be compared because its measurement is INVALID."""
    title: str = ""
    """Title that the user gave the run."""

    @property
    def name(self) -> str:
        return self.title or (self.path.name if self.result is None else self.result.name)

    @property
    def run_id(self) -> str:
        return self.path.name if self.result is None else self.result.run_id


class ComparisonRequest(msgspec.Struct, frozen=True):
    entries: tuple[ComparisonEntry, ...]
    tolerance: float
    is_forced: bool

    def list_side_entries(self, side: Side) -> tuple[ComparisonEntry, ...]:
        return tuple(entry for entry in self.entries if entry.side == side)

    @property
    def command(self) -> str | None:
        """Command line that repeats the comparison, or None if the baseline or the candidate is
        missing."""
        from app.reporting.comparison import build_comparison_command

        baseline_paths, candidate_paths = (
            tuple(str(entry.path) for entry in self.list_side_entries(side)) for side in ("baseline", "candidate")
        )
        if not baseline_paths or not candidate_paths:
            return None
        return build_comparison_command(
            ",".join(baseline_paths), candidate_paths, self.tolerance, is_forced=self.is_forced
        )


def format_run_label(index: int, entry: ComparisonEntry) -> str:
    """Return the label of a run: its position in the comparison and its name, such as "2 chat". All
    views of the Compare page use the same label."""
    return f"{index + 1} {shorten(entry.name, _MAX_NAME_CHARACTERS)}"


COMPARISON_FILE, SHOWN_MARKER = "beside.json", "shown"


class _StoredComparison(msgspec.Struct, frozen=True):
    entries: tuple[tuple[str, Side], ...]
    tolerance: float
    is_forced: bool


def save_comparison(directory: Path, request: ComparisonRequest) -> None:
    """Store the comparison in the directory of its A/B pairs. Raises OSError on failure."""
    stored_comparison = _StoredComparison(
        tuple((str(entry.path), entry.side) for entry in request.entries), request.tolerance, request.is_forced
    )
    directory.mkdir(parents=True, exist_ok=True)
    (directory / COMPARISON_FILE).write_bytes(msgspec.json.encode(stored_comparison))


def load_comparison(directory: Path) -> ComparisonRequest | None:
    """Return the comparison stored in the directory of A/B pairs, or None if there is none, for
    example because the pairs were started in a terminal."""
    try:
        stored_comparison = decode_json((directory / COMPARISON_FILE).read_bytes(), _StoredComparison)
    except (OSError, msgspec.DecodeError):
        return None
    return ComparisonRequest(
        tuple(ComparisonEntry(Path(path), side) for path, side in stored_comparison.entries),
        stored_comparison.tolerance,
        stored_comparison.is_forced,
    )


def mark_shown(directory: Path) -> None:
    """Record that a window has shown the outcome of the A/B pairs. If the record cannot be written,
    another window shows the outcome again."""
    with contextlib.suppress(OSError):
        (directory / SHOWN_MARKER).touch()


def find_pairs_to_show() -> tuple[Path, bool] | None:
    """Return the directory of the A/B pairs to show and whether the pairs are running, or None if
    there are no pairs to show.

    Running pairs take precedence. Otherwise, the last pairs that a window started are returned if
    they ended while no window was open.
    """
    from app.storage.comparisons import comparisons_home, find_running_comparisons

    running_directories, home_directory = find_running_comparisons(), comparisons_home()
    if running_directories:
        return running_directories[0], True
    stored_files = sorted(home_directory.glob(f"*/{COMPARISON_FILE}")) if home_directory.is_dir() else []
    newest_directory = stored_files[-1].parent if stored_files else None
    if (
        newest_directory is None
        or (newest_directory / SHOWN_MARKER).exists()
        or not (newest_directory / EVENTS).exists()
    ):
        return None
    return newest_directory, False


def delete_comparison(directory: Path) -> None:
    """Delete the directory of A/B pairs that never started. Raises OSError if the directory
    contains other files."""
    (directory / COMPARISON_FILE).unlink(missing_ok=True)
    directory.rmdir()
