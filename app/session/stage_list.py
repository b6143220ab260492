"""The stages of a profile, in their order, with the rates that earlier ones decide."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from app.analysis.digits import digits
from app.records import events
from app.records.result import IN_SWEEP, Check
from app.session.rates import MOST_ARRIVALS, constant_rate, highest_rate, scaled, share_of
from app.session.spec import RunSpec, StageOrder, StageSpec
from app.session.stages import StageRunner
from app.session.telling import Telling
from loadgen.records import OpenArrivals

_ENOUGH = 2
"""Rates in a row whose backlog kept growing, after which a sweep tries no higher one."""


def orders_of(spec: RunSpec, runner: StageRunner, telling: Telling, now_ns: Callable[[], int]) -> Iterator[StageOrder]:
    """Each is made when it is asked for, from what has been measured by then; one whose rate cannot be known is left
    out, with a check that says so. What a sweep need not try any more is left out with a note."""
    left_out: list[str] = []
    for stage in spec.stages:
        if stage.in_sweep and _is_far_enough(stage, runner):
            left_out.append(stage.name)
            continue
        arrivals = stage.arrivals
        if stage.share_of is not None and isinstance(arrivals, OpenArrivals):
            resolved = _resolved(stage, arrivals, runner, telling)
            if resolved is None:
                continue
            arrivals = resolved
            text = f"{stage.name}: {100 * stage.share_of.share:.4g} % of what {stage.share_of.stage} completed"
            telling.emit(events.RateResolved(now_ns(), stage.name, highest_rate(arrivals), text))
        yield StageOrder(
            name=stage.name,
            kind=stage.kind,
            repeat=stage.repeat,
            arrivals=arrivals,
            duration_s=stage.duration_s,
            lead_in_s=stage.lead_in_s,
            drain_s=spec.endpoint.timeouts.total_s,
            ends_when_saturated=stage.in_sweep,
            tags={IN_SWEEP: "yes"} if stage.in_sweep else {},
        )
    if left_out:
        names = ", ".join(dict.fromkeys(left_out))
        telling.note(f"The sweep ended where {_ENOUGH} rates in a row were beyond the target; left out: {names}.")


def _is_far_enough(stage: StageSpec, runner: StageRunner) -> bool:
    """Whether every stage at the two rates before this one was ended by its backlog."""
    rate_per_s = constant_rate(stage.arrivals)
    swept: dict[float, bool] = {}
    for facts in runner.facts:
        if IN_SWEEP in facts.tags and facts.rate_per_s is not None and facts.rate_per_s != rate_per_s:
            swept[facts.rate_per_s] = swept.get(facts.rate_per_s, True) and facts.over_saturated
    return len(swept) >= _ENOUGH and all(list(swept.values())[-_ENOUGH:])


def _resolved(stage: StageSpec, arrivals: OpenArrivals, runner: StageRunner, telling: Telling) -> OpenArrivals | None:
    wanted = stage.share_of
    assert wanted is not None
    rate_per_s = share_of(wanted, runner.stages)
    if rate_per_s is None:
        why = f"its rate is a share of what {wanted.stage} completed a second, which was nothing"
    elif highest_rate(found := scaled(arrivals, rate_per_s)) * stage.duration_s > MOST_ARRIVALS:
        why = f"at {digits(rate_per_s)}/s it would be more than {MOST_ARRIVALS:,} requests"
    else:
        return found
    telling.check(Check("stage_left_out", stage.name, None, None, "WARN", f"{stage.name} was left out: {why}."))
    return None
