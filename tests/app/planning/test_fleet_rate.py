from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from app.analysis.columns import Floats
from app.analysis.objectives import parse_objective
from app.analysis.traces import compute_rate_per_s, select_busiest_rows
from app.planning.bursts import Bursts, draw_arrivals
from app.planning.fleet_rate import (
    BurstEffect,
    FleetShape,
    ReplicaRate,
    build_design,
    build_fleet_shape,
    choose_request_count,
    compute_excess,
    estimate_rate,
    find_highest_rate,
    replay_bursts,
    simulate_fleet,
    simulate_median_rate,
    simulate_rate,
)
from app.planning.service_models.evidence import RUN_TO_RUN_SIGMA, Evidence
from app.planning.service_models.service_times import speed_up
from app.planning.simulation.design import compute_max_throughput_per_s
from app.planning.simulation.steady import SteadyOutcome
from app.planning.slo_objectives import build_slo_objectives
from app.records.offers import Router
from app.records.service import BatchService, FittedService, RequestService, ServiceFit, ServiceModel, TokenService
from app.records.traffic import Dispersion, RequestClass, TokenLengths, Traffic
from tests.fakes.planned import fleets_simulated_briefly
from tests.fakes.services import fit_of, fitted

ONE = RequestService(1, 1.0, 1.0)


def shape(*slo: str, router: Router = "random", **traffic: Any) -> FleetShape:
    fields: dict[str, Any] = {"peak_per_s": 1.0, "shape": "flat", "hourly_share": (1.0,) * 24}
    return build_fleet_shape(
        Traffic(**(fields | traffic)), build_slo_objectives([parse_objective(text) for text in slo]), router
    )


def rate(service: ServiceModel, what: FleetShape, replicas: int = 1) -> float:
    return find_highest_rate(service, what, replicas, 0.5)[0]


# W = 1 / (mu − lambda) × E[S], by Pollaczek and Khinchine for other CVs
@pytest.mark.parametrize(("cv", "rho"), [(0.0, 0.5), (0.5, 0.7), (1.0, 0.6)])
def test_the_mean_of_one_server_is_met_at_the_rate_of_theory(cv: float, rho: float) -> None:
    mean_ms = 1000 * (1 + rho / (1 - rho) * (1 + cv * cv) / 2)
    assert rate(RequestService(1, 1.0, cv), shape(f"latency_ms.mean < {mean_ms}")) == pytest.approx(rho, rel=0.02)


@pytest.mark.parametrize("replicas", [1, 8])
def test_one_server_and_each_of_several_have_the_rate_of_theory(replicas: int) -> None:
    # M/M/1: lambda = mu + ln(1 − q) / L. Where L is 40 services the queue is all there is, and a lognormal of CV 1 has
    # the same; the router is random, so each replica is such a server
    limit_s = 40.0
    exact = 1 + math.log(0.05) / limit_s
    assert rate(ONE, shape(f"latency_ms.p95 < {1000 * limit_s}"), replicas) == pytest.approx(exact, rel=0.02)


def test_times_that_do_not_vary_have_the_rate_of_theory() -> None:
    # M/D/1: P(wait = 0) = 1 − rho, so the median wait is 0 up to rho 0.5 and more beyond
    found = rate(RequestService(1, 1.0, 0.0), shape("latency_ms.p50 < 1010"))
    assert found == pytest.approx(0.5, rel=0.02)


@fleets_simulated_briefly()
def test_routers_that_know_more_carry_more() -> None:
    routers: tuple[Router, ...] = ("random", "round-robin", "power-of-two", "least-outstanding", "least-work")
    rates = [rate(ONE, shape("latency_ms.p95 < 8000", router=router), 16) for router in routers]
    assert rates == sorted(rates)
    assert rates[0] < 0.7 < 0.9 < rates[-1]


@fleets_simulated_briefly()
def test_a_tighter_limit_never_carries_more() -> None:
    rates = [rate(ONE, shape(f"latency_ms.p95 < {limit}"), 4) for limit in (4000, 6000, 12_000)]
    assert rates == sorted(rates)


def test_an_impossible_limit_carries_nothing_and_none_at_all_nearly_all() -> None:
    assert rate(ONE, shape("latency_ms.p95 < 900")) == 0.0
    assert rate(ONE, shape()) == pytest.approx(0.995)


