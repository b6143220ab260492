"""Show the progress of a run on standard error: a live view on a terminal, otherwise lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Protocol

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from app.analysis.number_format import format_number
from app.analysis.run_progress import format_load
from app.cli.colors import color_text, is_colored, print_with_colors
from app.cli.live_view import LoadReadings, advance_readings, build_live_view, format_readings
from app.cli.options import Verbosity
from app.cli.streams import format_for_readers, get_unescaped_stream
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
from app.records.local import TEST_TAG
from app.records.result import Check, Estimate, Stage
from app.records.stage_kinds import STAGE_KINDS
from app.reporting.quantities import build_check_row
from reports.formatting import THIN_SPACE, format_check
from reports.marks import DIM_END, DIM_START, drop_marks, mark_status
from reports.shortening import shorten_lines

_REFRESHES_PER_S = 4
_INTERVAL_NS, _VERBOSE_INTERVAL_NS = 5_000_000_000, 1_000_000_000


class ProgressView(Protocol):
    def show(self, event: Event) -> None: ...


@contextmanager
def open_progress(
    verbosity: Verbosity = "normal", now_ns: Callable[[], int] = time.perf_counter_ns
) -> Iterator[ProgressView]:
    """Show the progress within the context. `now_ns` is the clock of the events."""
    console = Console(
        file=get_unescaped_stream(sys.stderr),
        highlight=False,
        markup=False,
        emoji=False,
        no_color=not is_colored(sys.stderr),
    )
    is_verbose = verbosity == "verbose"
    if verbosity == "quiet":
        yield _NoProgress()
    elif not sys.stderr.isatty() or console.is_dumb_terminal:  # rich would draw into a log if FORCE_COLOR is set
        yield _Progress(_print_line, now_ns, is_verbose=is_verbose, is_live=False)
    else:
        progress = _Progress(partial(_print_above, console), now_ns, is_verbose=is_verbose, is_live=True)
        with Live(get_renderable=progress.render, console=console, transient=True, refresh_per_second=_REFRESHES_PER_S):
            yield progress


def _print_line(line: str) -> None:
    print_with_colors(shorten_lines(line), sys.stderr)
    sys.stderr.flush()


def _print_above(console: Console, line: str) -> None:
    """Print a line above the live view of a console."""
    text = format_for_readers(line)
    console.print(Text.from_ansi(color_text(text)) if is_colored(sys.stderr) else Text(drop_marks(text)))


class _NoProgress:
    def show(self, event: Event) -> None:
        pass


class _Progress:
    """Progress as lines: one per event of interest, and one with the readings of the running stage
    after every 5 s without another line, or verbose after every second.

    With `is_live`, a live view below the lines shows phases and readings (see `render`) in place of
    lines, unless verbose.
    """

    def __init__(
        self,
        print_line: Callable[[str], None],
        now_ns: Callable[[], int],
        *,
        is_verbose: bool,
        is_live: bool,
    ) -> None:
        self._print_line, self._now_ns = print_line, now_ns
        self._is_verbose, self._shows_view_only = is_verbose, is_live and not is_verbose
        self._interval_ns = _VERBOSE_INTERVAL_NS if is_verbose else _INTERVAL_NS
        self._readings, self._last_line_ns = LoadReadings(), 0

    def show(self, event: Event) -> None:
        self._readings = advance_readings(self._readings, event)
        lines = self._list_lines(event)
        for line in lines:
            self._print_line(line)
        if lines or isinstance(event, StageStarted):
            self._last_line_ns = event.at_ns

    def _list_lines(self, event: Event) -> list[str]:
        if self._shows_view_only and isinstance(event, PhaseChanged | PairRunStarted | Snapshot):
            return []
        if not isinstance(event, Snapshot):
            return _list_event_lines(event, is_verbose=self._is_verbose)
        if event.at_ns - self._last_line_ns < self._interval_ns:
            return []
        readings_text = format_readings(self._readings, event.at_ns)
        return [] if readings_text is None else [readings_text]

    def render(self) -> RenderableType:
        return build_live_view(self._readings, self._now_ns())


def _list_event_lines(event: Event, *, is_verbose: bool) -> list[str]:
    """Return the lines about an event; verbose, with the checks of a stage."""
    line = _format_verbose_event(event) if is_verbose else _format_event(event)
    lines = [] if line is None else [line]
    if is_verbose and isinstance(event, StageFinished | CallsFinished) and STAGE_KINDS[event.stage.kind].is_measured:
        lines += [f"    {_format_whole_check(check)}" for check in event.stage.checks]
    return lines


def _format_verbose_event(event: Event) -> str | None:
    match event:
        case StageStarted():
            load_text = format_load(event)
            end_text = f"{event.duration_s:.3g} s" if event.requests is None else f"{event.requests:,} requests"
            return f"{event.label}{f' ({load_text})' if load_text else ''} started, {end_text}"
        case StageFinished():
            return _format_stage_event(event)
        case CheckCompleted(check=check):
            return _format_whole_check(check)
        case _:
            return _format_event(event)


def _format_event(event: Event) -> str | None:
    match event:
        case PhaseChanged():
            return f"{event.phase}: {event.message}"
        case StageFinished(stage=stage):
            return None if not STAGE_KINDS[stage.kind].is_measured else _format_stage_event(event)
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
            return None  # the summary or the live view shows these events


def _format_whole_check(check: Check) -> str:
    """Format a check with its value and limit, whatever its verdict."""
    return format_check(build_check_row(check), mark_status).replace(THIN_SPACE, " ")


def _format_ms(value: float | None) -> str:
    return "n/a" if value is None else f"{value:,.0f} ms"


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
    if TEST_TAG in stage.tags:
        return _format_generation(stage)
    schedule_text = "" if stage.scheduled_per_s is None else f" at {_format_rate(stage.scheduled_per_s, 'calls/s')}"
    rate_text = _format_rate(stage.metrics["throughput_per_s"]["value"].value, "inferences/s")
    return (
        f"  {stage.tags['scenario']}{schedule_text}: {_format_latencies(stage)}, {rate_text}{_format_warnings(stage)}"
    )


def _format_generation(stage: Stage) -> str:
    rates = [
        (label, stage.metrics[metric]["value"].value)
        for label, metric in (("prefill", "prefill_tokens_per_s"), ("decode", "decode_tokens_per_s"))
        if metric in stage.metrics
    ]
    rates_text = ", ".join(f"{label} {_format_rate(rate, 'tok/s')}" for label, rate in rates)
    return f"  {stage.tags[TEST_TAG]}: {rates_text}{_format_warnings(stage)}"


def _format_warnings(stage: Stage) -> str:
    warning_names = ", ".join(check.name for check in stage.checks if check.verdict != "VALID")
    return f" {mark_status(stage.verdict.status)} ({warning_names})" if warning_names else ""


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


def _format_stage_event(event: StageFinished) -> str:
    stage = event.stage
    p95_text = _format_percentile(stage.metrics.get("latency_ms", {}).get("p95"))
    warning_checks = [check for check in stage.checks if check.verdict != "VALID"]
    no_outcome_text = "too few samples" if any(check.id == "samples" for check in warning_checks) else ""
    outcome_text = {True: "SLO met", False: "SLO missed", None: no_outcome_text}[stage.meets_slo]
    warning_names = ", ".join(check.name for check in warning_checks)
    validity_text = f"{mark_status(stage.verdict.status)} ({warning_names})" if warning_names else ""
    texts = (f"  {stage.label}: p95 latency {p95_text}", outcome_text, validity_text)
    return " ".join(text for text in texts if text)
