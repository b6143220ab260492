"""Drives the search for the highest rate that holds the SLO, probe by probe."""

from __future__ import annotations

import math

from app.analysis.objectives import samples_needed
from app.analysis.search import RateSearch, SearchOutcome
from app.records.result import Objective
from app.session.orders import StageOrder
from app.session.rates import scaled
from app.session.spec import SearchSpec
from app.session.stages import StageRunner

_PROBE_DRAIN_S = 3.0
_INSTRUMENT_RETRIES = 3


def find_max_rate(
    runner: StageRunner, wanted: SearchSpec, slo: tuple[Objective, ...], longest_answer_s: float
) -> SearchOutcome:
    search = RateSearch(start_per_s=wanted.start_per_s, repeats=wanted.repeats)
    retries = _INSTRUMENT_RETRIES
    while (probe := search.next()) is not None and runner.may_go_on:
        stage = runner.run(
            StageOrder(
                name=f"{probe.kind} {probe.rate_per_s:.4g}/s",
                kind=probe.kind,
                repeat=probe.repeat,
                arrivals=scaled(wanted.arrivals, probe.rate_per_s),
                duration_s=hold_s(wanted.hold_s, probe.rate_per_s, slo),
                drain_s=min(_PROBE_DRAIN_S, longest_answer_s),
                ends_when_saturated=True,
            )
        )
        if not runner.may_go_on:
            break  # cut short by the user, a limit or a server that left: it says nothing about the rate
        if stage.verdict.status == "INVALID" and retries > 0:
            retries -= 1  # the instrument was disturbed: the same rate again
            continue
        search.record(probe, bool(stage.held))
    return search.outcome()


def hold_s(wanted_s: float, rate_per_s: float, slo: tuple[Objective, ...]) -> float:
    """At least what is wanted, and so long that Poisson arrivals are enough for the SLO's percentiles.

    Four standard deviations more than needed: a percentile withheld for want of samples would fail a good rate.
    """
    needed = samples_needed(slo)
    return max(wanted_s, (needed + 4 * math.sqrt(needed)) / rate_per_s)
