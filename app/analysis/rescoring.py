"""A run of an endpoint judged again from its facts: by another SLO, or only in a part of its time.

What is known of a stage of which only a part of the time is to count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from msgspec.structs import replace

from app.analysis.answering import answering_stages, holds_of_the_answer, judged_stages, rate_of_stages, with_headline
from app.analysis.curve import knees_of
from app.analysis.gating import (
    DEFAULT,
    causes_of,
    exit_of,
    invalid_cause,
    judge_gate,
    judge_worst,
    no_rate_cause,
    run_metrics,
)
from app.analysis.gpu_use import with_gpu_use
from app.analysis.max_rate import highest_held, max_rate, reach_check
from app.analysis.objectives import binding, find_estimate, is_met
from app.analysis.pooling import pool_rows
from app.analysis.rows import StageRows, offered_window
from app.analysis.search import SearchOutcome
from app.analysis.stages import judge_again, summarise_rows, with_telemetry
from app.analysis.validity import run_checks, verdict_of
from app.records.result import (
    Cause,
    CauseId,
    Check,
    Exit,
    Judged,
    MaxRate,
    Objective,
    Rescored,
    Result,
    Stage,
    StageKind,
    Window,
    WorkerFacts,
)
from app.records.stage import StageFacts


def clipped(facts: StageFacts, rows: StageRows, within: Window) -> StageFacts | None:
    """The facts of the part of the stage that lies `within`; the facts themselves where that is all of it, None where
    it is nothing.

    What the workers did is known of the whole stage only: it is taken to be even over it.
    """
    whole = offered_window(rows, facts)
    start_ns, end_ns = max(whole.start_ns, within.start_ns), min(whole.end_ns, within.end_ns)
    if (start_ns, end_ns) == (whole.start_ns, whole.end_ns):
        return facts
    if end_ns <= start_ns:
        return None
    is_to_the_end, is_from_the_start = end_ns == whole.end_ns, start_ns == whole.start_ns
    last_ns = facts.end_ns if is_to_the_end else end_ns
    lead_in_s = facts.lead_in_s if is_from_the_start else 0.0
    part = _sending_s(start_ns, last_ns, lead_in_s) / _sending_s(facts.start_ns, facts.end_ns, facts.lead_in_s)
    after_s = (start_ns - facts.start_ns) / 1e9
    return replace(
        facts,
        kind="varying" if facts.kind == "spike" else facts.kind,
        start_ns=start_ns,
        end_ns=last_ns,
        duration_s=(end_ns - start_ns) / 1e9,
        lead_in_s=lead_in_s,
        rates=tuple((at_s - after_s, per_s) for at_s, per_s in facts.rates),
        over_saturated=facts.over_saturated and is_to_the_end,
        stopped_early=facts.stopped_early and is_to_the_end,
        worker_cpu_s=facts.worker_cpu_s * part,
        worker_waited_s=None if facts.worker_waited_s is None else facts.worker_waited_s * part,
        workers=tuple(_part_of(one, part) for one in facts.workers),
    )


def _part_of(worker: WorkerFacts, part: float) -> WorkerFacts:
    waited_s = None if worker.waited_s is None else worker.waited_s * part
    return replace(worker, cpu_s=worker.cpu_s * part, sent=round(worker.sent * part), waited_s=waited_s)


def _sending_s(start_ns: int, end_ns: int, lead_in_s: float) -> float:
    return max(1e-9, (end_ns - start_ns) / 1e9 + lead_in_s)


_SEARCHED: tuple[StageKind, ...] = ("probe", "hold")
_OF_THE_RUN: tuple[CauseId, ...] = ("interrupted", "limit", "cut_short", "target_failed")
_OF_ANSWERS = ("hold_length", "generator_reach")
"""Checks that are of the stages the answer rests on, beside those that each stage has."""
_GPU_ENERGY = "energy_j"


@dataclass(frozen=True)
class RunFacts:
    """All that a run's numbers are made of. `facts` and `rows` are of its stages, in the order run; `slo` is as its
    profile has it; `idle` is when its GPUs had nothing to do."""

    result: Result
    slo: tuple[Objective, ...]
    facts: tuple[StageFacts, ...]
    rows: tuple[StageRows, ...]
    telemetry: pd.DataFrame
    idle: Window | None = None
    is_whole: bool = True
    """Whether the run came to its end, and its result is what it found; else the result only holds what its stages are
    told of."""


def rescore(run: RunFacts, slo: tuple[Objective, ...] | None, window_s: tuple[float, float] | None) -> Result:
    """`window_s` counts from the start of the run; only arrivals intended inside it count. A stage outside is left out,
    one that it cuts has what lies inside. With neither, the result is the run's own."""
    objectives = run.slo if slo is None else slo
    is_same = window_s is None and [one.text for one in objectives] == [one.text for one in run.slo]
    is_own = is_same and run.is_whole
    parts = _parts(run, objectives, _within(run.result, window_s), is_own=is_own)
    stages = tuple(stage for _, _, stage in parts)
    search = _own_search(run.result) if is_own else _search(run.result, stages)
    found = _max_rate(run.result, stages, objectives, search, is_own=is_own)
    pooled = _pooled(run, parts, objectives, search)
    answering = answering_stages(stages, search)
    validity = _validity(run.result, answering or stages, None if is_own else search)
    judged_on = judged_stages(stages, answering, pooled)
    judged = tuple(judge_worst(one, judged_on) for one in binding(objectives))
    plan = run.result.plan if is_own else None
    gates = tuple(judge_gate(one.objective, judged_on, stages, run_metrics(found, plan)) for one in run.result.gates)
    local = tuple(stage for stage in run.result.stages if stage.variant is not None)
    loaded = stages + (() if pooled is None else (pooled,))
    result = replace(
        run.result,
        verdict=verdict_of(validity),
        validity=validity,
        stages=local + with_headline(loaded, judged_on, found),
        max_rate=found,
        knees=knees_of(stages),
        slo=judged,
        gates=run.result.gates if is_own else gates,
    )
    if is_own:
        return result
    told = again(result, run.result, slo, window_s, _without_rate(run.result, found))
    return replace(told, rescored=None) if is_same else told


