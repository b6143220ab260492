from __future__ import annotations

import msgspec
import numpy as np
import pytest

from app.records.result import Estimate, Stage
from app.records.search import RateShare, SearchSpec
from app.session.rates import (
    build_search_arrivals,
    build_warmup_arrivals,
    compute_peak_rate,
    get_constant_rate,
    get_single_rate,
    resolve_rate_share,
    scale_arrivals,
)
from loadgen.records import ClosedArrivals, OpenArrivals, TraceArrivals
from tests.fakes.bench import poisson
from tests.fakes.results import full_run

RAMP = OpenArrivals("gamma", ((0.0, 0.0), (10.0, 100.0)), cv=2.0)
SPIKE = OpenArrivals("poisson", ((0.0, 10.0), (5.0, 10.0), (5.0, 50.0), (7.0, 50.0), (7.0, 10.0)))


def test_only_unchanging_arrivals_have_a_constant_rate() -> None:
    assert get_constant_rate(poisson(5.0)) == 5.0
    assert get_constant_rate(SPIKE) is None
    assert get_constant_rate(ClosedArrivals(3)) is None
    assert get_single_rate(((0.0, 5.0), (3.0, 5.0))) == 5.0
    assert get_single_rate(()) is None


def test_scaled_arrivals_retain_process_and_times() -> None:
    assert scale_arrivals(RAMP, 2.0) == OpenArrivals("gamma", ((0.0, 0.0), (10.0, 200.0)), cv=2.0)
    assert compute_peak_rate(SPIKE) == 50.0


def test_search_arrivals_have_the_process_of_the_search_settings() -> None:
    gamma = SearchSpec(arrivals="gamma", cv=2.0)
    assert build_search_arrivals(gamma, 20.0) == OpenArrivals("gamma", ((0.0, 20.0),), 2.0)
    assert build_search_arrivals(SearchSpec(), 20.0) == poisson(20.0)


def test_warm_up_has_the_initial_rate_of_the_stage() -> None:
    assert build_warmup_arrivals(SPIKE, 20.0) == poisson(10.0)


def test_warm_up_for_a_stage_that_starts_at_0_has_its_mean_rate() -> None:
    warm = build_warmup_arrivals(RAMP, 10.0)
    assert isinstance(warm, OpenArrivals)
    assert get_constant_rate(warm) == pytest.approx(50.0)
    assert (warm.process, warm.cv) == ("gamma", 2.0)


def test_warm_up_for_a_trace_has_its_mean_rate_and_for_a_closed_loop_its_concurrency() -> None:
    starts = np.arange(0, 5_000_000_000, 50_000_000, dtype="<i8").tobytes()
    assert build_warmup_arrivals(TraceArrivals(starts), 5.0) == poisson(20.0)
    assert build_warmup_arrivals(TraceArrivals(starts), 1.0) == poisson(20.0), "the mean rate of the replayed part"
    assert build_warmup_arrivals(ClosedArrivals(8, 0.5), 5.0) == ClosedArrivals(8, 0.5)


def stage(name: str, completed_per_s: float | None) -> Stage:
    base = full_run().result.stages[-1]
    return msgspec.structs.replace(
        base, name=name, metrics={"completed_per_s": {"value": Estimate(completed_per_s, reason="r")}}
    )


def test_rate_share_applies_to_the_mean_of_the_repeats_of_the_named_stage() -> None:
    done = [stage("other", 7.0), stage("full", 100.0), stage("full", 300.0), stage("full", None)]
    assert resolve_rate_share(RateShare("full", 0.5), done) == pytest.approx(100.0)


@pytest.mark.parametrize("completed", [None, 0.0])
def test_rate_share_of_a_stage_without_throughput_is_none(completed: float | None) -> None:
    assert resolve_rate_share(RateShare("full", 0.5), [stage("full", completed)]) is None
    assert resolve_rate_share(RateShare("full", 0.5), []) is None
