"""The stored runs as rows of a list, read once and kept in the index.

What a run found that its target carries, in a few words.

The stored runs of one profile over time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from app import __version__
from app.analysis.comparisons.series import MetricHistory, comparable_runs, series_of
from app.errors import UsageError
from app.records.bundle import Note
from app.records.events import RunStarted
from app.records.metrics import format_metric
from app.records.result import Result
from app.reporting.local import answering_by_variant
from app.reporting.local_front import arrivals_of, fastest_stage, names_of
from app.reporting.quantities import quantity, stage_quantity
from app.reporting.verdict import verdict_of
from app.storage.labels import read_labels
from app.storage.run_directory import StoredRun, stored_runs
from app.storage.run_index import keep_rows, known_rows, stamp_of
from app.storage.trash import deleted_runs
from loadgen.decoding import decode_json
from reports import formatting
from reports.model import Quantity


def carried_words(result: Result) -> str | None:
    """As in `238/s`, or of a local model `2,080/s, int8-static, batch 16`; None where nothing was found."""
    found = result.max_rate
    if found is not None and found.per_s.value is not None:
        return _shown(quantity(found.per_s, "sessions/s" if found.sessions else "1/s"))
    local = result.local
    if local is None or local.best is None:
        return None
    stages = answering_by_variant(result)[local.best]
    facts, fastest = next(one for one in local.variants if one.variant == local.best), fastest_stage(stages)
    arrivals = arrivals_of(facts, stages)
    if arrivals is not None and arrivals.value is not None:
        most = arrivals
    elif fastest is not None:
        most = stage_quantity(fastest, "throughput_per_s")
    else:
        return None
    return f"{_shown(most)}, {names_of([one.variant for one in local.variants])[local.best]}"


def _shown(one: Quantity) -> str:
    return formatting.value_unit(one).replace(formatting.THIN, " ")


State = Literal["done", "running", "cut short", "not measured", "not read yet"]
_VERSION = f"2 {__version__}"
"""Of how a row is made: one made otherwise is made again."""
UNREADABLE = "unreadable"


class RunRow(msgspec.Struct, frozen=True):
    """One run in a list; what it does not tell is None. `verdict` is VALID, WARN or INVALID, or "unreadable"."""

    run_id: str
    directory: str
    name: str | None = None
    """The profile's, by which it belongs to a series."""
    title: str | None = None
    """What people call it."""
    state: State = "done"
    outcome: str | None = None
    verdict: str | None = None
    max_rate_per_s: float | None = None
    carries: str | None = None
    exit_code: int | None = None
    tags: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    started_at: str | None = None
    """Wall time with zone, ISO 8601."""
    duration_s: float | None = None
    protocol: str | None = None
    url: str | None = None
    model: str | None = None
    size_bytes: int = 0
    """On the disk, with its reports."""

    @property
    def called(self) -> str:
        """By which a list tells it from others."""
        return self.title or self.name or self.run_id


class DeletedRow(msgspec.Struct, frozen=True):
    """One run of the trash."""

    run: RunRow
    deleted_at: datetime


class Listing(msgspec.Struct, frozen=True):
    """The oldest first. `unread` are among the rows, and are "not read yet"."""

    rows: tuple[RunRow, ...]
    unread: int = 0


def run_rows(*, within_s: float | None = None, now_s: Callable[[], float] = time.monotonic) -> Listing:
    """Of all stored runs; those that the index does not know are read until the time is over."""
    runs, known = stored_runs(), known_rows()
    deadline_s = None if within_s is None else now_s() + within_s
    rows, fresh, unread = [], {}, 0
    for run in runs:
        name, stamp = run.directory.name, stamp_of(run, _VERSION)
        row = _kept(known.get(name), stamp, run.directory)
        if row is None and deadline_s is not None and now_s() >= deadline_s:
            row, unread = RunRow(name, str(run.directory), state="not read yet"), unread + 1
        elif row is None:
            row = row_of(run)
            if row.state != "running":
                fresh[name] = (stamp, msgspec.json.encode(row))
        rows.append(row)
    keep_rows(fresh, known.keys() - {run.directory.name for run in runs})
    return Listing(tuple(rows), unread)


def deleted_rows() -> tuple[DeletedRow, ...]:
    """Of the trash, the first deleted first."""
    return tuple(DeletedRow(row_of(one.run), one.deleted_at) for one in deleted_runs())


def row_of(run: StoredRun) -> RunRow:
    """Read from its facts. One damaged run, or one of a newer version, hides no other: it is unreadable."""
    row = RunRow(run.directory.name, str(run.directory), size_bytes=size_of(run.directory))
    try:
        labels = read_labels(run.directory)
        row = msgspec.structs.replace(row, title=labels.title or None, tags=labels.tags, notes=labels.notes)
        result = run.result
        return _without_result(run, row) if result is None else _measured(result, row)
    except UsageError:
        return msgspec.structs.replace(row, verdict=UNREADABLE)


