"""Rows of the list of stored runs, cached in an index.

The module also formats the max rate and the headline of a run, and builds the trend of a profile over its runs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec

from app import __version__
from app.analysis.comparisons.environment_differences import build_comparability_key
from app.analysis.comparisons.series import MetricHistory, build_histories, select_comparable_runs
from app.analysis.local.call_stages import find_throughput_metric
from app.errors import UsageError
from app.records.bundle import Note
from app.records.comparison import MAX_RATE, StageMetric
from app.records.estimate import Estimate, Variant
from app.records.events import RunStarted
from app.records.local import LocalResult
from app.records.metrics import METRICS, format_metric
from app.records.result import Result
from app.reporting.load import build_curve_labels, find_headline_stage
from app.reporting.local import group_headline_stages_by_variant
from app.reporting.local_front import (
    build_throughput_quantity,
    find_fastest_valid_stage,
    format_load,
    get_max_call_rate,
    name_variants,
)
from app.reporting.quantities import build_quantity, build_stage_quantity, find_unit
from app.reporting.verdict import build_verdict
from app.storage.integrity import find_row_damage
from app.storage.labels import read_labels
from app.storage.run_directory import StoredRun, list_stored_runs
from app.storage.run_index import compute_stamp, load_rows, update_rows
from app.storage.trash import list_deleted_runs
from loadgen.decoding import decode_json
from reports import formatting
from reports.model import Quantity


def format_max_rate(result: Result) -> str | None:
    """Format the max rate of a run, such as `238 req/s`, `≥ 238 req/s` for a lower bound, or `2,080
    inferences/s, int8-static, batch 16`; `None` without a max rate or a best variant."""
    max_rate = result.max_rate
    if max_rate is not None and max_rate.per_s.value is not None:
        rate_text = _format_quantity(build_quantity(max_rate.per_s, "sessions/s" if max_rate.sessions else "1/s"))
        return f"≥ {rate_text}" if max_rate.is_lower_bound else rate_text
    local = result.local
    if local is None or local.best is None:
        return None
    stages = group_headline_stages_by_variant(result)[local.best]
    variant_data, fastest_stage = (
        next(variant_data for variant_data in local.variants if variant_data.variant == local.best),
        find_fastest_valid_stage(stages),
    )
    max_call_rate = get_max_call_rate(variant_data, stages)
    if max_call_rate is not None and max_call_rate.value is not None:
        bound_text = "≥ " if variant_data.is_server_rate_lower_bound else ""
        rate_text = f"{bound_text}{formatting.format_value_unit(max_call_rate)}"
    elif fastest_stage is not None:
        rate_text = formatting.format_inference_rate(build_throughput_quantity(fastest_stage))
    else:
        return None
    name = name_variants([variant_data.variant for variant_data in local.variants])[local.best]
    return f"{rate_text}, {name}".replace(formatting.THIN_SPACE, " ")


def format_headline(result: Result) -> str | None:
    """Format the main number of a run, such as `max rate 238 req/s`: the max rate, or else the
    latency percentile that the SLO limits first, or else p95 latency. `None` if nothing was
    measured."""
    max_rate_text = format_max_rate(result)
    if max_rate_text is not None:
        return f"max rate {max_rate_text}" if result.local is None else max_rate_text
    curve = build_curve_labels(result)
    stage = find_headline_stage(result, curve)
    if stage is None:
        return None
    quantity = build_stage_quantity(stage, curve.metric, curve.percentile)
    return f"{formatting.format_metric_label(curve.metric, curve.percentile)} {_format_quantity(quantity)}"


class HeadlineNumber(StageMetric, frozen=True):
    """Main number of a run, which is comparable between runs with the same metric and `stage`. For a
    local model, `stage` is the scenario or test, whatever the best variant is."""

    estimate: Estimate
    is_bound: bool = False
    """True for a max rate above which no rate was shown to miss the SLO."""


def build_headline_number(result: Result) -> HeadlineNumber | None:
    """Return the number that `format_headline` formats; `None` if it has no value."""
    number = _build_number(result)
    return None if number is None or number.estimate.value is None else number


def _build_number(result: Result) -> HeadlineNumber | None:
    max_rate, local = result.max_rate, result.local
    if max_rate is not None and max_rate.per_s.value is not None:
        unit = "sessions/s" if max_rate.sessions else "1/s"
        return HeadlineNumber(MAX_RATE, None, unit, "higher", "search", max_rate.per_s, max_rate.is_lower_bound)
    if local is not None:
        return None if local.best is None else _build_local_number(local.best, local, result)
    curve = build_curve_labels(result)
    stage = find_headline_stage(result, curve)
    if stage is None:
        return None
    estimate = stage.metrics.get(curve.metric, {}).get(curve.percentile)
    if estimate is None:
        return None
    unit, better = find_unit(curve.metric), METRICS[curve.metric].better
    return HeadlineNumber(curve.metric, curve.percentile, unit, better, stage.name, estimate)


def _build_local_number(best: Variant, local: LocalResult, result: Result) -> HeadlineNumber | None:
    stages = group_headline_stages_by_variant(result)[best]
    variant_data = next(variant_data for variant_data in local.variants if variant_data.variant == best)
    if variant_data.server_per_s is not None and variant_data.server_per_s.value is not None:
        is_bound = variant_data.is_server_rate_lower_bound
        return HeadlineNumber(MAX_RATE, None, "calls/s", "higher", "search", variant_data.server_per_s, is_bound)
    fastest_stage = find_fastest_valid_stage(stages)
    if fastest_stage is None:
        return None
    metric = find_throughput_metric(fastest_stage)
    estimate = fastest_stage.metrics[metric]["value"]
    return HeadlineNumber(metric, None, find_unit(metric), "higher", format_load(fastest_stage), estimate)


def _format_quantity(quantity: Quantity) -> str:
    return formatting.format_value_unit(quantity).replace(formatting.THIN_SPACE, " ")


State = Literal["done", "running", "interrupted", "result lost", "not measured", "not read yet"]
_FORMAT_VERSION = f"10 {__version__}"
"""Version of the row format; cached rows of another version are rebuilt."""
UNREADABLE = "unreadable"


class RunRow(msgspec.Struct, frozen=True):
    """A row in the list of runs; unknown fields are `None`. `verdict` is VALID, WARN or INVALID, or
    "unreadable"."""

    run_id: str
    directory: str
    name: str | None = None
    """Name of the profile. Runs of the same profile name form a trend."""
    title: str | None = None
    """Title of the run, set by a user."""
    state: State = "done"
    outcome: str | None = None
    verdict: str | None = None
    max_rate_per_s: float | None = None
    max_rate_text: str | None = None
    headline: str | None = None
    """Main number of the run, such as `max rate 238 req/s` or `p95 latency 41.2 ms`."""
    latency_p95_ms: float | None = None
    """p95 latency of the headline stage, or p95 service time if the scheduled starts are unknown."""
    ttft_p95_ms: float | None = None
    number: HeadlineNumber | None = None
    """Number in `headline`; `None` for a run without one."""
    comparability_key: str | None = None
    """Key that is equal for runs that may be compared without a note."""
    usd_per_month: float | None = None
    """Monthly cost of the recommended fleet of the plan that the run stored."""
    exit_code: int | None = None
    tags: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    started_at: str | None = None
    """Start of the run as wall-clock time with time zone, ISO 8601."""
    duration_s: float | None = None
    protocol: str | None = None
    url: str | None = None
    model: str | None = None
    size_bytes: int = 0
    """Size of the run directory on disk in bytes, including reports."""
    is_imported: bool = False
    """True for an imported run, which is never the last run of its profile."""

    @property
    def label(self) -> str:
        """Display name of the run: the title, or else the profile name, or else the run ID."""
        return self.title or self.name or self.run_id


class DeletedRow(msgspec.Struct, frozen=True):
    """A run in the trash, with the time at which the run was deleted."""

    run: RunRow
    deleted_at: datetime


class Listing(msgspec.Struct, frozen=True):
    """List of stored runs, oldest first. `unread` is the number of rows in the state "not read
    yet"."""

    rows: tuple[RunRow, ...]
    unread: int = 0


