from __future__ import annotations

import math

import numpy as np
import pytest
from msgspec.structs import replace

from app.planning.service_models.closed_loop import RESPONSE_GAP, ClosedLoopSimulation, fit_closed_loop
from app.planning.service_models.moments import CannotFitError
from app.planning.simulation.closed_loop import simulate_closed_requests
from app.records.planning_inputs import MeasuredLoadPoint
from app.records.service import RequestService

LAW = RequestService(4, 0.05, 0.5, outside_s=0.005)


def measured(clients: int, law: RequestService = LAW, requests: int = 800) -> MeasuredLoadPoint:
    normals = np.random.default_rng(clients).standard_normal(requests)
    arrivals_s, ends_s = simulate_closed_requests(clients, normals, law)
    times_s = ends_s - arrivals_s + law.outside_s
    known = {"p50": float(np.quantile(times_s, 0.5)), "p95": float(np.quantile(times_s, 0.95))}
    last_s = float(ends_s.max())
    return MeasuredLoadPoint(None, clients, requests / last_s, last_s, requests, 0, {"latency": known})


def test_what_slots_can_do_at_most_is_what_many_clients_see() -> None:
    normals = np.random.default_rng(1).standard_normal((3, 4000))
    play = ClosedLoopSimulation(32, normals, ("p50", RESPONSE_GAP)).simulate(LAW)
    middle_s, gap_s = np.exp(play.log_means)
    assert 1 / gap_s == pytest.approx(LAW.max_throughput_per_s, rel=0.03)
    assert middle_s == pytest.approx(32 * gap_s, rel=0.05)  # Little's law
    (few_s,) = np.exp(ClosedLoopSimulation(2, normals, (RESPONSE_GAP,)).simulate(LAW).log_means)
    assert 1 / few_s == pytest.approx(2 / (LAW.mean_s + LAW.outside_s), rel=0.03)


@pytest.mark.parametrize(
    ("clients", "requests"), [((1, 4, 16), 200), pytest.param((1, 2, 4, 8, 16), 800, marks=pytest.mark.soak)]
)
def test_a_known_law_is_found_within_the_interval_that_is_reported(clients: tuple[int, ...], requests: int) -> None:
    fit = fit_closed_loop([measured(number, requests=requests) for number in clients])
    found = [one for one in fit.services if isinstance(one.service, RequestService) and one.service.slots == LAW.slots]
    assert sum(one.probability for one in found) > 0.3  # with 200 requests, three slots explain the numbers as well
    for one in found:
        assert isinstance(one.service, RequestService)
        place = one.parameters.index("mean_s")
        sigma = math.sqrt(one.log_covariance[place][place])
        assert sigma < 0.1
        assert abs(math.log(one.service.mean_s / LAW.mean_s)) < 3 * sigma
        assert one.service.max_throughput_per_s == pytest.approx(LAW.max_throughput_per_s, rel=0.05)
    assert fit.highest_per_s == pytest.approx(LAW.max_throughput_per_s, rel=0.05)
    if requests >= 800:
        assert found[0] is fit.services[0]


def test_fewer_than_three_numbers_of_clients_report_no_law() -> None:
    load_points = [measured(2), measured(2), measured(8), replace(measured(4), completed=20)]
    with pytest.raises(CannotFitError, match="at 3 levels of concurrency, but there are 2"):
        fit_closed_loop(load_points)


@pytest.mark.soak  # with fewer requests, batches explain these numbers as well
def test_a_mean_stands_in_for_a_median_and_little_for_both() -> None:
    known = {"mean": 0.0551}
    alone = [replace(measured(clients, requests=3000), latencies_s={"latency": known}) for clients in (1, 2, 4)]
    by_mean = fit_closed_loop(alone).services[0].service
    by_rate = fit_closed_loop([replace(load_point, latencies_s={}) for load_point in alone]).services[0].service
    for found in (by_mean, by_rate):
        assert isinstance(found, RequestService)
        assert found.mean_s + found.outside_s == pytest.approx(LAW.mean_s + LAW.outside_s, rel=0.1)
