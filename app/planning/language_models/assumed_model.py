"""Unmeasured replicas of a language model: number of accelerators per replica, and estimated rate,
for each accelerator type."""

from __future__ import annotations

import math
from functools import lru_cache

import msgspec

from app.planning.hardware.capacity import Capacity
from app.planning.hardware.rates import Unavailable, get_peak_ops_per_s, get_weights_peak_ops_per_s
from app.planning.hardware.risk import Risk
from app.planning.language_models.engines import find_unsupported_vendor, resolve_engine
from app.planning.language_models.memory import (
    MemoryPlan,
    compute_kv_bytes,
    compute_usable_bytes,
    count_sequences,
    find_smallest_degree,
    plan_memory,
)
from app.planning.sizing.formulas import compute_max_throughput_per_s, estimate_rate_within_slo
from app.planning.sizing.slo_objectives import SloObjectives
from app.planning.step_times.bundled import load_bundled_evidence
from app.planning.step_times.nearest import PlannedLoad, compute_user_tokens_per_s, count_running_sequences
from app.planning.step_times.own_points import (
    AS_PREDICTED,
    RelativeSpeed,
    calibrate_service,
    expect_points,
    list_applicable,
)
from app.planning.step_times.service import EstimatedService, ServerSettings, estimate_services
from app.planning.step_times.terms import Server
from app.records.engine_presets import ENGINE_PRESETS
from app.records.evidence import PublishedServer
from app.records.offers import Accelerator, CapacityCurve, Offer
from app.records.plan import ServedReplica
from app.records.planning_inputs import AssumedModel, MeasuredTarget, OwnEvidence, PlanningInputs, Precision
from app.records.result import Hardware
from app.records.service import UNLIMITED_TOKENS, FittedService, ServiceFit, TokenService

DEGREES = (1, 2, 4, 8)
"""Numbers of accelerators that a replica may be split across."""
_MIN_SEQUENCES = 8
"""Minimum number of concurrent sequences per replica. If the KV cache has too little memory for
this number, the replica is split across more accelerators."""
_MEASURED_VENDOR = "NVIDIA"
"""Vendor of all accelerators with published measurements of step times."""
OTHER_VENDOR_SPEED = 0.68 / 0.90
"""Speed of accelerators of other vendors relative to what their data sheets promise beside those of
NVIDIA: the ratio of AMD's to NVIDIA's offline results in MLPerf, which
`docs/validation/extrapolation.md` lists."""
_OTHER_VENDOR_SIGMA = 0.25
"""Standard deviation of the logarithm of that speed."""


class AssumedReplica(msgspec.Struct, frozen=True):
    """Replica that nobody measured: its target, and the standard deviation of the logarithm of its
    speed. `is_extrapolated` is True if there are no published measurements of its accelerator.

    `latency_limit_sigma` is the standard deviation of the logarithm of TTFT if the plan states TTFT,
    of which only a limit is known; otherwise `None`."""

    target: MeasuredTarget
    sigma: float
    is_extrapolated: bool
    latency_limit_sigma: float | None = None


def find_missing_figures(accelerator: Accelerator, precision: Precision) -> Unavailable | None:
    """Return which figure of an accelerator is missing, without which no language model can be planned on it at this
    precision; `None` if none is. Engines convert 4-bit weights on accelerators without units for them, as those of
    published servers on H100 and H200 do."""
    get_peak = get_weights_peak_ops_per_s if precision.compute == "fp4" else get_peak_ops_per_s
    peak_per_s, usable_bytes = get_peak(accelerator, precision.compute), compute_usable_bytes(accelerator)
    return next((figure for figure in (peak_per_s, usable_bytes) if isinstance(figure, Unavailable)), None)


def build_assumed_replicas(
    accelerator: Accelerator, plan_inputs: PlanningInputs, objectives: SloObjectives
) -> tuple[AssumedReplica, ...] | Unavailable:
    """Build a replica for each number of accelerators of this type that it can be split across, with each precision
    and engine that it may be served with.

    Return `Unavailable` if weights and KV cache do not fit, or if data of the model or of the
    accelerator are missing.
    """
    assumed_model, lengths = plan_inputs.assumed_model, plan_inputs.traffic.mean_token_lengths
    if assumed_model is None or lengths is None:
        return Unavailable("no_language_model", "no language model is described")
    built = [
        _build_served_replicas(
            served_model,
            accelerator,
            plan_inputs.own_evidence,
            lengths,
            plan_inputs.traffic.prefix_cached_share,
            objectives,
        )
        for served_model in assumed_model.served_models
    ]
    replicas = [replica for group in built if not isinstance(group, Unavailable) for replica in group]
    if not replicas:
        return built[0]
    if len(built) > 1:
        replicas = [_name_precision_and_engine(replica) for replica in replicas]
    return tuple(replicas)