def list_runs(*, time_limit_s: float | None = None, now_s: Callable[[], float] = time.monotonic) -> Listing:
    """Return the rows of all stored runs.

    Rows that are missing in the index are built from the run directories for at most `time_limit_s`
    seconds. After that, rows have the state "not read yet".
    """
    runs, cached_rows = list_stored_runs(), load_rows()
    deadline_s = None if time_limit_s is None else now_s() + time_limit_s
    rows, new_rows, unread_count = [], {}, 0
    for run in runs:
        name, stamp = run.directory.name, compute_stamp(run, _FORMAT_VERSION)
        row = _decode_cached_row(cached_rows.get(name), stamp, run.directory)
        if row is None and deadline_s is not None and now_s() >= deadline_s:
            row, unread_count = RunRow(name, str(run.directory), state="not read yet"), unread_count + 1
        elif row is None:
            row = build_row(run)
            if row.state != "running":
                new_rows[name] = (stamp, msgspec.json.encode(row))
        rows.append(row)
    update_rows(new_rows, cached_rows.keys() - {run.directory.name for run in runs})
    return Listing(tuple(rows), unread_count)


def list_deleted_rows() -> tuple[DeletedRow, ...]:
    """Return the rows of the runs in the trash, in the order in which the runs were deleted."""
    return tuple(DeletedRow(build_row(deleted_run.run), deleted_run.deleted_at) for deleted_run in list_deleted_runs())


