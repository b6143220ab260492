"""Stages, variants, validity checks and errors of a run, updated with each event of the run.

Checks are evaluated with the same functions as for the final result. Errors are counted by class,
with the time and a sample of the first error of the class.
"""

from __future__ import annotations

from msgspec.structs import replace

from app.analysis.number_format import format_number
from app.analysis.run_progress import (
    compute_stage_elapsed_s,
    compute_stage_share,
    format_load,
    get_stage_duration_s,
)
from app.gui.formatting import shorten
from app.gui.live.state import Band, MeasuredTest, StageCell, VariantLine
from app.records.events import (
    CallsFinished,
    ErrorReported,
    RateChanged,
    Snapshot,
    StageExtended,
    StageFinished,
    StageStarted,
    VariantFinished,
    VariantStarted,
)
from app.records.local import TEST_TAG
from app.records.result import Check, Stage, Verdict
from app.records.stage_kinds import STAGE_KINDS, format_stage_label
from app.reporting.quantities import build_check_row
from reports.model import CheckRow, ErrorSummary

_VERDICT_RANKS = {"INVALID": 0, "WARN": 1, "VALID": 2}


class LiveChecks:
    """Validity checks of the run so far. If a stage is measured again, its new checks replace its
    previous checks."""

    def __init__(self) -> None:
        self._run_checks: dict[str, Check] = {}
        self._stages: dict[tuple[str, int], Stage] = {}
        self._all_checks: tuple[Check, ...] = ()
        self.verdict: Verdict | None = None
        """Verdict of the run so far, or None if no check has been evaluated yet."""

    @property
    def is_invalid(self) -> bool:
        return self.verdict is not None and self.verdict.status == "INVALID"

    def invalid_reasons(self) -> tuple[str, ...]:
        from app.analysis.validity import compute_verdict

        return compute_verdict([check for check in self._all_checks if check.verdict == "INVALID"]).reasons

    def add_check(self, check: Check) -> None:
        self._run_checks[check.id] = check
        self._evaluate()

    def add_stage(self, stage: Stage) -> None:
        self._stages[(stage.name, stage.repeat)] = stage
        self._evaluate()

    def _evaluate(self) -> None:
        from app.analysis.validity import combine_stage_checks, compute_verdict

        self._all_checks = (*self._run_checks.values(), *combine_stage_checks(list(self._stages.values())))
        self.verdict = compute_verdict(self._all_checks) if self._all_checks else None

    def lines(self) -> tuple[CheckRow, ...]:
        """Return the checks, worst first."""
        return tuple(
            build_check_row(check)
            for check in sorted(self._all_checks, key=lambda check: _VERDICT_RANKS[check.verdict])
        )


_MAX_CLASSES, _MAX_SAMPLE_CHARACTERS = 50, 300
"""Maximum number of error classes, and maximum length of a sample in characters. The limits are
needed because events may come from an untrusted file."""


class Failures:
    def __init__(self) -> None:
        self._first_times_s: dict[str, float] = {}
        self._samples: dict[str, str] = {}
        self._ended_counts: dict[str, int] = {}
        """Number of errors by class in stages that have ended."""
        self._running_counts: dict[str, int] = {}
        """Number of errors by class in the running stage."""

    def update(self, snapshot: Snapshot, time_s: float) -> bool:
        """Update the error counts from a snapshot. Return whether any count has changed."""
        if snapshot.errors == self._running_counts:
            return False
        self._running_counts = self._register(snapshot.errors, time_s)
        return True

    def add_stage(self, event: StageFinished, time_s: float) -> bool:
        counts = self._register(event.stage.errors, time_s)
        for error, count in counts.items():
            self._ended_counts[error] = self._ended_counts.get(error, 0) + count
        has_errors = bool(self._running_counts or counts)
        self._running_counts = {}
        return has_errors

    def add_sample(self, event: ErrorReported, time_s: float) -> None:
        """Store the first sample of an error class. `time_s` replaces the time of the first
        occurrence, because a change of an error count only gives an approximate time."""
        error = event.sample.error
        self._register({error: 1}, time_s)
        if error in self._first_times_s and error not in self._samples:
            self._first_times_s[error] = time_s
            self._samples[error] = shorten(event.sample.text, _MAX_SAMPLE_CHARACTERS)

    def lines(self) -> tuple[ErrorSummary, ...]:
        """Return the error classes in the order of their first occurrence."""
        first_occurrences = sorted(self._first_times_s.items(), key=lambda item: item[1])
        counts = {
            error: self._ended_counts.get(error, 0) + self._running_counts.get(error, 0)
            for error, _ in first_occurrences
        }
        return tuple(
            ErrorSummary(error=error, first_s=first_s, count=counts[error], sample=self._samples.get(error))
            for error, first_s in first_occurrences
            if counts[error]
        )

    def _register(self, errors: dict[str, int], time_s: float) -> dict[str, int]:
        for error in errors:
            if error not in self._first_times_s and len(self._first_times_s) < _MAX_CLASSES:
                self._first_times_s[error] = time_s
        return {error: count for error, count in errors.items() if error in self._first_times_s}


