"""Resume an interrupted run: determine the data to keep, and reopen the files for appending."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Mapping

import msgspec

from app.errors import ExitCode, UsageError
from app.records.events import (
    CallsFinished,
    Event,
    RunFinished,
    RunStarted,
    StageFinished,
    VariantStarted,
)
from app.records.interrupted import CompletedStage, InterruptedRun
from app.records.telemetry import TELEMETRY_SCHEMA
from app.storage.checksums import CHECKSUMS
from app.storage.integrity import build_damaged_error
from app.storage.journal import verify_journal
from app.storage.names import JOURNAL
from app.storage.run_directory import (
    EVENTS,
    REPORT_HTML,
    REPORT_JSON,
    REQUESTS,
    RESULT,
    TELEMETRY,
    IntactData,
    RunWriter,
    StoredRun,
    write_atomically,
)
from app.storage.streams import find_stage_spans
from loadgen.records import REQUEST_SCHEMA

_SIGNAL_EXIT_CODES = (ExitCode.INTERRUPTED, ExitCode.TERMINATED)
_RERUN_HINT = "Run its profile again."
_REGENERATED_FILES = (RESULT, JOURNAL)
_COLUMNS_EXCEPT_STAGE = tuple(name for name in REQUEST_SCHEMA.names if name != "stage")


def read_interrupted_run(run: StoredRun) -> InterruptedRun:
    """Return the stages that a run completed before it was interrupted.

    Raises UsageError with the reason if the run cannot be resumed, and DamagedFileError if the
    data to keep is corrupted.
    """
    if run.is_being_written:
        raise UsageError(
            f"{run.directory} is still running", hint="Wait until it ends, or stop it with `sizewise runs stop`."
        )
    damage = tuple(file for file in run.damage if file.path not in _REGENERATED_FILES)
    intact_bytes = _read_intact_bytes(run)
    if any(file.intact_bytes is None for file in damage) or (damage and not intact_bytes[EVENTS]):
        raise build_damaged_error(run.directory, damage)
    events = run.events(intact_bytes.get(EVENTS))
    started_event = _get_run_started(run, events)
    if any(isinstance(event, VariantStarted | CallsFinished) for event in events):
        raise UsageError(
            "a run of a local model cannot be resumed, because its variants are measured in one session",
            hint=f"{_RERUN_HINT} `sizewise report RUN --recover` reports the completed variants.",
        )
    finished_event = next((event for event in events if isinstance(event, RunFinished)), None)
    if finished_event is not None and finished_event.exit_code not in _SIGNAL_EXIT_CODES:
        raise _build_ended_error(run)
    if _get_last_write_s(run) < time.time() - _read_uptime_s():
        raise UsageError(
            f"{run.directory} cannot be resumed, because the machine and its monotonic clock were restarted",
            hint=f"{_RERUN_HINT} `sizewise report RUN --recover` reports the completed stages.",
        )
    row_counts = _count_rows(run, intact_bytes.get(REQUESTS))
    finished_stages = [event for event in events if isinstance(event, StageFinished)]
    while finished_stages and (
        _is_stopped_by_run_end(finished_stages[-1])
        or row_counts[finished_stages[-1].index] < _count_min_rows(finished_stages[-1])
    ):
        finished_stages.pop()
    if not finished_stages or any(row_counts[event.index] < _count_min_rows(event) for event in finished_stages):
        if damage:
            raise build_damaged_error(run.directory, damage)
        raise UsageError(f"{run.directory} was interrupted before a stage was complete", hint=_RERUN_HINT)
    if (
        any(file.path == TELEMETRY for file in damage)
        and _find_last_reading_ns(run, intact_bytes) < finished_stages[-1].data.end_ns
    ):
        raise build_damaged_error(run.directory, damage)
    return InterruptedRun(
        started_event.run_id,
        started_event.at_ns,
        tuple(CompletedStage(event.data, event.stage) for event in finished_stages),
    )


def _build_ended_error(run: StoredRun) -> UsageError:
    if (run.directory / RESULT).exists():
        return UsageError(f"{run.directory} is complete, so there is nothing to resume", hint=_RERUN_HINT)
    return UsageError(
        f"{run.directory} ended, so there is nothing to resume, but its result.json is missing",
        hint="Run `sizewise report RUN --recover`, which computes the results from the stored rows.",
    )


def reopen_run(run: StoredRun, interrupted_run: InterruptedRun) -> RunWriter:
    """Reopen an interrupted run, and return a writer that appends to its files.

    Data up to the last completed stage is unchanged. Later rows and events, the result and the
    reports are discarded.
    """
    intact_bytes = _read_intact_bytes(run)
    events, last_index = run.events(intact_bytes.get(EVENTS)), interrupted_run.stages[-1].data.index
    last_event_index = next(
        i for i, event in enumerate(events) if isinstance(event, StageFinished) and event.index == last_index
    )
    started_event = msgspec.structs.replace(_get_run_started(run, events), pid=os.getpid())
    lines = (run.directory / EVENTS).read_bytes().splitlines(keepends=True)[: last_event_index + 1]
    lines[0] = msgspec.json.encode(started_event) + b"\n"
    events_content = b"".join(lines)
    stage_spans, requests_end = find_stage_spans(run.directory / REQUESTS, REQUEST_SCHEMA, intact_bytes.get(REQUESTS))
    stage_indices = {completed_stage.data.index for completed_stage in interrupted_run.stages}
    dropped_starts = [start for stage, (start, _) in stage_spans.items() if stage not in stage_indices]
    intact_data = IntactData(
        events_bytes=len(events_content),
        requests_bytes=min(dropped_starts, default=requests_end),
        telemetry_bytes=find_stage_spans(run.directory / TELEMETRY, TELEMETRY_SCHEMA, intact_bytes.get(TELEMETRY))[1],
        spans={stage: span for stage, span in stage_spans.items() if stage in stage_indices},
    )
    for name in (RESULT, REPORT_JSON, REPORT_HTML, CHECKSUMS):
        with contextlib.suppress(FileNotFoundError):
            (run.directory / name).unlink()
    write_atomically(run.directory / EVENTS, events_content)
    return RunWriter(run.directory, intact_data)


def _get_run_started(run: StoredRun, events: list[Event]) -> RunStarted:
    if not events or not isinstance(events[0], RunStarted):
        raise UsageError(f"{run.directory} was interrupted before the measurement began", hint=_RERUN_HINT)
    return events[0]


def _is_stopped_by_run_end(event: StageFinished) -> bool:
    """Return whether the stage was stopped by the end of the run."""
    return event.data.stopped_early and not event.data.is_saturated


def _count_min_rows(event: StageFinished) -> int:
    """Return the minimum number of rows of a stage: one row per completed or failed request."""
    return event.stage.completed + sum(event.stage.errors.values())


def _count_rows(run: StoredRun, intact_bytes: int | None) -> Counter[int]:
    stage_counts = run.requests(_COLUMNS_EXCEPT_STAGE, intact_bytes=intact_bytes)["stage"].value_counts()
    return Counter({stage_count["values"]: stage_count["counts"] for stage_count in stage_counts.to_pylist()})


def _find_last_reading_ns(run: StoredRun, intact_bytes: Mapping[str, int]) -> int:
    times_ns = run.telemetry(intact_bytes=intact_bytes.get(TELEMETRY))["at_ns"].to_pylist()
    return max(times_ns, default=0)


def _read_intact_bytes(run: StoredRun) -> dict[str, int]:
    """Return the number of intact bytes of each stream according to the journal; empty if there is
    no journal."""
    journal_check = verify_journal(run.directory)
    return {} if journal_check is None else journal_check.intact_bytes


def _get_last_write_s(run: StoredRun) -> float:
    return (run.directory / EVENTS).stat().st_mtime


def _read_uptime_s() -> float:
    """Return the time in s since the monotonic clock started, including the time in which the
    machine was suspended; infinity if the OS does not report this time."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else float("inf")
