"""Search for the max rate within the SLO by measuring one probe after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from app.analysis.number_format import format_number
from app.analysis.objectives import count_planned_slo_samples
from app.analysis.search import Probe, RateSearch, SearchOutcome
from app.records.result import Objective, Stage
from app.records.search import SearchSpec
from app.session.rates import build_search_arrivals
from app.session.spec import ResolvedStage
from loadgen.records import StageLoad

MAX_PROBE_DRAIN_S = 3.0
_MAX_RETRIES_PER_PROBE = 2
_MAX_TOTAL_RETRIES = 4
"""Number of retries after which a search allows only one retry per probe."""
_EXPLORATION_DIVISOR = 2
"""Until a rate is decided, a probe takes at most this fraction of an equal share of the remaining time
among itself and the steps that confirm a rate."""


class StageRunnerProtocol(Protocol):
    """Interface of the stage runner that a search uses."""

    @property
    def may_continue(self) -> bool: ...

    def run(self, resolved_stage: ResolvedStage) -> Stage: ...


def find_max_rate(
    runner: StageRunnerProtocol,
    search_spec: SearchSpec,
    slo: tuple[Objective, ...],
    total_timeout_s: float,
    now_ns: Callable[[], int],
) -> SearchOutcome:
    """Search for the max rate within the SLO.

    An INVALID stage provides no information about the endpoint. The probe is repeated, because
    another process may have disturbed the load generator. If all retries are INVALID as well, the
    rate counts as beyond the capacity of the load generator."""
    search = RateSearch(start_per_s=search_spec.start_per_s, repeats=search_spec.repeats)
    start_ns, retries_left = now_ns(), _MAX_TOTAL_RETRIES
    while (probe := next_probe(search, search_spec, slo, (now_ns() - start_ns) / 1e9)) is not None:
        duration_s = compute_probe_duration_s(search, probe, search_spec, slo, (now_ns() - start_ns) / 1e9)
        is_shortened = duration_s < compute_step_duration_s(search_spec.step_duration_s, probe.rate_per_s, slo)
        resolved_stage = _build_stage(probe, duration_s, search_spec, total_timeout_s)
        for retry in range(1 + max(1, min(retries_left, _MAX_RETRIES_PER_PROBE))):
            if not runner.may_continue:
                return search.get_outcome()
            if retry and not _is_in_time(search_spec, duration_s, (now_ns() - start_ns) / 1e9):
                break  # The next probe is chosen for the remaining time.
            stage = runner.run(resolved_stage)
            if not runner.may_continue:
                # Interrupted by the user, a limit, or the exit of a server: the stage provides no
                # information about the rate.
                return search.get_outcome()
            if is_shortened and stage.meets_slo is None and stage.verdict.status != "INVALID":
                search.record_undecided(probe)
                break
            if not _is_generator_limited(stage):
                search.record_result(probe, bool(stage.meets_slo))
                break
            retries_left -= 1
        else:
            search.record_unsendable_rate(probe)
    outcome = search.get_outcome()
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
    """Return the next probe of a search that has run for `elapsed_s` seconds; `None` if the search
    has finished.

    If the remaining probes do not fit into the time limit, their number is reduced, so that the
    search has time to confirm its best rate. The number is computed again before each probe, because
    probes at a higher rate may be shorter."""
    if search.is_shortened:
        search.limit_probes(None)
    while (probe := search.next_probe()) is not None and search_spec.max_duration_s is not None:
        probes_in_time = max(0.0, search_spec.max_duration_s - elapsed_s) / compute_probe_duration_s(
            search, probe, search_spec, slo, elapsed_s
        )
        if probes_in_time >= search.remaining_probes:
            break
        search.limit_probes(int(probes_in_time))
    return probe


def _is_in_time(search_spec: SearchSpec, duration_s: float, elapsed_s: float) -> bool:
    """Return True if a stage of `duration_s` seconds would end within the time limit of the search."""
    return search_spec.max_duration_s is None or elapsed_s + duration_s <= search_spec.max_duration_s


def compute_probe_duration_s(
    search: RateSearch, probe: Probe, search_spec: SearchSpec, slo: tuple[Objective, ...], elapsed_s: float
) -> float:
    """Return the duration of the next stage of a search that has run for `elapsed_s` seconds.

    At a low rate, it takes long to collect the responses that the percentiles of the SLO need. Until
    a rate has passed or failed, a probe therefore takes at most a share of the remaining time, so
    that time for other rates and for the steps remains. If it is then too short to decide about its
    rate, the search continues at a higher rate. Steps are never shortened."""
    duration_s = compute_step_duration_s(search_spec.step_duration_s, probe.rate_per_s, slo)
    if search_spec.max_duration_s is None or probe.kind != "probe" or not search.is_exploring:
        return duration_s
    share_s = (search_spec.max_duration_s - elapsed_s) / (_EXPLORATION_DIVISOR * (1 + search_spec.repeats))
    return min(duration_s, max(search_spec.step_duration_s, share_s))


def compute_step_duration_s(min_duration_s: float, rate_per_s: float, slo: tuple[Objective, ...]) -> float:
    """Return the duration of a search step in s: at least `min_duration_s`, and long enough for the
    percentiles of the SLO. With too few samples, a percentile would be withheld, and a rate that
    meets the SLO would fail."""
    return max(min_duration_s, count_planned_slo_samples(slo) / rate_per_s)


def _build_stage(probe: Probe, duration_s: float, search_spec: SearchSpec, total_timeout_s: float) -> ResolvedStage:
    return ResolvedStage(
        name=f"{probe.kind} {format_number(probe.rate_per_s)} req/s",
        kind=probe.kind,
        repeat=probe.repeat,
        load=StageLoad(build_search_arrivals(search_spec, probe.rate_per_s), duration_s),
        drain_s=min(MAX_PROBE_DRAIN_S, total_timeout_s),
        ends_when_saturated=True,
    )


def _is_generator_limited(stage: Stage) -> bool:
    """Return True if a stage failed because of the load generator. A stage without an SLO
    evaluation was ended early because the load generator could not keep up."""
    return stage.verdict.status == "INVALID" or stage.meets_slo is None
