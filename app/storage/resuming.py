"""Continuing a run that was cut short: what of its files is kept, and the writer that appends to them."""

from __future__ import annotations

import contextlib
import os
import time

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
from app.records.interrupted import InterruptedRun, MeasuredStage
from app.records.telemetry import TELEMETRY_SCHEMA
from app.storage.checksums import CHECKSUMS
from app.storage.run_directory import (
    EVENTS,
    REPORT_HTML,
    REPORT_JSON,
    REQUESTS,
    RESULT,
    TELEMETRY,
    KeptParts,
    RunWriter,
    StoredRun,
    write_whole,
)
from app.storage.streams import stage_spans
from loadgen.records import REQUEST_SCHEMA

_SIGNALS = (ExitCode.INTERRUPTED, ExitCode.TERMINATED)
_AGAIN = "Run its profile again."


def interrupted_run(run: StoredRun) -> InterruptedRun:
    """What the run measured before it was cut short. Raises UsageError, with the reason, where it cannot be resumed."""
    events = run.events()
    started = _first_started(run, events)
    if run.is_running:
        raise UsageError(f"{run.directory} is still running", hint="Wait for it, or `sizewise runs stop` it.")
    if any(isinstance(event, VariantStarted | CallsFinished) for event in events):
        raise UsageError(
            "a run of a local model cannot be resumed: its variants are measured in one session",
            hint=f"{_AGAIN} `sizewise report RUN --recover` reports the variants that came to their end.",
        )
    finished = next((event for event in events if isinstance(event, RunFinished)), None)
    if finished is not None and finished.exit_code not in _SIGNALS:
        raise UsageError(f"{run.directory} came to its end, so there is nothing to resume", hint=_AGAIN)
    if _last_write_s(run) < time.time() - _uptime_s():
        raise UsageError(
            f"{run.directory} cannot be resumed: the machine was restarted since, and its monotonic clock with it",
            hint=f"{_AGAIN} `sizewise report RUN --recover` reports the stages that came to their end.",
        )
    spans, _ = stage_spans(run.directory / REQUESTS, REQUEST_SCHEMA)
    ended = [event for event in events if isinstance(event, StageFinished)]
    while ended and ended[-1].facts.stopped_early and not ended[-1].facts.over_saturated:
        ended.pop()  # by what ended the run
    whole = [event for event in ended if event.index in spans or not _has_rows(event)]
    if not whole or len(whole) < len(ended):
        raise UsageError(f"{run.directory} was cut short before one stage of it had ended", hint=_AGAIN)
    return InterruptedRun(
        started.run_id, started.at_ns, tuple(MeasuredStage(event.facts, event.stage) for event in whole)
    )


def reopened(run: StoredRun, interrupted: InterruptedRun) -> RunWriter:
    """A writer that appends to the run. Rows and events after its last complete stage are discarded, and so are a
    result and reports of its interrupted part; what came before stays as it is."""
    events, last = run.events(), interrupted.stages[-1].facts.index
    place = next(at for at, event in enumerate(events) if isinstance(event, StageFinished) and event.index == last)
    started = msgspec.structs.replace(_first_started(run, events), pid=os.getpid())
    lines = (run.directory / EVENTS).read_bytes().splitlines(keepends=True)[: place + 1]
    lines[0] = msgspec.json.encode(started) + b"\n"
    content = b"".join(lines)
    spans, end = stage_spans(run.directory / REQUESTS, REQUEST_SCHEMA)
    indices = {one.facts.index for one in interrupted.stages}
    dropped = [start for stage, (start, _) in spans.items() if stage not in indices]
    kept = KeptParts(
        events_bytes=len(content),
        requests_bytes=min(dropped, default=end),
        telemetry_bytes=stage_spans(run.directory / TELEMETRY, TELEMETRY_SCHEMA)[1],
        spans={stage: span for stage, span in spans.items() if stage in indices},
    )
    for name in (RESULT, REPORT_JSON, REPORT_HTML, CHECKSUMS):
        with contextlib.suppress(FileNotFoundError):
            (run.directory / name).unlink()
    write_whole(run.directory / EVENTS, content)
    return RunWriter(run.directory, kept)


def _first_started(run: StoredRun, events: list[Event]) -> RunStarted:
    if not events or not isinstance(events[0], RunStarted):
        raise UsageError(f"{run.directory} was cut short before it began to measure", hint=_AGAIN)
    return events[0]


def _has_rows(event: StageFinished) -> bool:
    return bool(event.stage.completed or event.stage.errors)


def _last_write_s(run: StoredRun) -> float:
    return (run.directory / EVENTS).stat().st_mtime


def _uptime_s() -> float:
    """Since the monotonic clock began, with the time that the machine slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else float("inf")