def size_of(directory: Path) -> int:
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            try:
                total += (Path(folder) / name).lstat().st_size
            except OSError:  # a draft that was renamed meanwhile
                continue
    return total


def matching(
    rows: Iterable[RunRow], *, words: str = "", tags: Iterable[str] = (), trust: str | None = None
) -> tuple[RunRow, ...]:
    """Those that hold every word somewhere, have every tag, and are as much to be trusted as `trust` says."""
    asked, wanted = words.casefold().split(), set(tags)
    return tuple(row for row in rows if wanted <= set(row.tags) and trust in (None, row.verdict) and _holds(row, asked))


def searched_text(row: RunRow) -> str:
    """What words are looked for in."""
    of_run = (row.run_id, row.name, row.title, row.outcome, row.verdict or row.state)
    told = (*of_run, row.carries, row.url, row.model, row.protocol)
    notes = (note.text for note in row.notes)
    return " ".join(one for one in (*told, *row.tags, *notes) if one).casefold()


def _holds(row: RunRow, asked: list[str]) -> bool:
    if not asked:
        return True
    text = searched_text(row)
    return all(word in text for word in asked)


def _kept(known: tuple[str, bytes] | None, stamp: str, directory: Path) -> RunRow | None:
    """None where the index has none of this stamp. The runs' home may have moved since."""
    if known is None or known[0] != stamp:
        return None
    try:
        row = decode_json(known[1], RunRow)
    except msgspec.DecodeError:
        return None
    return row if row.directory == str(directory) else msgspec.structs.replace(row, directory=str(directory))


def _measured(result: Result, row: RunRow) -> RunRow:
    return msgspec.structs.replace(
        row,
        run_id=result.run_id,
        name=result.name,
        outcome=verdict_of(result).outcome,
        verdict=result.verdict.status,
        max_rate_per_s=result.max_rate.per_s.value if result.max_rate else None,
        carries=carried_words(result),
        exit_code=result.exit.code,
        started_at=result.clock.wall_start,
        duration_s=result.clock.duration_s,
        protocol=result.target.protocol,
        url=", ".join(result.target.urls) or None,
        model=result.target.model,
    )


def _without_result(run: StoredRun, row: RunRow) -> RunRow:
    started = next((event for event in run.events() if isinstance(event, RunStarted)), None)
    row = msgspec.structs.replace(
        row, name=None if started is None else started.name, started_at=_moment_of(run.directory.name)
    )
    if run.is_running:
        return msgspec.structs.replace(row, state="running")
    finished = run.finished
    state: State = "cut short" if finished is None else "not measured"
    return msgspec.structs.replace(row, state=state, exit_code=None if finished is None else finished.exit_code)


def _moment_of(name: str) -> str | None:
    """That a run's directory is named by."""
    try:
        return datetime.strptime(name[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC).isoformat()
    except ValueError:
        return None


class Trend(msgspec.Struct, frozen=True):
    """Of the runs that may be compared with the last one, by time; `left_out` are INVALID, or of another machine or
    workload."""

    name: str
    runs: tuple[Result, ...]
    left_out: int
    series: tuple[MetricHistory, ...]


def trend_of(name: str | None) -> Trend:
    """Of the profile of that name, else of the last run's. Raises UsageError where there is no run of it."""
    named = _runs_of(name)
    runs = comparable_runs(named)
    return Trend(named[-1].name, runs, len(named) - len(runs), series_of(runs))


def change_words(series: MetricHistory, place: int) -> str:
    """As in "+12 % since 20260102-120000-scores-1f2a (worse)"."""
    change = series.changes[place]
    is_better = (change.ratio < 1) == (series.better == "lower")
    return (
        f"{100 * (change.ratio - 1):+.0f} % since {series.run_ids[change.place]} ({'better' if is_better else 'worse'})"
    )


def metric_name(series: MetricHistory) -> str:
    """As in "latency_ms.p95"."""
    return format_metric(series.metric, series.aggregate)


def _runs_of(name: str | None) -> list[Result]:
    """By time. Raises UsageError where there are none. A run without a result that can be read hides no other."""
    rows = sorted(
        (row for row in run_rows().rows if row.verdict not in (None, UNREADABLE)),
        key=lambda row: row.started_at or "",
    )
    wanted = name or (rows[-1].name if rows else None)
    found = [_result(row.directory) for row in rows if row.name == wanted]
    if not found:
        names = ", ".join(sorted({row.name or "" for row in rows}))
        raise UsageError(
            f"there is no run of {wanted}" if wanted else "there is no run yet",
            hint=f"There are runs of {names}." if names else "`sizewise quickstart` makes the first.",
        )
    return found


def _result(directory: str) -> Result:
    run = StoredRun(Path(directory))
    return run.result or run.measured
