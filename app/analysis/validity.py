"""Build checks from values and limits, derive verdicts from checks, and define the checks of a
run as a whole.

The checks of a run include the prompt diversity and the hit rate of a server's prefix cache."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from msgspec.structs import replace
from scipy import special

from app.analysis.counter_readings import find_reading_break
from app.analysis.number_format import format_number
from app.records.llm_servers import list_cache_lookups
from app.records.local import Placement
from app.records.metrics import display_unit
from app.records.result import SWEEP_TAG, Check, CheckId, Clock, Stage, Validity, Verdict
from app.records.stage_kinds import STAGE_KINDS
from app.records.telemetry import Samples
from app.records.telemetry_sources import is_gpu_source

if TYPE_CHECKING:
    import pandas as pd


def check_upper_limit(
    check_id: CheckId, value: float | None, *, unit: str, warn: float, invalid: float = math.inf, hint: str
) -> Check:
    """Build a check that is VALID up to `warn`, INVALID above `invalid`, and WARN in between or if
    the value is missing."""
    return _check_limit(check_id, value, warn, invalid, sign=1, unit=unit, hint=hint)


def check_lower_limit(
    check_id: CheckId, value: float | None, *, unit: str, warn: float, invalid: float = -math.inf, hint: str
) -> Check:
    """Build a check that is VALID from `warn` upward, INVALID below `invalid`, and WARN in between
    or if the value is missing."""
    return _check_limit(check_id, value, warn, invalid, sign=-1, unit=unit, hint=hint)


def _check_limit(
    check_id: CheckId, value: float | None, warn: float, invalid: float, *, sign: Literal[1, -1], unit: str, hint: str
) -> Check:
    """Build a check of an upper limit (`sign` 1) or a lower limit (`sign` -1)."""
    if value is None:
        return Check(check_id, None, warn, unit, "WARN", hint)
    if sign * value <= sign * warn:
        return Check(check_id, value, warn, unit, "VALID", None)
    if sign * value <= sign * invalid:
        return Check(check_id, value, warn, unit, "WARN", hint)
    return Check(check_id, value, invalid, unit, "INVALID", hint)


_MAX_CHANCE = 0.01
"""Maximum probability of the observed number of violations, or more, if their share is exactly at
the limit. A single violation is never less probable at a limit of 1 % or more."""


def require_evidence(check: Check, violation_count: int, request_count: int, max_share: float) -> Check:
    """Return the check of a share of requests with WARN instead of INVALID if the count does not
    show that the share of violations is above `max_share`.

    The count shows it if at least this number of violations among `request_count` independent
    requests has a probability of at most 1 % at a share of exactly `max_share` (exact binomial
    test)."""
    if check.verdict != "INVALID":
        return check
    if float(special.bdtrc(violation_count - 1, request_count, max_share)) <= _MAX_CHANCE:
        return check
    hint = (
        f"{violation_count:,} of {request_count:,} requests are too few to decide whether the share is above "
        f"{100 * max_share:g} %. Send more requests to decide it."
    )
    return replace(check, verdict="WARN", hint=hint if check.hint is None else f"{hint} {check.hint}")


_SEVERITY_RANKS: dict[Validity, int] = {"VALID": 0, "WARN": 1, "INVALID": 2}
_MIN_STEP_S = 10.0
_MAX_SUSPENDED_S = 2.0


def compute_verdict(checks: Sequence[Check]) -> Verdict:
    """Return the worst verdict of the checks, with the reasons of all WARN and INVALID checks,
    worst first; VALID without checks."""
    problems = sorted(
        (check for check in checks if check.verdict != "VALID"), key=lambda check: -_SEVERITY_RANKS[check.verdict]
    )
    return Verdict(problems[0].verdict if problems else "VALID", tuple(_format_reason(check) for check in problems))


def combine_stage_checks(stages: Sequence[Stage]) -> tuple[Check, ...]:
    """Return the worst instance of each check over the checked stages, and, for a search, a check
    of the step duration.

    The checked stages are the steps of a search that met the SLO, and the stages that the profile
    requested. A failed rate is a finding about the endpoint, not a fault of the measurement, so
    failed probes and steps count only if no stage passed.
    """
    checked_stages = _select_checked_stages(stages)
    worst_checks: dict[str, Check] = {}
    for stage in checked_stages:
        for check in stage.checks:
            previous_check = worst_checks.get(check.id)
            if previous_check is None or _SEVERITY_RANKS[check.verdict] > _SEVERITY_RANKS[previous_check.verdict]:
                hint = None if check.hint is None else f"{stage.label}: {check.hint}"
                worst_checks[check.id] = replace(check, hint=hint)
    steps = [stage for stage in checked_stages if stage.kind == "step"]
    return (*worst_checks.values(), _check_step_duration(steps)) if steps else tuple(worst_checks.values())


def check_execution_provider(
    requested_provider: str, used_provider: str, fallback_nodes: Sequence[str], reason: str | None = None
) -> Check:
    """Check that the model ran on the requested execution provider. `fallback_nodes` lists the
    operators that ran on another provider, such as "Conv on CPUExecutionProvider"."""
    reason_suffix = f" ({reason})" if reason else ""
    if used_provider != requested_provider:
        hint = (
            f"{requested_provider} was requested, but {used_provider} was used{reason_suffix}. Request "
            f"{used_provider}, or make {requested_provider} work on this machine."
        )
        return Check("provider", used_provider, requested_provider, None, "INVALID", hint)
    if fallback_nodes:
        placement_text = f"{used_provider}; {', '.join(fallback_nodes)}"
        hint = (
            f"{used_provider} cannot run these operators. Replace them in the model, or measure with another provider."
        )
        return Check("provider", placement_text, requested_provider, None, "INVALID", hint)
    return Check("provider", used_provider, requested_provider, None, "VALID")


def list_fallback_nodes(placements: Sequence[Placement]) -> tuple[str, ...]:
    """Return the fallback nodes of a model: the operators that ran on a provider that was not
    requested, such as `MatMul on CPUExecutionProvider`."""
    return tuple(
        sorted({f"{placement.operator} on {placement.provider}" for placement in placements if placement.is_fallback})
    )


def check_wall_clock(clock: Clock, suspended_s: float | None) -> Check:
    """Check that the wall clock and the monotonic clock ran at the same speed, and that the machine
    was not suspended. `suspended_s` is the time spent suspended in s; `None` if unknown.

    If a suspension can be ruled out, diverging clocks are only a WARN: the wall clock was set, but
    no metric uses the wall clock."""
    if suspended_s is not None and suspended_s > _MAX_SUSPENDED_S:
        hint = "The machine was suspended during the run. Disable sleep and measure again."
        return Check("clock", suspended_s, _MAX_SUSPENDED_S, "s suspended", "INVALID", hint)
    ratio = clock.wall_to_monotonic_ratio
    return check_upper_limit(
        "clock",
        None if ratio is None else abs(ratio - 1),
        unit="share",
        warn=0.001,
        invalid=math.inf if suspended_s is not None else 0.01,
        hint="The wall clock and the monotonic clock diverged. No metric uses the wall clock: if the time was set, "
        "only dates are wrong; if the virtual machine was paused, measure again.",
    )


def check_telemetry(telemetry: pd.DataFrame) -> Check:
    """Check the 99th percentile of the gaps between samples of the same telemetry source. Only the
    host and GPUs are sampled several times per second; all other sources are slow by design."""
    sources = [source for source in telemetry["source"].unique() if source == "host" or is_gpu_source(source)]
    fast_samples = telemetry[telemetry["source"].isin(sources)]
    sample_times = fast_samples[["source", "at_ns"]].drop_duplicates().sort_values("at_ns")
    gaps_ms = sample_times.groupby("source")["at_ns"].diff().dropna().to_numpy(dtype=np.float64) / 1e6
    return check_upper_limit(
        "telemetry_gaps",
        float(np.quantile(gaps_ms, 0.99, method="inverted_cdf")) if gaps_ms.size else None,
        unit="ms",
        warn=250.0,
        hint="Utilization and power have gaps because the machine was overloaded. Stop other work on it."
        if gaps_ms.size
        else "No telemetry was recorded.",
    )


def _select_checked_stages(stages: Sequence[Stage]) -> list[Stage]:
    # These are not the stages with `in_headline`: every stage that the profile requested counts,
    # including a spike in addition to steady stages, which is never in the headline; and the window
    # shows these checks during the run, before there is a headline.
    measured_stages = [stage for stage in stages if STAGE_KINDS[stage.kind].is_measured]
    valid_stages = [stage for stage in measured_stages if stage.verdict.status != "INVALID"]
    checked_stages = [
        stage
        for stage in measured_stages
        if STAGE_KINDS[stage.kind].is_configured and not _is_failed_sweep_stage(stage)
    ]
    checked_stages += [stage for stage in valid_stages if stage.kind == "step" and stage.meets_slo]
    return checked_stages or [stage for stage in valid_stages if stage.meets_slo] or valid_stages or measured_stages


def _is_failed_sweep_stage(stage: Stage) -> bool:
    """Return True for a sweep stage that violated the SLO. This is not a fault of the measurement,
    because a sweep continues until rates fail."""
    return SWEEP_TAG in stage.tags and stage.meets_slo is False and stage.verdict.status != "INVALID"


def _check_step_duration(steps: Sequence[Stage]) -> Check:
    min_duration_s = min((stage.window.end_ns - stage.window.start_ns) / 1e9 for stage in steps)
    return check_lower_limit(
        "step_duration",
        min_duration_s,
        unit="s",
        warn=_MIN_STEP_S,
        # from 100 simulated searches each (tests.performance.searches): M/M/1 with 1,000/s, p95 met
        # up to 850/s
        hint="In simulated searches, 87 % ended within 5 % of the true rate with 3 s per step, 98 % with 10 s, and "
        "99 % with 30 s. Increase load.search.step_duration.",
    )


def _format_reason(check: Check) -> str:
    limit = None if check.limit is None else _format_value(check.limit, check.unit)
    return f"{check.name}: {_format_value(check.value, check.unit)}" + ("" if limit is None else f" (limit {limit})")


_COUNT_UNITS = ("responses", "calls", "repetitions", "windows", "prompts", "cores")


def _format_value(value: float | str | None, unit: str | None) -> str:
    if value is None:
        return "n/a"
    if isinstance(value, str):
        return value
    if unit == "share":
        return f"{100 * value:.4g} %"
    unit_text = "" if unit is None else f" {display_unit(unit)}"
    return format_number(value) + (unit_text.removesuffix("s") if value == 1 and unit in _COUNT_UNITS else unit_text)


_MAX_HIT_RATE = 0.05


def check_prefix_cache(
    samples_before: Sequence[Samples | None], samples_after: Sequence[Samples | None], *, is_expected: bool
) -> Check | None:
    """Check the prefix cache hit rate, which is the proportion of prompt tokens that prefix caches
    served; `None` if no server reports the hit rate.

    `samples_before` and `samples_after` contain one sample per server of the target, in the same
    order, taken before and after the load. `is_expected` is True if the profile requests prompts
    with a shared prefix.

    A chat template at the start of every prompt is cached for real users too, so a small hit rate
    is VALID."""
    server_increases = [
        increases
        for samples in zip(samples_before, samples_after, strict=False)
        if (increases := compute_cache_increases(*samples)) is not None
    ]
    hits, prompt_tokens = (
        (sum(totals) for totals in zip(*server_increases, strict=True)) if server_increases else (0.0, 0.0)
    )
    if prompt_tokens <= 0:
        return None
    hit_rate = min(1.0, hits / prompt_tokens)
    if is_expected:
        return Check("prefix_cache", hit_rate, None, "share", "VALID")
    return check_upper_limit(
        "prefix_cache",
        hit_rate,
        unit="share",
        warn=_MAX_HIT_RATE,
        hint=f"{100 * hit_rate:.0f} % of the prompt tokens came from the server's prefix cache. Requests with "
        "different prompts need more computation. Prepare more distinct prompts (prompts.unique, or a dataset with "
        "more rows), or, if users share prefixes, set prompts.prefix.",
    )


def check_prompts(distinct_count: int, prepared_count: int) -> Check:
    """Check that the requests to a language model had different prompts."""
    hint = (
        f"All {prepared_count:,} prepared requests have the same prompt, so a prefix cache computes it only once. "
        "Prepare more prompts (prompts.unique, or more rows in the dataset)."
        if prepared_count > 1
        else "The same prompt is sent repeatedly, so a prefix cache computes it only once. Prepare more prompts "
        "(prompts.unique, or more rows in the dataset)."
    )
    return check_lower_limit("prompts", float(distinct_count), unit="different", warn=2.0, hint=hint)


def compute_cache_increases(
    samples_before: Samples | None, samples_after: Samples | None
) -> tuple[float, float] | None:
    """Compute the increase of cache hits and prompt tokens between two samples; `None` if the
    server does not report both counters, or if the samples are not of the same process."""
    if samples_before is None or samples_after is None or find_reading_break(samples_before, samples_after) is not None:
        return None
    for increases in _list_counter_increases(samples_before.totals, samples_after.totals):
        if all(math.isfinite(count) and count >= 0 for count in increases):
            return increases
    return None


def _list_counter_increases(
    totals_before: dict[str, float], totals_after: dict[str, float]
) -> Iterator[tuple[float, float]]:
    """Yield the increases of each pair of counters that the server exposes. A labeled counter is
    not exposed before its first event, so a missing counter is treated as 0."""
    for hits_counter, queries_counter in list_cache_lookups():
        if queries_counter in totals_after:
            yield (
                totals_after.get(hits_counter, 0.0) - totals_before.get(hits_counter, 0.0),
                totals_after[queries_counter] - totals_before.get(queries_counter, 0.0),
            )
