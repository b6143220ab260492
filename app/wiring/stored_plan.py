"""A plan from a stored run."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from app.analysis.curve import came_at_random, capacity_curve, rungs_of
from app.errors import UsageError
from app.planning.fleets import plan_fleets
from app.planning.measured import measured_target
from app.profiles.catalogue import load_catalogue
from app.profiles.loading import load_profile
from app.profiles.local import LocalProfile
from app.records.plan_question import PlanQuestion
from app.records.result import Plan
from app.storage.run_directory import SPEC, StoredRun
from app.wiring.hardware import named_hardware
from app.wiring.spec import plan_spec

_PLANNING = ("traffic", "plan", "target.hardware")


def plan_stored_run(run: StoredRun, overrides: Sequence[str], today: datetime.date) -> Plan:
    """Plan from a stored run's curve, with its own profile's traffic or what `overrides` say instead."""
    for override in overrides:
        key = override.partition("=")[0]
        if not f"{key}.".startswith(tuple(f"{one}." for one in _PLANNING)):
            hint = f"Override keys of {', '.join(_PLANNING)}, or run the profile again."
            raise UsageError(f"--set {key} does not change a plan: the run is measured", hint=hint)
    result = run.measured
    profile = load_profile(run.directory / SPEC, overrides, files_must_exist=False)
    if isinstance(profile, LocalProfile):
        raise UsageError(
            f"{run.directory} is of a local model",
            hint="Plans are made of runs of endpoints: serve the model with protocol oip.",
        )
    if result.max_rate is None or result.max_rate.per_s.value is None:
        raise UsageError(
            f"{run.directory} has no rate that held its SLO, so there is nothing to plan with",
            hint="Run a profile with an slo and load.search, or with a steady stage that holds it.",
        )
    catalogue = load_catalogue()
    hardware = named_hardware(profile, catalogue) or result.target.hardware
    if hardware is None:
        raise UsageError(
            "this run does not say what hardware its target ran on",
            hint="Name it: --set target.hardware.offer=aws/g6.2xlarge, or target.hardware in the profile.",
        )
    wanted = plan_spec(profile, catalogue, today)
    if wanted is None:
        raise UsageError("there is no traffic to plan for", hint="Give it: --set traffic.peak=900/s.")
    target = measured_target(
        result.run_id,
        hardware,
        capacity_curve(result.stages, profile.slo, result.max_rate),
        rungs_of(result.stages, hardware.replicas),
        is_poisson=came_at_random(result.stages),
    )
    return plan_fleets(PlanQuestion((target,), wanted.traffic, profile.slo, wanted.limits, wanted.catalogue, today))