def build_row(run: StoredRun) -> RunRow:
    """Build the row of a run from its files. The row of a corrupted run, or of a run of a newer
    version, has the verdict "unreadable"."""
    row = RunRow(
        run.directory.name,
        str(run.directory),
        size_bytes=compute_size_bytes(run.directory),
        is_imported=run.is_imported,
    )
    try:
        labels = read_labels(run.directory)
        row = msgspec.structs.replace(row, title=labels.title or None, tags=labels.tags, notes=labels.notes)
        result = run.result
        if result is None:
            return _fill_without_result(run, row)
        row = _fill_from_result(result, row)
        return row if find_row_damage(run.directory) is None else _mark_unreadable(row)
    except UsageError:
        return msgspec.structs.replace(row, verdict=UNREADABLE)


def _mark_unreadable(row: RunRow) -> RunRow:
    """Return a row without the numbers of its run, whose rows are damaged."""
    return msgspec.structs.replace(
        row,
        verdict=UNREADABLE,
        outcome=None,
        headline=None,
        max_rate_per_s=None,
        max_rate_text=None,
        latency_p95_ms=None,
        ttft_p95_ms=None,
        number=None,
        usd_per_month=None,
    )


def compute_size_bytes(directory: Path) -> int:
    size_bytes = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            try:
                size_bytes += (Path(folder) / name).lstat().st_size
            except OSError:  # a temporary file that was renamed in the meantime
                continue
    return size_bytes


def filter_rows(
    rows: Iterable[RunRow], *, words: str = "", tags: Iterable[str] = (), validity: str | None = None
) -> tuple[RunRow, ...]:
    """Return the rows that contain all of `words`, have all of `tags`, and have the given
    validity."""
    search_words, required_tags = words.casefold().split(), set(tags)
    return tuple(
        row
        for row in rows
        if required_tags <= set(row.tags) and validity in (None, row.verdict) and _contains_words(row, search_words)
    )


def build_search_text(row: RunRow) -> str:
    """Return all text of a row in lower case, for searches."""
    run_texts = (row.run_id, row.name, row.title, row.outcome, row.verdict or row.state)
    target_texts = (*run_texts, row.max_rate_text, row.url, row.model, row.protocol)
    note_texts = (note.text for note in row.notes)
    return " ".join(text for text in (*target_texts, *row.tags, *note_texts) if text).casefold()


def _contains_words(row: RunRow, search_words: list[str]) -> bool:
    if not search_words:
        return True
    text = build_search_text(row)
    return all(word in text for word in search_words)


def _decode_cached_row(cached_row: tuple[str, bytes] | None, stamp: str, directory: Path) -> RunRow | None:
    """Decode a cached row with the current directory of its run, since the runs folder may have
    been moved. Return `None` if the cached row is missing or has another stamp."""
    if cached_row is None or cached_row[0] != stamp:
        return None
    try:
        row = decode_json(cached_row[1], RunRow)
    except msgspec.DecodeError:
        return None
    return row if row.directory == str(directory) else msgspec.structs.replace(row, directory=str(directory))


