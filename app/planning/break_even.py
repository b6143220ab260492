"""Where owning beats renting, and one's own fleet an API's price, as sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from app.planning.candidates import Candidate
from app.planning.options import Option, candidate_of
from app.planning.ownership import break_even_owned, break_even_volume
from app.planning.sizing import HOURS_A_MONTH, Demand
from app.planning.wording import amount, usd
from app.records.offers import ApiPrice
from app.records.plan_question import PlanQuestion

_SECONDS_A_MONTH = HOURS_A_MONTH * 3600


def break_even_of(options: Sequence[Option], demand: Demand, question: PlanQuestion) -> tuple[str, ...]:
    feasible = sorted((candidate_of(one) for one in options if one.is_feasible), key=lambda one: one.usd_per_month)
    return (*_owned(feasible), *_api(feasible[0], demand, question))


def _owned(feasible: Sequence[Candidate]) -> Iterator[str]:
    rented = next((one for one in feasible if one.price_kind != "owned"), None)
    for one in (candidate for candidate in feasible if candidate.offer.owned is not None):
        if rented is None or one.offer.owned is None:
            continue
        months = break_even_owned(one.offer.owned, rented.usd_per_month / one.instances)
        beside = f"{rented.instances} × {rented.offer.key} at {usd(rented.usd_per_month)} a month"
        what = f"{one.instances} × {one.offer.key}, bought,"
        if months is None:
            yield f"{what} never cost less than {beside} within their life."
        else:
            yield f"{what} have paid for themselves against {beside} after {amount(months)} months, interest left out."


def _api(best: Candidate, demand: Demand, question: PlanQuestion) -> Iterator[str]:
    price = question.limits.api
    if price is None:
        return
    units = _units_a_month(price, demand, question)
    if units is None:
        yield "An API's price by tokens is compared where traffic.tokens says how many a request has."
        return
    theirs, ours = price.usd * units, best.usd_per_month
    even = break_even_volume(ours, price.usd)
    assert even is not None
    more = "less" if ours < theirs else "more"
    yield (
        f"The API would cost {usd(theirs)} a month at this traffic, and this fleet costs {usd(ours)}, which is {more}; "
        f"they are even at {amount(even / units)} of the traffic, if the fleet stayed as it is."
    )


def _units_a_month(price: ApiPrice, demand: Demand, question: PlanQuestion) -> float | None:
    """Those of the API: what a cache answers is not asked of either."""
    requests = demand.mean_per_s * _SECONDS_A_MONTH
    if price.per == "1k requests":
        return requests / 1e3
    tokens = question.traffic.tokens
    share = sum(one.share for one in tokens)
    if not share:
        return None
    return requests * sum(one.share * (one.input + one.output) for one in tokens) / share / 1e6
