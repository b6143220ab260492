from __future__ import annotations

import math

import numpy as np
import pytest

from app.gui.charts.ring_buffer import RingBuffer


def test_ring_buffer_stores_the_newest_samples_in_order_and_gaps_as_nan() -> None:
    ring = RingBuffer(4, ("p50", "p99"))
    for second in range(7):
        ring.append(second, second * 2, None if second == 5 else second * 3)
        assert len(ring) == min(second + 1, 4)
    assert ring.x.tolist() == [3, 4, 5, 6]
    assert ring.column("p50").tolist() == [6, 8, 10, 12]
    assert math.isnan(ring.column("p99")[2])


def test_ring_buffer_reuses_its_memory_for_two_hours_of_samples() -> None:
    ring = RingBuffer(3000, ("a", "b", "c"))
    memory = ring.x.base
    for sample in range(2 * 3600 * 10):
        ring.append(sample / 10, sample, sample, None)
    assert ring.x.base is memory
    assert ring.x[0] == pytest.approx(7200 - 300)
    assert np.all(np.diff(ring.x) > 0)


def test_ring_buffer_rejects_a_sample_with_too_few_values() -> None:
    with pytest.raises(ValueError, match=r"must have 2 values \(got 1\)"):
        RingBuffer(4, ("a", "b")).append(0.0, 1.0)