def find_served_model(assumed_model: AssumedModel, replica: ServedReplica | None) -> AssumedModel:
    """Return the language model with the precision and the engine of a served replica; without one, as it is served
    unless an alternative costs less."""
    served_models = assumed_model.served_models
    if replica is None:
        return served_models[0]
    return next(
        model
        for model in served_models
        if (model.precision.weights, model.engine.served_name) == (replica.weights, replica.engine)
    )


def _build_served_replicas(
    assumed_model: AssumedModel,
    accelerator: Accelerator,
    own_evidence: tuple[OwnEvidence, ...],
    lengths: tuple[float, float],
    prefix_cached_share: float,
    objectives: SloObjectives,
) -> tuple[AssumedReplica, ...] | Unavailable:
    """Build the replicas of a model with its own precision and engine, regardless of its alternatives."""
    missing = find_missing_figures(accelerator, assumed_model.precision) or find_unsupported_vendor(
        assumed_model.engine, accelerator
    )
    if missing is not None:
        return missing
    memory_plans = _list_memory_plans(assumed_model, accelerator, lengths)
    if not memory_plans:
        return _explain_missing_memory(assumed_model, accelerator, lengths)
    estimates = _estimate_services(assumed_model, accelerator, memory_plans, lengths, prefix_cached_share, own_evidence)
    if isinstance(estimates, Unavailable):
        return estimates
    return tuple(
        _build_replica(assumed_model, accelerator, memory_plan, estimate, lengths, prefix_cached_share, objectives)
        for memory_plan, estimate in zip(memory_plans, estimates, strict=True)
    )


def _name_precision_and_engine(replica: AssumedReplica) -> AssumedReplica:
    """Return a replica whose name also states how it is served, to tell it from the alternatives."""
    model = replica.target.assumed_model
    assert model is not None
    name = f"{replica.target.name}, {model.precision.weights}, {ENGINE_PRESETS[model.engine.served_name].title}"
    hardware = msgspec.structs.replace(replica.target.hardware, description=name)
    return msgspec.structs.replace(
        replica, target=msgspec.structs.replace(replica.target, name=name, hardware=hardware)
    )


def compute_assumed_capacity(replica: AssumedReplica, offer: Offer, model: AssumedModel) -> Capacity | Unavailable:
    """Return the capacity of one instance of the offer: of all replicas that fit on its
    accelerators."""
    degree = replica.target.hardware.accelerator_count
    replicas = math.floor(offer.accelerator_count / degree + 1e-9)
    if replicas < 1:
        return Unavailable(
            "accelerator_count",
            f"the instance has too few accelerators: {offer.accelerator_count:g}, but {model.name} needs {degree:g}",
        )
    reason = "not measured: estimated from published measurements of other models or accelerators"
    if replica.is_extrapolated:
        reason = "not measured: extrapolated to an accelerator without enough published measurements"
    if replica.target.own_points:
        reason = f"estimated from published measurements, calibrated by {replica.target.own_points} of your points"
    rate_per_s = replica.target.curve.max_rate_per_s * replicas
    return Capacity(
        rate_per_s,
        replica.sigma,
        replicas,
        "assumed",
        (Risk(3, reason),),
        speed_sigma=replica.sigma,
        latency_limit_sigma=replica.latency_limit_sigma,
    )


def _list_memory_plans(
    assumed_model: AssumedModel, accelerator: Accelerator, lengths: tuple[float, float]
) -> tuple[MemoryPlan, ...]:
    """Return the memory plans of all numbers of accelerators on which enough sequences fit."""
    model, precision = assumed_model.model, assumed_model.precision
    memory_plans = []
    degree_set = assumed_model.engine.tensor_parallel
    block_tokens = resolve_engine(assumed_model.engine, accelerator).block_tokens
    for degree in DEGREES if degree_set is None else (degree_set,):
        if model.heads % degree:
            continue
        memory_plan = plan_memory(model, accelerator, precision, degree, assumed_model.engine)
        if (
            isinstance(memory_plan, MemoryPlan)
            and count_sequences(memory_plan, model, math.ceil(sum(lengths)), precision.kv, block_tokens)
            >= _MIN_SEQUENCES
        ):
            memory_plans.append(memory_plan)
    return tuple(memory_plans)