def test_a_share_inside_the_limit_is_its_percentile() -> None:
    share = rate(ONE, shape("goodput_share > 95%", "latency_ms.p50 < 8000"))
    assert share == pytest.approx(rate(ONE, shape("latency_ms.p95 < 8000")), rel=0.02)


@fleets_simulated_briefly()
def test_bursts_lower_the_rate() -> None:
    fit = ServiceFit((FittedService(ONE, 1.0, (), ()),), (), 0.0, 1.0, 0.0, highest_per_s=1.0)
    near, bursts = ReplicaRate(0.6, 0.1), Dispersion(20.0, 60.0)
    even = simulate_median_rate(fit, shape("latency_ms.p95 < 8000"), 4, 1.0, near)
    bursty = simulate_median_rate(fit, shape("latency_ms.p95 < 8000", dispersion=bursts), 4, 1.0, near)
    assert 0.3 * even.rate_per_s < bursty.rate_per_s < 0.9 * even.rate_per_s
    assert even.sigma == bursty.sigma == 0.1


@pytest.mark.parametrize("index", [600.0, 2400.0])
def test_long_bursts_are_as_large_as_the_peak_makes_them(index: float) -> None:
    """Too many requests to be drawn. A hundred times the traffic with a hundred times the index varies by the same
    share."""
    fit = ServiceFit((FittedService(ONE, 1.0, (), ()),), (), 0.0, 1.0, 0.0, highest_per_s=1.0)

    def factor(peak_per_s: float, index: float, limit_ms: float) -> float:
        slo, bursts = f"latency_ms.p95 < {limit_ms}", Dispersion(index, 60.0)
        bursty, even = shape(slo, peak_per_s=peak_per_s, dispersion=bursts), shape(slo, peak_per_s=peak_per_s)
        near = ReplicaRate(0.6, 0.1)
        return (
            simulate_median_rate(fit, bursty, 8, 1.0, near).rate_per_s
            / simulate_median_rate(fit, even, 8, 1.0, near).rate_per_s
        )

    own = factor(1000.0, index, 8000)
    assert own == pytest.approx(factor(100_000.0, 100 * index, 8000), rel=1e-3)
    assert factor(1000.0, 2 * index, 8000) < 0.98 * own


@fleets_simulated_briefly()
def test_classes_have_their_own_limits_and_work() -> None:
    light = RequestClass("light", 0.9, work=0.5, slo=("latency_ms.p95 < 3000",))
    heavy = RequestClass("heavy", 0.1, work=5.5)
    found = shape("latency_ms.p95 < 30000", "goodput_share > 95%", classes=(light, heavy))
    assert [(one.share, one.limit_s, one.work) for one in found.classes] == [(0.9, 3.0, 0.5), (0.1, 30.0, 5.5)]
    tighter = shape("latency_ms.p95 < 30000", "goodput_share > 95%", classes=(
        RequestClass("light", 0.9, work=0.5, slo=("latency_ms.p95 < 2000",)), heavy,
    ))  # fmt: skip
    assert 0 < rate(ONE, tighter, 2) < rate(ONE, found, 2)


def test_lengths_are_drawn_by_their_shares() -> None:
    assert shape().lengths == ((1, 1),)
    assert shape(tokens=(TokenLengths(1.0, 200.4, 99.6),)).lengths == ((200, 100),)
    two = shape(tokens=(TokenLengths(0.75, 100, 10), TokenLengths(0.25, 500, 0.2)))
    assert two.lengths.count((100, 10)) == 75
    assert two.lengths.count((500, 1)) == 25
    assert two.mean_lengths == pytest.approx((200.0, 7.75))


def test_a_faster_replica_carries_more_in_proportion_where_nothing_is_outside() -> None:
    limit = shape("latency_ms.p95 < 8000")
    twice = rate(speed_up(ONE, 2.0), shape("latency_ms.p95 < 4000"))
    assert twice == pytest.approx(2 * rate(ONE, limit), rel=0.01)


