"""From checks to a verdict, and the checks of a run as a whole.

Makes checks from a value and its limits.

Doubts that a practitioner would have about what was asked, and what of it the server remembered.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from msgspec.structs import replace

from app.analysis.digits import digits
from app.records.local import Placement
from app.records.result import IN_SWEEP, Check, CheckId, Clock, Stage, StageKind, Trust, Verdict
from app.records.telemetry import Samples


def grade_high(
    check: CheckId, value: float | None, *, unit: str, warn: float, invalid: float = math.inf, hint: str
) -> Check:
    """VALID up to `warn`, INVALID above `invalid`; WARN between, and where there is no value."""
    if value is None:
        return Check(check, None, warn, unit, "WARN", hint)
    verdict: Trust = "VALID" if value <= warn else "WARN" if value <= invalid else "INVALID"
    return Check(
        check, value, invalid if verdict == "INVALID" else warn, unit, verdict, None if verdict == "VALID" else hint
    )


def grade_low(
    check: CheckId, value: float | None, *, unit: str, warn: float, invalid: float = -math.inf, hint: str
) -> Check:
    """VALID from `warn` up, INVALID below `invalid`; WARN between, and where there is no value."""
    if value is None:
        return Check(check, None, warn, unit, "WARN", hint)
    verdict: Trust = "VALID" if value >= warn else "WARN" if value >= invalid else "INVALID"
    return Check(
        check, value, invalid if verdict == "INVALID" else warn, unit, verdict, None if verdict == "VALID" else hint
    )


_RANK: dict[Trust, int] = {"VALID": 0, "WARN": 1, "INVALID": 2}
_ASKED_FOR: tuple[StageKind, ...] = ("steady", "closed", "varying", "spike")
_HOLD_S = 10.0
_SUSPENDED_S = 2.0
_STEADY = r"host|gpu\d+"
"""Sources that are read many times a second; others are slow on purpose."""


def verdict_of(checks: Sequence[Check]) -> Verdict:
    """The worst of the checks, with every reason, the worst first; no checks leave nothing to doubt."""
    doubts = sorted((check for check in checks if check.verdict != "VALID"), key=lambda one: -_RANK[one.verdict])
    return Verdict(doubts[0].verdict if doubts else "VALID", tuple(_reason(check) for check in doubts))


def run_checks(stages: Sequence[Stage]) -> tuple[Check, ...]:
    """The worst of each check over the stages the answer rests on, and how long the holds were.

    Those are the stages the profile asked for and the holds. A rate that failed is an answer of the endpoint, so failed
    probes and failed holds count only where nothing held; a stage cut off by its backlog then shows as what it is.
    """
    resting = _resting(stages)
    worst: dict[str, Check] = {}
    for stage in resting:
        for check in stage.checks:
            known = worst.get(check.id)
            if known is None or _RANK[check.verdict] > _RANK[known.verdict]:
                hint = None if check.hint is None else f"{_label(stage)}: {check.hint}"
                worst[check.id] = replace(check, hint=hint)
    holds = [stage for stage in resting if stage.kind == "hold"]
    return (*worst.values(), _hold_check(holds)) if holds else tuple(worst.values())


def provider_check(requested: str, used: str, nodes_elsewhere: Sequence[str], reason: str | None = None) -> Check:
    """Did the model run where it was asked to? `nodes_elsewhere`: what did not, as "Conv on CPUExecutionProvider"."""
    why = f" ({reason})" if reason else ""
    if used != requested:
        hint = f"{requested} was asked for and {used} was used{why}: choose {used}, or make {requested} work here."
        return Check("provider", used, requested, None, "INVALID", hint)
    if nodes_elsewhere:
        observed = f"{used}; {', '.join(nodes_elsewhere)}"
        hint = f"{used} cannot run these operators: replace them in the model, or measure on another provider."
        return Check("provider", observed, requested, None, "INVALID", hint)
    return Check("provider", used, requested, None, "VALID")


def strays_of(placements: Sequence[Placement]) -> tuple[str, ...]:
    """Compute nodes on a provider that was not asked for, as `MatMul on CPUExecutionProvider`."""
    return tuple(sorted({f"{one.operator} on {one.provider}" for one in placements if one.is_stray}))


def clock_check(clock: Clock, suspended_s: float | None) -> Check:
    """The two clocks must have run alike, and the machine must not have slept (None where no clock tells).

    A wall clock that was set moves no number: it is read for dates alone, so where sleep is ruled out it is a WARN.
    """
    if suspended_s is not None and suspended_s > _SUSPENDED_S:
        hint = "The machine was suspended during the run: measure again with sleep turned off."
        return Check("clock", suspended_s, _SUSPENDED_S, "s suspended", "INVALID", hint)
    ratio = clock.wall_to_monotonic_ratio
    return grade_high(
        "clock",
        None if ratio is None else abs(ratio - 1),
        unit="share",
        warn=0.001,
        invalid=math.inf if suspended_s is not None else 0.01,
        hint="Wall clock and monotonic clock ran apart. No number here is of the wall clock: if the time was set, only "
        "the dates are off; if the virtual machine was paused, measure again.",
    )


def telemetry_check(telemetry: pd.DataFrame) -> Check:
    """The 99th percentile of the gaps between readings of the same source."""
    steady = telemetry[telemetry["source"].str.fullmatch(_STEADY)]
    moments = steady[["source", "at_ns"]].drop_duplicates().sort_values("at_ns")
    gaps_ms = moments.groupby("source")["at_ns"].diff().dropna().to_numpy(dtype=np.float64) / 1e6
    return grade_high(
        "telemetry_gaps",
        float(np.quantile(gaps_ms, 0.99, method="inverted_cdf")) if gaps_ms.size else None,
        unit="ms",
        warn=250.0,
        hint="Utilisation and power were read with gaps: the machine was too busy for the sampler."
        if gaps_ms.size
        else "No telemetry was read.",
    )


def _resting(stages: Sequence[Stage]) -> list[Stage]:
    measured = [stage for stage in stages if stage.kind != "warmup"]
    told = [stage for stage in measured if stage.verdict.status != "INVALID"]
    answering = [stage for stage in measured if stage.kind in _ASKED_FOR and not _is_too_far(stage)]
    answering += [stage for stage in told if stage.kind == "hold" and stage.held]
    return answering or [stage for stage in told if stage.held] or told or measured


def _is_too_far(stage: Stage) -> bool:
    """A sweep goes on until its rates fail: those are no fault of the measurement."""
    return IN_SWEEP in stage.tags and stage.held is False and stage.verdict.status != "INVALID"


def _hold_check(holds: Sequence[Stage]) -> Check:
    shortest_s = min((stage.window.end_ns - stage.window.start_ns) / 1e9 for stage in holds)
    return grade_low(
        "hold_length",
        shortest_s,
        unit="s",
        warn=_HOLD_S,
        # shares of 100 simulated searches each, by tests.performance.searches: M/M/1 of 1,000/s, p95 met up to 850/s
        hint="With 3 s holds 87 % of simulated searches ended within 5 % of the true rate, with 10 s 98 %, with 30 s "
        "99 %: lengthen load.search.hold.",
    )


def _label(stage: Stage) -> str:
    return f"{stage.name}, repeat {stage.repeat}" if stage.repeat > 1 else stage.name


def _reason(check: Check) -> str:
    limit = None if check.limit is None else _shown(check.limit, check.unit)
    return f"{check.name}: {_shown(check.value, check.unit)}" + ("" if limit is None else f" (limit {limit})")


def _shown(value: float | str | None, unit: str | None) -> str:
    if value is None:
        return "n/a"
    if isinstance(value, str):
        return value
    if unit == "share":
        return f"{100 * value:.4g} %"
    return digits(value) + ("" if unit is None else f" {unit}")


_FROM_CACHE = 0.05
_CACHES = (
    ("vllm:prefix_cache_hits_total", "vllm:prefix_cache_queries_total"),
    ("vllm:gpu_prefix_cache_hits_total", "vllm:gpu_prefix_cache_queries_total"),
    ("sglang:cached_tokens_total", "sglang:prompt_tokens_total"),
    ("trtllm_prompt_cached_tokens_total", "trtllm_prompt_tokens_total"),
)
"""Prompt tokens that came from a server's prefix cache, and all of them. vLLM showed the second pair up to 0.9, for a
while beside the first; SGLang splits the first by `cache_source`, of which each request counts in one."""


def prefix_cache_check(
    before: Sequence[Samples | None], after: Sequence[Samples | None], *, is_wanted: bool
) -> Check | None:
    """Of a target's servers, in the same order, before and after the load; None where none of them counted.

    What a chat template puts before every prompt is in a cache for real users too, so a little is no doubt.
    `is_wanted`: the profile asks for prompts that share something.
    """
    counted = [moved for pair in zip(before, after, strict=False) if (moved := _moved(*pair)) is not None]
    hits, asked = (sum(counts) for counts in zip(*counted, strict=True)) if counted else (0.0, 0.0)
    if asked <= 0:
        return None
    share = min(1.0, hits / asked)
    if is_wanted:
        return Check("prefix_cache", share, None, "share", "VALID")
    return grade_high(
        "prefix_cache",
        share,
        unit="share",
        warn=_FROM_CACHE,
        hint=f"{100 * share:.0f} % of the prompt tokens came from the server's prefix cache: users with other prompts "
        "are more work a request. Prepare more different prompts (prompts.unique, or a dataset of more rows), or, "
        "where users share beginnings, say so (prompts.prefix).",
    )


def prompts_check(distinct: int, prepared: int) -> Check:
    """Whether a language model was asked different things."""
    hint = (
        f"All {prepared:,} prepared requests have the same prompt: a prefix cache does its work once. Prepare more "
        "(prompts.unique, or more rows in the dataset)."
        if prepared > 1
        else "One prompt is sent again and again: a prefix cache does its work once. Prepare more (prompts.unique, or "
        "more rows in the dataset)."
    )
    return grade_low("prompts", float(distinct), unit="different", warn=2.0, hint=hint)


def _moved(before: Samples | None, after: Samples | None) -> tuple[float, float] | None:
    """Hits and prompt tokens between two looks; None where a server does not count them, or began again at 0."""
    if before is None or after is None:
        return None
    for moved in _each_moved(before.totals, after.totals):
        if all(math.isfinite(count) and count >= 0 for count in moved):
            return moved
    return None


def _each_moved(before: dict[str, float], after: dict[str, float]) -> Iterator[tuple[float, float]]:
    """A counter with labels is not shown before it first counts, so one that is not there yet is 0."""
    for hits, asked in _CACHES:
        if asked in after:
            yield after.get(hits, 0.0) - before.get(hits, 0.0), after[asked] - before.get(asked, 0.0)
