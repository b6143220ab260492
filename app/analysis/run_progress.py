"""Progress of a run, computed only from its events."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec.structs import replace

from app.analysis.number_format import format_number
from app.analysis.warmup import MAX_WINDOWS
from app.records.events import (
    CallsFinished,
    Event,
    PairRunFinished,
    PairRunStarted,
    PhaseChanged,
    RunFinished,
    RunStarted,
    StageExtended,
    StageFinished,
    StageStarted,
    VariantFinished,
    VariantStarted,
)
from app.records.stage_kinds import STAGE_KINDS

RunStep = Literal["check", "target", "calibrate", "warmup", "measure", "report"]
"""Step of a run: the phases with a common purpose."""
_ENDPOINT_STEPS: tuple[RunStep, ...] = ("check", "target", "calibrate", "warmup", "measure", "report")
_LOCAL_STEPS: tuple[RunStep, ...] = ("check", "measure", "report")
_STEP_BY_PHASE: dict[str, RunStep] = {
    "resume": "check", "doctor": "check", "idle": "check", "model": "target", "cold start": "target",
    "endpoint": "target", "start": "target", "workers": "target", "preflight": "target", "calibrate": "calibrate",
    "idle latency": "warmup", "warmup": "warmup", "stages": "measure", "search": "measure", "report": "report",
}  # fmt: skip
_CALIBRATION_S = 30.0
"""Usual duration of a calibration of the load generator."""


class RunProgress(msgspec.Struct, frozen=True, kw_only=True):
    """Progress of a run. `completed` and `total` count stages without warm-ups, variants of a local
    model, or runs of an interleaved comparison. `total` is `None` if unknown, as in a search."""

    run_id: str | None = None
    name: str | None = None
    pid: int | None = None
    started_ns: int | None = None
    at_ns: int | None = None
    """Time of the last event, in ns."""
    phase: str = ""
    message: str = ""
    stage: StageStarted | None = None
    """Stage that is currently running; `None` between stages."""
    variant: VariantStarted | None = None
    is_local: bool = False
    """True if the run measures a model on this machine, and sends no requests."""
    tests_done: int = 0
    """Number of tests of the current variant that have ended, if it is a language model."""
    completed: int = 0
    total: int | None = None
    planned_s: float | None = None
    """Planned duration of all stages of the phase, in s. `spent_s` is the planned duration of the
    finished stages."""
    spent_s: float = 0.0
    first_variant_ns: int | None = None
    """Time in ns at which the first variant started; `None` until then."""
    pair_run: PairRunStarted | None = None
    """Run of an interleaved comparison that was started last."""
    finished: RunFinished | None = None
    reached_steps: frozenset[RunStep] = frozenset()
    step_started_ns: int | None = None
    """Time in ns at which the last step was reached; `None` before the first."""

    @property
    def steps(self) -> tuple[RunStep, ...]:
        """Steps of the run, in order. Some may not be needed, such as a calibration that is stored."""
        return _LOCAL_STEPS if self.is_local else _ENDPOINT_STEPS

    @property
    def step(self) -> RunStep | None:
        """Last step that the run has reached; `None` before the first. A run that warms up again
        between stages is still measuring."""
        return next((step for step in reversed(self.steps) if step in self.reached_steps), None)

    @property
    def elapsed_s(self) -> float:
        if self.started_ns is None or self.at_ns is None:
            return 0.0
        return (self.at_ns - self.started_ns) / 1e9

    def estimate_eta_s(self, now_ns: int) -> float | None:
        """Estimate the time in s until the last stage ends; `None` if unknown. Pauses between
        stages and the work after the last stage are not included."""
        if self.finished is not None:
            return None
        if self.variant is not None and self.variant.tests:
            return self._estimate_eta_of_tests_s(self.variant, now_ns)
        if self.variant is not None and self.first_variant_ns is not None and self.completed:
            duration_per_item_s = (now_ns - self.first_variant_ns) / 1e9 / (self.completed + 0.5)
            return duration_per_item_s * max(0.0, self.variant.total - self.completed - 0.5)
        if self.pair_run is not None and self.started_ns is not None and self.total is not None and self.completed:
            duration_per_item_s = (now_ns - self.started_ns) / 1e9 / (self.completed + 0.5)
            return duration_per_item_s * max(0.0, self.total - self.completed - 0.5)
        if self.planned_s is None or self.phase != "stages":
            return None
        stage_elapsed_s = 0.0 if self.stage is None else compute_stage_elapsed_s(self.stage, now_ns)
        return max(0.0, self.planned_s - self.spent_s - stage_elapsed_s)

    def _estimate_eta_of_tests_s(self, variant: VariantStarted, now_ns: int) -> float | None:
        """Estimate the remaining time of a run of language models, whose tests take about equally
        long; `None` before the end of the first test."""
        count = len(variant.tests)
        done: float = min(self.completed * count + self.tests_done, variant.total * count)
        if not done or self.first_variant_ns is None:
            return None
        if self.stage is not None:
            done += compute_stage_share(self.stage, 0, now_ns)
        elapsed_s = (now_ns - self.first_variant_ns) / 1e9
        return max(0.0, elapsed_s / done * (variant.total * count - done))

    @property
    def position(self) -> str:
        """Position in the run, such as `stage 2 of 3 · steady (40 req/s)`, or for a local model
        `variant 2 of 6 · int4, 2 threads · tg128 @ d512 (test 2 of 3)`; empty if unknown."""
        if self.variant is None:
            return self._format_stage_position()
        variant = self.variant
        parts = [f"variant {variant.number} of {variant.total}", variant.name or variant.variant.label]
        if self.stage is not None and self.stage.test is not None:
            test_text = f" (test {self.tests_done + 1} of {len(variant.tests)})" if variant.tests else ""
            parts.append(f"{self.stage.test}{test_text}")
        return " · ".join(parts)

    def _format_stage_position(self) -> str:
        stage = self.stage
        if stage is None or self.phase != "stages" or self.total is None:
            return ""
        load_text = format_load(stage)
        name = f"{stage.name} ({load_text})" if load_text else stage.name
        return f"stage {min(self.completed + 1, self.total)} of {self.total} · {name}"


def estimate_remaining_s(progress: RunProgress, now_ns: int, last_duration_s: float | None) -> float | None:
    """Estimate the remaining time of a run in s; `None` if unknown. A run that does not know its
    own duration is expected to take as long as the last run of the same name, unless it already
    takes longer."""
    eta_s = progress.estimate_eta_s(now_ns)
    if eta_s is not None or last_duration_s is None or progress.finished is not None or progress.started_ns is None:
        return eta_s
    remaining_s = last_duration_s - (now_ns - progress.started_ns) / 1e9
    return remaining_s if remaining_s > 0 else None


def estimate_step_remaining_s(progress: RunProgress, now_ns: int) -> float | None:
    """Estimate the remaining time of a calibration or warm-up in s; `None` in other steps, and if
    unknown. A warm-up may end earlier, as soon as latency is stable."""
    match progress.step:
        case "calibrate" if progress.step_started_ns is not None:
            remaining_s = _CALIBRATION_S - (now_ns - progress.step_started_ns) / 1e9
            return remaining_s if remaining_s > 0 else None
        case "warmup" if progress.phase == "warmup" and progress.stage is not None:
            window_s = get_stage_duration_s(progress.stage)
            later_windows_s = max(0, MAX_WINDOWS - progress.stage.repeat) * window_s
            return later_windows_s + max(0.0, window_s - compute_stage_elapsed_s(progress.stage, now_ns))
        case _:
            return None


def compute_done_share(elapsed_s: float, remaining_s: float | None) -> float | None:
    """Return the share of a run's time that has passed, from 0 to 1; `None` if unknown."""
    if remaining_s is None or elapsed_s + remaining_s <= 0:
        return None
    return elapsed_s / (elapsed_s + remaining_s)


