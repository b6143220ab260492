"""The stages and variants of a run, as they come."""

from __future__ import annotations

from msgspec.structs import replace

from app.analysis.digits import digits
from app.analysis.run_progress import stage_done_s, stage_lasts_s
from app.gui.live.state import Band, StageCell, VariantLine
from app.records.events import (
    CallsFinished,
    RateChanged,
    Snapshot,
    StageExtended,
    StageFinished,
    StageStarted,
    VariantFinished,
    VariantStarted,
)
from app.records.result import Stage

_CHANGEABLE = ("steady", "varying", "spike")
_EXTENDABLE = ("steady", "closed")


class LiveStages:
    def __init__(self) -> None:
        self._cells: dict[int, StageCell] = {}
        self._running: StageStarted | None = None

    def begin(self, stage: StageStarted, zero_ns: int) -> None:
        self._running = stage
        is_open = stage.kind in _CHANGEABLE and stage.concurrency is None
        self._cells[stage.index] = StageCell(
            index=stage.index,
            name=f"{stage.name} #{stage.repeat}" if stage.repeat > 1 else stage.name,
            rate=_rate(stage),
            start_s=(stage.start_ns - zero_ns) / 1e9 - stage.lead_in_s,
            end_s=None,
            share_done=0.0,
            can_change=is_open,
            rate_per_s=stage.offered_per_s,
            can_extend=stage.kind in _EXTENDABLE,
        )

    def move(self, told: Snapshot) -> None:
        stage = self._running
        if stage is not None and stage.index in self._cells:
            share = stage_done_s(stage, told.at_ns) / max(stage_lasts_s(stage), 1e-9)
            self._cells[stage.index] = replace(self._cells[stage.index], share_done=share)

    def change(self, told: RateChanged | StageExtended) -> None:
        if isinstance(told, StageExtended):
            if self._running is not None and self._running.index == told.index:
                self._running = replace(self._running, duration_s=told.duration_s)
        elif told.index in self._cells:
            rate = f"{digits(told.rate_per_s)}/s"
            self._cells[told.index] = replace(self._cells[told.index], rate=rate, rate_per_s=told.rate_per_s)

    def end(self, told: StageFinished | CallsFinished, at_s: float) -> None:
        index = told.index if isinstance(told, StageFinished) else told.facts.index
        self._running = None
        if index in self._cells:
            self._cells[index] = replace(
                self._cells[index],
                end_s=at_s,
                share_done=1.0,
                held=told.stage.held,
                trust=told.stage.verdict.status,
                can_change=False,
                can_extend=False,
            )

    def stop(self, at_s: float) -> None:
        """What ran when the run ended goes on no more."""
        self._running = None
        for index, cell in self._cells.items():
            if cell.end_s is None:
                self._cells[index] = replace(cell, end_s=at_s, can_change=False, can_extend=False)

    @property
    def running(self) -> StageCell | None:
        return None if self._running is None else self._cells.get(self._running.index)

    def cells(self) -> tuple[StageCell, ...]:
        return tuple(self._cells.values())

    def bands(self) -> tuple[Band, ...]:
        """Those that are INVALID."""
        return tuple(
            Band(cell.start_s, cell.end_s, "INVALID", "bad")
            for cell in self._cells.values()
            if cell.end_s is not None and cell.trust == "INVALID"
        )


def _rate(stage: StageStarted) -> str:
    if stage.concurrency is not None:
        return "{count} clients".format(count=f"{stage.concurrency:,}")
    if stage.offered_per_s is None or f"{digits(stage.offered_per_s)}/s" in stage.name:
        return ""
    return f"{digits(stage.offered_per_s)}/s"


class LiveVariants:
    """Of a local run."""

    def __init__(self) -> None:
        self._lines: dict[int, VariantLine] = {}
        self._current = 0

    def begin(self, told: VariantStarted) -> None:
        self._current = told.number
        self._lines[told.number] = VariantLine(number=told.number, name=told.variant.label, state="running", times="")

    def add(self, told: CallsFinished) -> None:
        line = self._lines.get(self._current)
        if line is not None:
            times = _times(told.stage)
            self._lines[self._current] = replace(line, times=f"{line.times}; {times}" if line.times else times)

    def end(self, told: VariantFinished) -> None:
        line = self._lines.get(told.number)
        if line is not None:
            failure = told.facts.failure
            state = "measured" if failure is None else "ended early"
            self._lines[told.number] = replace(line, state=state, reason=failure)

    def lines(self) -> tuple[VariantLine, ...]:
        return tuple(self._lines.values())


def _times(stage: Stage) -> str:
    """Of calls that are due at a time of their own, what they waited too."""
    metric = "latency_ms" if "latency_ms" in stage.metrics else "service_ms"
    of = stage.metrics.get(metric, {})
    p50, p95 = (None if one not in of else of[one].value for one in ("p50", "p95"))
    rate = stage.metrics["throughput_per_s"]["value"].value if "throughput_per_s" in stage.metrics else None
    parts = [stage.tags.get("scenario", stage.name)]
    parts += [] if p50 is None else [f"p50 {digits(p50, 3)} ms"]
    parts += [] if p95 is None else [f"p95 {digits(p95, 3)} ms"]
    parts += [] if rate is None else [f"{digits(rate, 3)}/s"]
    return f"{parts[0]}: {', '.join(parts[1:])}" if parts[1:] else parts[0]
