"""What a comparison of chosen runs comes to: by the same functions as `sizewise compare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from app.errors import InvalidRunError, SizewiseError
from app.gui.compare.entries import MOST_RUNS, Asked, Entry, label_of
from app.gui.compare.pairs_offer import PairsOffer, offer_of
from app.records.comparison import Comparison
from app.records.result import Result
from reports.comparison_section import ComparisonSection
from reports.model import Spectrum, SpectrumMetric


class Outcome(msgspec.Struct, frozen=True):
    """`entries` with what was read of them. Without a comparison, `missing` says what it takes."""

    asked: Asked
    comparison: Comparison | None = None
    section: ComparisonSection | None = None
    stages: tuple[str, ...] = ()
    """That every read run has."""
    missing: str | None = None
    offer: PairsOffer | None = None
    """None where nothing that counts is open."""

    @property
    def forbidding(self) -> tuple[str, ...]:
        return () if self.comparison is None else tuple(one.name for one in self.comparison.differences if one.forbids)


class Curve(msgspec.Struct, frozen=True):
    """One run's answers in a stage, by each time that is known of them; empty where it has none there."""

    label: str
    spectra: tuple[Spectrum, ...]

    def of(self, metric: SpectrumMetric) -> Spectrum | None:
        return next((one for one in self.spectra if one.metric == metric), None)


def compared(asked: Asked) -> Outcome:
    """In any thread; takes as long as reading the results does."""
    from app.analysis.comparisons.comparison import compare_runs
    from app.reporting.comparison import comparison_section
    from app.reporting.rows import compared_stages

    entries = tuple(_read(one) for one in asked.entries)
    asked = msgspec.structs.replace(asked, entries=entries)
    base, candidate = _results(asked.side("base")), _results(asked.side("candidate"))
    named = [compared_stages(one.result) for one in entries if one.result is not None]
    stages = tuple(name for name in named[0] if all(name in other for other in named)) if named else ()
    if not base or not candidate:
        return Outcome(asked, stages=stages, missing=_missing(asked))
    comparison = compare_runs(base, candidate, tolerance=asked.tolerance, is_forced=asked.is_forced)
    return Outcome(asked, comparison, comparison_section(comparison), stages, offer=offer_of(comparison, entries))


def curves_of(entries: Sequence[Entry], stage: str) -> tuple[Curve, ...]:
    """In any thread."""
    from app.reporting.rows import stage_times
    from app.storage.run_directory import StoredRun

    return tuple(
        Curve(label_of(place, one), () if one.result is None else stage_times(StoredRun(one.path), one.result, stage))
        for place, one in drawn_of(entries)
    )


def drawn_of(entries: Sequence[Entry]) -> list[tuple[int, Entry]]:
    """With their places: all of them, or of more than can be told apart the first ones of each side."""
    placed = list(enumerate(entries))
    if len(placed) <= MOST_RUNS:
        return placed
    base = [one for one in placed if one[1].side == "base"]
    others = [one for one in placed if one[1].side != "base"]
    base = base[: max(MOST_RUNS // 2, MOST_RUNS - len(others))]
    return sorted((*base, *others[: MOST_RUNS - len(base)]))


def _read(entry: Entry) -> Entry:
    from app.storage.baselines import read_baseline

    entry = msgspec.structs.replace(entry, title=_title(entry.path))
    if entry.result is not None or entry.problem is not None:
        return entry
    try:
        return msgspec.structs.replace(entry, result=read_baseline(str(entry.path), ""))
    except SizewiseError as error:
        return msgspec.structs.replace(entry, problem=str(error), is_invalid=isinstance(error, InvalidRunError))


def _title(path: Path) -> str:
    from app.storage.labels import read_labels

    try:
        return read_labels(path).title if path.is_dir() else ""
    except SizewiseError:  # a damaged word of somebody's is no reason not to compare
        return ""


def _results(entries: Sequence[Entry]) -> tuple[Result, ...]:
    return tuple(one.result for one in entries if one.result is not None)


def _missing(asked: Asked) -> str:
    if len(asked.entries) < 2:
        return "Add a second run: a comparison takes a baseline and a candidate."
    if any(one.problem is not None for one in asked.entries):
        return "A comparison takes a baseline and a candidate that can be relied on: choose another run."
    return "Say of one run that it is the baseline, and of another that it is the candidate."