def _fill_from_result(result: Result, row: RunRow) -> RunRow:
    stage = find_headline_stage(result, build_curve_labels(result))
    p95_ms = {
        metric: None if stage is None else build_stage_quantity(stage, metric, "p95").value
        for metric in ("latency_ms", "service_ms", "ttft_ms")
    }
    recommendation = None if result.plan is None else result.plan.recommendation
    return msgspec.structs.replace(
        row,
        run_id=result.run_id,
        name=result.name,
        outcome=build_verdict(result).outcome,
        verdict=result.verdict.status,
        max_rate_per_s=result.max_rate.per_s.value if result.max_rate else None,
        max_rate_text=format_max_rate(result),
        headline=format_headline(result),
        latency_p95_ms=p95_ms["service_ms"] if p95_ms["latency_ms"] is None else p95_ms["latency_ms"],
        ttft_p95_ms=p95_ms["ttft_ms"],
        number=build_headline_number(result),
        comparability_key=build_comparability_key(result),
        usd_per_month=None if recommendation is None else recommendation.fleet.usd_per_month.value,
        exit_code=result.exit.code,
        started_at=result.clock.wall_start,
        duration_s=result.clock.duration_s,
        protocol=result.target.protocol,
        url=", ".join(result.target.urls) or None,
        model=result.target.model,
    )


def _fill_without_result(run: StoredRun, row: RunRow) -> RunRow:
    started_event = next((event for event in run.events() if isinstance(event, RunStarted)), None)
    row = msgspec.structs.replace(
        row,
        name=None if started_event is None else started_event.name,
        started_at=run.started_at,
    )
    if run.is_running:
        return msgspec.structs.replace(row, state="running")
    finished_event = run.finished_event
    state: State = "interrupted"
    if finished_event is not None:
        state = "result lost" if run.has_lost_result else "not measured"
    return msgspec.structs.replace(
        row, state=state, exit_code=None if finished_event is None else finished_event.exit_code
    )


class Trend(msgspec.Struct, frozen=True):
    """Runs that are comparable with the latest run, in chronological order.

    `excluded_count` is the number of runs that are INVALID, or that ran on another machine or with
    another workload.
    """

    name: str
    runs: tuple[Result, ...]
    excluded_count: int
    series: tuple[MetricHistory, ...]


def build_trend(name: str | None) -> Trend:
    """Build the trend of the profile `name`, by default of the profile of the latest run that was
    not imported. Raises UsageError if the profile has no run."""
    rows = _list_profile_rows(name)
    results = [_load_result(row.directory) for row in rows]
    runs = select_comparable_runs(results, {row.run_id for row in rows if row.is_imported})
    return Trend(results[-1].name, runs, len(results) - len(runs), build_histories(runs))


def format_change(history: MetricHistory, index: int) -> str:
    """Format a change of a metric as text, such as "+12 % since 20260102-120000-scores-1f2a
    (worse)"."""
    change = history.changes[index]
    is_better = (change.ratio < 1) == (history.better == "lower")
    run_id = history.run_ids[change.index]
    return f"{100 * (change.ratio - 1):+.0f} % since {run_id} ({'better' if is_better else 'worse'})"


def format_metric_name(history: MetricHistory) -> str:
    """Return the identifier of a metric and its aggregate, such as "latency_ms.p95"."""
    return format_metric(history.metric, history.aggregate)


def _list_profile_rows(name: str | None) -> list[RunRow]:
    """Return the rows of a profile in chronological order, without runs that have no readable
    result. Raises UsageError if no row remains."""
    rows = sorted(
        (row for row in list_runs().rows if row.verdict not in (None, UNREADABLE)),
        key=lambda row: row.started_at or "",
    )
    last_row = next((row for row in reversed(rows) if not row.is_imported), rows[-1] if rows else None)
    profile_name = name or (None if last_row is None else last_row.name)
    profile_rows = [row for row in rows if row.name == profile_name]
    if not profile_rows:
        names_text = ", ".join(sorted({row.name or "" for row in rows}))
        raise UsageError(
            f"no run of {profile_name} was found" if profile_name else "there are no runs yet",
            hint=f"Use one of these profiles, which have runs: {names_text}."
            if names_text
            else "Run `sizewise quickstart` to create the first one.",
        )
    return profile_rows


def _load_result(directory: str) -> Result:
    run = StoredRun(Path(directory))
    return run.result or run.complete_result