def again(
    result: Result,
    own: Result,
    slo: tuple[Objective, ...] | None,
    window_s: tuple[float, float] | None,
    more: Sequence[Cause] = (),
) -> Result:
    """Stamped as what is not the run's `own`, with the exit that follows. What was made for the run's own SLO and whole
    time, its plan and its comparison, is left out."""
    stamp = Rescored(None if slo is None else tuple(one.text for one in slo), window_s, own.exit.code)
    exit_of_it = _exit(own, result, (*result.slo, *result.gates), more)
    return replace(result, plan=None, comparison=None, rescored=stamp, exit=exit_of_it)


_Part = tuple[StageFacts, StageRows, Stage]


def _within(result: Result, window_s: tuple[float, float] | None) -> Window | None:
    if window_s is None:
        return None
    start_ns = result.zero_ns
    return Window(start_ns + round(window_s[0] * 1e9), start_ns + round(window_s[1] * 1e9))


def _parts(run: RunFacts, slo: Sequence[Objective], within: Window | None, *, is_own: bool) -> list[_Part]:
    """Of a whole stage, what hangs on no SLO is as the run found it; but where the run's own is asked for, all is made
    again: that it comes out the same is the proof of the rest."""
    stored = [stage for stage in run.result.stages if stage.variant is None and not stage.is_pooled]
    found = []
    for facts, rows, own in zip(run.facts, run.rows, stored, strict=True):
        part = facts if within is None else clipped(facts, rows, within)
        if part is facts and run.is_whole and not is_own:
            found.append((facts, rows, judge_again(rows, facts, own, slo)))
        elif part is facts and run.is_whole:
            stage = _with_readings(summarise_rows(rows, None, facts, slo), own)
            found.append((facts, rows, with_telemetry(stage, None, facts, slo)))
        elif part is not None:
            stage = summarise_rows(rows, run.telemetry, part, slo)
            stage = with_gpu_use(stage, run.telemetry, run.idle) if _GPU_ENERGY in own.metrics else stage
            found.append((part, rows, stage if part is facts else _as_cut(stage, own, slo)))
    return found


