"""Search for the highest rate within the SLO, probe by probe."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import msgspec

from app.analysis.number_format import format_number
from app.analysis.objectives import count_samples_needed
from app.analysis.search import Probe, RateSearch, SearchOutcome
from app.records.result import Objective, Stage
from app.session.rates import scale_arrivals
from app.session.spec import ResolvedStage, SearchSpec

PROBE_DRAIN_S = 3.0
_RETRIES = 2
_TOTAL_RETRIES = 4
"""Retries of a search before each further probe is limited to one retry."""


class StageRunnerProtocol(Protocol):
    """Interface of the stage runner that the search needs."""

    @property
    def may_continue(self) -> bool: ...

    def run(self, order: ResolvedStage) -> Stage: ...


def find_max_rate(
    runner: StageRunnerProtocol,
    search_spec: SearchSpec,
    slo: tuple[Objective, ...],
    max_response_s: float,
    now_ns: Callable[[], int],
) -> SearchOutcome:
    """Search for the highest rate within the SLO.

    An INVALID stage is no evidence about the endpoint. It is repeated in case the generator's machine was disturbed; if
    it stays INVALID, the rate counts as beyond the capacity of the load generator."""
    search = RateSearch(start_per_s=search_spec.start_per_s, repeats=search_spec.repeats)
    started_ns, retries_left = now_ns(), _TOTAL_RETRIES
    while (probe := next_probe(search, search_spec, slo, (now_ns() - started_ns) / 1e9)) is not None:
        order = _stage_order(probe, search_spec, slo, max_response_s)
        for _ in range(1 + max(1, min(retries_left, _RETRIES))):
            if not runner.may_continue:
                return search.outcome()
            stage = runner.run(order)
            if not runner.may_continue:
                # Cut short by the user, a limit, or the end of a server: this stage says nothing about the rate.
                return search.outcome()
            if not _is_generator_limited(stage):
                search.record(probe, bool(stage.meets_slo))
                break
            retries_left -= 1
        else:
            search.record_unsendable(probe)
    outcome = search.outcome()
    if outcome.reason is not None and search.is_shortened:
        return msgspec.structs.replace(
            outcome,
            reason=f"{outcome.reason}; the search was limited to {search_spec.max_duration_s:g} s "
            "(load.search.max_duration)",
        )
    return outcome


def next_probe(
    search: RateSearch, search_spec: SearchSpec, slo: tuple[Objective, ...], elapsed_s: float
) -> Probe | None:
    """Return the next probe of a search that has run for `elapsed_s` seconds, or `None` when it is done.

    The search is told how many more probes of that duration fit into its time limit, so that it confirms its best rate
    before the time is over."""
    while (probe := search.next_probe()) is not None and search_spec.max_duration_s is not None:
        fitting = max(0.0, search_spec.max_duration_s - elapsed_s) / step_duration_s(
            search_spec.step_duration_s, probe.rate_per_s, slo
        )
        if fitting >= search.probes_left:
            break
        search.limit_probes(int(fitting))
    return probe


def step_duration_s(min_duration_s: float, rate_per_s: float, slo: tuple[Objective, ...]) -> float:
    """Return the duration of a step in seconds: at least `min_duration_s`, and long enough for the SLO's percentiles.

    The expected number of Poisson arrivals is four standard deviations above the required number of samples: a
    percentile withheld for too few samples would fail a good rate."""
    needed = count_samples_needed(slo)
    return max(min_duration_s, (needed + 4 * math.sqrt(needed)) / rate_per_s)


def _stage_order(
    probe: Probe, search: SearchSpec, slo: tuple[Objective, ...], longest_answer_s: float
) -> ResolvedStage:
    return ResolvedStage(
        name=f"{probe.kind} {format_number(probe.rate_per_s)} req/s",
        kind=probe.kind,
        repeat=probe.repeat,
        arrivals=scale_arrivals(search.arrivals, probe.rate_per_s),
        duration_s=step_duration_s(search.step_duration_s, probe.rate_per_s, slo),
        drain_s=min(PROBE_DRAIN_S, longest_answer_s),
        ends_when_saturated=True,
    )


def _is_generator_limited(stage: Stage) -> bool:
    """Return whether the load generator caused the stage to fail.

    A stage without an SLO evaluation was ended by the generator's own backlog."""
    return stage.verdict.status == "INVALID" or stage.meets_slo is None
