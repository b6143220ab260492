from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import ndtri

from app.analysis.objectives import parse_objective
from app.errors import UsageError
from app.planning.service_models import service_fit
from app.planning.service_models.measured import build_foreign_target
from app.planning.service_models.moments import CannotFitError
from app.planning.service_models.service_times import compute_service_factors
from app.records.offers import CurvePoint
from app.records.planning_inputs import CurvePrecision, ImportedCurve, MeasuredLoadPoint
from app.records.result import Hardware
from app.records.service import RequestService
from tests.fakes.services import measured_rungs
from tests.tiers import first_in_unit_tier

L4 = Hardware("one L4", accelerator="l4", accelerator_count=1)
SLO = (parse_objective("latency_ms.p95 < 50"),)


def load_point(
    rate: float | None, p95_s: float, clients: float | None = None, failed: int | None = 0
) -> MeasuredLoadPoint:
    times = {"latency": {"p50": p95_s / 2, "p95": p95_s}}
    return MeasuredLoadPoint(rate, clients, rate or 30.0, 10.0, 1000, failed, times)


def curve(
    *rungs: MeasuredLoadPoint, precision: CurvePrecision = "requests", notes: tuple[str, ...] = ()
) -> ImportedCurve:
    return ImportedCurve(
        tool="a tool",
        version="1.2",
        model="resnet",
        source="run.json",
        precision=precision,
        load_points=rungs,
        notes=notes,
    )


