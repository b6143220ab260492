"""Computation of plans in background threads."""

from __future__ import annotations

import datetime
import time
from functools import lru_cache
from pathlib import Path

import msgspec

from app.gui.import_preloading import load_modules
from app.gui.plan.evidence_tables import PlanEvidence, build_plan_evidence
from app.gui.plan.state import Edits, LoadedSources, TrafficSource, apply_to_request
from app.planning.fleets import plan_fleets, simulate_offer
from app.planning.sizing.slo_objectives import ShouldContinue, always_continue
from app.planning.what_if.relaxation import Relaxation, find_relaxations
from app.records.plan import Fleet, Plan
from app.records.planning_inputs import PlanningInputs
from app.storage.own_evidence import list_evidence
from app.storage.plan_file import is_plan_file
from app.wiring.plan_changes import apply_overrides
from app.wiring.planning import NoTrafficError, PlanRequest, build_plan_inputs

_PLANNER_MODULES = (
    "scipy.optimize",
    "app.planning.sizing.fleet_rate",
    "app.planning.sizing.fleet_sizer",
    "app.planning.service_models.closed_loop",
    "app.planning.service_models.moments",
    "app.planning.service_models.service_fit",
    "app.planning.service_models.token_fit",
    "app.planning.simulation.precompile",
)
"""Modules that the planner imports only when it needs them. They are imported before each task,
because the tasks run in several threads."""
_ASSUMED_TRAFFIC = "traffic.peak=100/s"


class PlanOutcome(msgspec.Struct, frozen=True, eq=False):
    inputs: PlanningInputs
    plan: Plan
    relaxations: tuple[Relaxation, ...]
    computation_ms: float
    evidence: PlanEvidence | None


def load_sources(request: PlanRequest, today: datetime.date) -> LoadedSources:
    """Load the sources of a plan. If the sources do not define the traffic, a default peak rate is
    assumed, which the user can edit.

    Raises SizewiseError on failure.
    """
    load_modules(*_PLANNER_MODULES)
    build_cached_inputs.cache_clear()  # the sources may have changed since the plan inputs were cached
    is_traffic_assumed = False
    try:
        plan_inputs = build_cached_inputs(request, today)
    except NoTrafficError:
        is_traffic_assumed = True
        request = msgspec.structs.replace(request, overrides=(*request.overrides, _ASSUMED_TRAFFIC))
        plan_inputs = build_cached_inputs(request, today)
    return LoadedSources(
        request,
        plan_inputs,
        _find_traffic_source(request),
        _needs_refit(request),
        is_traffic_assumed,
        () if plan_inputs.assumed_model is None else tuple(list_evidence()[1]),
    )


@lru_cache(maxsize=4)
def build_cached_inputs(request: PlanRequest, today: datetime.date) -> PlanningInputs:
    """Build the plan inputs of a request. The inputs are cached, since reading runs and fitting
    service models takes seconds, and most edits do not change the request."""
    return build_plan_inputs(request, today)


def build_edited_inputs(loaded_sources: LoadedSources, edits: Edits, today: datetime.date) -> PlanningInputs:
    """Return the plan inputs that `sizewise plan` would build if these edits were command-line
    options."""
    if edits.price_lists or (loaded_sources.needs_refit and edits.slo is not None):
        request = apply_to_request(
            loaded_sources.request, Edits((), edits.slo if loaded_sources.needs_refit else None, edits.price_lists)
        )
        return apply_edits(build_cached_inputs(request, today), edits)
    return apply_edits(loaded_sources.inputs, edits)


def apply_edits(plan_inputs: PlanningInputs, edits: Edits) -> PlanningInputs:
    """Apply edits to plan inputs. Raises SizewiseError if an edit is invalid."""
    from app.analysis.objectives import parse_objective

    if edits.slo is not None:
        plan_inputs = msgspec.structs.replace(plan_inputs, slo=tuple(parse_objective(text) for text in edits.slo))
    return apply_overrides(plan_inputs, edits.overrides) if edits.values else plan_inputs


def compute_plan(
    loaded_sources: LoadedSources,
    edits: Edits,
    today: datetime.date,
    *,
    is_estimate: bool,
    should_continue: ShouldContinue = always_continue,
) -> PlanOutcome:
    plan_inputs = build_edited_inputs(loaded_sources, edits, today)
    start_s = time.perf_counter()
    plan = plan_fleets(plan_inputs, estimate_only=is_estimate, should_continue=should_continue)
    computation_ms = 1000 * (time.perf_counter() - start_s)
    is_infeasible = plan.recommendation is None and not is_estimate
    relaxations = find_relaxations(plan_inputs) if is_infeasible else ()
    evidence = build_plan_evidence(plan, plan_inputs, loaded_sources.request.sources)
    return PlanOutcome(plan_inputs, plan, relaxations, computation_ms, evidence)


def simulate_estimated_offer(plan_inputs: PlanningInputs, offer: str, should_continue: ShouldContinue) -> Fleet | None:
    load_modules(*_PLANNER_MODULES)
    return simulate_offer(plan_inputs, offer, should_continue)


def compile_simulator() -> None:
    """Compile the simulator in 1 to 2 s if the compiled code is cached on disk, otherwise in about
    15 s."""
    load_modules(*_PLANNER_MODULES)
    from app.planning.simulation.precompile import compile_planner

    compile_planner()


def _needs_refit(request: PlanRequest) -> bool:
    """Return whether the service models must be fitted again after a change of the SLO. This is the
    case for all sources except plan files, language models and runs of endpoints."""
    from app.profiles.plan import is_model_shape_file
    from app.storage.run_directory import find_run

    for source in request.sources:
        path = Path(source)
        if is_plan_file(path) or is_model_shape_file(path):
            continue
        if path.exists() and not (path.is_dir() and (path / "events.jsonl").exists()):
            return True
        result = find_run(source).result
        if result is not None and result.local is not None:
            return True
    return False


def _find_traffic_source(request: PlanRequest) -> TrafficSource:
    """Return the profile key that defines the traffic. The overrides of the request take precedence
    over the profiles of the sources; the default is `peak`."""
    key_paths = [override.partition("=")[0].split(".") for override in request.overrides]
    overridden_keys = [key_path[1] for key_path in key_paths if key_path[0] == "traffic" and len(key_path) > 1]
    for source in ("peak", "users", "trace"):
        if source in overridden_keys:
            return "peak" if source == "peak" else "users" if source == "users" else "trace"
    profile_sources = [_read_traffic_source(source) for source in request.sources]
    return next((source for source in reversed(profile_sources) if source is not None), "peak")


def _read_traffic_source(source: str) -> TrafficSource | None:
    from app.profiles.loading import load_profile
    from app.profiles.local import LocalProfile
    from app.storage.run_directory import SPEC, find_run

    directory = Path(source) if Path(source).exists() else find_run(source).directory
    if not (directory / SPEC).exists():
        return None
    profile = load_profile(directory / SPEC, files_must_exist=False)
    if isinstance(profile, LocalProfile) or profile.traffic is None:
        return None
    traffic = profile.traffic
    return "users" if traffic.users is not None else "trace" if traffic.trace is not None else "peak"