@pytest.mark.parametrize(
    ("service", "fields"),
    [
        (RequestService(2, 1.0, 0.5, 0.2), {"mean_s": 0.5}),
        (BatchService(1.0, 0.1, 8, 0.3, 0.1, 0.2), {"fixed_s": 0.5, "per_item_s": 0.05}),
        (
            TokenService(1.0, 0.1, 0.01, 8, 1000, per_kv_token_s=0.001, outside_s=0.2),
            {"step_s": 0.5, "per_sequence_s": 0.05, "per_kv_token_s": 0.0005, "prefill_s_per_token": 0.005},
        ),
    ],
)
def test_speed_divides_what_the_replica_does_and_nothing_else(service: ServiceModel, fields: dict[str, float]) -> None:
    found = speed_up(service, 2.0)
    for name in service.__struct_fields__:
        assert getattr(found, name) == pytest.approx(fields.get(name, getattr(service, name)))


@pytest.mark.parametrize(
    "service",
    [BatchService(0.4, 0.05, 16), TokenService(0.01, 1e-4, 5e-5, max_sequences=32, kv_tokens=50_000)],
)
@fleets_simulated_briefly()
def test_batches_and_tokens_meet_the_limit_at_the_rate_found(service: ServiceModel) -> None:
    what = shape("latency_ms.p95 < 2500", tokens=(TokenLengths(1.0, 200, 100),))
    found = rate(service, what, 2)
    design = build_design(service, what, 2)
    assert compute_excess(simulate_fleet(design, what, 0.97 * found, 10_000), what) < 0.01
    assert compute_excess(simulate_fleet(design, what, 1.05 * found, 10_000), what) > 0


def test_large_fleets_are_played_as_long_a_replica() -> None:
    assert choose_request_count(2, 20_000, 1500) == 20_000
    assert choose_request_count(64, 20_000, 1500) == choose_request_count(500, 20_000, 1500) == 96_000


def test_what_is_not_sure_sums_as_squares() -> None:
    what = shape("latency_ms.p95 < 8000")
    sure, of_law, of_speed, both = (
        simulate_rate(fit_of(fitted(ONE, **doubt)), what, 1, 1.0, speed)
        for doubt, speed in (({}, 0.0), ({"mean_s": 0.1}, 0.0), ({}, 0.1), ({"mean_s": 0.1}, 0.1))
    )
    assert sure.sigma == pytest.approx(RUN_TO_RUN_SIGMA, rel=0.02)
    # a replica that is 10 % slower carries 10 % less, and a tenth of its tail's limit besides
    assert of_law.sigma == pytest.approx(of_speed.sigma)
    assert 0.13 < of_law.sigma < 0.22
    assert both.sigma == pytest.approx(math.hypot(of_law.sigma, math.sqrt(of_speed.sigma**2 - sure.sigma**2)), rel=1e-6)
    assert sure.rate_per_s == of_law.rate_per_s == both.rate_per_s


def test_what_no_play_can_report_apart_is_no_warning() -> None:
    # a window far below the time of a batch: its logarithm is unknown, and no matter
    law = fitted(BatchService(1.0, 0.1, 8, window_s=1e-4), window_s=2.0)
    found = simulate_rate(fit_of(law), shape("latency_ms.p95 < 4000"), 4, 1.0, 0.0)
    assert found.sigma == pytest.approx(RUN_TO_RUN_SIGMA, rel=0.1)


def test_another_law_that_may_be_true_is_a_warning() -> None:
    what = shape("latency_ms.p95 < 8000")
    other = FittedService(speed_up(ONE, 1.5), 0.25, (), ())
    two = simulate_rate(fit_of(fitted(ONE, 0.75), other), what, 1, 1.0, 0.0)
    apart = math.log(rate(speed_up(ONE, 1.5), what) / rate(ONE, what))
    assert two.rate_per_s == simulate_rate(fit_of(fitted(ONE)), what, 1, 1.0, 0.0).rate_per_s
    assert two.sigma == pytest.approx(math.hypot(0.5 * apart, RUN_TO_RUN_SIGMA), rel=0.05)


