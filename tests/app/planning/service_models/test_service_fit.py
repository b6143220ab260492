from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from msgspec.structs import replace

from app.analysis.columns import Floats
from app.analysis.objectives import parse_objective
from app.planning.formulas import estimate_rate_within_slo
from app.planning.service_models import stage_simulation
from app.planning.service_models.moments import CannotFitError
from app.planning.service_models.service_fit import count_requests, fit_service, group_load_points
from app.planning.simulation.replica import simulate_batch_latencies, simulate_request_latencies
from app.planning.slo_objectives import build_slo_objectives
from app.records.planning_inputs import MeasuredLoadPoint
from app.records.service import BatchService, RequestService, ServiceModel, TokenService
from tests.fakes.services import measured_rungs

SHARES = (0.2, 0.4, 0.6, 0.75, 0.85, 0.92)
LAWS = (RequestService(2, 0.05, 0.6, 0.004), BatchService(0.03, 0.004, 16, cv=0.1))


@pytest.mark.parametrize(
    ("law", "requests"),
    [(LAWS[0], 1000), (LAWS[1], 600), *(pytest.param(law, 3000, marks=pytest.mark.soak) for law in LAWS)],
)
def test_a_known_law_is_found_within_the_interval_that_is_reported(
    law: RequestService | BatchService, requests: int
) -> None:
    load_points = measured_rungs(law, SHARES, requests)
    fit = fit_service(load_points)
    best = fit.services[0]
    assert type(best.service) is type(law)
    if isinstance(law, RequestService):
        assert isinstance(best.service, RequestService)
        assert best.service.slots == law.slots
        names = ("mean_s", "cv")
    else:
        names = ("fixed_s", "per_item_s")
    for name in names:
        place = best.parameters.index(name)
        sigma = math.sqrt(best.log_covariance[place][place])
        assert 0 < sigma < 0.5
        off = math.log(getattr(best.service, name) / getattr(law, name))
        assert abs(off) < 3 * sigma
    assert sum(one.probability for one in fit.services) == pytest.approx(1.0)
    assert fit.median_error < 0.05
    assert fit.highest_per_s == max(load_point.achieved_per_s for load_point in load_points)


