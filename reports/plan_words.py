"""What a plan says in sentences: the same in the page and in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reports import formatting
from reports.plan_section import DaySeries, OfferRow, PercentileRange, PlanSection, SavingRow, SwingRow, UnitCostRow
from reports.quantity import Quantity

_CENT = 0.01
_UNSURE = f"10–90{formatting.THIN}%"


def needed(row: OfferRow) -> int | None:
    """The instances for the load, spares left out."""
    return None if row.instances is None else row.instances - (row.spare or 0)


def chance_cells(row: OfferRow) -> list[tuple[str, str]]:
    """How many instances for the load, and P(SLO met) at the peak with them: one fewer, as planned, one more."""
    count, chances = needed(row), row.chances
    if count is None or chances is None:
        return []
    fewer = [(formatting.count(count - 1), formatting.chance(chances.one_fewer))] if count > 1 else []
    return [
        *fewer,
        (f"{formatting.count(count)} as planned", formatting.chance(chances.planned)),
        (f"{formatting.count(count + 1)}", formatting.chance(chances.one_more)),
    ]


def fit_error(row: OfferRow) -> str | None:
    """How well the service model reproduces what P(SLO met) depends on most."""
    if row.fit_error_at_slo is None:
        return None
    return f"the service model is off by {formatting.percent(row.fit_error_at_slo)} at the SLO's percentile"


def need(row: OfferRow) -> str | None:
    """Of instances for the load."""
    count, spread = needed(row), row.instances_needed
    if count is None or spread is None:
        return None
    likely = _between(spread, formatting.plain)
    return f"{formatting.count(count)} planned, {likely} may be needed ({_UNSURE})"


def cost(row: OfferRow) -> str:
    """The month's, with its 10–90 % where that is known."""
    spread = row.usd_per_month_needed
    if spread is None:
        return formatting.quantity(row.usd_per_month)
    return f"{formatting.value_unit(row.usd_per_month)} ({_UNSURE}: {_between(spread, formatting.money)})"


def sizing(plan: PlanSection, row: OfferRow) -> str | None:
    """How the fleet's size was found; None where an older report does not tell."""
    spread = f", requests spread {plan.router.replace('_', ' ')}" if plan.router else ""
    where = f" of {row.measured_on}" if row.measured_on else ""
    if row.settled == "simulated":
        return f"by simulation{spread}, with the service model{where}"
    if row.settled == "formula":
        return f"by queueing formula, not simulated{spread}, with the service model{where}"
    return f"by the measured max rate{where} alone" if row.settled == "measured" else None


def price_kinds(rows: Sequence[OfferRow]) -> str:
    return " or ".join(dict.fromkeys(row.price_kind for row in rows))


def moved(plan: PlanSection) -> list[SwingRow]:
    """Inputs whose range moves the month's cost or changes which offer is cheapest."""
    return [one for one in plan.swings if _moves(one, plan.chosen)]


def unmoved(plan: PlanSection) -> str | None:
    names = [f"{one.input} ({one.low} to {one.high})" for one in plan.swings if not _moves(one, plan.chosen)]
    return f"Neither the month's cost nor the cheapest offer changes with: {', '.join(names)}." if names else None


def swing(one: SwingRow, chosen: OfferRow | None) -> str:
    """As in `peak 800/s: 310 USD; 1,200/s: 480 USD (then aws/…)`."""
    low = _end(one.low, one.usd_per_month_low, one.winner_low, chosen)
    return f"{one.input} {low}; {_end(one.high, one.usd_per_month_high, one.winner_high, chosen)}"


def other_winner(winner: str | None, chosen: OfferRow | None) -> str | None:
    return None if chosen is None or winner == chosen.offer else winner


def day(plan: PlanSection) -> str | None:
    """The peak day in a sentence."""
    one = plan.day
    if one is None:
        return None
    low, high = (formatting.number(edge(one.arrivals_per_s)) for edge in (min, max))
    words = f"{low} to {high} requests/s on {_instances(one)}, {formatting.money(sum(one.usd))} USD a day"
    answered = [(time, hour) for time, hour in zip(one.p95_ms, one.hours, strict=True) if time is not None]
    if not answered:
        return f"{words}; nothing is answered"
    slowest, hour = max(answered, key=lambda pair: pair[0])
    limit = day_limit(plan)
    against = f" (SLO on {limit[0]}: {limit[1]})" if limit else ""
    return f"{words}; p95 at most {formatting.number(slowest)}{formatting.THIN}ms, at {hour:02}:00{against}"