def get_stage_duration_s(stage: StageStarted) -> float:
    return stage.lead_in_s + stage.duration_s


def compute_stage_elapsed_s(stage: StageStarted, now_ns: int) -> float:
    """Return the time in s since the stage started, including its lead-in but not its drain."""
    return max(0.0, min((now_ns - stage.start_ns) / 1e9, stage.duration_s) + stage.lead_in_s)


def compute_stage_share(stage: StageStarted, sent: int, now_ns: int) -> float:
    """Return the share of a stage that is done, from 0 to 1: of its requests, if it has a number of
    requests, or else of its duration. `sent` is the number of requests sent so far."""
    if stage.requests is not None:
        return min(1.0, sent / stage.requests)
    return compute_stage_elapsed_s(stage, now_ns) / max(get_stage_duration_s(stage), 1e-9)


def format_load(stage: StageStarted) -> str | None:
    """Format the rate or the number of clients of a stage; `None` if the load varies, or if the
    name of the stage already states the load."""
    if stage.has_load_in_name:
        return None
    if stage.concurrency is not None:
        return f"{stage.concurrency:,} client{'s' if stage.concurrency > 1 else ''}"
    return None if stage.offered_per_s is None else f"{format_number(stage.offered_per_s)} req/s"


def advance_progress(progress: RunProgress, event: Event) -> RunProgress:
    progress = replace(progress, at_ns=event.at_ns)
    match event:
        case RunStarted(run_id=run_id, name=name, pid=pid):
            return replace(progress, run_id=run_id, name=name, pid=pid, started_ns=event.at_ns, is_local=event.is_local)
        case PhaseChanged():
            return _apply_phase(progress, event)
        case StageStarted():
            phase = {"phase": "measure", "message": ""} if progress.variant is not None else {}
            return replace(progress, stage=event, **phase)
        case StageExtended():
            return _apply_extension(progress, event)
        case StageFinished(stage=stage):
            duration_s = 0.0 if progress.stage is None else get_stage_duration_s(progress.stage)
            completed = progress.completed + STAGE_KINDS[stage.kind].is_measured
            return replace(progress, stage=None, completed=completed, spent_s=progress.spent_s + duration_s)
        case VariantStarted() | CallsFinished() | VariantFinished():
            return _apply_variant_event(replace(progress, stage=None), event)
        case PairRunStarted(pair=pair, pairs=pairs):
            return replace(progress, pair_run=event, total=2 * pairs, completed=max(progress.completed, 2 * (pair - 1)))
        case PairRunFinished(status=status):
            return replace(progress, completed=progress.completed + (status != "INVALID"))
        case RunFinished():
            return replace(progress, finished=event, stage=None)
        case _:
            return progress  # other events do not change the progress


