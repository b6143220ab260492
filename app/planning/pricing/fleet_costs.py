"""A fleet's cost by inference and by token, its energy and its carbon.

Power, energy, its cost and its carbon of a fleet over a month.

A number is measured where the power was, else assumed from the part's TDP. The month is the mean
one of 730 hours.
"""

from __future__ import annotations

import msgspec

from app.planning.options import Option, candidate_of
from app.planning.pricing.costs import (
    SECONDS_AN_HOUR,
    THOUSAND,
    Rates,
    TokenWork,
    UnitCost,
    per_1k_inferences,
    request_cost,
    token_costs,
)
from app.planning.service_models.service_times import faster
from app.planning.sizing import HOURS_A_MONTH, Demand
from app.records.estimate import Basis, Estimate
from app.records.offers import Accelerator, GridIntensity
from app.records.plan import Fleet, TokenUnitCosts, UnitCosts
from app.records.plan_question import PlanQuestion
from app.records.service import NO_LIMIT, ServiceFit, TokenService

ASSUMED_IDLE_SHARE = 0.2
"""Of the TDP, with a model loaded and nothing to do: cards differ between 0.1 and 0.3."""
ASSUMED_PUE = 1.2
"""Large clouds publish 1.1 to 1.2; a machine room of one's own is nearer to 1.5."""


class PowerLine(msgspec.Struct, frozen=True):
    """W(u) = idle + (max − idle) × u of one accelerator, u the share of the time it is busy."""

    idle_w: float
    max_w: float
    basis: Basis

    def at(self, utilisation: float) -> float:
        return self.idle_w + (self.max_w - self.idle_w) * min(1.0, max(0.0, utilisation))


class Site(msgspec.Struct, frozen=True):
    """Where the fleet stands. `tariff_usd_per_kwh` is None where the rent pays for the electricity."""

    pue: float = ASSUMED_PUE
    tariff_usd_per_kwh: float | None = None
    grid: GridIntensity | None = None


class EnergyBill(msgspec.Struct, frozen=True):
    """At the meter, the PUE in it; `mean_w` is before it. Making the hardware is not in the carbon."""

    mean_w: Estimate
    kwh_per_month: Estimate
    usd_per_month: Estimate
    kg_co2e_per_month: Estimate
    wh_per_1k_inferences: Estimate


def power_line(part: Accelerator | None, idle_w: float | None = None, max_w: float | None = None) -> PowerLine | None:
    """Measured where both ends are; what is not comes from the catalogue. None where nothing tells the most."""
    most = max_w if max_w is not None else None if part is None else part.tdp_w
    if most is None:
        return None
    basis: Basis = "assumed" if idle_w is None or max_w is None else "measured"
    return PowerLine(most * ASSUMED_IDLE_SHARE if idle_w is None else min(idle_w, most), most, basis)


def fleet_power(line: PowerLine | None, accelerators: float, utilisation: float, host_w: float = 0.0) -> Estimate:
    """Mean watts of the whole fleet; `host_w` is that of everything in it which is no accelerator."""
    if line is None:
        return _unknown("neither a measured power nor a TDP is known")
    return Estimate(line.at(utilisation) * accelerators + host_w, basis=line.basis)


def power_of_inferences(
    above_idle_j: Estimate, per_s: float, idle_w: Estimate, accelerators: float, host_w: float = 0.0
) -> Estimate:
    """Mean watts from what one inference was measured to take above idle, and what one accelerator idles at."""
    if above_idle_j.value is None or idle_w.value is None:
        return _unknown(above_idle_j.reason or idle_w.reason or "the energy of an inference was not measured")
    basis: Basis = "measured" if above_idle_j.basis == idle_w.basis == "measured" else "assumed"
    low_high = None
    idle = idle_w.value * accelerators + host_w
    if above_idle_j.ci95 is not None:
        low_high = (idle + above_idle_j.ci95[0] * per_s, idle + above_idle_j.ci95[1] * per_s)
    return Estimate(idle + above_idle_j.value * per_s, low_high, basis=basis)


def energy_bill(mean_w: Estimate, site: Site, mean_per_s: float) -> EnergyBill:
    """A month at this power, for so many inferences a second in the mean."""
    kwh = _times(mean_w, site.pue * HOURS_A_MONTH / 1000)
    thousands = mean_per_s * HOURS_A_MONTH * SECONDS_AN_HOUR / THOUSAND
    return EnergyBill(
        mean_w=mean_w,
        kwh_per_month=kwh,
        usd_per_month=_times(kwh, site.tariff_usd_per_kwh, "no tariff is given: a rented instance's price includes it"),
        kg_co2e_per_month=_times(
            kwh, None if site.grid is None else site.grid.g_co2e_per_kwh / 1000, "the region's grid is not known"
        ),
        wh_per_1k_inferences=_times(kwh, 1000 / thousands if thousands > 0 else None, "the traffic has no requests"),
    )


def _times(estimate: Estimate, factor: float | None, otherwise: str = "") -> Estimate:
    if estimate.value is None:
        return estimate
    if factor is None:
        return _unknown(otherwise)
    ends = None if estimate.ci95 is None else (estimate.ci95[0] * factor, estimate.ci95[1] * factor)
    return Estimate(estimate.value * factor, ends, basis=estimate.basis)


def _unknown(reason: str) -> Estimate:
    return Estimate(None, basis="assumed", reason=reason)


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