def p95_s(law: ServiceModel, per_s: float) -> float:
    """Of one replica in the long run."""
    rng = np.random.default_rng(9)
    arrivals_s, normals = np.cumsum(rng.exponential(1 / per_s, 300_000)), rng.standard_normal(300_000)
    assert not isinstance(law, TokenService)
    play = simulate_batch_latencies if isinstance(law, BatchService) else simulate_request_latencies
    return float(np.quantile(play(arrivals_s, normals, law)[5000:], 0.95))  # type: ignore[arg-type]


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of requests that a fit simulates."""
    counts: list[int] = []

    def count(of: Callable[..., Floats]) -> Callable[..., Floats]:
        def counted(arrivals_s: Floats, *rest: object) -> Floats:
            counts.append(arrivals_s.size)
            return of(arrivals_s, *rest)

        return counted

    for play in (simulate_request_latencies, simulate_batch_latencies):
        monkeypatch.setattr(stage_simulation, play.__name__, count(play))
    return counts


FEW_ENOUGH_FOR_A_FIRST_PLAN_IN_3_S = 115e6
"""Work instead of time, which depends on the machine: a core simulates over 10 million requests per second."""


HYPEREXPONENTIAL = RequestService(4, 0.05, 1.0, 0.004, slow_share=0.1127, slow_factor=7.873)
"""With a squared coefficient of variation of 4."""


@pytest.mark.parametrize(
    ("law", "requests"),
    [
        (HYPEREXPONENTIAL, 500),
        pytest.param(HYPEREXPONENTIAL, 3000, marks=pytest.mark.soak),
        pytest.param(
            RequestService(8, 0.05, 0.05, 0.004, slow_share=0.1, slow_factor=12.0), 3000, marks=pytest.mark.soak
        ),
    ],
)
def test_slow_and_fast_requests_are_reported_apart(law: RequestService, requests: int) -> None:
    found = fit_service(measured_rungs(law, SHARES, requests)).services[0].service
    assert isinstance(found, RequestService)
    assert found.slow_share > 0
    per_s = 0.85 * law.max_throughput_per_s
    assert p95_s(found, 0.96 * per_s) < p95_s(law, per_s) < p95_s(found, 1.04 * per_s)


@pytest.mark.soak
def test_a_number_of_slots_between_those_that_are_screened_has_its_chance() -> None:
    law = RequestService(5, 0.05, 0.4, 0.004)
    fit = fit_service(measured_rungs(law, (0.3, 0.6, 0.8, 0.9), requests=5000))
    (found,) = (one for one in fit.services if isinstance(one.service, RequestService) and one.service.slots == 5)
    assert found.probability > 0.3
    assert found.service.mean_s == pytest.approx(law.mean_s, rel=0.03)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("cores", "requests"),
    [(1, 1000), pytest.param(1, 3000, marks=pytest.mark.soak), pytest.param(4, 3000, marks=pytest.mark.soak)],
)
def test_requests_that_share_cores_are_reported_from_requests_in_a_queue(
    cores: int, requests: int, simulated: list[int]
) -> None:
    law = RequestService(cores, 0.05, 0.5, 0.004, discipline="processor sharing")
    found = fit_service(measured_rungs(law, (0.2, 0.4, 0.6, 0.75, 0.88), requests)).services[0].service
    assert 0 < sum(simulated) < FEW_ENOUGH_FOR_A_FIRST_PLAN_IN_3_S
    assert isinstance(found, RequestService)
    assert (found.discipline, found.slots) == ("processor sharing", cores)
    per_s = 0.85 * law.max_throughput_per_s
    assert p95_s(found, 0.97 * per_s) < p95_s(law, per_s) < p95_s(found, 1.03 * per_s)


@pytest.mark.soak
def test_small_batches_behind_a_window_are_not_taken_for_larger_ones() -> None:
    law = BatchService(0.02, 0.002, 4, 0.010, 0.1, 0.002)
    found = fit_service(measured_rungs(law, (0.2, 0.4, 0.6, 0.75, 0.88), requests=4000)).services[0].service
    assert isinstance(found, BatchService)
    assert found.max_batch == 4
    per_s = 0.93 * law.max_throughput_per_s
    assert p95_s(found, 0.96 * per_s) < p95_s(law, per_s) < p95_s(found, 1.04 * per_s)


def test_fewer_than_three_rates_report_no_law() -> None:
    load_points = measured_rungs(LAWS[0], (0.3, 0.6), requests=200)
    with pytest.raises(CannotFitError, match="needs percentiles at 3 rates, but there are 2"):
        fit_service(load_points)
    strange = [replace(load_point, gaps="other") for load_point in measured_rungs(LAWS[0], SHARES, requests=200)]
    with pytest.raises(CannotFitError, match="with random or evenly spaced requests, but there are 0"):
        fit_service(strange)


def load_point(per_s: float | None, p50_s: float = 0.1, completed: int | None = 1000) -> MeasuredLoadPoint:
    return MeasuredLoadPoint(
        per_s, None, per_s or 50.0, 10.0, completed, 0, {"latency": {"p50": p50_s, "p95": 2 * p50_s}}
    )


def test_holds_at_one_rate_are_one_observation_by_rising_rate() -> None:
    found = group_load_points([load_point(200.0), load_point(100.0, 0.1), load_point(100.3, 0.4), load_point(150.0)])
    assert [(one.offered_per_s, one.point_count) for one in found] == [(100.15, 2), (150.0, 1), (200.0, 1)]
    assert found[0].names == ("p50", "p95")
    assert [math.exp(log) for log in found[0].logs] == pytest.approx([0.2, 0.4])  # geometric means
    even = replace(load_point(100.0), gaps="even")
    assert [one.gaps for one in group_load_points([load_point(100.0), even])] == ["even", "random"]


def test_closed_loops_and_too_few_requests_are_not_observed() -> None:
    assert (
        group_load_points(
            [load_point(None), load_point(100.0, completed=29), replace(load_point(100.0), latencies_s={})]
        )
        == []
    )


def test_requests_are_counted_or_computed() -> None:
    assert count_requests(replace(load_point(100.0), failed=7)) == 1007
    assert count_requests(load_point(100.0, completed=None)) == 1000
    assert count_requests(replace(load_point(None, completed=None), duration_s=20.0)) == 1000
    assert count_requests(replace(load_point(100.0, completed=None), duration_s=None)) == 1000


def test_percentiles_without_counts_and_durations_are_taken_as_steady() -> None:
    load_points = measured_rungs(LAWS[0], SHARES, requests=200)
    typed = [replace(one, completed=None, failed=None, duration_s=None) for one in load_points]
    assert all(one.is_steady for one in group_load_points(typed))
    assert not any(one.is_steady for one in group_load_points(load_points))


@pytest.mark.soak
def test_percentiles_without_counts_or_durations_are_of_a_steady_state(simulated: list[int]) -> None:
    """Long-run values of a known law, as a person types them: read as 1,000 requests that begin with an empty queue,
    they made this replica 1.2 % slower than it is, and others by more."""
    law = RequestService(1, 0.1, 0.5)
    steady = measured_rungs(law, (0.3, 0.5, 0.7, 0.85, 0.93), requests=150_000)
    typed = [replace(one, completed=None, failed=None, duration_s=None) for one in steady]
    assert all(one.is_steady for one in group_load_points(typed))
    assert not any(one.is_steady for one in group_load_points(steady))
    fitted = fit_service(typed).services[0].service
    assert isinstance(fitted, RequestService)
    objectives = build_slo_objectives([parse_objective("latency_ms.p95 < 1000")])
    rates = [estimate_rate_within_slo(one, objectives, 1, "random") for one in (fitted, law)]
    assert rates[0] == pytest.approx(rates[1], rel=0.008)
    assert 0 < sum(simulated) < FEW_ENOUGH_FOR_A_FIRST_PLAN_IN_3_S


@pytest.mark.soak
@pytest.mark.parametrize("is_typed", [True, False])
def test_a_fit_simulates_few_enough_requests_for_a_first_plan_in_3_s(is_typed: bool, simulated: list[int]) -> None:
    load_points: Sequence[MeasuredLoadPoint] = measured_rungs(LAWS[0], (0.3, 0.6, 0.8, 0.92))
    if is_typed:
        load_points = [replace(one, completed=None, failed=None, duration_s=None) for one in load_points]
    fit_service(load_points)
    assert 0 < sum(simulated) < FEW_ENOUGH_FOR_A_FIRST_PLAN_IN_3_S
