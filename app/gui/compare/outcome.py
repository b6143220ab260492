"""Outcome of a comparison of the selected runs, computed with the same functions as
`sizewise compare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from app.errors import InvalidRunError, SizewiseError
from app.gui.compare.entries import MAX_RUNS, ComparisonEntry, ComparisonRequest, format_run_label
from app.gui.compare.pairs_suggestion import PairsSuggestion, suggest_pairs
from app.records.comparison import Comparison
from app.records.result import Result
from reports.comparison_section import ComparisonSection
from reports.model import DistributionMetric, PercentileCurve


class Outcome(msgspec.Struct, frozen=True):
    """Outcome of a comparison. `request` contains the runs with their results. If no comparison is
    possible, `missing_input` is the message that says what to select."""

    request: ComparisonRequest
    comparison: Comparison | None = None
    section: ComparisonSection | None = None
    stages: tuple[str, ...] = ()
    """Names of the stages that all compared runs have."""
    missing_input: str | None = None
    suggestion: PairsSuggestion | None = None
    """Suggested A/B pairs, or None if no headline metric is inconclusive."""

    @property
    def blocking_differences(self) -> tuple[str, ...]:
        return (
            ()
            if self.comparison is None
            else tuple(difference.name for difference in self.comparison.differences if difference.forbids)
        )


class RunSpectra(msgspec.Struct, frozen=True):
    """Latency distributions of one run in one stage, one for each latency metric. `spectra` is
    empty if the run has no responses in the stage."""

    label: str
    spectra: tuple[PercentileCurve, ...]

    def find_spectrum(self, metric: DistributionMetric) -> PercentileCurve | None:
        return next((spectrum for spectrum in self.spectra if spectrum.metric == metric), None)


def compute_outcome(request: ComparisonRequest) -> Outcome:
    """Read the runs and compare them. This function can be called from any thread; reading the
    results takes most of the time."""
    from app.analysis.comparisons.comparison import compare_runs
    from app.reporting.comparison import build_comparison_section

    entries = tuple(_read_entry(entry) for entry in request.entries)
    request = msgspec.structs.replace(request, entries=entries)
    baseline, candidate = (
        _list_results(request.list_side_entries("baseline")),
        _list_results(request.list_side_entries("candidate")),
    )
    stages = tuple(_match_stage_names(entries))
    if not baseline or not candidate:
        return Outcome(request, stages=stages, missing_input=_format_missing_input(request))
    comparison = compare_runs(baseline, candidate, tolerance=request.tolerance, is_forced=request.is_forced)
    return Outcome(
        request, comparison, build_comparison_section(comparison), stages, suggestion=suggest_pairs(comparison, entries)
    )


def read_spectra(entries: Sequence[ComparisonEntry], stage: str) -> tuple[RunSpectra, ...]:
    """Read the latency distributions of the plotted runs for one stage. Can be called from any
    thread."""
    from app.reporting.rows import build_stage_distributions
    from app.storage.run_directory import StoredRun

    names_by_path = _match_stage_names(entries).get(stage, {})
    return tuple(
        RunSpectra(
            format_run_label(index, entry),
            ()
            if entry.result is None or entry.path not in names_by_path
            else build_stage_distributions(StoredRun(entry.path), entry.result, names_by_path[entry.path]),
        )
        for index, entry in select_drawn_entries(entries)
    )


def select_drawn_entries(entries: Sequence[ComparisonEntry]) -> list[tuple[int, ComparisonEntry]]:
    """Return the runs to draw, each with its position in the comparison. If there are more than
    `MAX_RUNS`, only the first runs of each side are returned, because more curves could not be
    distinguished."""
    indexed_entries = list(enumerate(entries))
    if len(indexed_entries) <= MAX_RUNS:
        return indexed_entries
    baseline = [indexed_entry for indexed_entry in indexed_entries if indexed_entry[1].side == "baseline"]
    non_baseline = [indexed_entry for indexed_entry in indexed_entries if indexed_entry[1].side != "baseline"]
    baseline = baseline[: max(MAX_RUNS // 2, MAX_RUNS - len(non_baseline))]
    return sorted((*baseline, *non_baseline[: MAX_RUNS - len(baseline)]))


def _match_stage_names(entries: Sequence[ComparisonEntry]) -> dict[str, dict[Path, str]]:
    """Return the stages that all runs have, by the name that the comparison gives them, with the
    name in each run. Variants of local models correspond even if each run has another model."""
    from app.analysis.comparisons.metric_pairs import match_stages
    from app.reporting.rows import list_comparable_stages

    results = {entry.path: entry.result for entry in entries if entry.result is not None}
    if not results:
        return {}
    if all(result.local is not None for result in results.values()):
        names_by_stage = match_stages(tuple(results.values()))
        return {stage: dict(zip(results, names, strict=True)) for stage, names in names_by_stage.items()}
    first_names, *other_names = (list_comparable_stages(result) for result in results.values())
    return {name: dict.fromkeys(results, name) for name in first_names if all(name in names for names in other_names)}


def _read_entry(entry: ComparisonEntry) -> ComparisonEntry:
    from app.storage.baselines import read_baseline

    entry = msgspec.structs.replace(entry, title=_read_title(entry.path))
    if entry.result is not None or entry.problem is not None:
        return entry
    try:
        return msgspec.structs.replace(entry, result=read_baseline(str(entry.path), ""))
    except SizewiseError as error:
        return msgspec.structs.replace(entry, problem=str(error), is_invalid=isinstance(error, InvalidRunError))


def _read_title(path: Path) -> str:
    from app.storage.labels import read_labels

    try:
        return read_labels(path).title if path.is_dir() else ""
    except SizewiseError:  # a corrupted labels file does not prevent a comparison
        return ""


def _list_results(entries: Sequence[ComparisonEntry]) -> tuple[Result, ...]:
    return tuple(entry.result for entry in entries if entry.result is not None)


def _format_missing_input(request: ComparisonRequest) -> str:
    if len(request.entries) < 2:
        return "Add a second run. A comparison needs a baseline and a candidate."
    if any(entry.problem is not None for entry in request.entries):
        return "One of the runs cannot be compared. Select another run."
    return "Select a baseline and a candidate."