@pytest.fixture
def unfitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of what is read from the load points alone: a fit takes most of their time."""

    def refuse(_: object) -> None:
        raise CannotFitError("not fitted")

    monkeypatch.setattr(service_fit, "fit_service", refuse)


@pytest.mark.usefixtures("unfitted")
def test_the_highest_load_point_that_held_is_its_max_rate() -> None:
    target = build_foreign_target(curve(load_point(10, 0.02), load_point(20, 0.04), load_point(30, 0.2)), L4, SLO)
    assert (target.name, target.hardware) == ("run.json", L4)
    assert (target.curve.max_rate_per_s, target.curve.latency_metric) == (20, "latency_ms.p95")
    assert target.curve.points[-1] == CurvePoint(30, 200.0, 30, meets_slo=False)


@pytest.mark.usefixtures("unfitted")
def test_errors_count_where_the_file_reports_them_and_are_taken_to_be_none_where_not() -> None:
    few, many, untold = (load_point(rate, 0.02, failed=failed) for rate, failed in ((10, 5), (20, 100), (15, None)))
    assert build_foreign_target(curve(few, many, untold), L4, SLO).curve.max_rate_per_s == 15


@pytest.fixture(scope="module")
def rungs() -> tuple[MeasuredLoadPoint, ...]:
    """Of one replica, for several tests, because equal load points are fitted once."""
    return measured_rungs(RequestService(1, 0.01, 0.2), (0.3, 0.5, 0.7, 0.85), requests=400)


def test_a_replica_has_its_share_of_what_was_measured(rungs: tuple[MeasuredLoadPoint, ...]) -> None:
    alone = build_foreign_target(curve(*rungs), L4, SLO)
    double = [
        MeasuredLoadPoint(
            2 * (one.offered_per_s or 0.0), None, 2 * one.achieved_per_s, one.duration_s, 2 * (one.completed or 0), 0,
            one.latencies_s,
        )
        for one in rungs
    ]  # fmt: skip
    two = build_foreign_target(curve(*double), Hardware("two", accelerator="l4", accelerator_count=2, replicas=2), SLO)
    assert alone.fit is not None
    assert two.fit == alone.fit
    assert two.curve.max_rate_per_s == 2 * alone.curve.max_rate_per_s


def test_what_was_typed_is_assumed_and_what_is_known_of_a_file_is_reported() -> None:
    typed = build_foreign_target(curve(load_point(10, 0.02), precision="typed", notes=("it was typed",)), L4, SLO)
    assert typed.is_assumed
    assert typed.notes == ("run.json (a tool 1.2): it was typed.",)
    assert not build_foreign_target(curve(load_point(10, 0.02)), L4, SLO).is_assumed


def test_a_fitted_model_says_what_no_load_point_reports(rungs: tuple[MeasuredLoadPoint, ...]) -> None:
    target = build_foreign_target(curve(*rungs), L4, (parse_objective("latency_ms.p99.9 < 100"),))
    assert target.fit is not None
    assert 0 < target.curve.max_rate_per_s <= target.fit.highest_per_s
    assert not any(point.meets_slo for point in target.curve.points)


def test_load_points_that_all_miss_the_slo_are_planned_where_a_fleet_may_meet_it(
    rungs: tuple[MeasuredLoadPoint, ...],
) -> None:
    fit = build_foreign_target(curve(*rungs), L4, SLO).fit
    assert fit is not None
    alone = fit.services[0].service
    assert isinstance(alone, RequestService)
    p99_factor = float(compute_service_factors(np.array([ndtri(0.99)]), alone)[0])
    idle_p99_ms = 1000 * (alone.mean_s * p99_factor + alone.outside_s)
    met, missed = (parse_objective(f"latency_ms.p99 < {share * idle_p99_ms:.2f}") for share in (1.01, 0.99))
    target = build_foreign_target(curve(*rungs), L4, (met,))
    assert target.fit is not None
    assert (target.curve.max_rate_per_s, len(target.curve.points)) == (0.0, 4)
    with pytest.raises(UsageError, match=r"no load point of run.json met p99 latency"):
        build_foreign_target(curve(*rungs), L4, (missed,))


@pytest.mark.parametrize("clients", first_in_unit_tier([(1.0, 2.0, 8.0), (1.0, 2.0, 4.0, 8.0)]))
def test_a_closed_loop_is_fitted_by_its_clients(clients: tuple[float, ...]) -> None:
    service_s, slots = 0.01, 4
    closed = [load_point(None, service_s, number) for number in clients]
    rates = [min(one.clients or 0.0, slots) / service_s for one in closed]
    reported = [
        MeasuredLoadPoint(None, one.clients, rate, 10.0, 300, 0, {"latency": {"p50": (one.clients or 0.0) / rate}})
        for one, rate in zip(closed, rates, strict=True)
    ]
    fit = build_foreign_target(curve(*reported), L4, (parse_objective("latency_ms.p50 < 15"),)).fit
    assert fit is not None
    assert fit.highest_per_s == pytest.approx(400)
    assert math.isclose(fit.services[0].service.max_throughput_per_s, 400, rel_tol=0.1)  # type: ignore[union-attr]


def test_too_few_load_points_are_sized_by_the_rate_alone() -> None:
    target = build_foreign_target(curve(load_point(10, 0.02)), L4, SLO)
    assert target.fit is None
    assert target.no_fit_reason == "a service model needs percentiles at 3 rates, but there are 1"


@pytest.mark.parametrize(
    ("slo", "message"),
    [
        ("ttft_ms.p95 < 50", "no load point of run.json reports p95 TTFT"),
        ("latency_ms.p95 < 5", "no load point of run.json met p95 latency < 5 ms"),
    ],
)
def test_what_cannot_be_planned_is_refused(slo: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_foreign_target(curve(load_point(10, 0.02), load_point(20, 0.03)), L4, (parse_objective(slo),))


@pytest.mark.usefixtures("unfitted")
@pytest.mark.parametrize(
    ("latencies_s", "helps"), [((0.02, 0.05), True), ((0.05, 0.02), False), ((0.02, 0.02), False), ((0.02,), True)]
)
def test_a_lower_load_is_advised_only_where_the_latency_grows_with_the_load(
    latencies_s: tuple[float, ...], helps: bool
) -> None:
    points = [load_point(10 * rate, latency_s) for rate, latency_s in enumerate(latencies_s, 1)]
    with pytest.raises(UsageError) as caught:
        build_foreign_target(curve(*points), L4, (parse_objective("latency_ms.p95 < 5"),))
    assert (caught.value.hint == "Measure at a lower load, or relax the SLO.") is helps