def test_nothing_is_said_beyond_what_a_replica_was_seen_to_answer() -> None:
    what, seen = shape("latency_ms.p95 < 8000"), fit_of(fitted(ONE), highest_per_s=0.3)
    for found in (
        simulate_rate(seen, what, 1, 1.0, 0.0),
        simulate_median_rate(seen, what, 1, 1.0, ReplicaRate(0.5, 0.0)),
        estimate_rate(seen, what, 1, 1.0, 0.0),
    ):
        assert found.rate_per_s == 0.3
        assert found.extrapolated_per_s == pytest.approx(0.62, rel=0.05), "M/M/1: 1 - ln 20 / 8"
    assert simulate_rate(seen, what, 1, 2.0, 0.0).rate_per_s == 0.6
    assert simulate_rate(fit_of(fitted(ONE)), what, 1, 1.0, 0.0).extrapolated_per_s is None


def test_a_fleet_that_misses_the_slo_at_any_load_has_no_rate() -> None:
    assert simulate_rate(fit_of(fitted(ONE, mean_s=0.1)), shape("latency_ms.p95 < 900"), 1, 1.0, 0.1) == ReplicaRate(
        0, 0
    )


def test_a_formula_warnings_the_most_a_replica_can_do_and_not_what_does_not_matter_to_it() -> None:
    what = shape("latency_ms.p95 < 8000")
    unsure = fitted(RequestService(1, 1.0, 1.0, 0.001), mean_s=0.1, cv=0.4, outside_s=3.0)
    found = estimate_rate(fit_of(unsure), what, 1, 1.0, 0.05)
    assert found.sigma == pytest.approx(math.hypot(0.1, 0.05, RUN_TO_RUN_SIGMA), rel=1e-3)
    assert found.rate_per_s == pytest.approx(rate(ONE, what), rel=0.05)


@fleets_simulated_briefly()
def test_the_same_chances_give_the_same_rate(simulated_fleets: dict[object, SteadyOutcome]) -> None:
    what, law = shape("latency_ms.p95 < 8000", router="power-of-two"), fit_of(fitted(ONE, mean_s=0.05, cv=0.2))
    first = simulate_rate(law, what, 3, 1.1, 0.1)
    simulated_fleets.clear()
    assert simulate_rate(law, what, 3, 1.1, 0.1) == first


def test_a_trace_shorter_than_the_peak_hour_widens_the_interval() -> None:
    """By how unevenly late requests fall on its parts: one burst says less than twenty alike."""
    service, slo = RequestService(2, 1.0, 0.0), shape("latency_ms.p95 < 1500", router="least-outstanding")
    even_s = np.arange(0.0, 300.0, 0.5)
    once_s = np.sort(np.concatenate([even_s, np.linspace(100.0, 110.0, 60)]))

    def effect(at_s: Floats) -> BurstEffect:
        rows = select_busiest_rows(at_s)
        what = msgspec.structs.replace(slo, bursts=Bursts(rows, Dispersion(), compute_rate_per_s(rows)))
        arrivals = draw_arrivals(what.bursts, 1.0) if what.bursts else None
        assert arrivals is not None
        return replay_bursts(service, what, 4, 1.9, arrivals, True)

    assert effect(even_s).sigma < 0.05 < effect(once_s).sigma
    assert effect(once_s).factor < effect(even_s).factor
    hour_s = np.concatenate([once_s + turn * 300.0 for turn in range(13)])
    assert effect(hour_s).sigma == 0.0


LONG = TokenService(0.02, 0.0003, 1e-6, max_sequences=256, kv_tokens=10**9, cv=0.1)


def test_a_language_model_whose_queue_grows_misses_even_where_requests_stay_long() -> None:
    """At 5 % over saturation; a request stays for 20 s, which is a tenth of a play of 1,000 each."""
    what = shape("ttft_ms.p50 < 1000", router="least-outstanding", tokens=(TokenLengths(1.0, 100.0, 200.0),))
    design = build_design(LONG, what, 8)
    saturation_per_s = compute_max_throughput_per_s(LONG, what.lengths)
    assert compute_excess(simulate_fleet(design, what, 0.8 * saturation_per_s, 8_000), what) < 0
    assert compute_excess(simulate_fleet(design, what, 1.05 * saturation_per_s, 8_000), what) > 0


