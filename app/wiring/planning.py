"""Build the inputs of a plan from the user's sources: stored runs, results of other tools, a
manually entered curve, or a plan file."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

import msgspec

from app.analysis.accelerator_names import matches_accelerator
from app.analysis.curve import build_capacity_curve, build_load_points
from app.analysis.objectives import parse_objective
from app.errors import UsageError
from app.planning.language_models.assumed_model import find_missing_figures
from app.planning.service_models.measured import (
    build_local_targets,
    build_measured_target,
    build_run_target,
    describe_best_load_point,
    may_meet_slo_in_fleet,
    measure_cached_input_share,
)
from app.profiles.document import read_document
from app.profiles.endpoint_profile import EndpointProfile
from app.profiles.loading import (
    LANGUAGE_MODEL_KEYS,
    PlanningSettings,
    load_planning_settings,
    load_profile,
    load_traffic,
)
from app.profiles.local import LocalProfile
from app.profiles.plan import is_model_shape_file
from app.profiles.pricing.catalog import load_catalog
from app.profiles.pricing.price_list import load_offers
from app.profiles.profile import Profile
from app.profiles.traffic import build_traffic
from app.records.local import TEST_TAG, LocalResult
from app.records.offers import Catalog, PlanLimits
from app.records.planning_inputs import AssumedModel, MeasuredTarget, OwnEvidence, PlanningInputs
from app.records.result import DeclaredHardware, Hardware, Objective, Result
from app.records.traffic import Traffic
from app.storage.own_evidence import list_evidence
from app.storage.plan_file import is_plan_file
from app.storage.run_directory import EVENTS, SPEC, StoredRun, find_run
from app.wiring.assumed_models import load_assumed_model, load_model_by_name
from app.wiring.hardware import resolve_hardware
from app.wiring.measured_server import describe_server
from app.wiring.plan_changes import PRICE_PREFIX, apply_overrides, apply_prices, check_model_inputs
from app.wiring.plan_files import read_plan_inputs

_PLANNING_KEYS = ("traffic", "plan", "target.hardware", "slo")


class NoTrafficError(UsageError):
    """Error that is raised if neither the sources nor the request set the traffic for which a fleet
    is planned."""


class NoHardwareError(UsageError):
    """Error that is raised if neither the sources nor the request set the hardware of the
    target."""


class PlanRequest(msgspec.Struct, frozen=True):
    """Request for a plan, as specified by the user.

    `sources` contains either one plan file, or runs and the result files or folders of one other
    tool. `overrides` contains `key=value` strings. `planned_on` is the date from which the ages of
    prices are counted; `None` if the user does not set one. `model` is the name of a language model to
    plan from its shape, if no source describes one.
    """

    sources: tuple[str, ...]
    overrides: tuple[str, ...] = ()
    traffic: Path | None = None
    slo: tuple[str, ...] = ()
    offers: tuple[Path, ...] = ()
    planned_on: datetime.date | None = None
    model: str | None = None


def build_plan_inputs(request: PlanRequest, today: datetime.date) -> PlanningInputs:
    """Build the inputs of a plan. Without a date in the request, a plan file is planned on its own
    date, unless there are new offers, and other sources on `today`. Raises UsageError if an input is
    missing or invalid."""
    today = request.planned_on or today
    paths = [Path(source) for source in request.sources]
    request, file_traffic = _load_traffic_file(request)
    if any(is_plan_file(path) for path in paths):
        if len(paths) > 1:
            raise UsageError("a plan file cannot be combined with other sources", hint="Specify only the plan file.")
        if request.model is not None:
            raise UsageError("a plan file cannot be combined with --model", hint="Specify only one of them.")
        return _apply_request(read_plan_inputs(paths[0]), request, file_traffic, today)
    catalog = load_offers(request.offers, today) if request.offers else load_catalog()
    model_configurations = [path for path in paths if is_model_shape_file(path)]
    if len(model_configurations) + (request.model is not None) > 1:
        raise UsageError(
            "only one language model can be planned from its configuration",
            hint="Specify the configuration of one model only.",
        )
    request, language_model = _load_language_model(request, model_configurations)
    runs, foreign_paths = _split_sources(
        [source for source in request.sources if Path(source) not in model_configurations]
    )
    declared_inputs = _read_declared_inputs(runs, request, catalog)
    slo = tuple(parse_objective(text) for text in request.slo) or declared_inputs.slo
    targets = [target for run in runs for target in _build_run_targets(run, slo, declared_inputs, catalog)]
    if foreign_paths:
        targets.append(_build_foreign_target(foreign_paths, slo, declared_inputs, catalog))
    traffic = declared_inputs.traffic if file_traffic is None else file_traffic
    if traffic is None:
        raise NoTrafficError("the plan has no traffic", hint="Use --peak 900/s or --traffic traffic.yaml.")
    check_model_inputs(language_model, slo, traffic)
    if language_model is not None and not targets:
        if declared_inputs.hardware is not None:
            raise UsageError(
                "--set target.hardware does not change this plan, because nothing was measured on that hardware",
                hint="Use --accelerator or plan.accelerators to choose the accelerators.",
            )
        _check_requested_accelerators(language_model, declared_inputs.limits, catalog)
    plan_inputs = PlanningInputs(
        tuple(targets),
        traffic,
        slo,
        declared_inputs.limits,
        catalog,
        today,
        language_model,
        _find_own_evidence(language_model),
    )
    return apply_prices(plan_inputs, [override for override in request.overrides if override.startswith(PRICE_PREFIX)])


def _load_traffic_file(request: PlanRequest) -> tuple[PlanRequest, Traffic | None]:
    """Return the request without the overrides of traffic, and the traffic of its file with them; the request itself
    and `None` if it has no file."""
    if request.traffic is None:
        return request, None
    overrides = tuple(override for override in request.overrides if _is_override_of(("traffic",), override))
    others = tuple(override for override in request.overrides if override not in overrides)
    return msgspec.structs.replace(request, overrides=others), build_traffic(load_traffic(request.traffic, overrides))


def _find_own_evidence(model: AssumedModel | None) -> tuple[OwnEvidence, ...]:
    """Return the user's own measurements of a language model. Files that cannot be read are skipped."""
    if model is None:
        return ()
    own, _ = list_evidence()
    return tuple(evidence for evidence in own if evidence.shape == model.model)


