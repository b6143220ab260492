from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from app.analysis.local.batch_model import BatchPoint, fit_batch_model
from app.records.estimate import Estimate, Variant
from app.records.local import BatchModel
from tests.tiers import first_in_unit_tier

VARIANT = Variant("m", "cpu", "as-is", 1, 1)
BATCHES = (1, 2, 4, 8, 16, 32)


def fit_times(times_ms: dict[int, float], interval_share: float | None = 0.01) -> BatchModel:
    """Fit the model. The interval of each time is `interval_share` of the time on either side."""

    def compute_interval(ms: float) -> tuple[float, float] | None:
        return None if interval_share is None else (ms * (1 - interval_share), ms * (1 + interval_share))

    points = [BatchPoint(batch, Estimate(ms, compute_interval(ms), 500)) for batch, ms in times_ms.items()]
    return fit_batch_model(points, VARIANT)


def build_line_times(t0_ms: float, t1_ms: float, batches: Sequence[int] = BATCHES) -> dict[int, float]:
    return {batch: t0_ms + t1_ms * batch for batch in batches}


def test_batch_model_recovers_exact_line() -> None:
    model = fit_times(build_line_times(4.0, 0.5))
    assert (model.t0_ms.value, model.t1_ms.value) == pytest.approx((4.0, 0.5))
    assert model.r2 == pytest.approx(1.0)
    assert (model.batches, model.reason, model.variant) == (BATCHES, None, VARIANT)


@pytest.mark.parametrize("batches", first_in_unit_tier([(1, 4, 16, 64), (1, 8, 32), (1, 2, 4, 8, 16, 32, 64, 128)]))
@pytest.mark.parametrize(("call_noise", "remeasured"), [(0.005, 0.0), (0.003, 0.01), (0.003, 0.04)])
def test_batch_model_intervals_cover_true_line(batches: tuple[int, ...], call_noise: float, remeasured: float) -> None:
    """Times vary by the noise of their calls (`call_noise`) and between measurements of a batch (`remeasured`)."""
    rng, trials = np.random.default_rng(3), 300
    covered_counts = np.zeros(2)
    for _ in range(trials):
        noise = remeasured * rng.standard_normal(len(batches)) + call_noise * rng.standard_normal(len(batches))
        times_ms = {batch: (1 + 0.1 * batch) * (1 + error) for batch, error in zip(batches, noise, strict=True)}
        model = fit_times(times_ms, 1.96 * call_noise)
        for place, (estimate, true) in enumerate(((model.t0_ms, 1.0), (model.t1_ms, 0.1))):
            assert estimate.ci95 is not None
            covered_counts[place] += estimate.ci95[0] <= true <= estimate.ci95[1]
    assert (covered_counts / trials >= 0.92).all(), covered_counts / trials


def test_batch_model_interval_includes_uncertainty_of_times() -> None:
    """The times are exactly on a line, but 2 % of the smallest batch's 1.1 ms is the uncertainty of t0."""
    model = fit_times(build_line_times(1.0, 0.1), 0.02)
    assert model.t0_ms.ci95 is not None
    assert model.t0_ms.ci95[1] - 1.0 > 0.01


def test_batch_model_parameters_are_not_negative() -> None:
    steep = fit_times({1: 0.9, 2: 2.05, 4: 4.1, 8: 8.3})
    assert steep.t0_ms.value == 0
    assert steep.t0_ms.ci95 is not None
    assert steep.t0_ms.ci95[0] == 0 < steep.t0_ms.ci95[1]
    falling = fit_times({1: 1.02, 2: 1.01, 4: 1.0, 8: 0.99})
    assert falling.t1_ms.value == 0
    assert falling.t0_ms.value == pytest.approx(1.0, rel=0.02)


def test_batch_model_accepts_flat_line_with_low_r2() -> None:
    model = fit_times({1: 1.0, 2: 1.01, 4: 0.99, 8: 1.01, 16: 1.0, 32: 1.0})
    assert model.reason is None
    assert (model.r2 or 0) < 0.5


def test_batch_model_of_nonlinear_times_has_reason() -> None:
    model = fit_times({1: 1.0, 2: 2.0, 4: 1.0, 8: 3.0})
    assert "the call time is not linear: batch" in str(model.reason)


def test_batch_model_reports_batch_where_slope_changes() -> None:
    """Rows take no time up to batch 8, and 0.2 ms each above: memory bound, then compute bound."""
    model = fit_times({batch: 1.0 + 0.2 * max(0, batch - 8) for batch in (1, 2, 4, 8, 16, 32, 64)})
    assert model.reason == "the slope changes near batch 8"


def test_batch_model_of_few_batches_has_reason() -> None:
    two_batches = fit_times(build_line_times(1.0, 0.5, (1, 4)))
    assert (two_batches.t0_ms.value, two_batches.t1_ms.value) == pytest.approx((1.0, 0.5))
    assert (two_batches.r2, two_batches.reason) == (None, "2 of 3 required batch sizes")
    single_batch = fit_times({8: 3.0})
    assert (single_batch.t0_ms.value, single_batch.batches, single_batch.reason) == (
        None,
        (8,),
        "1 of 3 required batch sizes",
    )
    assert fit_batch_model([], VARIANT).reason == "0 of 3 required batch sizes"


def test_batch_without_time_is_not_fitted() -> None:
    points = [BatchPoint(batch, Estimate(1.0 + batch)) for batch in (4, 1, 2)]
    model = fit_batch_model([*points, BatchPoint(8, Estimate(None, reason="0 of 1 required samples"))], VARIANT)
    assert model.batches == (1, 2, 4)
    assert model.t1_ms.value == pytest.approx(1.0)