@fleets_simulated_briefly()
def test_what_pooling_is_worth_to_a_language_model_is_not_taken_as_sure() -> None:
    """Load points of one replica tell its own rate within 1 %; what a fleet gains is the model's word alone."""
    service = TokenService(0.01, 0.001, 1e-6, max_sequences=4, kv_tokens=10**9, cv=0.1)
    tokens = (TokenLengths(1.0, 10.0, 20.0),)
    own, pooled = (
        shape("ttft_ms.p95 < 150", router=router, tokens=tokens) for router in ("random", "least-outstanding")
    )
    alone_per_s = find_highest_rate(service, own, 1, 5.0)[0]
    seen = Evidence(tuple((alone_per_s * factor, factor < 1) for factor in [0.9, 0.99, 1.01, 1.1] * 8))
    fit = fit_of(fitted(service), highest_per_s=100.0)
    rates = {what.router: simulate_rate(fit, what, 8, 1.0, 0.0, seen) for what in (own, pooled)}
    gain = math.log(rates["least-outstanding"].rate_per_s / rates["random"].rate_per_s)
    assert gain > 0.2
    assert rates["random"].sigma < 0.03
    assert rates["least-outstanding"].sigma == pytest.approx(math.hypot(0.04, rates["random"].sigma), rel=0.1)


@fleets_simulated_briefly()
def test_load_points_with_other_lengths_are_held_against_a_replica_with_theirs() -> None:
    """Measured with answers of 20 tokens, planned with answers of 40: half of the rate, and not that of 20."""
    service = TokenService(0.01, 0.001, 1e-6, max_sequences=4, kv_tokens=10**9, cv=0.1)
    short, long = (shape("ttft_ms.p95 < 400", tokens=(TokenLengths(1.0, 10.0, outputs),)) for outputs in (20.0, 40.0))
    short_per_s = find_highest_rate(service, short, 1, 5.0)[0]
    tried = tuple((short_per_s * factor, factor < 1) for factor in [0.9, 0.99, 1.01, 1.1])
    fit = fit_of(fitted(service), highest_per_s=1.1 * short_per_s)
    found = [
        simulate_rate(fit, what, 8, 1.0, 0.0, Evidence(tried, lengths=((10, 20),))).rate_per_s for what in (short, long)
    ]
    assert found[0] == pytest.approx(short_per_s, rel=0.02)
    assert found[1] == pytest.approx(find_highest_rate(service, long, 1, 5.0)[0], rel=0.03)
    assert found[1] < 0.6 * found[0]


@pytest.mark.parametrize(("measured_tokens", "exceeds"), [(100, False), (101, False), (110, True)])
@fleets_simulated_briefly()
def test_requests_that_are_lighter_by_chance_allow_no_more_than_was_seen(measured_tokens: int, exceeds: bool) -> None:
    service = TokenService(0.01, 0.001, 1e-6, max_sequences=4, kv_tokens=10**9, cv=0.1)
    what = shape("ttft_ms.p95 < 4000", tokens=(TokenLengths(1.0, 40.0, 100.0),))
    seen_per_s = 0.5 * find_highest_rate(service, what, 8, 5.0)[0]
    evidence = Evidence(((0.5 * seen_per_s, True), (seen_per_s, True)), lengths=((10, measured_tokens),))
    found = simulate_rate(fit_of(fitted(service), highest_per_s=seen_per_s), what, 8, 1.0, 0.0, evidence)
    assert (found.rate_per_s > seen_per_s) is exceeds
    assert found.rate_per_s == pytest.approx(seen_per_s * (1.1 if exceeds else 1.0), rel=0.01)


@fleets_simulated_briefly()
def test_a_rate_knows_what_the_law_can_do_at_all() -> None:
    """Two slots of 1 s, known within 5 %: 2/s, and at the 90th percentile exp(1.28 × 0.05) times as much."""
    what = shape("latency_ms.p95 < 6000")
    known = simulate_rate(fit_of(fitted(RequestService(2, 1.0, 1.0), mean_s=0.05)), what, 1, 1.0, 0.0)
    assert known.max_throughput_per_s == pytest.approx(2.0 * math.exp(1.2816 * 0.05), rel=0.01)
    faster_by_two = simulate_rate(fit_of(fitted(RequestService(2, 1.0, 1.0))), what, 1, 2.0, 0.0)
    assert faster_by_two.max_throughput_per_s == pytest.approx(4.0, rel=0.01)
    near = simulate_median_rate(fit_of(fitted(RequestService(2, 1.0, 1.0))), what, 4, 1.0, known)
    assert near.max_throughput_per_s == known.max_throughput_per_s