def _apply_extension(progress: RunProgress, event: StageExtended) -> RunProgress:
    stage = progress.stage
    if stage is None or stage.index != event.index:
        return progress
    planned_s = None if progress.planned_s is None else progress.planned_s + event.by_s
    return replace(progress, stage=replace(stage, duration_s=event.duration_s), planned_s=planned_s)


def _apply_phase(progress: RunProgress, event: PhaseChanged) -> RunProgress:
    step = _STEP_BY_PHASE.get(event.phase)
    progress = replace(progress, phase=event.phase, message=event.message, stage=None)
    if step is not None:
        progress = _reach_step(progress, step, event.at_ns)
    if event.phase == "search":
        return replace(progress, total=None)
    if event.phase == "stages":
        return replace(progress, total=event.stages, planned_s=event.stages_s, spent_s=0.0)
    return progress


def _reach_step(progress: RunProgress, step: RunStep, at_ns: int) -> RunProgress:
    reached = replace(progress, reached_steps=progress.reached_steps | {step})
    return reached if reached.step == progress.step else replace(reached, step_started_ns=at_ns)


def _apply_variant_event(progress: RunProgress, event: VariantStarted | CallsFinished | VariantFinished) -> RunProgress:
    match event:
        case VariantStarted(number=number, total=total):
            started_ns = event.at_ns if progress.first_variant_ns is None else progress.first_variant_ns
            return replace(
                _reach_step(replace(progress, is_local=True), "measure", event.at_ns),
                variant=event,
                first_variant_ns=started_ns,
                tests_done=0,
                completed=number - 1,
                total=total,
            )
        case VariantFinished(number=number):
            return replace(progress, completed=number, tests_done=0)
        case CallsFinished():
            return replace(progress, tests_done=progress.tests_done + 1)
