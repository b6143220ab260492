"""Cost of a fleet per inference and per token, and monthly power, energy and carbon emissions.

A value has the basis "measured" if power was measured. Otherwise, power is assumed from the
accelerator's TDP. A month has 730 hours.
"""

from __future__ import annotations

import msgspec

from app.planning.offers.options import Option, get_candidate
from app.planning.pricing.costs import (
    Rates,
    TokenWork,
    UnitCost,
    compute_cost_per_1k_inferences,
    compute_request_cost,
    compute_token_costs,
)
from app.planning.service_models.service_times import speed_up
from app.planning.sizing.instances import HOURS_PER_MONTH, Demand
from app.records.estimate import Basis, Estimate
from app.records.offers import Accelerator, GridCarbonIntensity
from app.records.plan import Fleet, TokenUnitCosts, UnitCosts
from app.records.planning_inputs import PlanningInputs
from app.records.service import UNLIMITED_TOKENS, ServiceFit, TokenService

ASSUMED_IDLE_POWER_SHARE = 0.2
"""Assumed idle power of an accelerator with a loaded model, as a share of the TDP. Measured shares
are 0.1 to 0.3."""
ASSUMED_PUE = 1.2
"""Assumed power usage effectiveness. Large clouds publish values of 1.1 to 1.2; private server
rooms are closer to 1.5."""


class PowerModel(msgspec.Struct, frozen=True):
    """Linear power model of an accelerator: W(u) = idle + (max − idle) × u, where u is the
    utilization."""

    idle_w: float
    max_w: float
    basis: Basis

    def compute_power_w(self, utilization: float) -> float:
        return self.idle_w + (self.max_w - self.idle_w) * min(1.0, max(0.0, utilization))


class Site(msgspec.Struct, frozen=True):
    """Data center of the fleet. `tariff_usd_per_kwh` is `None` if the rent includes electricity."""

    pue: float = ASSUMED_PUE
    tariff_usd_per_kwh: float | None = None
    grid: GridCarbonIntensity | None = None


class EnergyBill(msgspec.Struct, frozen=True):
    """Monthly energy, energy cost and carbon emissions.

    All three include PUE, but emissions exclude manufacturing.
    """

    kwh_per_month: Estimate
    usd_per_month: Estimate
    kg_co2e_per_month: Estimate


def build_power_model(
    accelerator: Accelerator | None, idle_w: float | None = None, max_w: float | None = None
) -> PowerModel | None:
    """Build the power model from measured idle and maximum power; missing values are taken from the
    catalog or assumed.

    Return `None` if the maximum power is unknown.
    """
    effective_max_w = max_w if max_w is not None else None if accelerator is None else accelerator.tdp_w
    if effective_max_w is None:
        return None
    basis: Basis = "assumed" if idle_w is None or max_w is None else "measured"
    return PowerModel(
        effective_max_w * ASSUMED_IDLE_POWER_SHARE if idle_w is None else min(idle_w, effective_max_w),
        effective_max_w,
        basis,
    )


def compute_fleet_power(
    power_model: PowerModel | None, accelerator_count: float, utilization: float, host_w: float = 0.0
) -> Estimate:
    """Return the mean power of the fleet in W. `host_w` is the power in W of all components except
    the accelerators."""
    if power_model is None:
        return _build_unknown_estimate("neither measured power nor TDP is known")
    return Estimate(power_model.compute_power_w(utilization) * accelerator_count + host_w, basis=power_model.basis)


def compute_power_from_inferences(
    energy_above_idle_j: Estimate, rate_per_s: float, idle_w: Estimate, accelerator_count: float, host_w: float = 0.0
) -> Estimate:
    """Return the mean power of the fleet in W, computed from the measured energy per inference.

    The measured energy excludes idle power, so the idle power of the accelerators is added.
    """
    if energy_above_idle_j.value is None or idle_w.value is None:
        return _build_unknown_estimate(
            energy_above_idle_j.reason or idle_w.reason or "energy per inference was not measured"
        )
    basis: Basis = "measured" if energy_above_idle_j.basis == idle_w.basis == "measured" else "assumed"
    ci95 = None
    fleet_idle_w = idle_w.value * accelerator_count + host_w
    if energy_above_idle_j.ci95 is not None:
        ci95 = (
            fleet_idle_w + energy_above_idle_j.ci95[0] * rate_per_s,
            fleet_idle_w + energy_above_idle_j.ci95[1] * rate_per_s,
        )
    return Estimate(fleet_idle_w + energy_above_idle_j.value * rate_per_s, ci95, basis=basis)


def compute_energy_bill(mean_w: Estimate, site: Site) -> EnergyBill:
    """Compute the monthly energy bill from the mean power in W, without PUE."""
    kwh_per_month = _scale_estimate(mean_w, site.pue * HOURS_PER_MONTH / 1000)
    return EnergyBill(
        kwh_per_month=kwh_per_month,
        usd_per_month=_scale_estimate(
            kwh_per_month,
            site.tariff_usd_per_kwh,
            "no electricity tariff is set; a rented instance's price includes it",
        ),
        kg_co2e_per_month=_scale_estimate(
            kwh_per_month,
            None if site.grid is None else site.grid.g_co2e_per_kwh / 1000,
            "the carbon intensity of the region's grid is unknown",
        ),
    )


def _scale_estimate(estimate: Estimate, factor: float | None, reason: str = "") -> Estimate:
    if estimate.value is None:
        return estimate
    if factor is None:
        return _build_unknown_estimate(reason)
    scaled_ci95 = None if estimate.ci95 is None else (estimate.ci95[0] * factor, estimate.ci95[1] * factor)
    return Estimate(estimate.value * factor, scaled_ci95, basis=estimate.basis)