def _format_stage_name(stage: StageStarted) -> str:
    return format_stage_label(stage.test or stage.name, stage.repeat)


class LiveStages:
    def __init__(self) -> None:
        self._cells: dict[int, StageCell] = {}
        self._running: StageStarted | None = None

    def begin(self, stage: StageStarted, zero_ns: int, variant_name: str | None) -> None:
        """Add a stage. `variant_name` is the name of the variant in a run of a local model, whose
        stages cannot be changed while they run. A stage without an end event, such as one of the
        standalone model, ends when this one starts."""
        start_s = (stage.start_ns - zero_ns) / 1e9 - stage.lead_in_s
        self.stop(start_s)
        self._running = stage
        can_change_rate = STAGE_KINDS[stage.kind].can_change_rate and stage.concurrency is None
        self._cells[stage.index] = StageCell(
            index=stage.index,
            name=_format_stage_name(stage),
            load_text=(variant_name if stage.test is not None else format_load(stage)) or "",
            start_s=start_s,
            end_s=None,
            progress=0.0,
            can_change_rate=can_change_rate,
            rate_per_s=stage.offered_per_s,
            can_extend=variant_name is None and STAGE_KINDS[stage.kind].can_be_extended,
        )

    def update_progress(self, snapshot: Snapshot) -> None:
        stage = self._running
        if stage is not None and stage.index in self._cells:
            progress = compute_stage_share(stage, snapshot.sent, snapshot.at_ns)
            remaining_s = None
            if stage.requests is None:
                remaining_s = get_stage_duration_s(stage) - compute_stage_elapsed_s(stage, snapshot.at_ns)
            self._cells[stage.index] = replace(self._cells[stage.index], progress=progress, remaining_s=remaining_s)

    def change(self, event: RateChanged | StageExtended) -> None:
        if isinstance(event, StageExtended):
            if self._running is not None and self._running.index == event.index:
                self._running = replace(self._running, duration_s=event.duration_s)
        elif event.index in self._cells:
            load_text = f"{format_number(event.rate_per_s)} req/s"
            self._cells[event.index] = replace(
                self._cells[event.index], load_text=load_text, rate_per_s=event.rate_per_s
            )

    def end(self, event: StageFinished | CallsFinished, time_s: float) -> None:
        index = event.index if isinstance(event, StageFinished) else event.data.index
        self._running = None
        if index in self._cells:
            self._cells[index] = replace(
                self._cells[index],
                end_s=time_s,
                progress=1.0,
                is_slo_met=event.stage.meets_slo,
                validity=event.stage.verdict.status,
                can_change_rate=False,
                can_extend=False,
            )

    def stop(self, time_s: float) -> None:
        """Mark the running stage as ended, when the next stage, the next phase or the end of the run
        follows."""
        self._running = None
        for index, cell in self._cells.items():
            if cell.end_s is None:
                self._cells[index] = replace(cell, end_s=time_s, can_change_rate=False, can_extend=False)

    @property
    def running_cell(self) -> StageCell | None:
        return None if self._running is None else self._cells.get(self._running.index)

    def cells(self) -> tuple[StageCell, ...]:
        return tuple(self._cells.values())

    def bands(self) -> tuple[Band, ...]:
        """Return a band for the time range of each INVALID stage."""
        return tuple(
            Band(cell.start_s, cell.end_s, "INVALID", "bad")
            for cell in self._cells.values()
            if cell.end_s is not None and cell.validity == "INVALID"
        )


