from __future__ import annotations

import math

import msgspec
import pytest

from app.analysis.objectives import parse_objective
from app.planning.service_models.discrepancy import compute_discrepancy, estimate_drift
from app.planning.sizing.slo_objectives import build_slo_objectives
from app.records.planning_inputs import MeasuredLoadPoint
from app.records.service import FitError, RequestService, ServiceFit
from tests.fakes.services import fit_of, fitted_service

SLO = build_slo_objectives([parse_objective("latency_ms.p95 < 4000")])
RATES = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)


def build_fit(log_errors: dict[float, float], sigma: float | None = 0.05, *, held_out: bool = True) -> ServiceFit:
    """Return a fit that predicts 1 s at each rate, where the measurement differs by `log_errors`."""
    errors = tuple(
        FitError(
            rate, name, math.exp(error), 1.0, -error / (sigma or 0.05), 1.0 if held_out else None,
            sigma if held_out else None,
        )
        for rate, error in log_errors.items()
        for name in ("p50", "p95")
    )  # fmt: skip
    return msgspec.structs.replace(fit_of(fitted_service(RequestService(8, 1.0, 1.0))), errors=errors)


def build_load_points(
    latencies_s: list[float], *, starts: bool = True, rates: tuple[float, ...] = RATES
) -> list[MeasuredLoadPoint]:
    return [
        MeasuredLoadPoint(
            rate, None, rate, 30.0, 1000, 0, {"latency": {"p50": latency_s, "p95": latency_s}},
            start_s=30.0 * index if starts else None,
        )
        for index, (rate, latency_s) in enumerate(zip(rates, latencies_s, strict=True))
    ]  # fmt: skip


def test_errors_within_sampling_noise_give_no_discrepancy() -> None:
    log_errors = dict(zip(RATES, (0.04, -0.05, 0.06, -0.03, 0.05, -0.06), strict=True))
    assert compute_discrepancy(build_fit(log_errors), SLO, 6.0) == 0


@pytest.mark.parametrize("held_out", [True, False])
def test_discrepancy_is_the_error_beyond_sampling_noise(held_out: bool) -> None:
    log_errors = dict(zip(RATES, (0.5, -0.5, 0.5, -0.5, 0.5, -0.5), strict=True))
    assert compute_discrepancy(build_fit(log_errors, held_out=held_out), SLO, 6.0) == pytest.approx(0.5, rel=0.05)


def test_discrepancy_counts_only_errors_near_the_planned_rate_and_of_the_slo_metric() -> None:
    log_errors = dict(zip(RATES, (0.9, 0.02, 0.02, 0.02, 0.02, 0.02), strict=True))
    assert compute_discrepancy(build_fit(log_errors), SLO, 6.0) == 0
    first_token = build_slo_objectives([parse_objective("ttft_ms.p95 < 200")])
    assert compute_discrepancy(build_fit(dict.fromkeys(RATES, 0.5)), first_token, 6.0) == 0


def test_target_that_slows_during_the_measurement_has_significant_drift() -> None:
    log_errors = dict.fromkeys(RATES, 0.0)
    drift = estimate_drift(
        build_fit(log_errors), SLO, build_load_points([math.exp(0.08 * index) for index in range(6)])
    )
    assert drift is not None
    assert drift.is_significant
    assert (drift.low + drift.high) / 2 == pytest.approx(0.4)


def test_stable_target_has_no_significant_drift() -> None:
    drift = estimate_drift(
        build_fit(dict.fromkeys(RATES, 0.0)), SLO, build_load_points([1.02, 0.97, 1.03, 0.98, 1.01, 0.99])
    )
    assert drift is not None
    assert not drift.is_significant


def test_drift_without_start_times_needs_unsorted_load_points() -> None:
    fit, latencies_s = build_fit(dict.fromkeys(RATES, 0.0)), [math.exp(0.08 * index) for index in range(6)]
    assert estimate_drift(fit, SLO, build_load_points(latencies_s, starts=False)) is None
    unsorted = build_load_points(latencies_s, starts=False, rates=(1.0, 6.0, 2.0, 5.0, 3.0, 4.0))
    drift = estimate_drift(fit, SLO, unsorted)
    assert drift is not None
    assert drift.is_significant
