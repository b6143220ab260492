"""Show the progress of a run on standard error: a bar on a terminal, otherwise at most one line per
second."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from msgspec.structs import replace
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

from app.analysis.number_format import format_number
from app.analysis.run_progress import compute_stage_elapsed_s, format_load, get_stage_duration_s
from app.cli.colors import color_text, is_colored, print_with_colors
from app.cli.streams import escape_controls, get_unescaped_stream
from app.records.events import (
    CallsFinished,
    CheckCompleted,
    ErrorReported,
    Event,
    NoteAdded,
    PairRunFinished,
    PairRunStarted,
    PhaseChanged,
    RateChanged,
    RateResolved,
    RunFinished,
    RunStarted,
    Snapshot,
    StageExtended,
    StageFinished,
    StageStarted,
    TargetReady,
    VariantFinished,
    VariantStarted,
)
from app.records.result import Estimate, Stage
from reports.marks import DIM_END, DIM_START, drop_marks, mark_status


class ProgressView(Protocol):
    def show(self, event: Event) -> None: ...


@contextmanager
def open_progress() -> Iterator[ProgressView]:
    console = Console(file=get_unescaped_stream(sys.stderr), highlight=False, markup=False, emoji=False)
    if not sys.stderr.isatty():  # rich would draw a bar into a log if FORCE_COLOR is set
        yield _LineProgress()
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(28),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        yield _BarProgress(bar)


class _LineProgress:
    def __init__(self) -> None:
        self._last_line_s = float("-inf")

    def show(self, event: Event) -> None:
        line = _format_event(event)
        if line is None and isinstance(event, Snapshot) and time.monotonic() - self._last_line_s >= 1:
            line = _format_snapshot(event)
        if line is not None:
            self._last_line_s = time.monotonic()
            print_with_colors(line, sys.stderr)
            sys.stderr.flush()


class _BarProgress:
    """Progress bar for the current stage. A bar for the whole run is not possible, since the
    number of stages of a search is not known in advance.

    For a comparison, the bar shows the number of completed runs.
    """

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._task_id = bar.add_task("starting", total=None)
        self._stage: StageStarted | None = None
        self._completed_run_count = 0

    def show(self, event: Event) -> None:
        match event:
            case StageStarted():
                self._stage = event
                self._bar.reset(
                    self._task_id, total=get_stage_duration_s(event), description=escape_controls(event.name)
                )
            case Snapshot() if (stage := self._stage) is not None:
                load_text = format_load(stage)
                text = f"{stage.name}{f' ({load_text})' if load_text else ''}{_format_progress(event)}"
                self._bar.update(
                    self._task_id,
                    completed=compute_stage_elapsed_s(stage, event.at_ns),
                    description=escape_controls(text),
                )
            case StageExtended(duration_s=duration_s) if (stage := self._stage) is not None:
                self._stage = replace(stage, duration_s=duration_s)
                self._bar.update(self._task_id, total=get_stage_duration_s(self._stage))
                self._bar.console.print(escape_controls(_format_load_event(event)))
            case PhaseChanged():
                self._bar.reset(self._task_id, total=None, description=escape_controls(event.message))
            case PairRunStarted(pairs=pairs):
                self._bar.update(
                    self._task_id,
                    total=2 * pairs,
                    completed=self._completed_run_count,
                    description=_format_pair_event(event),
                )
            case PairRunFinished(status=status):
                self._completed_run_count += status != "INVALID"
                self._bar.update(self._task_id, completed=self._completed_run_count)
            case _:
                line = _format_event(event)
                if line is not None:
                    text = escape_controls(line)
                    self._bar.console.print(
                        Text.from_ansi(color_text(text)) if is_colored(sys.stderr) else Text(drop_marks(text))
                    )


def _format_snapshot(event: Snapshot) -> str:
    """Format a snapshot of the load as text, omitting unknown values."""
    in_flight_text = "" if event.in_flight is None else f", in flight {event.in_flight:,}"
    latency_text = (
        "" if event.latency_p95_ms is None else f", recent p95 latency {format_number(event.latency_p95_ms, 3)} ms"
    )
    return f"sent {event.sent:,}, failed {event.failed:,}{in_flight_text}{latency_text}"


def _format_progress(event: Snapshot) -> str:
    texts = [] if event.latency_p95_ms is None else [f"p95 latency {format_number(event.latency_p95_ms, 3)} ms"]
    texts += [] if event.in_flight is None else [f"{event.in_flight:,} in flight"]
    return f": {', '.join(texts)}" if texts else ""


def _format_ms(value: float | None) -> str:
    return "n/a" if value is None else f"{value:,.0f} ms"


def _format_event(event: Event) -> str | None:
    match event:
        case PhaseChanged():
            return f"{event.phase}: {event.message}"
        case StageFinished():
            return _format_stage_event(event)
        case CheckCompleted(check=check) if check.verdict != "VALID":
            return f"{mark_status(check.verdict)} {check.name}: {check.hint or check.value}"
        case RateResolved() | RateChanged() | StageExtended() | NoteAdded():
            return _format_load_event(event)
        case ErrorReported(sample=sample):
            return f"first {sample.error} error: {sample.text}"
        case TargetReady(ready_ms=ready_ms, first_response_ms=first_response_ms):
            return (
                f"cold start: ready after {_format_ms(ready_ms)}, first response after {_format_ms(first_response_ms)}"
            )
        case VariantStarted() | CallsFinished() | VariantFinished():
            return _format_variant_event(event)
        case PairRunStarted() | PairRunFinished():
            return _format_pair_event(event)
        case RunStarted() | RunFinished() | StageStarted() | Snapshot() | CheckCompleted():
            return None  # the summary or the bar shows these events


def _format_load_event(event: RateResolved | RateChanged | StageExtended | NoteAdded) -> str:
    match event:
        case RateResolved(message=message, rate_per_s=rate_per_s):
            return f"{message} is {format_number(rate_per_s)} req/s"
        case StageExtended(by_s=by_s, duration_s=duration_s):
            return f"the stage was extended by {by_s:g} s to {duration_s:g} s"
        case RateChanged(rate_per_s=rate_per_s):
            return f"the rate was changed to {format_number(rate_per_s)} req/s"
        case NoteAdded(text=text):
            return f"note: {text}"


def _format_variant_event(event: VariantStarted | CallsFinished | VariantFinished) -> str | None:
    match event:
        case VariantStarted(number=number, total=total, variant=variant):
            return f"variant {number} of {total}: {variant.label}"
        case CallsFinished(stage=stage):
            return _format_calls(stage)
        case VariantFinished(data=data):
            return None if data.failure is None else f"  the variant ended early: {data.failure}"


def _format_pair_event(event: PairRunStarted | PairRunFinished) -> str | None:
    if isinstance(event, PairRunFinished):
        return None  # the next event or the summary reports it
    return f"pair {event.pair} of {event.pairs}: {event.side}"


def _format_calls(stage: Stage) -> str:
    schedule_text = "" if stage.scheduled_per_s is None else f" at {_format_rate(stage.scheduled_per_s, 'calls/s')}"
    rate_text = _format_rate(stage.metrics["throughput_per_s"]["value"].value, "inferences/s")
    warning_names = ", ".join(check.name for check in stage.checks if check.verdict != "VALID")
    validity_text = f" {mark_status(stage.verdict.status)} ({warning_names})" if warning_names else ""
    return f"  {stage.tags['scenario']}{schedule_text}: {_format_latencies(stage)}, {rate_text}{validity_text}"


def _format_latencies(stage: Stage) -> str:
    """Format the latencies of a stage: latency, which includes queueing, if calls had scheduled
    starts, or else the service time."""
    if "latency_ms" in stage.metrics:
        p50, p95 = (_format_percentile(stage.metrics["latency_ms"][aggregate]) for aggregate in ("p50", "p95"))
        return f"p50 latency {p50}, p95 latency {p95}"
    return f"p50 service time {_format_percentile(stage.metrics['service_ms']['p50'])}"


def _format_percentile(estimate: Estimate | None) -> str:
    """Format a percentile in ms. If a percentile is based on too few samples, it is dimmed and
    followed by the sample size."""
    if estimate is None:
        return "n/a"
    if estimate.value is None and estimate.undersampled is not None:
        return f"{DIM_START}{format_number(estimate.undersampled, 4)} ms (n = {estimate.n:,}){DIM_END}"
    return "n/a" if estimate.value is None else f"{format_number(estimate.value, 4)} ms"


def _format_rate(value: float | None, unit: str) -> str:
    return "n/a" if value is None else f"{format_number(value, 4)} {unit}"


def _format_stage_event(event: StageFinished) -> str | None:
    stage = event.stage
    if stage.kind == "warmup":
        return None
    p95_text = _format_percentile(stage.metrics.get("latency_ms", {}).get("p95"))
    warning_checks = [check for check in stage.checks if check.verdict != "VALID"]
    no_outcome_text = "too few samples" if any(check.id == "samples" for check in warning_checks) else ""
    outcome_text = {True: "SLO met", False: "SLO missed", None: no_outcome_text}[stage.meets_slo]
    warning_names = ", ".join(check.name for check in warning_checks)
    validity_text = f"{mark_status(stage.verdict.status)} ({warning_names})" if warning_names else ""
    texts = (f"  {stage.name}: p95 latency {p95_text}", outcome_text, validity_text)
    return " ".join(text for text in texts if text)
