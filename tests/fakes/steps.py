"""Steps of a language model as rows, from their times in milliseconds."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from app.records.calls import CallStage
from app.records.local import GenerationTest
from tests.fakes.calls import stage_of


def step(repetition: int, begin_ms: float, end_ms: float, *, executed_ms: float | None = None) -> list[float]:
    """One step; a prefill is executed at `executed_ms` and has sampled its first token at `end_ms`."""
    return [repetition, 0, -1, begin_ms, begin_ms, -1, end_ms if executed_ms is None else executed_ms, -1, end_ms]


def steps(
    repetition: int, begin_ms: float, gaps_ms: Sequence[float], *, prefill_ms: float | None = None
) -> list[list[float]]:
    """A repetition: the prefill, if there is one, which samples its token in 1 ms, and one step per gap."""
    rows, at_ms = [], begin_ms
    if prefill_ms is not None:
        at_ms = begin_ms + prefill_ms + 1
        rows.append(step(repetition, begin_ms, at_ms, executed_ms=begin_ms + prefill_ms))
    for gap_ms in gaps_ms:
        rows.append(step(repetition, at_ms, at_ms + gap_ms))
        at_ms += gap_ms
    return rows


def generation_stage(
    test: GenerationTest, *, batch: int = 1, repeat: int = 1, half_width: float | None = 0.01, stopped: bool = False
) -> CallStage:
    stage = stage_of("generation", batch=batch, half_width=half_width)
    return replace(stage, test=test, repeat=repeat, stopped_early=stopped)
