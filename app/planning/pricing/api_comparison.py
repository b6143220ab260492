"""Comparison of a fleet with an API that is priced per token: monthly cost, and break-even rate.

An API costs the same for each request, so its cost is proportional to the rate. The cost of a fleet
rises in steps, one instance at a time, and does not begin at 0, because of the spare instances. The
break-even rate is therefore found among the sizes of the fleet: it is the rate above which a fleet
that is sized for the rate stays cheaper than the API.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import numpy as np

from app.planning.formatting import format_number, format_share, format_usd
from app.planning.hardware.risk import compute_price_sigma
from app.planning.offers.candidates import Candidate
from app.planning.pricing.costs import MILLION, SECONDS_PER_HOUR
from app.planning.sizing.demand import DAY_S
from app.planning.sizing.instances import HOURS_PER_MONTH, Demand, compute_monthly_cost
from app.planning.sizing.model_error import Z80
from app.records.offers import ApiTokenPrices
from app.records.plan import ApiComparison, ApiTokens, CachedShareSource, Fleet, Spread
from app.records.planning_inputs import MeasuredTarget, PlanningInputs

MAX_INSTANCES = 10_000
"""Largest fleet that is considered. If the API is cheaper than this fleet at full load, it counts
as cheaper at any rate."""
_SECONDS_PER_MONTH = HOURS_PER_MONTH * SECONDS_PER_HOUR


class _RequestTokens(msgspec.Struct, frozen=True):
    """Mean tokens per request, by kind of token."""

    input: float
    cached_input: float
    output: float


def compare_with_api(
    candidate: Candidate, fleet: Fleet, target: MeasuredTarget, demand: Demand, plan_inputs: PlanningInputs
) -> ApiComparison | None:
    """Compare the fleet of a candidate with the API of the plan's limits. Return `None` without
    prices, without the tokens per request, or if the traffic has no requests.

    Requests that a cache before the replicas serves are not counted, since they reach neither the
    API nor the fleet.
    """
    prices, lengths = plan_inputs.limits.api_prices, plan_inputs.traffic.tokens
    total_share = sum(entry.share for entry in lengths)
    if prices is None or not total_share or demand.mean_per_s <= 0:
        return None
    cached_share, source = _select_cached_share(prices, target)
    input_tokens = sum(entry.share * entry.input for entry in lengths) / total_share
    output_tokens = sum(entry.share * entry.output for entry in lengths) / total_share
    tokens = _RequestTokens(
        input_tokens * (1 - (cached_share or 0.0)), input_tokens * (cached_share or 0.0), output_tokens
    )
    requests_per_month = demand.mean_per_s * _SECONDS_PER_MONTH
    cached_usd = prices.input_usd if prices.cached_input_usd is None else prices.cached_input_usd
    api_input = _build_tokens(tokens.input * requests_per_month, prices.input_usd)
    api_cached_input = _build_tokens(tokens.cached_input * requests_per_month, cached_usd)
    api_output = _build_tokens(tokens.output * requests_per_month, prices.output_usd)
    api_usd_per_month = api_input.usd_per_month + api_cached_input.usd_per_month + api_output.usd_per_month
    usd_per_request = api_usd_per_month / requests_per_month
    price_sigma = compute_price_sigma(candidate.offer, plan_inputs.today)
    return ApiComparison(
        input=api_input,
        cached_input=api_cached_input,
        output=api_output,
        usd_per_month=api_usd_per_month,
        fleet_usd_per_month=candidate.usd_per_month,
        fleet_range_usd_per_month=fleet.usd_per_month_needed,
        cached_share=cached_share,
        cached_share_source=source,
        mean_per_s=demand.mean_per_s,
        tokens_per_request=input_tokens + output_tokens,
        break_even_per_s=find_break_even_per_s(candidate, demand, usd_per_request, demand.z),
        break_even_range_per_s=_estimate_break_even_range(candidate, demand, usd_per_request, price_sigma),
        as_of=None if prices.as_of is None else prices.as_of.isoformat(),
    )


def _select_cached_share(prices: ApiTokenPrices, target: MeasuredTarget) -> tuple[float | None, CachedShareSource]:
    if prices.cached_share is not None:
        return prices.cached_share, "declared"
    if target.cached_input_share is None:
        return None, "unknown"
    return target.cached_input_share, "declared" if target.is_assumed else "measured"


def _build_tokens(tokens_per_month: float, usd_per_1m: float) -> ApiTokens:
    return ApiTokens(tokens_per_month, usd_per_1m, tokens_per_month * usd_per_1m / MILLION)


def find_break_even_per_s(candidate: Candidate, demand: Demand, usd_per_request: float, z: float) -> float | None:
    """Return the mean rate in requests per second above which a fleet of the candidate's offer
    stays cheaper than the API; `None` if there is no such rate.

    At each rate, the fleet has the spares of the plan, and as many instances as the rate's peak
    needs at the normal quantile `z` of the confidence. The ratio of peak to mean rate is that of
    the planned traffic.
    """
    needed = np.arange(1, MAX_INSTANCES + 1)
    totals = needed + np.array([demand.count_spares(int(count)) for count in needed]) + candidate.spot_spares
    if candidate.offer.owned is not None and candidate.offer.owned.units is not None:
        totals = totals[totals <= candidate.offer.owned.units]
    if not len(totals):
        return None
    sigma = math.hypot(candidate.capacity.sigma, demand.peak_sigma)
    per_instance_per_s = candidate.capacity.rate_per_s * math.exp(-z * sigma) * demand.mean_per_s / demand.peak_per_s
    rates_before_per_s = per_instance_per_s * (needed[: len(totals)] - 1)  # above which this size is needed
    fleet_usd_per_s = compute_monthly_cost(1, candidate.usd_per_hour) * totals / _SECONDS_PER_MONTH
    is_api_cheaper = rates_before_per_s * usd_per_request < fleet_usd_per_s
    last = int(np.flatnonzero(is_api_cheaper)[-1])
    even_per_s = float(fleet_usd_per_s[last]) / usd_per_request if usd_per_request > 0 else math.inf
    return even_per_s if even_per_s <= per_instance_per_s * (last + 1) * (1 + 1e-9) else None


def _estimate_break_even_range(
    candidate: Candidate, demand: Demand, usd_per_request: float, price_sigma: float
) -> Spread | None:
    """Return P10, P50 and P90 of the break-even rate; `None` if one of them does not exist."""
    low, median, high = (find_break_even_per_s(candidate, demand, usd_per_request, z) for z in (-Z80, 0.0, Z80))
    if low is None or median is None or high is None:
        return None
    ends = (
        median * math.exp(sign * math.hypot(math.log(end / median), Z80 * price_sigma))
        for sign, end in ((-1, low), (1, high))
    )
    return Spread(next(ends), median, next(ends))


def describe_api_comparison(comparison: ApiComparison | None, plan_inputs: PlanningInputs) -> tuple[str, ...]:
    """Describe a comparison in sentences: the costs, the break-even rate, and the cached share."""
    if comparison is None:
        missing = "To compare with the API's prices per token, set traffic.tokens to the tokens per request."
        return () if plan_inputs.limits.api_prices is None or plan_inputs.traffic.tokens else (missing,)
    date_text = "" if comparison.as_of is None else f" at prices of {comparison.as_of}"
    order = "less" if comparison.fleet_usd_per_month < comparison.usd_per_month else "more"
    return (
        f"The API would cost {format_usd(comparison.usd_per_month)}/month at this traffic{date_text}, and this fleet "
        f"costs {format_usd(comparison.fleet_usd_per_month)}/month"
        f"{_format_range(comparison.fleet_range_usd_per_month, format_usd)}, which is {order}.",
        _describe_break_even(comparison),
        _describe_cached_share(comparison),
    )


def _describe_break_even(comparison: ApiComparison) -> str:
    rate_per_s = comparison.break_even_per_s
    if rate_per_s is None:
        return "The API is cheaper than instances of this offer at any rate."
    range_text = _format_range(comparison.break_even_range_per_s, format_number)
    tokens_per_day = rate_per_s * comparison.tokens_per_request * DAY_S
    return (
        f"Break-even with the API is at a mean of {format_number(rate_per_s)} req/s{range_text}, or "
        f"{format_number(tokens_per_day / MILLION)}M tokens per day; this traffic has a mean of "
        f"{format_number(comparison.mean_per_s)} req/s. Above it, a fleet sized for its traffic stays cheaper."
    )


def _describe_cached_share(comparison: ApiComparison) -> str:
    if comparison.cached_share is None:
        return (
            "The cached share of the input tokens is unknown, so the API's cost assumes that none is cached and may be "
            "too high. Set plan.api_prices.cached_share if you know the share."
        )
    basis = "as measured" if comparison.cached_share_source == "measured" else "as declared"
    return f"The API's cost counts {format_share(comparison.cached_share)} of the input tokens as cached, {basis}."


def _format_range(spread: Spread | None, format_value: Callable[[float], str]) -> str:
    return "" if spread is None else f" (P10–P90 {format_value(spread.p10)} to {format_value(spread.p90)})"
