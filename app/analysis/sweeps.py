"""What a sweep says of an SLO: up to which of its loads it held."""

from __future__ import annotations

from collections.abc import Sequence

from app.records.result import IN_SWEEP, Stage


def heaviest_held(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """The stages of a sweep at the heaviest load below the lightest that failed; empty where none held.

    Lighter loads are only on the way there: their fewer answers settle less. INVALID ones tell nothing.
    """
    judged = [stage for stage in stages if _is_judged(stage)]
    failed = lightest_failed(stages)
    below = [load_of(stage) for stage in judged if failed is None or load_of(stage) < load_of(failed)]
    return tuple(stage for stage in judged if load_of(stage) == max(below)) if below else ()


def lightest_failed(stages: Sequence[Stage]) -> Stage | None:
    """Of a sweep, its first repeat that failed."""
    failed = [stage for stage in stages if _is_judged(stage) and stage.held is False]
    return min(failed, key=load_of, default=None)


def load_of(stage: Stage) -> float:
    """Requests a second, or clients."""
    return float(stage.concurrency or 0) if stage.scheduled_per_s is None else stage.scheduled_per_s


def _is_judged(stage: Stage) -> bool:
    return IN_SWEEP in stage.tags and stage.held is not None and stage.verdict.status != "INVALID"