def _build_unknown_estimate(reason: str) -> Estimate:
    return Estimate(None, basis="assumed", reason=reason)


def add_costs(fleet: Fleet, option: Option, demand: Demand, plan_inputs: PlanningInputs) -> Fleet:
    candidate = get_candidate(option)
    rates = _compute_rates(option, demand)
    fleet_usd_per_hour = candidate.usd_per_hour * candidate.instances
    request_cost = compute_request_cost(candidate.usd_per_hour, fleet_usd_per_hour, rates)
    energy = _compute_energy(option, demand, plan_inputs)
    return msgspec.structs.replace(
        fleet,
        per_1k_inferences=_to_unit_costs(
            compute_cost_per_1k_inferences(candidate.usd_per_hour, fleet_usd_per_hour, rates)
        ),
        per_1m_tokens=_compute_token_unit_costs(request_cost, option, plan_inputs),
        kwh_per_month=energy.kwh_per_month,
        kg_co2e_per_month=energy.kg_co2e_per_month,
    )


def _compute_rates(option: Option, demand: Demand) -> Rates:
    """Return the request rates of an option.

    At saturation, all replicas of an instance run at max throughput. The rate at saturation is
    `None` without a service model, and for a language model that was never observed at full load.
    """
    candidate, fit = get_candidate(option), option.target.fit
    replica_saturation_per_s = None if fit is None else _compute_saturation_per_s(fit, candidate.capacity.speed)
    saturation_per_s = (
        None if replica_saturation_per_s is None else replica_saturation_per_s * candidate.capacity.replicas
    )
    return Rates(saturation_per_s, candidate.capacity.rate_per_s, demand.mean_per_s)


def _compute_saturation_per_s(fit: ServiceFit, speed: float) -> float | None:
    service = fit.services[0].service
    if not isinstance(service, TokenService):
        return service.max_throughput_per_s * speed
    return fit.highest_per_s * speed if service.kv_tokens < UNLIMITED_TOKENS else None


def _compute_token_unit_costs(
    request_cost: UnitCost, option: Option, plan_inputs: PlanningInputs
) -> TokenUnitCosts | None:
    """Return the costs per 1M tokens of an option in USD, split by engine time with half of the maximum number of
    running sequences; None without token lengths or without a fitted token service."""
    tokens, fit = plan_inputs.traffic.tokens, option.target.fit
    if not tokens or fit is None or not isinstance(fit.services[0].service, TokenService):
        return None
    service = speed_up(fit.services[0].service, get_candidate(option).capacity.speed)
    assert isinstance(service, TokenService)
    mean_input = sum(lengths.share * lengths.input for lengths in tokens) / sum(lengths.share for lengths in tokens)
    mean_output = sum(lengths.share * lengths.output for lengths in tokens) / sum(lengths.share for lengths in tokens)
    batch = max(1.0, min(service.max_sequences, service.kv_tokens / (mean_input + mean_output)) / 2)
    step_s = service.compute_decode_step_s(batch, batch * (mean_input + mean_output / 2))
    costs = compute_token_costs(
        request_cost,
        TokenWork(
            mean_input,
            mean_output,
            mean_input * service.prefill_s_per_token,
            step_s,
            batch,
            option.target.cached_input_share,
        ),
    )
    token_costs = (
        costs.per_1m_input,
        costs.per_1m_output,
        costs.per_1m_all,
        costs.per_1m_uncached_input,
        costs.per_1m_cached_input,
    )
    return TokenUnitCosts(*(None if cost is None else _to_unit_costs(cost) for cost in token_costs))


def _to_unit_costs(cost: UnitCost) -> UnitCosts:
    return UnitCosts(cost.at_saturation, cost.at_slo, cost.at_mean)


class _Energy(msgspec.Struct, frozen=True):
    """Energy and carbon emissions of a fleet per month."""

    kwh_per_month: Estimate
    kg_co2e_per_month: Estimate


def _compute_energy(option: Option, demand: Demand, plan_inputs: PlanningInputs) -> _Energy:
    """Return the energy and emissions of the accelerators or, for owned hardware with specified
    power, of the entire instances.

    The energy of other CPU instances is unknown.
    """
    candidate = get_candidate(option)
    offer = candidate.offer
    if offer.owned is not None and offer.owned.power_w > 0:
        owned_power = Estimate(offer.owned.power_w * candidate.instances, basis="assumed")
        site = Site(pue=offer.owned.pue, grid=plan_inputs.catalog.find_carbon_intensity(offer))
        bill = compute_energy_bill(owned_power, site)
        return _Energy(bill.kwh_per_month, bill.kg_co2e_per_month)
    if offer.accelerator is None:
        unknown_estimate = Estimate(None, basis="assumed", reason="the power of a CPU instance is unknown")
        return _Energy(unknown_estimate, unknown_estimate)
    power_model = build_power_model(plan_inputs.catalog.accelerators.get(offer.accelerator))
    accelerator_count = offer.accelerator_count * candidate.instances
    utilization = demand.mean_per_s / (candidate.instances * candidate.capacity.rate_per_s)
    mean_power = compute_fleet_power(power_model, accelerator_count, utilization)
    joules_per_inference = option.target.joules_per_inference
    if joules_per_inference is not None and candidate.capacity.basis == "measured" and power_model is not None:
        idle_power = Estimate(power_model.idle_w, basis=power_model.basis)
        mean_power = compute_power_from_inferences(
            Estimate(joules_per_inference), demand.mean_per_s, idle_power, accelerator_count
        )
    site = Site(
        pue=offer.owned.pue if offer.owned else ASSUMED_PUE, grid=plan_inputs.catalog.find_carbon_intensity(offer)
    )
    bill = compute_energy_bill(mean_power, site)
    return _Energy(bill.kwh_per_month, bill.kg_co2e_per_month)
