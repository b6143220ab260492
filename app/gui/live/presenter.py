"""Presenter of the Live page: converts the events and telemetry of a run to the state that the page
displays. The presenter does not depend on widgets."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from app.analysis.number_format import format_number
from app.analysis.run_progress import (
    RunProgress,
    advance_progress,
    estimate_remaining_s,
    estimate_step_remaining_s,
)
from app.gui.formatting import shorten
from app.gui.live.kpis import LiveKpis
from app.gui.live.machine import LiveSeries, MachineSeries
from app.gui.live.stages import Failures, LiveChecks, LiveStages, LiveVariants
from app.gui.live.state import Kpi, LiveState, Marker, RunKind, RunStatus, StepCell
from app.records.events import (
    CallsFinished,
    CheckCompleted,
    ErrorReported,
    Event,
    NoteAdded,
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
from app.records.result import Check, Objective

if TYPE_CHECKING:
    import pyarrow as pa

Part = Literal["charts", "marks", "machine", "stages", "checks", "failures", "variants"]
_MAX_MARKERS = 200
_MAX_MARKER_CHARACTERS = 60
_MAX_EVENT_AGE_S = 600.0
"""Maximum age of the last event, in seconds, up to which the elapsed time advances. An older last
event suggests that the run uses the clock of another machine or has nothing more to report."""


class LivePresenter:
    def __init__(
        self, directory: Path | None = None, name: str = "", now_ns: Callable[[], int] = time.perf_counter_ns
    ) -> None:
        """Create the presenter. `now_ns` returns the time on the clock of the events, in
        nanoseconds."""
        self.directory, self._name, self._now_ns = directory, name, now_ns
        self._created_ns = now_ns()
        self.status: RunStatus = "idle" if directory is None else "starting"
        self.failure_reason = ""
        """Reason why the run did not start, or an empty string."""
        self.progress = RunProgress()
        self.series, self.machine = LiveSeries(), MachineSeries()
        self.stages, self.variants = LiveStages(), LiveVariants()
        self.checks, self.failures = LiveChecks(), Failures()
        self._kpis = LiveKpis()
        self.slo: tuple[Objective, ...] = ()
        self.markers: list[Marker] = []
        self.changed_parts: set[Part] = set()
        """Parts of the page that have changed since this set was last cleared."""
        self.last_duration_s: float | None = None
        """Duration of the last run of the same name, if known, for the estimate of the remaining
        time."""
        self._zero_ns: int | None = None
        self._early_batches: list[pa.RecordBatch] = []

    def handle_event(self, event: Event) -> None:
        if self._zero_ns is None:
            self._zero_ns = event.at_ns
        self.progress = advance_progress(self.progress, event)
        if self.status == "starting":
            self.status = "running"
        match event:
            case RunStarted(slo=slo):
                self.slo = slo
                self._process_early_batches()
            case Snapshot() | ErrorReported() | StageStarted() | StageFinished() | CallsFinished():
                self._on_stage_event(event)
            case RateChanged() | StageExtended() | NoteAdded() | TargetReady() | RateResolved():
                self._on_marker_event(event)
            case VariantStarted() | VariantFinished():
                self._on_variant_event(event)
            case CheckCompleted(check=check):
                self._on_check(check, event.at_ns)
            case RunFinished():
                self.status = "finished"
                self._stop(event.at_ns)
            case PhaseChanged():
                self._stop(event.at_ns)

    def handle_readings(self, batch: pa.RecordBatch) -> None:
        if self._zero_ns is None:
            self._early_batches.append(batch)
            return
        self.machine.add_batch(batch, self._zero_ns)
        self.changed_parts.add("machine")

    def mark_ended(self, status: RunStatus) -> None:
        """Mark the run as `lost` or `failed`. No more events are expected."""
        self.status = status
        self._stop(self.progress.at_ns or 0)

    @property
    def is_local(self) -> bool:
        return self.progress.is_local

    @property
    def kind(self) -> RunKind:
        """Kind of the run. It is known once the run has started, and for endpoints with tokens once
        the first response has arrived."""
        if self.is_local:
            variant = self.progress.variant
            return "language_model" if variant is not None and variant.tests else "local"
        return "llm_endpoint" if self._kpis.has_tokens else "endpoint"

    @property
    def has_responses(self) -> bool:
        return self._kpis.response_count > 0

    @property
    def has_first_token_tests(self) -> bool:
        """True if a test of a language model has a prompt and output, and thus a TTFT."""
        variant = self.progress.variant
        return variant is not None and any("+" in test for test in variant.tests)

    def kpis(self) -> tuple[Kpi, ...]:
        return self._kpis.build(self.kind, self.slo, self.machine)

    def _build_steps(self, now_ns: int) -> tuple[StepCell, ...]:
        progress, steps = self.progress, self.progress.steps
        step_started_ns = now_ns if progress.step_started_ns is None else progress.step_started_ns
        elapsed_s = max(0.0, (now_ns - step_started_ns) / 1e9)
        remaining_s = estimate_step_remaining_s(progress, now_ns)
        current_index = -1 if progress.step is None else steps.index(progress.step)
        is_ended = self.status in ("finished", "lost", "failed")
        cells = []
        for index, step in enumerate(steps):
            if index == current_index and not is_ended:
                cells.append(StepCell(step, "running", elapsed_s, remaining_s))
            elif index > current_index:
                cells.append(StepCell(step, "waiting"))
            else:
                cells.append(StepCell(step, "done" if step in progress.reached_steps else "skipped"))
        return tuple(cells)

    def latency_objective(self) -> Objective | None:
        """Return the first latency objective of the SLO, which is drawn as a line in the latency
        chart, or None if the SLO has no latency objective."""
        return self.find_objective(("latency_ms", "service_ms"))

    def find_objective(self, metrics: tuple[str, ...]) -> Objective | None:
        """Return the first objective for one of the metrics, or None if there is none."""
        run_objectives = (objective for objective in self.slo if objective.request_class is None)
        return next((objective for objective in run_objectives if objective.metric in metrics), None)

    def state(self) -> LiveState:
        progress, verdict = self.progress, self.checks.verdict
        now_ns = self._current_ns()
        start_ns = self._created_ns if progress.started_ns is None else progress.started_ns
        is_running = self.status in ("running", "stopping")
        eta_s = estimate_remaining_s(progress, now_ns, self.last_duration_s) if is_running else None
        return LiveState(
            status=self.status,
            run_id=progress.run_id,
            name=progress.name or self._name,
            directory=self.directory,
            phase=progress.phase,
            message=self.failure_reason or progress.message,
            position=progress.position,
            steps=self._build_steps(now_ns),
            is_local=progress.is_local,
            completed_count=progress.completed,
            total_count=progress.total,
            elapsed_s=max(0.0, (now_ns - start_ns) / 1e9),
            eta_s=eta_s,
            validity=None if verdict is None else verdict.status,
            reasons=() if verdict is None else verdict.reasons,
        )

    def _current_ns(self) -> int:
        """Return the current time on the clock of the run, in ns. If the run has ended, or if its
        clock is not available on this machine, return the time of the last event."""
        now_ns = self._now_ns()
        last_ns = self.progress.at_ns
        if last_ns is None:
            return now_ns if self.status == "starting" else self._created_ns
        is_clock_shared = 0 <= now_ns - last_ns < _MAX_EVENT_AGE_S * 1e9
        return now_ns if self.status in ("running", "stopping") and is_clock_shared else last_ns

    def _to_run_time_s(self, at_ns: int) -> float:
        return (at_ns - (self._zero_ns or 0)) / 1e9

    def _process_early_batches(self) -> None:
        batches, self._early_batches = self._early_batches, []
        for batch in batches:
            self.handle_readings(batch)

    def _on_marker_event(self, event: RateChanged | StageExtended | NoteAdded | TargetReady | RateResolved) -> None:
        self._add_marker(event.at_ns, _format_marker(event))
        if isinstance(event, RateChanged | StageExtended):
            self.stages.change(event)
            self.changed_parts.add("stages")

    def _on_stage_event(self, event: Snapshot | ErrorReported | StageStarted | StageFinished | CallsFinished) -> None:
        zero_ns, time_s = self._zero_ns or 0, self._to_run_time_s(event.at_ns)
        match event:
            case Snapshot():
                had_responses = self.has_responses
                self.series.add_snapshot(event, zero_ns)
                stage = self.progress.stage
                self._kpis.add_snapshot(event, self.series, None if stage is None else stage.test)
                self.stages.update_progress(event)
                if self.failures.update(event, time_s) or self.has_responses != had_responses:
                    self.changed_parts.add("failures")
                self.changed_parts.add("charts")
            case ErrorReported(sample=sample):
                self.failures.add_sample(event, self._to_run_time_s(sample.at_ns))
                self.changed_parts.add("failures")
            case StageStarted():
                self.series.begin(event, zero_ns)
                variant = self.progress.variant
                variant_name = None if variant is None else variant.name or variant.variant.label
                self.stages.begin(event, zero_ns, variant_name)
            case StageFinished() | CallsFinished():
                self._end_stage(event, time_s)
        self.changed_parts.add("stages")

    def _end_stage(self, event: StageFinished | CallsFinished, time_s: float) -> None:
        self.stages.end(event, time_s)
        self._kpis.end_stage(event.stage)
        self.checks.add_stage(event.stage)
        self.changed_parts.update(("marks", "checks"))
        if isinstance(event, CallsFinished):
            self.variants.add(event)
            self.changed_parts.add("variants")
        elif self.failures.add_stage(event, time_s):
            self.changed_parts.add("failures")

    def _on_variant_event(self, event: VariantStarted | VariantFinished) -> None:
        self.changed_parts.add("variants")
        match event:
            case VariantStarted():
                self.variants.begin(event)
                self._kpis.begin_variant(event)
            case VariantFinished():
                self.variants.end(event)

    def _on_check(self, check: Check, at_ns: int) -> None:
        self.checks.add_check(check)
        self.changed_parts.add("checks")
        if check.verdict == "INVALID":
            self._add_marker(at_ns, f"INVALID: {check.name}")

    def _add_marker(self, at_ns: int, text: str) -> None:
        if len(self.markers) < _MAX_MARKERS:
            self.markers.append(Marker(self._to_run_time_s(at_ns), shorten(text, _MAX_MARKER_CHARACTERS)))
            self.changed_parts.add("marks")

    def _stop(self, at_ns: int) -> None:
        self.stages.stop(self._to_run_time_s(at_ns))
        self.changed_parts.update(("stages", "marks", "charts"))


def _format_marker(event: RateChanged | StageExtended | NoteAdded | TargetReady | RateResolved) -> str:
    match event:
        case RateChanged(rate_per_s=rate_per_s):
            return f"rate {format_number(rate_per_s)} req/s"
        case StageExtended(by_s=by_s):
            return f"extended by {format_number(by_s)} s"
        case NoteAdded(text=text):
            return text
        case RateResolved(stage=stage, rate_per_s=rate_per_s):
            return f"{stage}: {format_number(rate_per_s)} req/s"
        case TargetReady():
            return "cold start"
