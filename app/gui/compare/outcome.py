"""Outcome of a comparison of the selected runs, computed with the same functions as
`sizewise compare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from app.errors import InvalidRunError, SizewiseError
from app.gui.compare.entries import MAX_RUNS, ComparisonEntry, ComparisonRequest, format_run_label
from app.gui.compare.pairs_suggestion import PairsSuggestion, suggest_pairs
from app.records.comparison import Comparison
from app.records.metrics import METRICS, display_unit, metric_label
from app.records.result import Result, Stage
from app.records.stage_kinds import STAGE_KINDS
from reports.model import DistributionMetric, PercentileCurve
from reports.sections.comparison import ComparisonSection
from reports.sections.figure import FigureAxis, FigureLine, LineFigure

if TYPE_CHECKING:
    from app.analysis.comparisons.metric_pairs import UnpairedMetric


class Outcome(msgspec.Struct, frozen=True):
    """Outcome of a comparison. `request` contains the runs with their results. If no comparison is
    possible, `missing_input` is the message that says what to select."""

    request: ComparisonRequest
    comparison: Comparison | None = None
    section: ComparisonSection | None = None
    stages: tuple[str, ...] = ()
    """Names of the stages that all compared runs have."""
    missing_input: str | None = None
    unpaired: tuple[UnpairedMetric, ...] = ()
    """Metrics that only one side has; empty if the runs may not be compared."""
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
    index: int = 0
    """Position of the run in the comparison, which determines its color."""

    def find_spectrum(self, metric: DistributionMetric) -> PercentileCurve | None:
        return next((spectrum for spectrum in self.spectra if spectrum.metric == metric), None)


def compute_outcome(request: ComparisonRequest) -> Outcome:
    """Read the runs and compare them. This function can be called from any thread; reading the
    results takes most of the time."""
    from app.analysis.comparisons.comparison import compare_runs
    from app.analysis.comparisons.metric_pairs import list_unpaired_metrics
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
    is_refused = not comparison.is_forced and any(difference.forbids for difference in comparison.differences)
    return Outcome(
        request,
        comparison,
        build_comparison_section(comparison),
        stages,
        unpaired=() if is_refused else list_unpaired_metrics(baseline, candidate),
        suggestion=suggest_pairs(comparison, entries),
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
            index,
        )
        for index, entry in select_drawn_entries(entries)
    )


OverlayView = Literal["distribution", "load", "time"]


_LOAD_METRICS = (
    ("latency_ms", "p95"), ("latency_ms", "p50"), ("latency_ms", "p99"), ("ttft_ms", "p95"), ("tpot_ms", "p95"),
    ("service_ms", "p95"), ("completed_per_s", "value"), ("output_tokens_per_s", "value"),
)  # fmt: skip
_TIME_METRICS = (
    ("p95_ms", "p95 latency", "ms"), ("p50_ms", "p50 latency", "ms"), ("ttft_p95_ms", "p95 TTFT", "ms"),
    ("completed_per_s", "completed requests", "req/s"), ("offered_per_s", "offered requests", "req/s"),
)  # fmt: skip


def build_load_overlays(entries: Sequence[ComparisonEntry]) -> dict[str, LineFigure]:
    """Return the figure of each metric by the rates or, if all runs have them, by the numbers of clients. Where one
    run has rates and another clients, the x axis is the throughput of both. INVALID stages are left
    out."""
    drawn = [(index, entry) for index, entry in select_drawn_entries(entries) if entry.result is not None]
    stages_by_index = {index: _list_load_stages(entry.result) for index, entry in drawn if entry.result is not None}
    all_stages = [stage for stages in stages_by_index.values() for stage in stages]
    if all_stages and all(stage.concurrency for stage in all_stages):
        x_label, x_unit, kind = "Clients", "", "clients"
    elif all(stage.scheduled_per_s is not None for stage in all_stages):
        unit = "sessions/s" if any(stage.sessions for stage in all_stages) else "req/s"
        x_label, x_unit, kind = "Rate", unit, "rate"
    else:
        x_label, x_unit, kind = "Throughput", "req/s", "throughput"
    figures = {}
    for metric, aggregate in _LOAD_METRICS:
        lines = []
        for index, entry in drawn:
            points = sorted(
                (load, value)
                for stage in stages_by_index[index]
                if (load := _read_load(stage, kind)) is not None
                if (value := _read_value(stage, metric, aggregate)) is not None
            )
            if points:
                lines.append(_build_line(index, format_run_label(index, entry), points))
        if lines:
            name = metric_label(metric, None if aggregate == "value" else aggregate)
            figures[f"{metric}.{aggregate}"] = LineFigure(
                title=f"{name} over load",
                x=FigureAxis(x_label, x_unit),
                y=FigureAxis(name, display_unit(METRICS[metric].unit)),
                lines=tuple(lines),
            )
    return figures


def _build_line(index: int, label: str, points: Sequence[tuple[float, float]]) -> FigureLine:
    """Build the line of one run, whose position in the comparison determines its color."""
    x, y = zip(*points, strict=True)
    return FigureLine(f"run-{index}", label, x, y, style_index=index)


def _list_load_stages(result: Result) -> list[Stage]:
    return [
        stage
        for stage in result.stages
        if stage.variant is None and STAGE_KINDS[stage.kind].is_measured and not stage.is_pooled
        if stage.verdict.status != "INVALID"
    ]


def _read_load(stage: Stage, kind: str) -> float | None:
    if kind == "clients":
        return None if stage.concurrency is None else float(stage.concurrency)
    if kind == "rate":
        return stage.scheduled_per_s
    completed_per_s = _read_value(stage, "completed_per_s", "value")
    return stage.achieved_per_s.value if completed_per_s is None else completed_per_s


def _read_value(stage: Stage, metric: str, aggregate: str) -> float | None:
    estimate = stage.metrics.get(metric, {}).get(aggregate)
    return None if estimate is None else estimate.value


def read_time_overlays(entries: Sequence[ComparisonEntry]) -> dict[str, LineFigure]:
    """Read rates and latencies of the drawn runs over the time since their load started, a figure for each
    metric. Can be called from any thread."""
    from app.reporting.load import choose_latency_metric
    from app.reporting.rows import UNUSED_COLUMNS, build_load_series, read_request_times
    from app.storage.run_directory import StoredRun

    drawn, notes = [], []
    for index, entry in select_drawn_entries(entries):
        if entry.result is None:
            continue
        series = None
        if entry.path.is_dir():
            request_times = read_request_times(StoredRun(entry.path).requests(UNUSED_COLUMNS), entry.result)
            series = build_load_series(request_times, choose_latency_metric(entry.result))
        label = format_run_label(index, entry)
        if series is None:
            notes.append(f"{label} has no stored requests.")
        else:
            drawn.append((index, label, series))
    figures = {}
    for name, y_label, unit in _TIME_METRICS:
        lines = []
        for index, label, series in drawn:
            values: Sequence[float | None] = getattr(series, name)
            points = [(at_s, value) for at_s, value in zip(series.at_s, values, strict=False) if value is not None]
            if points:
                lines.append(_build_line(index, label, points))
        if lines:
            figures[name] = LineFigure(
                title=f"{y_label} over time",
                x=FigureAxis("Time", "s"),
                y=FigureAxis(y_label, unit),
                lines=tuple(lines),
                note=" ".join(notes),
            )
    return figures


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
