"""What a gate may ask of a run as a whole: its max rate, and what the planned fleet costs."""

from __future__ import annotations

from app.records.estimate import Estimate
from app.records.plan import Fleet, Plan
from app.records.result import MaxRate


def run_metrics(found: MaxRate | None, plan: Plan | None) -> dict[str, Estimate]:
    """Each of `RUN_METRICS`; withheld where there is no max rate, no plan, or no fleet that it recommends."""
    max_rate = Estimate(None, reason="no max rate was looked for") if found is None else found.per_s
    return {"max_rate_within_slo": max_rate, **_costs(plan)}


def _costs(plan: Plan | None) -> dict[str, Estimate]:
    if plan is None or plan.recommendation is None:
        why = Estimate(None, reason="nothing was planned" if plan is None else "the plan recommends no fleet")
        return dict.fromkeys(("usd_per_month", "usd_per_1k_inferences", "usd_per_1m_tokens"), why)
    fleet = plan.recommendation.fleet
    return {
        "usd_per_month": fleet.usd_per_month,
        "usd_per_1k_inferences": fleet.usd_per_1k_inferences,
        "usd_per_1m_tokens": _by_tokens(fleet),
    }


def _by_tokens(fleet: Fleet) -> Estimate:
    """At the traffic's mean. It is not known better than the month's cost is, and has its interval."""
    tokens = None if fleet.per_1m_tokens is None else fleet.per_1m_tokens.all
    month = fleet.usd_per_month
    if tokens is None or tokens.at_mean is None or not month.value:
        return Estimate(None, reason="nothing tells how many tokens the traffic has")
    if month.ci95 is None:
        return Estimate(tokens.at_mean, basis=month.basis, reason=month.reason)
    low, high = (tokens.at_mean * end / month.value for end in month.ci95)
    return Estimate(tokens.at_mean, (low, high), basis=month.basis)
