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


def law_of(times_ms: dict[int, float], interval_share: float | None = 0.01) -> BatchModel:
    """`interval_share`: each time's interval is that share of it either way."""

    def interval(ms: float) -> tuple[float, float] | None:
        return None if interval_share is None else (ms * (1 - interval_share), ms * (1 + interval_share))

    points = [BatchPoint(batch, Estimate(ms, interval(ms), 500)) for batch, ms in times_ms.items()]
    return fit_batch_model(points, VARIANT)


def line(t0_ms: float, t1_ms: float, batches: Sequence[int] = BATCHES) -> dict[int, float]:
    return {batch: t0_ms + t1_ms * batch for batch in batches}


def test_times_on_a_line_give_the_line() -> None:
    law = law_of(line(4.0, 0.5))
    assert (law.t0_ms.value, law.t1_ms.value) == pytest.approx((4.0, 0.5))
    assert law.r2 == pytest.approx(1.0)
    assert (law.batches, law.reason, law.variant) == (BATCHES, None, VARIANT)


@pytest.mark.parametrize("batches", first_in_unit_tier([(1, 4, 16, 64), (1, 8, 32), (1, 2, 4, 8, 16, 32, 64, 128)]))
@pytest.mark.parametrize(("calls", "again"), [(0.005, 0.0), (0.003, 0.01), (0.003, 0.04)])
def test_intervals_hold_the_true_line_in_95_of_100(batches: tuple[int, ...], calls: float, again: float) -> None:
    """Times that differ by what their calls show, and by more when a batch is measured another time."""
    dice, trials = np.random.default_rng(3), 300
    held = np.zeros(2)
    for _ in range(trials):
        noise = again * dice.standard_normal(len(batches)) + calls * dice.standard_normal(len(batches))
        times_ms = {batch: (1 + 0.1 * batch) * (1 + miss) for batch, miss in zip(batches, noise, strict=True)}
        law = law_of(times_ms, 1.96 * calls)
        for place, (estimate, true) in enumerate(((law.t0_ms, 1.0), (law.t1_ms, 0.1))):
            assert estimate.ci95 is not None
            held[place] += estimate.ci95[0] <= true <= estimate.ci95[1]
    assert (held / trials >= 0.92).all(), held / trials


def test_intervals_are_never_narrower_than_those_of_the_times_allow() -> None:
    """On a line exactly, with nothing left over: 2 % of the smallest batch's 1.1 ms is what t0 may be off by."""
    law = law_of(line(1.0, 0.1), 0.02)
    assert law.t0_ms.ci95 is not None
    assert law.t0_ms.ci95[1] - 1.0 > 0.01


def test_neither_part_of_the_law_is_below_0() -> None:
    steep = law_of({1: 0.9, 2: 2.05, 4: 4.1, 8: 8.3})
    assert steep.t0_ms.value == 0
    assert steep.t0_ms.ci95 is not None
    assert steep.t0_ms.ci95[0] == 0 < steep.t0_ms.ci95[1]
    falling = law_of({1: 1.02, 2: 1.01, 4: 1.0, 8: 0.99})
    assert falling.t1_ms.value == 0
    assert falling.t0_ms.value == pytest.approx(1.0, rel=0.02)


def test_a_flat_line_holds_though_it_explains_nothing() -> None:
    law = law_of({1: 1.0, 2: 1.01, 4: 0.99, 8: 1.01, 16: 1.0, 32: 1.0})
    assert law.reason is None
    assert (law.r2 or 0) < 0.5


def test_times_that_are_no_line_say_so() -> None:
    law = law_of({1: 1.0, 2: 2.0, 4: 1.0, 8: 3.0})
    assert "the call time is not linear: batch" in str(law.reason)


def test_a_broken_line_is_reported_with_its_batch() -> None:
    """Rows cost nothing up to 8, and 0.2 ms each from there: reading weights, then arithmetic."""
    law = law_of({batch: 1.0 + 0.2 * max(0, batch - 8) for batch in (1, 2, 4, 8, 16, 32, 64)})
    assert law.reason == "the slope changes near batch 8"


def test_few_batches_have_no_law() -> None:
    two = law_of(line(1.0, 0.5, (1, 4)))
    assert (two.t0_ms.value, two.t1_ms.value) == pytest.approx((1.0, 0.5))
    assert (two.r2, two.reason) == (None, "2 of 3 required batch sizes")
    one = law_of({8: 3.0})
    assert (one.t0_ms.value, one.batches, one.reason) == (None, (8,), "1 of 3 required batch sizes")
    assert fit_batch_model([], VARIANT).reason == "0 of 3 required batch sizes"


def test_a_batch_without_a_time_takes_no_part() -> None:
    points = [BatchPoint(batch, Estimate(1.0 + batch)) for batch in (4, 1, 2)]
    law = fit_batch_model([*points, BatchPoint(8, Estimate(None, reason="0 of 1 required samples"))], VARIANT)
    assert law.batches == (1, 2, 4)
    assert law.t1_ms.value == pytest.approx(1.0)
