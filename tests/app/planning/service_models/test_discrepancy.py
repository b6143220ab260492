from __future__ import annotations

import math

import msgspec
import pytest

from app.analysis.objectives import parse_objective
from app.planning.service_models.discrepancy import compute_discrepancy, estimate_drift
from app.planning.slo_objectives import build_slo_objectives
from app.records.planning_inputs import MeasuredLoadPoint
from app.records.service import FitError, RequestService, ServiceFit
from tests.fakes.services import fit_of, fitted

SLO = build_slo_objectives([parse_objective("latency_ms.p95 < 4000")])
RATES = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)


def fit_with(log_errors: dict[float, float], sigma: float | None = 0.05, *, held_out: bool = True) -> ServiceFit:
    """A fit that predicts 1 s at each rate, from which the measurement differs by `log_errors`."""
    errors = tuple(
        FitError(
            rate, name, math.exp(error), 1.0, -error / (sigma or 0.05), 1.0 if held_out else None,
            sigma if held_out else None,
        )
        for rate, error in log_errors.items()
        for name in ("p50", "p95")
    )  # fmt: skip
    return msgspec.structs.replace(fit_of(fitted(RequestService(8, 1.0, 1.0))), errors=errors)


def points(
    latencies_s: list[float], *, starts: bool = True, rates: tuple[float, ...] = RATES
) -> list[MeasuredLoadPoint]:
    return [
        MeasuredLoadPoint(
            rate, None, rate, 30.0, 1000, 0, {"latency": {"p50": latency_s, "p95": latency_s}},
            start_s=30.0 * index if starts else None,
        )
        for index, (rate, latency_s) in enumerate(zip(rates, latencies_s, strict=True))
    ]  # fmt: skip


def test_errors_that_sampling_explains_are_no_discrepancy() -> None:
    noise = dict(zip(RATES, (0.04, -0.05, 0.06, -0.03, 0.05, -0.06), strict=True))
    assert compute_discrepancy(fit_with(noise), SLO, 6.0) == 0


@pytest.mark.parametrize("held_out", [True, False])
def test_errors_beyond_sampling_are_the_discrepancy_with_or_without_held_out_values(held_out: bool) -> None:
    misses = dict(zip(RATES, (0.5, -0.5, 0.5, -0.5, 0.5, -0.5), strict=True))
    assert compute_discrepancy(fit_with(misses, held_out=held_out), SLO, 6.0) == pytest.approx(0.5, rel=0.05)


def test_errors_count_near_the_planned_rate_and_at_the_percentile_of_the_slo() -> None:
    far = dict(zip(RATES, (0.9, 0.02, 0.02, 0.02, 0.02, 0.02), strict=True))
    assert compute_discrepancy(fit_with(far), SLO, 6.0) == 0
    first_token = build_slo_objectives([parse_objective("ttft_ms.p95 < 200")])
    assert compute_discrepancy(fit_with(dict.fromkeys(RATES, 0.5)), first_token, 6.0) == 0


def test_a_target_that_slows_during_the_measurement_drifts() -> None:
    slower = dict.fromkeys(RATES, 0.0)
    drift = estimate_drift(fit_with(slower), SLO, points([math.exp(0.08 * index) for index in range(6)]))
    assert drift is not None
    assert drift.is_significant
    assert drift.low < 0.4 < drift.high
    assert drift.log_change == pytest.approx(0.4)


def test_a_target_that_stays_as_it_is_does_not_drift() -> None:
    drift = estimate_drift(fit_with(dict.fromkeys(RATES, 0.0)), SLO, points([1.02, 0.97, 1.03, 0.98, 1.01, 0.99]))
    assert drift is not None
    assert not drift.is_significant


def test_the_order_of_load_points_is_their_order_in_time_unless_they_are_sorted() -> None:
    fit, latencies_s = fit_with(dict.fromkeys(RATES, 0.0)), [math.exp(0.08 * index) for index in range(6)]
    assert estimate_drift(fit, SLO, points(latencies_s, starts=False)) is None
    mixed = points(latencies_s, starts=False, rates=(1.0, 6.0, 2.0, 5.0, 3.0, 4.0))
    drift = estimate_drift(fit, SLO, mixed)
    assert drift is not None
    assert drift.is_significant