class LiveVariants:
    """Variants of a local run, updated with each event."""

    def __init__(self) -> None:
        self._lines: dict[int, VariantLine] = {}
        self._current_number = 0

    def begin(self, event: VariantStarted) -> None:
        self._current_number = event.number
        self._lines[event.number] = VariantLine(
            number=event.number, name=event.name or event.variant.label, state="running", times=""
        )

    def add(self, event: CallsFinished) -> None:
        line = self._lines.get(self._current_number)
        if line is not None:
            times = _format_times(event.stage)
            tests = (*line.tests, _build_measured_test(event.stage)) if TEST_TAG in event.stage.tags else line.tests
            self._lines[self._current_number] = replace(
                line, times=f"{line.times}; {times}" if line.times else times, tests=tests
            )

    def end(self, event: VariantFinished) -> None:
        line = self._lines.get(event.number)
        if line is not None:
            failure = event.data.failure
            state = "measured" if failure is None else "ended early"
            self._lines[event.number] = replace(line, state=state, reason=failure)

    def lines(self) -> tuple[VariantLine, ...]:
        return tuple(self._lines.values())


def _build_measured_test(stage: Stage) -> MeasuredTest:
    return MeasuredTest(
        name=format_stage_label(stage.tags[TEST_TAG], stage.repeat),
        prefill_per_s=_read_metric(stage, "prefill_tokens_per_s", "value"),
        decode_per_s=_read_metric(stage, "decode_tokens_per_s", "value"),
        ttft_ms=_read_metric(stage, "ttft_ms", "p50"),
        itl_ms=_read_metric(stage, "itl_ms", "p50"),
        validity=stage.verdict.status,
    )


def _read_metric(stage: Stage, metric: str, aggregate: str) -> float | None:
    estimate = stage.metrics.get(metric, {}).get(aggregate)
    return None if estimate is None else estimate.value


def _format_rates(stage: Stage) -> str:
    """Format the prefill and decode throughput of a test of a language model."""
    rates = [
        (name, stage.metrics[metric]["value"].value)
        for name, metric in (("prefill", "prefill_tokens_per_s"), ("decode", "decode_tokens_per_s"))
        if metric in stage.metrics
    ]
    rates_text = ", ".join(f"{name} {format_number(rate, 3)} tok/s" for name, rate in rates if rate is not None)
    return f"{stage.tags[TEST_TAG]}: {rates_text or 'not measured'}"


def _format_times(stage: Stage) -> str:
    """Format the p50, p95 and throughput of a scenario. The percentiles are latencies, which
    include queueing, if the calls have scheduled starts; otherwise they are service times."""
    if TEST_TAG in stage.tags:
        return _format_rates(stage)
    metric = "latency_ms" if "latency_ms" in stage.metrics else "service_ms"
    values = stage.metrics.get(metric, {})
    p50, p95 = (None if percentile not in values else values[percentile].value for percentile in ("p50", "p95"))
    rate = stage.metrics["throughput_per_s"]["value"].value if "throughput_per_s" in stage.metrics else None
    parts = [stage.tags.get("scenario", stage.name)]
    parts += [] if p50 is None else [f"p50 {format_number(p50, 3)} ms"]
    parts += [] if p95 is None else [f"p95 {format_number(p95, 3)} ms"]
    parts += [] if rate is None else [f"{format_number(rate, 3)} inferences/s"]
    return f"{parts[0]}: {', '.join(parts[1:])}" if parts[1:] else parts[0]
