"""What a comparison of chosen runs comes to: by the same functions as `sizewise compare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from app.errors import SizewiseError
from app.gui.formatting import one_line
from app.gui.words import tr
from app.records.comparison import Comparison
from app.records.result import Result
from reports.comparison_section import ComparisonSection
from reports.model import Spectrum

Side = Literal["base", "candidate", "drawn"]
MOST_RUNS = 8
_LONGEST_NAME = 40
MOST_PAIRS, USUAL_PAIRS = 50, 7


class Entry(msgspec.Struct, frozen=True):
    """A chosen run. `problem` says why no number of it can be used; else `result` is there once it is read."""

    path: Path
    side: Side
    result: Result | None = None
    problem: str | None = None

    @property
    def name(self) -> str:
        return self.path.name if self.result is None else self.result.name

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


class Outcome(msgspec.Struct, frozen=True):
    """`entries` with what was read of them. Without a comparison, `missing` says what it takes."""

    asked: Asked
    comparison: Comparison | None = None
    section: ComparisonSection | None = None
    stages: tuple[str, ...] = ()
    """That every read run has."""
    missing: str | None = None

    @property
    def forbidding(self) -> tuple[str, ...]:
        return () if self.comparison is None else tuple(one.name for one in self.comparison.differences if one.forbids)


class Curve(msgspec.Struct, frozen=True):
    """One run's answers in a stage, by each time that is known of them; empty where it has none there."""

    label: str
    spectra: tuple[Spectrum, ...]

    def of(self, time: str) -> Spectrum | None:
        return next((one for one in self.spectra if one.label == time), None)


def compared(asked: Asked) -> Outcome:
    """In any thread; takes as long as reading the results does."""
    from app.analysis.comparison import compare_runs
    from app.reporting.comparison import comparison_section
    from app.reporting.stage_times import compared_stages

    entries = tuple(_read(one) for one in asked.entries)
    asked = msgspec.structs.replace(asked, entries=entries)
    base, candidate = _results(asked.side("base")), _results(asked.side("candidate"))
    named = [compared_stages(one.result) for one in entries if one.result is not None]
    stages = tuple(name for name in named[0] if all(name in other for other in named)) if named else ()
    if not base or not candidate:
        return Outcome(asked, stages=stages, missing=_missing(asked))
    comparison = compare_runs(base, candidate, tolerance=asked.tolerance, is_forced=asked.is_forced)
    return Outcome(asked, comparison, comparison_section(comparison), stages)


def curves_of(entries: Sequence[Entry], stage: str) -> tuple[Curve, ...]:
    """In any thread."""
    from app.reporting.stage_times import stage_times
    from app.storage.run_directory import StoredRun

    return tuple(
        Curve(label_of(place, one), () if one.result is None else stage_times(StoredRun(one.path), one.result, stage))
        for place, one in enumerate(entries)
    )


def label_of(place: int, entry: Entry) -> str:
    """By which all parts of the page name a run."""
    return f"{place + 1} {one_line(entry.name, _LONGEST_NAME)}"


def more_pairs(comparison: Comparison) -> int | None:
    """How many more pairs would likely decide what counts; None where nothing that counts is open."""
    from app.analysis.comparison import undecided

    still_open = undecided(comparison)
    if not still_open:
        return None
    wanted = [one.more_repeats for one in still_open if one.more_repeats is not None]
    return min(max(wanted, default=USUAL_PAIRS), MOST_PAIRS)


def measure_command(asked: Asked, comparison: Comparison) -> str | None:
    """That measures the two profiles in turns; None where nothing is open, or one of the runs kept no profile."""
    from app.reporting.comparison import comparison_command
    from app.storage.run_directory import SPEC

    pairs = more_pairs(comparison)
    specs = [side[0].path / SPEC for side in (asked.side("base"), asked.side("candidate")) if side]
    if pairs is None or len(specs) != 2 or not all(spec.is_file() for spec in specs):
        return None
    options = ("--measure", "--pairs", str(pairs))
    return comparison_command(
        str(specs[0]), (str(specs[1]),), asked.tolerance, is_forced=asked.is_forced, options=options
    )


def _read(entry: Entry) -> Entry:
    from app.storage.baselines import read_baseline

    if entry.result is not None or entry.problem is not None:
        return entry
    try:
        return msgspec.structs.replace(entry, result=read_baseline(str(entry.path), ""))
    except SizewiseError as error:
        return msgspec.structs.replace(entry, problem=str(error))


def _results(entries: Sequence[Entry]) -> tuple[Result, ...]:
    return tuple(one.result for one in entries if one.result is not None)


def _missing(asked: Asked) -> str:
    if len(asked.entries) < 2:
        return tr("Add a second run: a comparison takes a baseline and a candidate.")
    if any(one.problem is not None for one in asked.entries):
        return tr("A comparison takes a baseline and a candidate that can be relied on: choose another run.")
    return tr("Say of one run that it is the baseline, and of another that it is the candidate.")
