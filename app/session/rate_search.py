"""Drives the search for the highest rate that holds the SLO, probe by probe."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import msgspec

from app.analysis.digits import digits
from app.analysis.objectives import samples_needed
from app.analysis.search import Probe, RateSearch, SearchOutcome
from app.records.result import Objective, Stage
from app.session.rates import scaled
from app.session.spec import SearchSpec, StageOrder

PROBE_DRAIN_S = 3.0
_RETRIES = 2
_RETRIES_IN_ALL = 4
"""After so many, one a probe is enough."""


class RunsStages(Protocol):
    """A stage runner, as the search sees it."""

    @property
    def may_go_on(self) -> bool: ...

    def run(self, order: StageOrder) -> Stage: ...


def find_max_rate(
    runner: RunsStages,
    wanted: SearchSpec,
    slo: tuple[Objective, ...],
    longest_answer_s: float,
    now_ns: Callable[[], int],
) -> SearchOutcome:
    """A stage that is INVALID says nothing of the endpoint. It is run again, in case the generator's machine was
    disturbed; one that stays INVALID is a rate beyond what the generator can send."""
    search = RateSearch(start_per_s=wanted.start_per_s, repeats=wanted.repeats)
    started_ns, left = now_ns(), _RETRIES_IN_ALL
    while (probe := next_within(search, wanted, slo, (now_ns() - started_ns) / 1e9)) is not None:
        order = _order(probe, wanted, slo, longest_answer_s)
        for _ in range(1 + max(1, min(left, _RETRIES))):
            if not runner.may_go_on:
                return search.outcome()
            stage = runner.run(order)
            if not runner.may_go_on:
                return search.outcome()  # cut short by the user, a limit or a server that left: it tells of no rate
            if not _is_generators(stage):
                search.record(probe, bool(stage.held))
                break
            left -= 1
        else:
            search.record_beyond(probe)
    outcome = search.outcome()
    if outcome.reason is not None and search.was_shortened:
        return msgspec.structs.replace(outcome, reason=f"{outcome.reason}; load.search.within is {wanted.within_s:g} s")
    return outcome


def next_within(search: RateSearch, wanted: SearchSpec, slo: tuple[Objective, ...], elapsed_s: float) -> Probe | None:
    """The next of a search that has gone on for so long. It is told how many of that probe's length still fit in its
    time, and so holds what it is sure of before that is over."""
    while (probe := search.next()) is not None and wanted.within_s is not None:
        fitting = max(0.0, wanted.within_s - elapsed_s) / hold_s(wanted.hold_s, probe.rate_per_s, slo)
        if fitting >= search.probes_left:
            break
        search.leave(int(fitting))
    return probe


def hold_s(wanted_s: float, rate_per_s: float, slo: tuple[Objective, ...]) -> float:
    """At least what is wanted, and so long that Poisson arrivals are enough for the SLO's percentiles.

    Four standard deviations more than needed: a percentile withheld for want of samples would fail a good rate.
    """
    needed = samples_needed(slo)
    return max(wanted_s, (needed + 4 * math.sqrt(needed)) / rate_per_s)


def _order(probe: Probe, wanted: SearchSpec, slo: tuple[Objective, ...], longest_answer_s: float) -> StageOrder:
    return StageOrder(
        name=f"{probe.kind} {digits(probe.rate_per_s)}/s",
        kind=probe.kind,
        repeat=probe.repeat,
        arrivals=scaled(wanted.arrivals, probe.rate_per_s),
        duration_s=hold_s(wanted.hold_s, probe.rate_per_s, slo),
        drain_s=min(PROBE_DRAIN_S, longest_answer_s),
        ends_when_saturated=True,
    )


def _is_generators(stage: Stage) -> bool:
    """Without a judgement it was ended by the generator's own backlog."""
    return stage.verdict.status == "INVALID" or stage.held is None