def _with_readings(stage: Stage, own: Stage) -> Stage:
    """What was read of the machine in a whole stage, and what its GPUs took, hangs on no SLO."""
    metrics = {**stage.metrics, **{name: found for name, found in own.metrics.items() if name not in stage.metrics}}
    checks = (*stage.checks, *(check for check in own.checks if check.id == "gpu_throttled"))
    return replace(stage, metrics=metrics, checks=checks, verdict=verdict_of(checks))


def _as_cut(stage: Stage, own: Stage, slo: Sequence[Objective]) -> Stage:
    """Of a part of a probe, a percentile that is withheld leaves open whether it held."""
    met = [is_met(one, find_estimate(stage, one)) for one in binding(slo)]
    is_open = stage.kind in _SEARCHED and None in met and False not in met
    return replace(
        stage, kind=own.kind, arrivals=own.arrivals, arrival_kind=own.arrival_kind, held=None if is_open else stage.held
    )


def _own_search(result: Result) -> SearchOutcome | None:
    """What is left of it in the result: the rate that it found."""
    if result.max_rate is None or not _is_searched(result.stages):
        return None
    found = result.max_rate
    return SearchOutcome(found.per_s.value, found.per_s.reason, (None, None), 0)


def _search(own: Result, stages: Sequence[Stage]) -> SearchOutcome | None:
    """As if the rates tried had been chosen for this SLO; None for a run that did not search."""
    return highest_held(stages, (*_SEARCHED, "steady")) if _is_searched(own.stages) else None


def _max_rate(
    own: Result, stages: Sequence[Stage], slo: Sequence[Objective], search: SearchOutcome | None, *, is_own: bool
) -> MaxRate | None:
    if search is None:
        return rate_of_stages(stages, slo)
    if is_own:
        return own.max_rate
    return max_rate(stages, slo, search) if binding(slo) and any(one.kind in _SEARCHED for one in stages) else None


def _pooled(
    run: RunFacts, parts: Sequence[_Part], slo: Sequence[Objective], search: SearchOutcome | None
) -> Stage | None:
    holds = holds_of_the_answer([stage for _, _, stage in parts], search)
    if not holds:
        return None
    chosen = [parts[place] for place in holds]
    rows = [_before_end(rows, facts) for facts, rows, _ in chosen]
    return pool_rows(rows, run.telemetry, [facts for facts, _, _ in chosen], slo)


def _before_end(rows: StageRows, facts: StageFacts) -> StageRows:
    """Without what a clipped stage leaves out, which would lie in the hold after it."""
    return rows.where(rows.intended_ns < facts.start_ns + round(facts.duration_s * 1e9))


def _validity(own: Result, answering: Sequence[Stage], search: SearchOutcome | None) -> tuple[Check, ...]:
    """Checks of stages made again, in the place of the run's; those of machine and clocks stay."""
    names = {check.id for stage in own.stages if stage.variant is None for check in stage.checks} | {*_OF_ANSWERS}
    first = next((place for place, check in enumerate(own.validity) if check.id in names), len(own.validity))
    reach = (
        tuple(check for check in own.validity if check.id == "generator_reach")
        if search is None
        else reach_check(search)
    )
    kept = [check for check in own.validity[first:] if check.id not in names]
    return (*own.validity[:first], *run_checks(answering), *reach, *kept)


def _exit(own: Result, result: Result, judged: Sequence[Judged], more: Sequence[Cause]) -> Exit:
    """What stopped the run, or failed of its target, stays; what follows from numbers is told again."""
    causes = [cause for cause in own.exit.causes if cause.id in _OF_THE_RUN]
    spoilt = verdict_of([check for check in result.validity if check.verdict == "INVALID"])
    if spoilt.status == "INVALID":
        causes.append(invalid_cause(spoilt))
    return exit_of([*causes, *causes_of(judged, DEFAULT), *more])


def _without_rate(own: Result, found: MaxRate | None) -> list[Cause]:
    if not _is_searched(own.stages) or found is None or found.per_s.value is not None or found.is_generators:
        return []
    return [no_rate_cause(found.per_s.reason)]


def _is_searched(stages: Sequence[Stage]) -> bool:
    return any(stage.kind in _SEARCHED for stage in stages)