def day_limit(plan: PlanSection) -> tuple[str, str] | None:
    """Of what of the played latency the SLO has a limit, and the limit; None where it limits another time."""
    name, _, aggregate = plan.latency_metric.partition(".")
    if plan.latency_limit is None or name not in ("latency_ms", "service_ms"):
        return None
    return aggregate.replace("_", "."), formatting.limit(plan.latency_limit)


def latency_name(plan: PlanSection) -> str:
    """As in p95 of latency."""
    name, _, aggregate = plan.latency_metric.partition(".")
    return f"{aggregate.replace('_', '.')} of {formatting.metric(name)}" if aggregate else formatting.metric(name)


def unit_cost(row: UnitCostRow) -> str:
    parts = (
        (row.at_saturation, "where an instance is full"),
        (row.at_slo, "at the rate the SLO allows"),
        (row.at_mean, "at this traffic's mean"),
    )
    told = (
        f"{formatting.value_unit(one)} {words}{f' ({one.reason})' if one.value is None and one.reason else ''}"
        for one, words in parts
    )
    return f"per {row.unit}: {', '.join(told)}"


def energy(plan: PlanSection) -> str | None:
    """Energy and carbon a month, or why they are not known."""
    kwh, carbon = plan.kwh_per_month, plan.kg_co2e_per_month
    if kwh is None or carbon is None:
        return None
    if kwh.value is None and carbon.value is None:
        return f"{formatting.NOT_AVAILABLE}, {kwh.reason or 'not known'}"
    return "; ".join(_known(name, one) for name, one in (("energy", kwh), ("carbon", carbon)))


def savings(rows: Sequence[SavingRow]) -> str | None:
    """Each change alone; in one breath where none saves anything."""
    if not rows:
        return None
    if all(_same(row.saved_usd_per_month, 0.0) for row in rows):
        return f"Nothing would be saved by {', '.join(f'{row.change} ({row.basis})' for row in rows)}"
    return f"Would save: {'; '.join(map(_saving, rows))}"


def _saving(row: SavingRow) -> str:
    usd = row.saved_usd_per_month
    if usd is not None and usd < 0 and not _same(usd, 0.0):
        return f"{row.change}: nothing, it costs {formatting.money(-usd)} USD a month more ({row.basis})"
    unit = " USD a month" if usd is not None and not _same(usd, 0.0) else ""
    return f"{row.change}: {saved(row)}{unit} ({row.basis})"


def saved(row: SavingRow) -> str:
    usd = row.saved_usd_per_month
    if usd is None:
        return formatting.NOT_AVAILABLE
    return "nothing" if _same(usd, 0.0) else formatting.money(usd)


def _moves(one: SwingRow, chosen: OfferRow | None) -> bool:
    costs = (one.usd_per_month_low, one.usd_per_month_high)
    planned = costs[0] if chosen is None else chosen.usd_per_month.value
    winners = {one.winner_low, one.winner_high} - ({chosen.offer} if chosen else set())
    return bool(winners if chosen else len(winners) > 1) or not all(_same(cost, planned) for cost in costs)


def _same(one: float | None, other: float | None) -> bool:
    """To the cent: the same cost may come of sums in another order."""
    return one == other if one is None or other is None else abs(one - other) < _CENT


def _end(words: str, usd: float | None, winner: str | None, chosen: OfferRow | None) -> str:
    if usd is None:
        return f"{words}: nothing fits"
    other = other_winner(winner, chosen)
    return f"{words}: {formatting.money(usd)} USD{f' (then {other})' if other else ''}"


def _instances(one: DaySeries) -> str:
    low, high = min(one.instances), max(one.instances)
    return f"{formatting.plain(low)}{f' to {formatting.plain(high)}' if high > low else ''} instances"


def _between(spread: PercentileRange, shown: Callable[[float], str]) -> str:
    low, high = shown(spread.p10), shown(spread.p90)
    return low if low == high else f"{low}–{high}"


def _known(name: str, one: Quantity) -> str:
    if one.value is None:
        return f"{name} {formatting.NOT_AVAILABLE}, {one.reason or 'not known'}"
    return f"{name} {formatting.quantity(one)}, {one.basis}"