def _load_language_model(
    request: PlanRequest, model_configurations: Sequence[Path]
) -> tuple[PlanRequest, AssumedModel | None]:
    """Return the request without the overrides of the language model, and that model; `None` if the request has
    none."""
    if request.model is None and not model_configurations:
        return request, None
    model_overrides = tuple(
        override for override in request.overrides if _is_override_of(LANGUAGE_MODEL_KEYS, override)
    )
    model = (
        load_assumed_model(model_configurations[0], model_overrides)
        if request.model is None
        else load_model_by_name(request.model, model_overrides)
    )
    other_overrides = tuple(override for override in request.overrides if override not in model_overrides)
    return msgspec.structs.replace(request, overrides=other_overrides), model


def _check_requested_accelerators(model: AssumedModel, limits: PlanLimits, catalog: Catalog) -> None:
    """Raise UsageError if the model can be planned on none of the requested accelerators, because they lack its
    precision or figures of them are unknown."""
    requested = [
        accelerator
        for accelerator in catalog.accelerators.values()
        if any(matches_accelerator(accelerator.key, name) for name in limits.accelerators)
    ]
    missing = [
        find_missing_figures(accelerator, served_model.precision)
        for accelerator in requested
        for served_model in model.served_models
    ]
    if missing and missing[0] is not None and None not in missing:
        raise UsageError(
            f"{model.name} cannot be planned on {', '.join(limits.accelerators)}: {missing[0].reason}",
            hint="Use other accelerators with --accelerator, or another precision with --precision.",
        )


class _DeclaredInputs(msgspec.Struct, frozen=True):
    """Plan inputs that are not measured, but declared in profiles or with `--set`."""

    slo: tuple[Objective, ...]
    traffic: Traffic | None
    limits: PlanLimits
    hardware: DeclaredHardware | None


def _is_override_of(keys: Sequence[str], override: str) -> bool:
    """Return whether a `key=value` string sets one of the keys, or a key below one of them."""
    return f"{override.partition('=')[0]}.".startswith(tuple(f"{key}." for key in keys))


