"""Relaxations of plan limits: if no offer is feasible, changes of a single limit that make an offer
feasible.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import msgspec

from app.analysis.accelerator_names import NO_ACCELERATOR
from app.analysis.objectives import get_unit
from app.planning.fleets import find_recommended_fleet
from app.planning.formatting import format_number, format_usd
from app.records.metrics import format_metric
from app.records.offers import PlanLimits, split_sources
from app.records.plan import Fleet
from app.records.planning_inputs import PlanningInputs
from app.records.result import Objective

_LIMIT_FACTORS = (1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
_PEAK_SHARES = (0.9, 0.75, 0.5, 0.25, 0.1)


class Relaxation(msgspec.Struct, frozen=True):
    """Change of a single limit that makes an offer feasible.

    `changes` holds `key=value` strings for `sizewise plan --set`. For a change of an objective,
    `changes` is empty, and `slo` is the entire changed SLO.
    """

    changes: tuple[str, ...]
    text: str
    slo: tuple[str, ...] = ()


def find_relaxations(plan_inputs: PlanningInputs) -> tuple[Relaxation, ...]:
    """Return the relaxations that make an offer feasible, each verified by a full plan.

    Each relaxation is first checked with the analytical estimate. The result is empty if an offer
    is feasible already, or if relaxing a single limit is not sufficient.
    """
    if _find_recommended_fleet(plan_inputs) is not None:
        return ()
    return (*_relax_limits(plan_inputs), *_relax_slo(plan_inputs), *_relax_peak(plan_inputs))


def _find_recommended_fleet(plan_inputs: PlanningInputs) -> Fleet | None:
    """Return the recommended fleet of the full plan; `None` if there is none. The simulation is
    skipped if the analytical estimate has no feasible fleet."""
    return (
        None
        if find_recommended_fleet(plan_inputs, estimate_only=True) is None
        else find_recommended_fleet(plan_inputs, estimate_only=False)
    )


def _relax_limits(plan_inputs: PlanningInputs) -> Iterator[Relaxation]:
    limits = plan_inputs.limits
    relaxation_attempts: tuple[tuple[bool, dict[str, object], Callable[[Fleet], tuple[str, str]]], ...] = (
        (limits.budget_usd_per_month is not None, {"budget_usd_per_month": None}, _describe_budget),
        (limits.max_price_age_days is not None, {"max_price_age_days": None}, _describe_price_age),
        (limits.max_accelerators is not None, {"max_accelerators": None}, _describe_accelerators),
        (bool(limits.regions), {"regions": ()}, lambda fleet: _extend_list("regions", limits.regions, fleet.region)),
        (
            bool(limits.providers),
            {"providers": ()},
            lambda fleet: _extend_list("providers", limits.providers, fleet.provider),
        ),
        (
            bool(limits.accelerators),
            {"accelerators": ()},
            lambda fleet: _extend_list("accelerators", limits.accelerators, fleet.accelerator or NO_ACCELERATOR),
        ),
        (
            bool(limits.sources),
            {"sources": ()},
            lambda fleet: _extend_list("sources", limits.sources, split_sources(fleet.price_source)[0]),
        ),
        (bool(limits.vendors), {"vendors": ()}, lambda _: ("plan.vendors=[]", "accelerators of every vendor")),
        (limits.max_power_w is not None, {"max_power_w": None}, lambda _: ("plan.max_power=null", "no power limit")),
        (limits.price != "on-demand", {"price": "on-demand"}, lambda _: ("plan.price=on-demand", "on-demand prices")),
        (limits.redundancy > 0, {"redundancy": 0}, lambda _: ("plan.redundancy=n+0", "no spare instance")),
        (limits.zones > 1, {"zones": 1}, lambda _: ("plan.zones=1", "a single zone")),
        (
            not limits.low_trust_prices,
            {"low_trust_prices": True},
            lambda _: ("plan.low_trust_prices=true", "low-trust prices"),
        ),
    )
    for is_set, relaxed_fields, describe in relaxation_attempts:
        fleet = _find_recommended_fleet(_replace_limits(plan_inputs, relaxed_fields)) if is_set else None
        if fleet is not None:
            change, description = describe(fleet)
            yield Relaxation((change,), f"With {description}, {_format_fleet(fleet)} qualifies.")


def _replace_limits(plan_inputs: PlanningInputs, relaxed_fields: dict[str, object]) -> PlanningInputs:
    limits: PlanLimits = msgspec.structs.replace(plan_inputs.limits, **relaxed_fields)
    return msgspec.structs.replace(plan_inputs, limits=limits)


def _describe_budget(fleet: Fleet) -> tuple[str, str]:
    budget_usd = math.ceil(fleet.usd_per_month.value or 0.0)
    return f"plan.budget={budget_usd} USD/month", f"a budget of ${budget_usd:,}/month"


def _describe_price_age(fleet: Fleet) -> tuple[str, str]:
    return f"plan.max_price_age={fleet.price_age_days}d", f"prices up to {fleet.price_age_days} days old"


def _describe_accelerators(fleet: Fleet) -> tuple[str, str]:
    accelerator_count = fleet.accelerator_count
    return f"plan.max_accelerators={accelerator_count:g}", f"up to {accelerator_count:g} accelerators per instance"


def _extend_list(limit_name: str, allowed_values: tuple[str, ...], value: str) -> tuple[str, str]:
    return f"plan.{limit_name}=[{', '.join((*allowed_values, value))}]", f"{value} added to plan.{limit_name}"


def _relax_slo(plan_inputs: PlanningInputs) -> Iterator[Relaxation]:
    for index, objective in enumerate(plan_inputs.slo):
        if not objective.comparator.startswith("<") or objective.level != "fail":
            continue
        for factor in _LIMIT_FACTORS:
            loosened_objective = _loosen_objective(objective, factor)
            slo = (*plan_inputs.slo[:index], loosened_objective, *plan_inputs.slo[index + 1 :])
            fleet = _find_recommended_fleet(msgspec.structs.replace(plan_inputs, slo=slo))
            if fleet is not None:
                text = f"With {loosened_objective.label}, {_format_fleet(fleet)} qualifies."
                yield Relaxation((), text, tuple(changed_objective.text for changed_objective in slo))
                break


def _loosen_objective(objective: Objective, factor: float) -> Objective:
    limit = objective.limit * factor
    limit_text = f"{100 * limit:.6g}%" if get_unit(objective) == "share" else f"{limit:.6g}"
    text = f"{format_metric(objective.name)} {objective.comparator} {limit_text}"
    return msgspec.structs.replace(objective, limit=limit, text=text)


def _relax_peak(plan_inputs: PlanningInputs) -> Iterator[Relaxation]:
    for share in _PEAK_SHARES:
        peak_per_s = float(f"{plan_inputs.traffic.peak_per_s * share:.3g}")
        fleet = _find_recommended_fleet(_replace_peak(plan_inputs, peak_per_s)) if peak_per_s > 0 else None
        if fleet is not None:
            text = f"At a peak of {format_number(peak_per_s)} req/s, {_format_fleet(fleet)} qualifies."
            yield Relaxation((f"traffic.peak={peak_per_s!r}/s",), text)
            return


def _replace_peak(plan_inputs: PlanningInputs, peak_per_s: float) -> PlanningInputs:
    traffic = msgspec.structs.replace(plan_inputs.traffic, peak_per_s=peak_per_s)
    return msgspec.structs.replace(plan_inputs, traffic=traffic)


def _format_fleet(fleet: Fleet) -> str:
    return f"{fleet.instances} × {fleet.offer} for {format_usd(fleet.usd_per_month.value or 0.0)}/month"
