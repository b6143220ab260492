"""Stored run whose data is in memory, so that the run can be re-evaluated with another SLO or time
range."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa

from app.analysis.local.variants import reevaluate_variants
from app.analysis.objectives import parse_objective
from app.analysis.reevaluation import RunData, reevaluate_run
from app.analysis.rows import StageRows, join_rows, read_rows
from app.analysis.stages import name_classes
from app.errors import DamagedFileError, ProfileError, UsageError
from app.profiles.classes import parse_slo
from app.profiles.document import read_document
from app.records.events import CallsFinished, Event, NoteAdded, PhaseChanged, RunFinished, RunStarted, StageFinished
from app.records.result import Objective, Result, Stage, Window
from app.records.stage import StageData
from app.records.stage_kinds import STAGE_KINDS
from app.reporting.recovery import RecoveredData, mark_damaged, recover_result
from app.reporting.report import build_report
from app.reporting.stored import COMMAND
from app.storage.integrity import Damage, build_damaged_error
from app.storage.labels import read_labels
from app.storage.names import ENVIRONMENT, EVENTS, REQUESTS, RESULT, SPEC, TELEMETRY
from app.storage.run_directory import StoredRun
from reports.model import Report

_SKIPPED_COLUMNS = ("reused", "worker")
_LOCAL_WINDOW_PROBLEM = "a time range cannot be evaluated in a local run, because its numbers cover whole scenarios"


@dataclass(frozen=True)
class OpenedRun:
    """A stored run whose data is in memory. `table` contains the rows of all requests, in stored
    order. `recovery` is `None` unless the run was interrupted or lost its result."""

    directory: Path
    data: RunData
    table: pa.Table
    spec_text: str
    result_text: str
    recovery: RecoveredData | None = None
    damage: tuple[Damage, ...] = ()
    """Files that have changed since the run ended. Only the undamaged data is used in the
    result."""
    unverified_files: tuple[str, ...] = ()
    """Names of the files in the run directory that have no checksum."""
    notes: tuple[tuple[float, str], ...] = ()
    """Notes written during the run. Each note is a pair of the time, in seconds from the start of
    the run, and the text."""

    @cached_property
    def result(self) -> Result:
        """Result of the run. If files are damaged, the result is INVALID."""
        return mark_damaged(self.data.result, self.damage) if self.damage else self.data.result

    @cached_property
    def rows(self) -> StageRows | None:
        """Rows of all stages, ordered by scheduled start and without the chunks of streams; `None`
        without requests."""
        finished_rows = [_drop_chunks(stage_rows) for stage_rows in self.data.rows if stage_rows.scheduled_ns.size]
        unfinished_rows = self._unfinished_rows
        return join_rows([*finished_rows, *unfinished_rows]) if finished_rows or unfinished_rows else None

    @property
    def _unfinished_rows(self) -> list[StageRows]:
        """Rows of the stage in which the run was interrupted. There are no metrics of that stage,
        but charts show its rows."""
        if self.table.num_rows == sum(rows.scheduled_ns.size for rows in self.data.rows):
            return []
        stage_indices = pa.array([stage_data.index for stage_data in self.data.stage_data], pa.int32())
        unfinished_table = self.table.filter(
            pa.compute.invert(pa.compute.is_in(self.table["stage"], value_set=stage_indices))
        )
        return [_drop_chunks(read_rows(unfinished_table))]

    def _require_classes(self, objectives: Sequence[Objective]) -> None:
        """Raise UsageError if an objective names a class of requests that the run does not have."""
        names = dict.fromkeys(summary.name for stage in self.data.result.stages for summary in stage.classes)
        for objective in objectives:
            if objective.request_class is not None and objective.request_class not in names:
                hint = f"Use one of these classes: {', '.join(names)}." if names else "Remove the class."
                raise UsageError(f"the run has no class {objective.request_class!r}", hint=hint)

    def reevaluate(self, slo: Sequence[str] | None = None, window_s: tuple[float, float] | None = None) -> Result:
        """Re-evaluate the run with another SLO, or with only the requests whose scheduled start is
        in a time range. The time range is in seconds from the start of the run.

        Without `slo` and `window_s`, the SLO of the run and all of its requests are used. Raises
        UsageError if an objective or the time range is invalid, or if a time range is set for a
        local run.
        """
        objectives = None if slo is None else tuple(map(parse_objective, slo))
        self._require_classes(objectives or ())
        if self.damage and objectives is None and window_s is None:
            return self.result
        if self.result.local is not None:
            if window_s is not None:
                raise UsageError(_LOCAL_WINDOW_PROBLEM, hint="Omit --from and --to.")
            return self.result if objectives is None else reevaluate_variants(self.result, objectives)
        self._check_events()
        data = self._select_complete_data() if self.damage else self.data
        if window_s is not None:
            self._check_window(window_s)
        return reevaluate_run(data, objectives, window_s)

    def _select_complete_data(self) -> RunData:
        """Return the run data without stages whose rows are incomplete. Raises DamagedFileError
        if only warm-ups are complete."""
        complete_mask = [
            rows.scheduled_ns.size >= _count_min_rows(stage)
            for stage, rows in zip(self._stages, self.data.rows, strict=True)
        ]
        if all(not STAGE_KINDS[stage.kind].is_measured for stage in itertools.compress(self._stages, complete_mask)):
            files_text = "; ".join(damaged_file.text for damaged_file in self.damage)
            raise DamagedFileError(
                f"{self.directory} is DAMAGED: {files_text}. "
                "Only warm-up stages have all rows, so the run cannot be re-evaluated",
                hint="Restore its files from a copy, or omit --slo, --from and --to.",
            )
        excluded_stage_names = [
            stage.name for stage, is_complete in zip(self._stages, complete_mask, strict=True) if not is_complete
        ]
        complete_result = msgspec.structs.replace(
            self.data.result, stages=tuple(itertools.compress(self._stages, complete_mask))
        )
        return replace(
            self.data,
            result=mark_damaged(complete_result, self.damage, excluded_stage_names),
            stage_data=tuple(itertools.compress(self.data.stage_data, complete_mask)),
            rows=tuple(itertools.compress(self.data.rows, complete_mask)),
            is_complete=self.data.is_complete and all(complete_mask),
        )

    def report(self, result: Result | None = None) -> Report:
        """Build the report of the run, or of a result returned by `reevaluate`."""
        reported_result = self.result if result is None else result
        reevaluation = reported_result.reevaluation
        rows = (
            self.rows
            if reevaluation is None or reevaluation.window_s is None
            else self._select_rows(reevaluation.window_s)
        )
        is_stored = reported_result is self.result and not self.damage
        text = self.result_text if is_stored else msgspec.json.encode(reported_result).decode()
        return build_report(
            reported_result,
            self.table if rows is not None else self.table.slice(0, 0),
            self._select_telemetry(None if reevaluation is None else reevaluation.window_s),
            self.spec_text,
            COMMAND,
            text,
            read_labels(self.directory),
            stage_rows=rows,
            unverified_files=self.unverified_files,
        )

    def get_window_problem(self) -> str | None:
        """Return the reason why the run cannot be re-evaluated for a time range; `None` if the run
        supports time ranges."""
        return _LOCAL_WINDOW_PROBLEM if self.result.local is not None else None

    @property
    def _stages(self) -> list[Stage]:
        return [stage for stage in self.data.result.stages if stage.variant is None and not stage.is_pooled]

    def _check_events(self) -> None:
        if len(self._stages) != len(self.data.stage_data):
            message = f"{EVENTS} has {len(self.data.stage_data)} finished stages, but {RESULT} has {len(self._stages)}"
            raise DamagedFileError(f"{self.directory} is DAMAGED: {message}", hint="Restore its files from a copy.")

    def _check_window(self, window_s: tuple[float, float]) -> None:
        from_s, to_s = window_s
        if not from_s < to_s:
            raise UsageError(f"the time range {from_s:g}–{to_s:g} s is empty", hint="Use an end after the start.")
        rows = self._select_rows(window_s)
        if rows is None:
            raise UsageError(
                f"no request was scheduled from {from_s:g} s to {to_s:g} s of the run",
                hint=f"Use a time range within 0–{self.result.clock.duration_s:.0f} s.",
            )

    def _select_rows(self, window_s: tuple[float, float]) -> StageRows | None:
        rows = self.rows
        if rows is None:
            return None
        start_ns = self.result.time_zero_ns
        bounds_ns = [start_ns + round(bound_s * 1e9) for bound_s in window_s]
        first_index, last_index = np.searchsorted(rows.scheduled_ns, bounds_ns)
        is_inside = np.zeros(rows.scheduled_ns.size, dtype=bool)
        is_inside[first_index:last_index] = True
        return rows.filter(is_inside) if last_index > first_index else None

    def _select_telemetry(self, window_s: tuple[float, float] | None) -> pd.DataFrame:
        telemetry = self.data.telemetry
        if window_s is None:
            return telemetry
        start_ns = self.result.time_zero_ns
        first_ns, last_ns = (start_ns + round(bound_s * 1e9) for bound_s in window_s)
        return telemetry[telemetry["at_ns"].between(first_ns, last_ns, inclusive="left")]


def load_run(run: StoredRun, *, recover: bool = False) -> OpenedRun:
    """Load all data of a run into memory.

    Raises UsageError for a run without a result, and DamagedFileError for a run whose files have
    changed. With `recover`, damaged files raise an error only if too little undamaged data remains.
    Otherwise, the undamaged data is used, and the result is INVALID and lists the damaged files.
    """
    damage = run.damage
    if damage and not recover:
        raise build_damaged_error(run.directory, damage)
    damaged_files = {damaged_file.path: damaged_file for damaged_file in damage}
    events = tuple(run.events(_count_undamaged_bytes(damaged_files, EVENTS)))
    spec_text = "" if SPEC in damaged_files else run.spec_text or ""
    finished_events = [event for event in events if isinstance(event, StageFinished)]
    is_result_lost = RESULT in damaged_files or (
        recover and not (run.directory / RESULT).exists() and _is_result_lost(run, events)
    )
    table, read_damage = (
        _read_table(run, damaged_files, finished_events)
        if damage or is_result_lost
        else (run.requests(_SKIPPED_COLUMNS), ())
    )
    damage = (*damage, *(damaged_file for damaged_file in read_damage if damaged_file.path not in damaged_files))
    recovery = None
    if is_result_lost:
        if damage and (
            ENVIRONMENT in damaged_files
            or not any(isinstance(event, StageFinished | CallsFinished) for event in events)
        ):
            raise build_damaged_error(run.directory, damage)
        result, recovery = recover_result(run, events, table)
    elif damage:
        result = run.unverified_result or run.complete_result
    else:
        result = run.complete_result
    if result.local is None:  # a re-evaluated part of the run has the same time origin
        clock = msgspec.structs.replace(result.clock, load_start_ns=result.time_zero_ns)
        result = msgspec.structs.replace(result, clock=clock)
    data = RunData(
        result=result,
        slo=(() if recovery is None else _find_initial_slo(events)) or read_slo(spec_text, result),
        stage_data=tuple(event.data for event in finished_events),
        rows=tuple(_split_by_stage(table, [event.data for event in finished_events])),
        telemetry=_read_telemetry(run, damaged_files, is_result_lost=is_result_lost).to_pandas(),
        idle_window=_find_idle_window(events),
        is_complete=recovery is None,
    )
    if recovery is not None and result.local is None and not damage:
        reevaluated_result = reevaluate_run(data, None, None)
        if _matches_reported_stages(reevaluated_result, finished_events):
            data = replace(data, result=reevaluated_result)
        else:
            damage = (Damage(REQUESTS, "changed"),)
    notes = tuple(_iter_notes(events, data.result.time_zero_ns))
    result_text = "" if damage else run.result_text or ""
    return OpenedRun(run.directory, data, table, spec_text, result_text, recovery, damage, run.unverified_files, notes)


def _count_undamaged_bytes(damaged_files: Mapping[str, Damage], name: str) -> int | None:
    """Return the number of undamaged bytes from the start of a file; `None` means all bytes.

    If the content of a file has changed, the number is 0, since the position of the change is
    unknown.
    """
    if (damage := damaged_files.get(name)) is None:
        return None
    if damage.intact_bytes is None and damage.problem != "truncated":
        return 0
    return damage.intact_bytes


def _is_result_lost(run: StoredRun, events: Sequence[Event]) -> bool:
    has_finished = any(isinstance(event, RunFinished) for event in events)
    return not run.is_being_written and (not has_finished or run.has_rows)


def _read_table(
    run: StoredRun, damaged_files: Mapping[str, Damage], finished_events: Sequence[StageFinished]
) -> tuple[pa.Table, tuple[Damage, ...]]:
    """Return the rows of complete stages and of the interrupted stage, and the damage found while
    reading the rows."""
    errors: list[DamagedFileError] = []
    table = run.requests(_SKIPPED_COLUMNS, errors, _count_undamaged_bytes(damaged_files, REQUESTS))
    row_counts = Counter(table["stage"].to_pylist())
    incomplete_indices = [
        event.data.index for event in finished_events if row_counts[event.data.index] < _count_min_rows(event.stage)
    ]
    if incomplete_indices:
        table = table.filter(
            pa.compute.invert(pa.compute.is_in(table["stage"], pa.array(incomplete_indices, pa.int32())))
        )
    return table, (Damage(REQUESTS, "truncated" if not errors else "changed"),) if incomplete_indices or errors else ()


def _count_min_rows(stage: Stage) -> int:
    """Return the minimum number of rows of a stage: one row per request that ended."""
    return stage.completed + sum(stage.errors.values())


def _find_initial_slo(events: Sequence[Event]) -> tuple[Objective, ...]:
    return next((event.slo for event in events if isinstance(event, RunStarted)), ())


def _matches_reported_stages(reevaluated_result: Result, finished_events: Sequence[StageFinished]) -> bool:
    """Return whether the rows of a run without checksums reproduce the results that were reported
    at the end of each stage.

    Only counts, means and maxima are compared, since another version may compute percentiles and
    confidence intervals differently.
    """
    stages = [stage for stage in reevaluated_result.stages if not stage.is_pooled]
    return len(stages) == len(finished_events) and all(
        stage.completed == event.stage.completed
        and stage.errors == event.stage.errors
        and _has_same_means(stage, event.stage)
        for stage, event in zip(stages, finished_events, strict=True)
    )


def _has_same_means(stage: Stage, reported_stage: Stage) -> bool:
    for name in stage.metrics.keys() & reported_stage.metrics.keys():
        for aggregate in ("mean", "max"):
            recomputed_estimate, reported_estimate = (
                stage.metrics[name].get(aggregate),
                reported_stage.metrics[name].get(aggregate),
            )
            if (
                recomputed_estimate is None
                or reported_estimate is None
                or recomputed_estimate.value is None
                or reported_estimate.value is None
            ):
                continue
            if not math.isclose(recomputed_estimate.value, reported_estimate.value, rel_tol=1e-6, abs_tol=1e-9):
                return False
    return True


def _read_telemetry(run: StoredRun, damaged_files: Mapping[str, Damage], *, is_result_lost: bool) -> pa.Table:
    if TELEMETRY not in damaged_files and not is_result_lost:
        return run.telemetry()
    return run.telemetry([], _count_undamaged_bytes(damaged_files, TELEMETRY))


def read_slo(spec_text: str, result: Result) -> tuple[Objective, ...]:
    """Return the SLO in the profile of the run. If the profile cannot be read, return the SLO in
    the result."""
    try:
        document = read_document(spec_text.encode(), "spec.yaml").value
        slo = parse_slo(document) if isinstance(document, dict) else None
        if slo is not None:
            return slo
    except (ProfileError, UsageError):  # edited by hand, or written by a newer version
        pass
    return tuple(evaluation.objective for evaluation in result.slo if not evaluation.objective.implied)


def _split_by_stage(table: pa.Table, stages: Sequence[StageData]) -> list[StageRows]:
    """Return the rows of each stage. In the file, the rows of a stage are contiguous."""
    stage_indices = table["stage"].to_numpy()
    ends = np.flatnonzero(np.diff(stage_indices)) + 1
    starts = [0, *ends.tolist()] if stage_indices.size else []
    row_ranges = {
        int(stage_indices[start]): (start, end)
        for start, end in zip(starts, [*ends.tolist(), stage_indices.size], strict=False)
    }
    frame = table.to_pandas(types_mapper=pd.ArrowDtype)  # once, as the conversion of each stage would take longer
    ranges = (row_ranges.get(stage_data.index, (0, 0)) for stage_data in stages)
    return [
        name_classes(read_rows(frame.iloc[start:end]), stage_data)
        for (start, end), stage_data in zip(ranges, stages, strict=True)
    ]


def _drop_chunks(rows: StageRows) -> StageRows:
    """Return the rows without their chunks, since chunks take most of the memory and no chart shows
    them."""
    if rows.tokens is None or rows.tokens.chunks is None:
        return rows
    return replace(rows, tokens=replace(rows.tokens, chunks=None))


def _iter_notes(events: Sequence[Event], start_ns: int) -> Iterator[tuple[float, str]]:
    for event in events:
        if isinstance(event, NoteAdded):
            yield (event.at_ns - start_ns) / 1e9, event.text


def _find_idle_window(events: Sequence[Event]) -> Window | None:
    """Return the time window of the idle phase, which ends at the next event; `None` without an
    idle phase."""
    for event, next_event in itertools.pairwise(events):
        if isinstance(event, PhaseChanged) and event.phase == "idle":
            return Window(event.at_ns, next_event.at_ns)
    return None
