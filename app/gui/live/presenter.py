"""A run's events and telemetry in, what the Live page shows out. It knows no widget."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from app.analysis.digits import digits
from app.analysis.run_progress import RunProgress, advanced
from app.gui.live.machine import LiveSeries, MachineSeries
from app.gui.live.stages import Failures, LiveChecks, LiveStages, LiveVariants
from app.gui.live.state import Going, LiveState, Marker
from app.records.events import (
    CallsFinished,
    CheckCompleted,
    ColdStarted,
    ErrorSeen,
    Event,
    Noted,
    PhaseChanged,
    RateChanged,
    RateResolved,
    RunFinished,
    RunStarted,
    Snapshot,
    StageExtended,
    StageFinished,
    StageStarted,
    VariantFinished,
    VariantStarted,
)
from app.records.result import Check, Objective

if TYPE_CHECKING:
    import pyarrow as pa

Part = Literal["charts", "marks", "machine", "stages", "checks", "failures", "variants"]
_MOST_MARKERS = 200
_LONGEST_MARKER = 60
_STALE_S = 600.0
"""An engine that tells nothing for so long is on a machine with another clock, or has no more to tell."""


class LivePresenter:
    def __init__(
        self, directory: Path | None = None, name: str = "", now_ns: Callable[[], int] = time.perf_counter_ns
    ) -> None:
        """`now_ns` is the clock of the events."""
        self.directory, self._name, self._now_ns = directory, name, now_ns
        self._made_ns = now_ns()
        self.going: Going = "idle" if directory is None else "starting"
        self.failure = ""
        """Why it did not start."""
        self.progress = RunProgress()
        self.series, self.machine = LiveSeries(), MachineSeries()
        self.stages, self.variants = LiveStages(), LiveVariants()
        self.checks, self.failures = LiveChecks(), Failures()
        self.slo: tuple[Objective, ...] = ()
        self.markers: list[Marker] = []
        self.changed: set[Part] = set()
        """Since it was last cleared."""
        self._zero_ns: int | None = None
        self._early: list[pa.RecordBatch] = []

    def take(self, event: Event) -> None:
        if self._zero_ns is None:
            self._zero_ns = event.at_ns
        self.progress = advanced(self.progress, event)
        if self.going == "starting":
            self.going = "running"
        match event:
            case RunStarted(slo=slo):
                self.slo = slo
                self._place_early_readings()
            case Snapshot() | ErrorSeen() | StageStarted() | StageFinished() | CallsFinished():
                self._take_of_stage(event)
            case RateChanged() | StageExtended() | Noted() | ColdStarted() | RateResolved():
                self._take_moment(event)
            case VariantStarted() | VariantFinished():
                self._take_of_variant(event)
            case CheckCompleted(check=check):
                self._take_check(check, event.at_ns)
            case RunFinished():
                self.going = "finished"
                self._stop(event.at_ns)
            case PhaseChanged():
                pass  # the progress has it

    def take_readings(self, batch: pa.RecordBatch) -> None:
        if self._zero_ns is None:
            self._early.append(batch)
            return
        self.machine.take(batch, self._zero_ns)
        self.changed.add("machine")

    def lose(self, going: Going) -> None:
        """Nothing more is told."""
        self.going = going
        self._stop(self.progress.at_ns or 0)

    @property
    def is_local(self) -> bool:
        return bool(self.variants.lines())

    def latency_limit(self) -> Objective | None:
        """That a line in the latency chart stands for: the first that every stage is held to."""
        return next((one for one in self.slo if one.metric in ("latency_ms", "service_ms")), None)

    def state(self) -> LiveState:
        progress, verdict = self.progress, self.checks.verdict
        now_ns = self._moment_ns()
        since_ns = self._made_ns if progress.started_ns is None else progress.started_ns
        is_running = self.going in ("running", "stopping")
        return LiveState(
            going=self.going,
            run_id=progress.run_id,
            name=progress.name or self._name,
            directory=self.directory,
            phase=progress.phase,
            message=self.failure or progress.message,
            done=progress.done,
            total=progress.total,
            elapsed_s=max(0.0, (now_ns - since_ns) / 1e9),
            eta_s=progress.eta_s(now_ns) if is_running else None,
            trust=None if verdict is None else verdict.status,
            reasons=() if verdict is None else verdict.reasons,
        )

    def _moment_ns(self) -> int:
        """Now, on the run's clock; of a run that goes on no more, its last moment."""
        now_ns = self._now_ns()
        last_ns = self.progress.at_ns
        if last_ns is None:
            return now_ns if self.going == "starting" else self._made_ns
        is_clock_shared = 0 <= now_ns - last_ns < _STALE_S * 1e9
        return now_ns if self.going in ("running", "stopping") and is_clock_shared else last_ns

    def _at_s(self, at_ns: int) -> float:
        return (at_ns - (self._zero_ns or 0)) / 1e9

    def _place_early_readings(self) -> None:
        early, self._early = self._early, []
        for batch in early:
            self.take_readings(batch)

    def _take_moment(self, event: RateChanged | StageExtended | Noted | ColdStarted | RateResolved) -> None:
        self._mark(event.at_ns, _words_of(event))
        if isinstance(event, RateChanged | StageExtended):
            self.stages.change(event)
            self.changed.add("stages")

    def _take_of_stage(self, event: Snapshot | ErrorSeen | StageStarted | StageFinished | CallsFinished) -> None:
        zero_ns, at_s = self._zero_ns or 0, self._at_s(event.at_ns)
        match event:
            case Snapshot():
                self.series.take(event, zero_ns)
                self.stages.move(event)
                if self.failures.take(event, at_s):
                    self.changed.add("failures")
                self.changed.add("charts")
            case ErrorSeen(sample=sample):
                self.failures.take_sample(event, self._at_s(sample.at_ns))
                self.changed.add("failures")
            case StageStarted():
                self.series.begin(event, zero_ns)
                self.stages.begin(event, zero_ns)
            case StageFinished() | CallsFinished():
                self._end_stage(event, at_s)
        self.changed.add("stages")

    def _end_stage(self, event: StageFinished | CallsFinished, at_s: float) -> None:
        self.stages.end(event, at_s)
        self.checks.take_stage(event.stage)
        self.changed.update(("marks", "checks"))
        if isinstance(event, CallsFinished):
            self.variants.add(event)
            self.changed.add("variants")
        elif self.failures.take_stage(event, at_s):
            self.changed.add("failures")

    def _take_of_variant(self, event: VariantStarted | VariantFinished) -> None:
        self.changed.add("variants")
        match event:
            case VariantStarted():
                self.variants.begin(event)
            case VariantFinished():
                self.variants.end(event)

    def _take_check(self, check: Check, at_ns: int) -> None:
        self.checks.take(check)
        self.changed.add("checks")
        if check.verdict == "INVALID":
            self._mark(at_ns, f"INVALID: {check.name}")

    def _mark(self, at_ns: int, text: str) -> None:
        if len(self.markers) < _MOST_MARKERS:
            self.markers.append(Marker(self._at_s(at_ns), text[:_LONGEST_MARKER]))
            self.changed.add("marks")

    def _stop(self, at_ns: int) -> None:
        self.stages.stop(self._at_s(at_ns))
        self.changed.update(("stages", "marks", "charts"))


def _words_of(event: RateChanged | StageExtended | Noted | ColdStarted | RateResolved) -> str:
    match event:
        case RateChanged(rate_per_s=rate_per_s):
            return f"rate {digits(rate_per_s)}/s"
        case StageExtended(by_s=by_s):
            return f"extended by {digits(by_s)} s"
        case Noted(text=text):
            return text
        case RateResolved(stage=stage, rate_per_s=rate_per_s):
            return f"{stage} is {digits(rate_per_s)}/s"
        case ColdStarted():
            return "cold start"
