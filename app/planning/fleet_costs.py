"""A fleet's cost by inference and by token, its energy and its carbon."""

from __future__ import annotations

import msgspec

from app.planning.costs import Rates, TokenWork, UnitCost, per_1k_inferences, request_cost, token_costs
from app.planning.energy import ASSUMED_PUE, Site, energy_bill, fleet_power, power_line, power_of_inferences
from app.planning.options import Option, candidate_of
from app.planning.service_speed import faster
from app.planning.sizing import Demand
from app.records.estimate import Estimate
from app.records.plan import Fleet, TokenUnitCosts, UnitCosts
from app.records.plan_question import PlanQuestion
from app.records.service import NO_LIMIT, ServiceFit, TokenService


def with_costs(fleet: Fleet, option: Option, demand: Demand, question: PlanQuestion) -> Fleet:
    candidate = candidate_of(option)
    rates = _rates(option, demand)
    together = candidate.usd_per_hour * candidate.instances
    each = request_cost(candidate.usd_per_hour, together, rates)
    energy = _energy(option, demand, question)
    return msgspec.structs.replace(
        fleet,
        per_1k_inferences=_units(per_1k_inferences(candidate.usd_per_hour, together, rates)),
        per_1m_tokens=_tokens(each, option, question),
        kwh_per_month=energy.kwh_per_month,
        kg_co2e_per_month=energy.kg_co2e_per_month,
    )


def _rates(option: Option, demand: Demand) -> Rates:
    """At saturation an instance does all that its replicas can; unknown without a service model, and of a language
    model that was never seen full."""
    candidate, fit = candidate_of(option), option.target.fit
    each = None if fit is None else _full_per_s(fit, candidate.capacity.speed)
    saturation = None if each is None else each * candidate.capacity.replicas
    return Rates(saturation, candidate.capacity.per_s, demand.mean_per_s)


def _full_per_s(fit: ServiceFit, speed: float) -> float | None:
    service = fit.laws[0].service
    if not isinstance(service, TokenService):
        return service.most_per_s * speed
    return fit.highest_per_s * speed if service.kv_tokens < NO_LIMIT else None


def _tokens(each: UnitCost, option: Option, question: PlanQuestion) -> TokenUnitCosts | None:
    tokens, fit = question.traffic.tokens, option.target.fit
    if not tokens or fit is None or not isinstance(fit.laws[0].service, TokenService):
        return None
    law = faster(fit.laws[0].service, candidate_of(option).capacity.speed)
    assert isinstance(law, TokenService)
    inputs = sum(one.share * one.input for one in tokens) / sum(one.share for one in tokens)
    outputs = sum(one.share * one.output for one in tokens) / sum(one.share for one in tokens)
    batch = max(1.0, min(law.max_sequences, law.kv_tokens / (inputs + outputs)) / 2)
    step_s = law.step_s + law.per_sequence_s * batch + law.per_kv_token_s * batch * (inputs + outputs / 2)
    costs = token_costs(each, TokenWork(inputs, outputs, inputs * law.prefill_s_per_token, step_s, batch))
    units = (costs.per_1m_input, costs.per_1m_output, costs.per_1m_all)
    return TokenUnitCosts(*(None if one is None else _units(one) for one in units))


def _units(cost: UnitCost) -> UnitCosts:
    return UnitCosts(cost.at_saturation, cost.at_slo, cost.at_mean)


class _Energy(msgspec.Struct, frozen=True):
    kwh_per_month: Estimate
    kg_co2e_per_month: Estimate


def _energy(option: Option, demand: Demand, question: PlanQuestion) -> _Energy:
    """Of the accelerators alone, or of all that an owned instance is said to draw; of a rented CPU nothing is known."""
    candidate = candidate_of(option)
    offer = candidate.offer
    if offer.owned is not None and offer.owned.power_w > 0:
        drawn = Estimate(offer.owned.power_w * candidate.instances, basis="assumed")
        site = Site(pue=offer.owned.pue, grid=question.catalogue.grid_of(offer))
        bill = energy_bill(drawn, site, demand.mean_per_s)
        return _Energy(bill.kwh_per_month, bill.kg_co2e_per_month)
    if offer.accelerator is None:
        nothing = Estimate(None, basis="assumed", reason="the power of a CPU instance is not known")
        return _Energy(nothing, nothing)
    line = power_line(question.catalogue.accelerators.get(offer.accelerator))
    cards = offer.accelerator_count * candidate.instances
    utilisation = demand.mean_per_s / (candidate.instances * candidate.capacity.per_s)
    power = fleet_power(line, cards, utilisation)
    joules = option.target.joules_per_inference
    if joules is not None and candidate.capacity.basis == "measured" and line is not None:
        idle = Estimate(line.idle_w, basis=line.basis)
        power = power_of_inferences(Estimate(joules), demand.mean_per_s, idle, cards)
    site = Site(pue=offer.owned.pue if offer.owned else ASSUMED_PUE, grid=question.catalogue.grid_of(offer))
    bill = energy_bill(power, site, demand.mean_per_s)
    return _Energy(bill.kwh_per_month, bill.kg_co2e_per_month)
