"""What only gates may say, held against what a profile is going to run: tags, metrics of the run as a whole, changes.

A gate that can never fail is as wrong as one that can never be met.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.analysis.objectives import unit_of
from app.profiles.local import LocalProfile
from app.profiles.problems import did_you_mean
from app.records.metrics import RUN_METRICS
from app.records.result import IN_SWEEP, Objective

if TYPE_CHECKING:
    from app.profiles.profile import EndpointProfile, Profile


_GENERATING = ("openai-chat", "openai-completions", "openai-responses")
_MAY_BE_NEGATIVE = (
    "scrape_clock_offset_s",
    "energy_above_idle_j_per_inference",
    "energy_above_idle_j_per_output_token",
)
_ABOVE = (">", ">=")


def why_wrong_gate(profile: Profile, gate: Objective) -> tuple[str, str] | None:
    """What is wrong with it, and what to write; None where nothing is."""
    if gate.metric in RUN_METRICS:
        why = _why_not_of_run(profile, gate)
        if why is not None:
            return why
    return _why_no_stage(profile, gate) or _why_always_met(gate)


def _why_not_of_run(profile: Profile, gate: Objective) -> tuple[str, str] | None:
    if isinstance(profile, LocalProfile):
        return f"{gate.metric} is of endpoints", "Serve the model with protocol oip, or use throughput_per_s."
    load = profile.load
    has_rates = load.search is not None or bool(load.sweep and load.sweep.loads_per_s)
    has_rates = has_rates or any(stage.kind == "steady" for stage in load.stages)
    if not has_rates or not any(one.level == "fail" for one in profile.slo):
        hint = "Add load.search, and an objective to slo."
        return f"{gate.metric} is of the highest rate that held the SLO, and none is looked for", hint
    if RUN_METRICS[gate.metric].unit == "USD" and profile.traffic is None:
        return f"{gate.metric} is of the planned fleet, and nothing is planned without traffic", "Add traffic."
    if gate.metric == "usd_per_1m_tokens" and profile.target.protocol not in _GENERATING:
        return f"{gate.metric} is of {', '.join(_GENERATING)}", "Use usd_per_1k_inferences."
    return None


def _why_always_met(gate: Objective) -> tuple[str, str] | None:
    """No time, rate or share is below zero, no share above all, and nothing falls by more than all of it."""
    if gate.metric in _MAY_BE_NEGATIVE and not gate.is_change:
        return None
    least = -1.0 if gate.is_change else 0.0
    is_always = gate.comparator in _ABOVE and (gate.limit < least or (gate.limit == least and gate.comparator == ">="))
    is_share = unit_of(gate) == "share" and not gate.of and not gate.is_change
    is_all = is_share and gate.comparator == "<=" and gate.limit >= 1
    if not is_always and not is_all:
        return None
    return f'"{gate.text}" can never fail', "Give a limit that a bad run breaks."


def _why_no_stage(profile: Profile, gate: Objective) -> tuple[str, str] | None:
    """What is wrong with the gate's tags, and what to write; None where stages will have them."""
    known = _of_variants(profile) if isinstance(profile, LocalProfile) else _of_stages(profile)
    for tag, value in gate.tags.items():
        if tag not in known:
            hint = did_you_mean(tag, known) or f"There are {', '.join(known)}."
            return f'no stage has a tag "{tag}"', hint
        if value not in known[tag]:
            there_are = (
                f"There are {', '.join(known[tag])}." if known[tag] else "Leave it out: the search names its own."
            )
            return f"no stage has {tag}={value}", did_you_mean(value, known[tag]) or there_are
    return None


def _of_stages(profile: EndpointProfile) -> dict[str, tuple[str, ...]]:
    load = profile.load
    names = tuple(stage.name for stage in load.stages)
    if load.sweep is None:
        return {"stage": names}
    return {"stage": (*names, *load.sweep.stage_names), IN_SWEEP: ("yes",)}


def _of_variants(profile: LocalProfile) -> dict[str, tuple[str, ...]]:
    variants = profile.target.all_variants
    chosen = ("provider", "precision", "batch", "streams", "threads")
    told = {name: tuple(dict.fromkeys(str(getattr(one, name)) for one in variants)) for name in chosen}
    return {"scenario": tuple(profile.load.scenarios), **told}