def _split_sources(sources: Sequence[str]) -> tuple[list[StoredRun], list[Path]]:
    """Split the sources into stored runs, and paths of result files of other tools."""
    runs, foreign_paths = [], []
    for source in sources:
        path = Path(source)
        is_run = not path.exists() or (path.is_dir() and (path / EVENTS).exists())
        if is_run:
            runs.append(find_run(source))
        else:
            foreign_paths.append(path)
    return runs, foreign_paths


def _read_declared_inputs(runs: Sequence[StoredRun], request: PlanRequest, catalog: Catalog) -> _DeclaredInputs:
    """Return the inputs declared in the profile of the last endpoint run with the `--set` overrides
    applied. Without an endpoint run, return the inputs declared by the overrides alone."""
    overrides = tuple(override for override in request.overrides if not override.startswith(PRICE_PREFIX))
    for override in overrides:
        if not _is_override_of(_PLANNING_KEYS, override):
            key, keys_text = override.partition("=")[0], f"keys of {', '.join(_PLANNING_KEYS)} or price.OFFER"
            if runs:
                message = f"--set {key} does not change a plan, because the run is already measured"
                raise UsageError(message, hint=f"Use {keys_text}, or run the profile again.")
            raise UsageError(f"--set {key} does not change a plan", hint=f"Use {keys_text}.")
    for run in runs:
        _ = run.complete_result  # For an incomplete run, raises its reason instead of an error about a missing profile.
    profiles = [_load_profile(run, catalog) for run in runs]
    endpoint_runs = [
        run for run, run_profile in zip(runs, profiles, strict=True) if not isinstance(run_profile, LocalProfile)
    ]
    settings: PlanningSettings | EndpointProfile = load_planning_settings(overrides, catalog)
    slo: tuple[Objective, ...] = settings.slo
    if endpoint_runs:
        profile = _load_profile(endpoint_runs[-1], catalog, overrides)
        assert not isinstance(profile, LocalProfile)
        settings, slo = profile, profile.complete_slo
    slo = slo or tuple(objective for run_profile in profiles for objective in run_profile.complete_slo)
    traffic = None if settings.traffic is None else build_traffic(settings.traffic)
    return _DeclaredInputs(slo, traffic, settings.plan, settings.target.hardware)


def _load_profile(run: StoredRun, catalog: Catalog, overrides: Sequence[str] = ()) -> Profile:
    return load_profile(run.directory / SPEC, overrides, files_must_exist=False, catalog=catalog)


def find_plan_obstacle(run: StoredRun, result: Result, hardware: Hardware | None) -> UsageError | None:
    """Return why no plan can be based on a run, whatever its SLO and traffic are; `None` if there is
    no such reason. `hardware` is the hardware of the target, if known."""
    local = result.local
    if local is not None and any(TEST_TAG in stage.tags for stage in result.stages):
        return UsageError(
            f"{run.directory} cannot be planned with: it measured a language model in batches of equal sequences, "
            "without a server in which requests arrive and wait",
            hint="Serve the model with target.serve and measure it with load.sweep, or plan from its shape with a YAML "
            "file that has language_model.",
        )
    if local is not None and all(batch_model.reason is not None for batch_model in local.batch_models):
        return _build_no_variant_error(run, local)
    if hardware is None and _has_scripted_target(run):
        return UsageError(
            "a scripted target cannot be planned, because its response times do not depend on hardware",
            hint="Measure a server, or a model on this machine.",
        )
    return None


def _has_scripted_target(run: StoredRun) -> bool:
    document = read_document((run.spec_text or "").encode(), str(run.directory)).value
    target = document.get("target") if isinstance(document, dict) else None
    return isinstance(target, dict) and target.get("scripted") is not None


def _build_no_variant_error(run: StoredRun, local: LocalResult) -> UsageError:
    reasons_text = "; ".join(
        f"{batch_model.variant.label}: {batch_model.reason}"
        for batch_model in local.batch_models[:3]
        if batch_model.reason
    )
    message = f"{run.directory} has no variant that can be planned" + (f" ({reasons_text})" if reasons_text else "")
    return UsageError(
        message,
        hint="A variant needs a linear latency over at least 3 batch sizes, must meet the SLO, and must retain "
        "accuracy.",
    )


