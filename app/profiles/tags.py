"""The tags that a gate may choose stages by, of what a profile is going to run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.profiles.local import LocalProfile
from app.profiles.problems import did_you_mean
from app.records.result import IN_SWEEP, Objective

if TYPE_CHECKING:
    from app.profiles.profile import EndpointProfile, Profile


def why_no_stage(profile: Profile, gate: Objective) -> tuple[str, str] | None:
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
