"""The measurement that would narrow a cost interval of a plan for an unmeasured language model most.

A measurement is expected to show the times that the plan assumes. With it among the user's own measurements, the
calibration narrows the interval of the times, and sizing the offer again that of instances and cost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from app.analysis.language_models import load_language_models
from app.planning.formatting import format_usd
from app.planning.language_models.assumed_model import describe_planned_load, expect_measurement
from app.planning.offers.candidates import build_fleet
from app.planning.offers.options import Option, evaluate_option, get_candidate, list_options
from app.planning.sizing.instances import Demand
from app.planning.sizing.slo_objectives import SloObjectives
from app.planning.step_times.nearest import PlannedLoad
from app.records.plan import Fleet, ProposedMeasurement, Spread
from app.records.planning_inputs import AssumedModel, PlanningInputs

MIN_NARROWING = 0.1
"""Smallest part of a cost interval by which a measurement must narrow it to be proposed."""
_LOWEST_CLIENTS = (4, 8)
"""The lowest numbers of clients of three quarters of the published curves, by which the calibration was validated."""
_REQUESTS_PER_CLIENT = 10
"""Requests of each client, as in the published measurements."""


def propose_measurement(
    fleets: Sequence[tuple[Option, Fleet]],
    plan_inputs: PlanningInputs,
    demand: Demand,
    objectives: SloObjectives,
) -> ProposedMeasurement | None:
    """Return the measurement that would narrow the cost interval of the first of the fleets most, or that of its first
    rival on another accelerator whose interval overlaps with it. Costs of a rival above that interval do not count,
    because they would not change the decision. Return None if no interval would become narrower by `MIN_NARROWING`."""
    if not fleets or fleets[0][1].usd_per_month_needed is None:
        return None
    limit_usd = fleets[0][1].usd_per_month_needed.p90
    best, best_narrowing_usd = None, 0.0
    for option, fleet in (fleets[0], *_find_rivals(fleets, limit_usd)):
        load = _describe_load(option, fleet, plan_inputs)
        before = fleet.usd_per_month_needed
        if load is None or before is None:
            continue
        clients, estimated = min(
            (
                (clients, _estimate_offer(option, load, clients, plan_inputs, demand, objectives))
                for clients in ((_round_clients(load.sequences),), _LOWEST_CLIENTS)
            ),
            key=lambda pair: (_get_sigma(pair[1]), len(pair[0])),
        )
        expected = _expect_option(option, estimated, plan_inputs, demand)
        after = None if expected is None else _compute_cost_range(expected, plan_inputs, demand)
        if after is None:
            continue
        narrowing_usd = _compute_width(before, limit_usd) - _compute_width(after, limit_usd)
        if narrowing_usd > max(best_narrowing_usd, MIN_NARROWING * (before.p90 - before.p10)):
            best_narrowing_usd = narrowing_usd
            is_recommended = fleet is fleets[0][1] and fleet.rejected is None
            best = _build_proposal(
                fleet, load, clients, before, after, option.target.assumed_model, is_recommended=is_recommended
            )
    return best


def _find_rivals(fleets: Sequence[tuple[Option, Fleet]], limit_usd: float) -> Sequence[tuple[Option, Fleet]]:
    """Return the first fleet on another accelerator than the best one, if it may cost less than `limit_usd`."""
    rivals = [pair for pair in fleets if pair[1].accelerator != fleets[0][1].accelerator][:1]
    return [pair for pair in rivals if pair[1].usd_per_month_needed and pair[1].usd_per_month_needed.p10 < limit_usd]


def _describe_load(option: Option, fleet: Fleet, plan_inputs: PlanningInputs) -> PlannedLoad | None:
    """Return the planned load of a replica; None if the fleet is based on a measurement."""
    return describe_planned_load(option.target, fleet.planned_rate_per_replica_per_s, plan_inputs)


def _round_clients(sequences: float) -> int:
    """Return the nearest power of two."""
    return int(2 ** round(math.log2(max(1.0, sequences))))


def _add_measurement(
    option: Option, load: PlannedLoad, clients: tuple[int, ...], plan_inputs: PlanningInputs
) -> PlanningInputs:
    """Return the inputs of the plan with the measurement as expected, and with only one offer."""
    replica_model = option.target.assumed_model
    assert replica_model is not None
    expected = expect_measurement(load, clients, replica_model, plan_inputs)
    return msgspec.structs.replace(
        plan_inputs,
        own_evidence=(*plan_inputs.own_evidence, expected),
        catalog=msgspec.structs.replace(plan_inputs.catalog, offers=(option.evaluation.offer,)),
    )


def _estimate_offer(
    option: Option,
    load: PlannedLoad,
    clients: tuple[int, ...],
    plan_inputs: PlanningInputs,
    demand: Demand,
    objectives: SloObjectives,
) -> Option:
    """Return the analytical estimate of the offer after a measurement."""
    with_measurement = _add_measurement(option, load, clients, plan_inputs)
    (estimated,) = list_options(with_measurement, demand, objectives, estimate_only=True)
    return estimated


def _get_sigma(option: Option) -> float:
    return math.inf if option.capacity is None else round(option.capacity.sigma, 3)


def _expect_option(option: Option, estimated: Option, plan_inputs: PlanningInputs, demand: Demand) -> Option | None:
    """Return the option as it is expected after a measurement that confirms it; None if it does not qualify any more.

    Only the uncertainty of the replica's speed becomes smaller, and that of the capacity in proportion: the capacity is
    a power of the speed. So nothing is simulated again, unless a replica would be split in another way: then the
    analytical estimate counts.
    """
    before, after = option.capacity, estimated.capacity
    if before is None or after is None or before.speed_sigma <= 0 or before.replicas != after.replicas:
        return estimated if estimated.is_feasible else None
    capacity = msgspec.structs.replace(
        before, sigma=before.sigma * after.speed_sigma / before.speed_sigma, speed_sigma=after.speed_sigma
    )
    evaluation = evaluate_option(option.evaluation.offer, option.target, capacity, demand, plan_inputs)
    expected = msgspec.structs.replace(option, evaluation=evaluation, capacity=capacity)
    return expected if expected.is_feasible else None


def _compute_cost_range(option: Option, plan_inputs: PlanningInputs, demand: Demand) -> Spread | None:
    candidate = get_candidate(option)
    fleet = build_fleet(candidate, candidate.instances, demand, option.latency_curve, plan_inputs.today)
    return fleet.usd_per_month_needed


def _compute_width(costs: Spread, limit_usd: float) -> float:
    return max(0.0, min(costs.p90, limit_usd) - costs.p10)


def _build_proposal(
    fleet: Fleet,
    load: PlannedLoad,
    clients: tuple[int, ...],
    before: Spread,
    after: Spread,
    replica_model: AssumedModel | None,
    *,
    is_recommended: bool,
) -> ProposedMeasurement:
    assert replica_model is not None
    loads_text = " and ".join(map(str, clients))
    interval_text = "the cost interval" if is_recommended else f"the cost interval of {fleet.offer}"
    sentence = (
        f"Measure {replica_model.name} on {load.served.accelerators} × {load.accelerator.name} at {loads_text} "
        f"requests in flight: {interval_text} would narrow from {_format_range(before)} to about "
        f"{_format_range(after)} per month. "
        f"Use `{_format_run(load, clients)}` and `{_format_addition(load, replica_model)}`, and plan again."
    )
    return ProposedMeasurement(
        model=replica_model.name,
        accelerator=load.served.accelerator,
        accelerators=load.served.accelerators,
        clients=clients,
        offer=fleet.offer,
        usd_per_month_needed=before,
        expected_usd_per_month_needed=after,
        sentence=sentence,
    )


def _format_range(costs: Spread) -> str:
    low_text, high_text = format_usd(costs.p10), format_usd(costs.p90)
    return low_text if low_text == high_text else f"{low_text}–{high_text.removeprefix('$')}"


def _format_run(load: PlannedLoad, clients: tuple[int, ...]) -> str:
    concurrency_text = ",".join(map(str, clients))
    return (
        f"sizewise run --openai http://HOST:8000/v1 --input-tokens {load.input_tokens:.0f} --output-tokens "
        f"{load.output_tokens:.0f} --concurrency {concurrency_text} --requests {_REQUESTS_PER_CLIENT * max(clients)}"
    )


def _format_addition(load: PlannedLoad, replica_model: AssumedModel) -> str:
    """Return the command that adds the last run to the user's own measurements."""
    served, known = load.served, load_language_models().get(load.served.model)
    model_text = served.model if known is not None and known.shape == load.shape else "MODEL.yaml"
    kv_text = "" if replica_model.precision.kv == "bf16" else f" --kv-cache {replica_model.precision.kv}"
    return (
        f"sizewise evidence add last --engine {served.engine} --precision {served.precision} --model {model_text} "
        f"--accelerator {served.accelerator} --tensor-parallel {served.accelerators}{kv_text}"
    )
