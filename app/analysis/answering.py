"""Which stages of a loaded endpoint a run's answer rests on, and which rate it is.

What a sweep says of an SLO: up to which of its loads it held.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from app.analysis.curve import on_the_curve
from app.analysis.generator_checks import LOCAL_LIMITS
from app.analysis.max_rate import highest_held, max_rate
from app.analysis.search import SearchOutcome
from app.analysis.stage_checks import TARGET_PROCESS
from app.records.result import IN_SWEEP, MaxRate, Objective, Stage, StageKind


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


_UNSTEADY: tuple[StageKind, ...] = ("closed", "varying", "spike")


def rate_of_stages(stages: Sequence[Stage], slo: Sequence[Objective]) -> MaxRate | None:
    """Of rates that nobody searched; None where there is none, or nothing to hold it against."""
    if not slo or not on_the_curve(stages):
        return None
    return max_rate(stages, slo, highest_held(stages))


def holds_of_the_answer(stages: Sequence[Stage], search: SearchOutcome | None) -> tuple[int, ...]:
    """Where the holds of the max rate stand in `stages`; empty when no rate was found."""
    if search is None or search.max_rate_per_s is None:
        return ()
    return tuple(
        place
        for place, stage in enumerate(stages)
        if stage.kind == "hold"
        and stage.held
        and stage.scheduled_per_s == search.max_rate_per_s
        and stage.verdict.status != "INVALID"  # it was run again: a disturbed hold is no part of the answer
    )


def answering_stages(stages: Sequence[Stage], search: SearchOutcome | None) -> tuple[Stage, ...]:
    """The stages the answer rests on: the holds of the max rate where one was found, else what else held at it; without
    a rate all that ran steadily, else those of a closed loop and of rates that vary; a sweep's where there was nothing
    else."""
    holds = holds_of_the_answer(stages, search)
    if holds:
        return tuple(stages[place] for place in holds)
    if search is not None and search.max_rate_per_s is not None:  # by another SLO, a rate that was only probed
        return tuple(stage for stage in _at_rate(stages, search.max_rate_per_s) if stage.held)
    asked = tuple(stage for stage in stages if IN_SWEEP not in stage.tags)
    steady = tuple(stage for stage in asked if stage.kind == "steady")
    return steady or tuple(stage for stage in asked if stage.kind in _UNSTEADY) or _swept(stages)


def judged_stages(
    stages: Sequence[Stage], answering: Sequence[Stage], pooled: Stage | None = None
) -> tuple[Stage, ...]:
    """Those that the objectives are judged on: the holds of the answer together; of a sweep, where it was heaviest and
    held."""
    if pooled is not None:
        return (pooled,)
    answering = tuple(stage for stage in answering if not _is_cut_off(stage))
    is_sweep = bool(answering) and all(IN_SWEEP in stage.tags for stage in answering)
    return (heaviest_held(stages) if is_sweep else ()) or tuple(answering)


def with_headline(
    stages: Sequence[Stage], judged_on: Sequence[Stage] = (), found: MaxRate | None = None
) -> tuple[Stage, ...]:
    """The `stages` of a loaded endpoint, pooled holds included, with those of the headline marked.

    These are the stages at the max rate where there is one, else those that the objectives are evaluated on, else the
    last holds of a search that was cut short.
    """
    rate = None if found is None else found.per_s.value
    at_rate = () if rate is None else _at_rate(judged_on, rate)
    if rate is not None and not at_rate:
        at_rate = tuple(stage for stage in _at_rate(stages, rate) if stage.kind == "steady")
    answering = answering_stages(stages, None)
    rest = judged_stages(stages, answering) or answering or _last_holds(stages)
    return marked(stages, at_rate or judged_on or rest)


def marked(stages: Sequence[Stage], headline: Sequence[Stage]) -> tuple[Stage, ...]:
    """`stages` with `in_headline` set for those of the `headline` and no others."""
    chosen = {id(stage) for stage in headline}
    return tuple(replace(stage, in_headline=id(stage) in chosen) for stage in stages)


def _at_rate(stages: Sequence[Stage], per_s: float) -> tuple[Stage, ...]:
    """The stages at that rate, without INVALID ones: what those measured may not be the endpoint's."""
    return tuple(stage for stage in stages if stage.scheduled_per_s == per_s and stage.verdict.status != "INVALID")


def _last_holds(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Every repeat of the last hold that met the SLO; empty where none did."""
    holds = [stage for stage in stages if stage.kind == "hold" and stage.held and stage.verdict.status != "INVALID"]
    return tuple(stage for stage in holds if stage.name == holds[-1].name)


def _is_cut_off(stage: Stage) -> bool:
    """Whether its errors are those of a target that had ended, or of this machine's limits: no objective is evaluated
    on them."""
    return any(check.id in (TARGET_PROCESS, LOCAL_LIMITS) and check.verdict == "INVALID" for check in stage.checks)


def _swept(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """A sweep goes on until the SLO fails, so what failed counts only where nothing held."""
    swept = tuple(stage for stage in stages if IN_SWEEP in stage.tags)
    return tuple(stage for stage in swept if stage.held is not False) or swept