def _build_run_targets(
    run: StoredRun, slo: tuple[Objective, ...], declared_inputs: _DeclaredInputs, catalog: Catalog
) -> tuple[MeasuredTarget, ...]:
    """Return the targets measured by a run. An endpoint run measures one replica. A local run
    measures each variant, which is planned as if the variant were served."""
    result = run.complete_result
    profile = _load_profile(run, catalog)
    declared_hardware = (
        None if declared_inputs.hardware is None else resolve_hardware(declared_inputs.hardware, catalog)
    )
    profile_hardware = profile.target.hardware
    measured_hardware = (
        result.target.hardware if profile_hardware is None else resolve_hardware(profile_hardware, catalog)
    )
    hardware = declared_hardware or measured_hardware
    obstacle = find_plan_obstacle(run, result, hardware)
    if obstacle is not None:
        raise obstacle
    if hardware is None:
        raise NoHardwareError(
            "the target's hardware is unknown",
            hint="Use --set target.hardware.offer=aws/g6.2xlarge, or set target.hardware in the profile.",
        )
    if result.local is not None:
        targets = build_local_targets(result.run_id, result, hardware, slo)
        if not targets:
            raise _build_no_variant_error(run, result.local)
        return tuple(
            msgspec.structs.replace(target, validity=result.verdict.status, server=describe_server(profile))
            for target in targets
        )
    best_text = describe_best_load_point(build_load_points(result.stages), profile.complete_slo)
    no_rate_error = UsageError(
        f"{run.directory} has no rate that met its SLO{best_text}",
        hint="Run a profile with an SLO and load.search, or with a steady stage that meets the SLO.",
    )
    if result.max_rate is None:
        sweep_target = build_run_target(result.run_id, hardware, result.stages, slo, None)
        if sweep_target is None:
            raise no_rate_error
        target = sweep_target
    else:
        curve = build_capacity_curve(result.stages, profile.complete_slo, result.max_rate)
        target = build_measured_target(
            result.run_id, hardware, curve, build_load_points(result.stages, hardware.replicas)
        )
        if curve.max_rate_per_s == 0 and not may_meet_slo_in_fleet(target, slo):
            raise no_rate_error
    return (
        msgspec.structs.replace(
            target,
            is_hardware_declared=hardware != measured_hardware,
            validity=result.verdict.status,
            server=describe_server(profile),
            cached_input_share=measure_cached_input_share(result.stages),
        ),
    )


def _build_foreign_target(
    paths: list[Path], slo: tuple[Objective, ...], declared_inputs: _DeclaredInputs, catalog: Catalog
) -> MeasuredTarget:
    from app.planning.service_models.measured import build_foreign_target
    from app.storage.foreign.reading import read_foreign

    if declared_inputs.hardware is None:
        raise NoHardwareError(
            "the target's hardware is unknown, because the result of another tool does not include it",
            hint="Use --set target.hardware.accelerator=l4 or --set target.hardware.offer=aws/g6.2xlarge.",
        )
    if not slo:
        raise UsageError("the plan has no SLO", hint='Use --slo "latency_ms.p95 < 50".')
    return build_foreign_target(read_foreign(paths), resolve_hardware(declared_inputs.hardware, catalog), slo)


def _apply_request(
    plan_inputs: PlanningInputs, request: PlanRequest, file_traffic: Traffic | None, today: datetime.date
) -> PlanningInputs:
    """Apply a request, and the traffic of its file if it has one, to the inputs of a plan file. The date and the prices
    of the plan file are preserved, unless the request contains a date or offers."""
    if request.offers:
        plan_inputs = msgspec.structs.replace(plan_inputs, catalog=load_offers(request.offers, today))
    if request.offers or request.planned_on is not None:
        plan_inputs = msgspec.structs.replace(plan_inputs, today=today)
    if file_traffic is not None:
        plan_inputs = msgspec.structs.replace(plan_inputs, traffic=file_traffic)
    if request.slo:
        plan_inputs = msgspec.structs.replace(plan_inputs, slo=tuple(parse_objective(text) for text in request.slo))
    if request.overrides:
        plan_inputs = apply_overrides(plan_inputs, request.overrides)
    check_model_inputs(plan_inputs.assumed_model, plan_inputs.slo, plan_inputs.traffic)
    return plan_inputs