def _explain_missing_memory(
    assumed_model: AssumedModel, accelerator: Accelerator, lengths: tuple[float, float]
) -> Unavailable:
    if assumed_model.engine.tensor_parallel is not None:
        return _explain_degree(assumed_model, accelerator, assumed_model.engine.tensor_parallel)
    memory_plan = find_smallest_degree(
        assumed_model.model,
        accelerator,
        assumed_model.precision,
        math.ceil(sum(lengths)),
        assumed_model.engine,
        _MIN_SEQUENCES,
    )
    if isinstance(memory_plan, Unavailable):
        return memory_plan
    return Unavailable(
        "attention_heads",
        f"{assumed_model.name} has {assumed_model.model.heads} attention heads, which 1, 2, 4 or 8 accelerators with "
        "enough memory do not divide",
    )


def _explain_degree(assumed_model: AssumedModel, accelerator: Accelerator, degree: int) -> Unavailable:
    """Return why a replica cannot be split across `degree` accelerators."""
    heads = assumed_model.model.heads
    if heads % degree:
        return Unavailable("attention_heads", f"{degree} accelerators do not divide {heads} attention heads")
    memory_plan = plan_memory(assumed_model.model, accelerator, assumed_model.precision, degree, assumed_model.engine)
    if isinstance(memory_plan, Unavailable):
        return memory_plan
    return Unavailable(
        "memory",
        f"fewer than {_MIN_SEQUENCES} sequences fit in the memory that the weights leave on {degree} accelerators",
    )


@lru_cache(1024)
def _estimate_services(
    assumed_model: AssumedModel,
    accelerator: Accelerator,
    memory_plans: tuple[MemoryPlan, ...],
    lengths: tuple[float, float],
    prefix_cached_share: float,
    own_evidence: tuple[OwnEvidence, ...],
) -> tuple[EstimatedService, ...] | Unavailable:
    """Estimate the service of a replica for each memory plan, corrected by the user's own measurements. The
    result is cached, because plans that differ in traffic, SLO or prices share it."""
    evidence, model, precision = load_bundled_evidence(), assumed_model.model, assumed_model.precision
    limits = resolve_engine(assumed_model.engine, accelerator)
    tokens = max(1.0, lengths[0] + lengths[1] / 2)
    servers = []
    for memory_plan in memory_plans:
        kv_token_bytes = compute_kv_bytes(model, tokens, precision.kv, memory_plan.degree) / tokens
        settings = ServerSettings(
            limits.max_sequences,
            math.floor(memory_plan.kv_pool_bytes / kv_token_bytes) if kv_token_bytes else UNLIMITED_TOKENS,
            limits.chunk_tokens,
        )
        replica_model = _describe_replica(assumed_model, memory_plan.degree)
        servers.append((_build_server(replica_model, accelerator), settings))
    estimates = estimate_services(evidence, servers, *lengths, prefix_cached_share)
    if isinstance(estimates, Unavailable):
        return estimates
    return tuple(
        calibrate_service(estimate, server, lengths, own_evidence, evidence, _get_relative_speed(accelerator))
        for estimate, (server, _) in zip(estimates, servers, strict=True)
    )


def _get_relative_speed(accelerator: Accelerator) -> RelativeSpeed:
    """Return the speed of servers on an accelerator relative to what the model of step times predicts."""
    if accelerator.vendor == _MEASURED_VENDOR:
        return AS_PREDICTED
    return RelativeSpeed(OTHER_VENDOR_SPEED, _OTHER_VENDOR_SIGMA)


def _build_server(replica_model: AssumedModel, accelerator: Accelerator) -> Server:
    precision = replica_model.precision
    return Server(
        _describe_server(replica_model, accelerator.key),
        replica_model.model,
        accelerator,
        precision.kv,
        "inferencex",
        precision.compute,
    )


def _describe_server(replica_model: AssumedModel, accelerator: str) -> PublishedServer:
    """Return what the step times of a planned replica depend on, in the terms of published servers."""
    degree = replica_model.engine.tensor_parallel
    assert degree is not None
    return PublishedServer(
        model=load_bundled_evidence().find_model(replica_model.model) or replica_model.name,
        accelerator=accelerator,
        precision=replica_model.precision.weights,
        engine=replica_model.engine.served_name,
        version="current",
        accelerators=degree,
    )


def _describe_replica(assumed_model: AssumedModel, degree: int) -> AssumedModel:
    """Return the model as a replica on `degree` accelerators serves it."""
    engine = msgspec.structs.replace(assumed_model.engine, tensor_parallel=degree)
    return msgspec.structs.replace(assumed_model, engine=engine)


