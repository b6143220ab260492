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
from tests.fakes.services import measured_load_points
from tests.tiers import first_in_unit_tier

L4 = Hardware("one L4", accelerator="l4", accelerator_count=1)
SLO = (parse_objective("latency_ms.p95 < 50"),)


def load_point(
    rate: float | None, p95_s: float, clients: float | None = None, failed: int | None = 0
) -> MeasuredLoadPoint:
    latencies_s = {"latency": {"p50": p95_s / 2, "p95": p95_s}}
    return MeasuredLoadPoint(rate, clients, rate or 30.0, 10.0, 1000, failed, latencies_s)


def curve(
    *load_points: MeasuredLoadPoint, precision: CurvePrecision = "requests", notes: tuple[str, ...] = ()
) -> ImportedCurve:
    return ImportedCurve(
        tool="a tool",
        version="1.2",
        model="resnet",
        source="run.json",
        precision=precision,
        load_points=load_points,
        notes=notes,
    )


@pytest.fixture
def without_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the service fit, which is slow, in tests that need only the load points."""

    def refuse(_: object) -> None:
        raise CannotFitError("not fitted")

    monkeypatch.setattr(service_fit, "fit_service", refuse)


@pytest.mark.usefixtures("without_fit")
def test_max_rate_is_the_highest_load_point_that_met_the_slo() -> None:
    target = build_foreign_target(curve(load_point(10, 0.02), load_point(20, 0.04), load_point(30, 0.2)), L4, SLO)
    assert (target.name, target.hardware) == ("run.json", L4)
    assert (target.curve.max_rate_per_s, target.curve.latency_metric) == (20, "latency_ms.p95")
    assert target.curve.points[-1] == CurvePoint(30, 200.0, 30, meets_slo=False)


@pytest.mark.usefixtures("without_fit")
def test_load_point_with_too_many_reported_errors_does_not_set_the_max_rate() -> None:
    few_errors, many_errors, no_error_count = (
        load_point(rate, 0.02, failed=failed) for rate, failed in ((10, 5), (20, 100), (15, None))
    )
    assert build_foreign_target(curve(few_errors, many_errors, no_error_count), L4, SLO).curve.max_rate_per_s == 15


@pytest.fixture(scope="module")
def load_points() -> tuple[MeasuredLoadPoint, ...]:
    """Load points of one replica; several tests share them because equal load points are fitted once."""
    return measured_load_points(RequestService(1, 0.01, 0.2), (0.3, 0.5, 0.7, 0.85), requests=400)


def test_fit_is_per_replica_of_the_measured_fleet(load_points: tuple[MeasuredLoadPoint, ...]) -> None:
    one_replica = build_foreign_target(curve(*load_points), L4, SLO)
    doubled_points = [
        MeasuredLoadPoint(
            2 * (point.offered_per_s or 0.0), None, 2 * point.achieved_per_s, point.duration_s,
            2 * (point.completed or 0), 0, point.latencies_s,
        )
        for point in load_points
    ]  # fmt: skip
    two_replicas = build_foreign_target(
        curve(*doubled_points), Hardware("two", accelerator="l4", accelerator_count=2, replicas=2), SLO
    )
    assert one_replica.fit is not None
    assert two_replicas.fit == one_replica.fit
    assert two_replicas.curve.max_rate_per_s == 2 * one_replica.curve.max_rate_per_s


def test_typed_curve_is_assumed_and_its_notes_name_the_file() -> None:
    typed = build_foreign_target(curve(load_point(10, 0.02), precision="typed", notes=("it was typed",)), L4, SLO)
    assert typed.is_assumed
    assert typed.notes == ("run.json (a tool 1.2): it was typed.",)
    assert not build_foreign_target(curve(load_point(10, 0.02)), L4, SLO).is_assumed


def test_max_rate_for_an_unmeasured_percentile_comes_from_the_fitted_model(
    load_points: tuple[MeasuredLoadPoint, ...],
) -> None:
    target = build_foreign_target(curve(*load_points), L4, (parse_objective("latency_ms.p99.9 < 100"),))
    assert target.fit is not None
    assert 0 < target.curve.max_rate_per_s <= target.fit.highest_per_s
    assert not any(point.meets_slo for point in target.curve.points)


def test_curve_over_the_slo_limit_is_a_target_only_if_an_idle_replica_meets_the_slo(
    load_points: tuple[MeasuredLoadPoint, ...],
) -> None:
    fit = build_foreign_target(curve(*load_points), L4, SLO).fit
    assert fit is not None
    service = fit.services[0].service
    assert isinstance(service, RequestService)
    p99_factor = float(compute_service_factors(np.array([ndtri(0.99)]), service)[0])
    idle_p99_ms = 1000 * (service.mean_s * p99_factor + service.outside_s)
    feasible, infeasible = (parse_objective(f"latency_ms.p99 < {share * idle_p99_ms:.2f}") for share in (1.01, 0.99))
    target = build_foreign_target(curve(*load_points), L4, (feasible,))
    assert target.fit is not None
    assert (target.curve.max_rate_per_s, len(target.curve.points)) == (0.0, 4)
    with pytest.raises(UsageError, match=r"no load point of run.json met p99 latency"):
        build_foreign_target(curve(*load_points), L4, (infeasible,))


@pytest.mark.parametrize("clients", first_in_unit_tier([(1.0, 2.0, 8.0), (1.0, 2.0, 4.0, 8.0)]))
def test_closed_loop_curve_is_fitted_by_concurrency(clients: tuple[float, ...]) -> None:
    service_s, slots = 0.01, 4
    closed_points = [load_point(None, service_s, number) for number in clients]
    rates = [min(point.clients or 0.0, slots) / service_s for point in closed_points]
    reported_points = [
        MeasuredLoadPoint(None, point.clients, rate, 10.0, 300, 0, {"latency": {"p50": (point.clients or 0.0) / rate}})
        for point, rate in zip(closed_points, rates, strict=True)
    ]
    fit = build_foreign_target(curve(*reported_points), L4, (parse_objective("latency_ms.p50 < 15"),)).fit
    assert fit is not None
    assert fit.highest_per_s == pytest.approx(400)
    assert math.isclose(fit.services[0].service.max_throughput_per_s, 400, rel_tol=0.1)  # type: ignore[union-attr]


def test_curve_with_too_few_load_points_has_no_fit() -> None:
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
def test_curve_without_a_load_point_that_meets_the_slo_is_refused(slo: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_foreign_target(curve(load_point(10, 0.02), load_point(20, 0.03)), L4, (parse_objective(slo),))


@pytest.mark.usefixtures("without_fit")
@pytest.mark.parametrize(
    ("latencies_s", "is_lower_load_advised"),
    [((0.02, 0.05), True), ((0.05, 0.02), False), ((0.02, 0.02), False), ((0.02,), True)],
)
def test_hint_advises_lower_load_unless_latency_falls_or_stays_equal_with_load(
    latencies_s: tuple[float, ...], is_lower_load_advised: bool
) -> None:
    points = [load_point(10 * rate, latency_s) for rate, latency_s in enumerate(latencies_s, 1)]
    with pytest.raises(UsageError) as caught:
        build_foreign_target(curve(*points), L4, (parse_objective("latency_ms.p95 < 5"),))
    assert (caught.value.hint == "Measure at a lower load, or relax the SLO.") is is_lower_load_advised