def describe_planned_load(
    target: MeasuredTarget, rate_per_s: float | None, plan_inputs: PlanningInputs
) -> PlannedLoad | None:
    """Return the server of a replica without measurements, and its load at a rate; None if the target has no
    accelerator or no service model of tokens. Without a rate, the load is the max rate within the SLO."""
    replica_model, lengths = target.assumed_model, plan_inputs.traffic.mean_token_lengths
    accelerator = plan_inputs.catalog.accelerators.get(target.hardware.accelerator or "")
    service = target.fit.services[0].service if target.fit is not None else None
    if replica_model is None or lengths is None or accelerator is None or not isinstance(service, TokenService):
        return None
    return PlannedLoad(
        _describe_server(replica_model, accelerator.key),
        replica_model.model,
        accelerator,
        *lengths,
        count_running_sequences(service, rate_per_s or target.curve.max_rate_per_s, *lengths),
    )


def describe_served_replica(
    target: MeasuredTarget, rate_per_s: float | None, plan_inputs: PlanningInputs
) -> ServedReplica | None:
    """Return how a replica without measurements is served, and its speed at a rate; None for a measured target and
    without a rate."""
    load = None if rate_per_s is None else describe_planned_load(target, rate_per_s, plan_inputs)
    service = None if target.fit is None else target.fit.services[0].service
    if load is None or rate_per_s is None or not isinstance(service, TokenService):
        return None
    return ServedReplica(
        accelerators=load.served.accelerators,
        engine=load.served.engine,
        weights=load.served.precision,
        tokens_per_s_per_user=compute_user_tokens_per_s(service, rate_per_s, load.input_tokens, load.output_tokens),
        tokens_per_s_per_accelerator=rate_per_s * load.output_tokens / load.served.accelerators,
    )


def expect_measurement(
    load: PlannedLoad, clients: tuple[float, ...], replica_model: AssumedModel, plan_inputs: PlanningInputs
) -> OwnEvidence:
    """Return what a measurement of a replica that serves `replica_model` with these numbers of clients is expected to
    show: the times that the plan assumes."""
    server = _build_server(replica_model, load.accelerator)
    own, lengths = list_applicable(plan_inputs.own_evidence, server), (load.input_tokens, load.output_tokens)
    speed = _get_relative_speed(load.accelerator)
    return OwnEvidence(
        id="expected",
        added_on=plan_inputs.today,
        tool="",
        origin="",
        model_name=replica_model.name,
        shape=replica_model.model,
        served=load.served,
        kv_dtype=replica_model.precision.kv,
        points=expect_points(server, lengths, clients, own, load_bundled_evidence(), speed),
    )


@lru_cache(1024)
def _build_replica(
    assumed_model: AssumedModel,
    accelerator: Accelerator,
    memory_plan: MemoryPlan,
    estimate: EstimatedService,
    lengths: tuple[float, float],
    prefix_cached_share: float,
    objectives: SloObjectives,
) -> AssumedReplica:
    """Build a replica with its analytical estimate. The result is cached, because plans that differ in peak or prices
    share it."""
    service = estimate.service
    rate_per_s = estimate_rate_within_slo(service, objectives, 1, "random", lengths)
    fit = ServiceFit(
        (FittedService(service, 1.0, (), ()),), (), 0.0, 1.0, 0.0, compute_max_throughput_per_s(service, lengths)
    )
    name = f"{assumed_model.name} on {memory_plan.degree} × {accelerator.key}"
    hardware = Hardware(name, accelerator=accelerator.key, accelerator_count=memory_plan.degree)
    curve = CapacityCurve((), objectives.latency_metric, rate_per_s, None, None)
    return AssumedReplica(
        MeasuredTarget(
            name,
            hardware,
            curve,
            fit,
            is_assumed=True,
            own_points=estimate.own_points,
            ignored_ratio=estimate.ignored_ratio,
            assumed_model=_describe_replica(assumed_model, memory_plan.degree),
            cached_input_share=prefix_cached_share or None,
        ),
        _choose_sigma(estimate, service, rate_per_s, lengths, objectives),
        not estimate.own_points and "gpu" in estimate.novelties,
        estimate.ttft_sigma if objectives.latency_kind == "first_token" else None,
    )


def _choose_sigma(
    estimate: EstimatedService,
    service: TokenService,
    rate_per_s: float,
    lengths: tuple[float, float],
    objectives: SloObjectives,
) -> float:
    """Return the uncertainty of the time that limits the rate: that of TTFT if the rate would be higher
    without the objectives on it, else that of TPOT."""
    others = tuple(objective for objective in objectives.latency_objectives if objective.kind != "first_token")
    if len(others) == len(objectives.latency_objectives):
        return estimate.tpot_sigma
    without = msgspec.structs.replace(objectives, latency_objectives=others)
    is_limiting = estimate_rate_within_slo(service, without, 1, "random", lengths) > rate_per_s
    return estimate.ttft_sigma if is_limiting else estimate.tpot_sigma
