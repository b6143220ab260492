from __future__ import annotations

import numpy as np
import pytest

from app.planning.scaling.arrivals import minutes_of_arrivals


def test_arrivals_ascend_and_come_at_the_rate_of_their_second() -> None:
    rates = np.array([50.0, 200.0, 0.0, 100.0])
    minutes = list(minutes_of_arrivals(rates, 45.0, 1000.0, 3))
    assert [end_s for end_s, _, _ in minutes] == [1060.0, 1120.0, 1180.0]
    arrivals_s = np.concatenate([times for _, times, _ in minutes])
    assert (np.diff(arrivals_s) >= 0).all()
    counts = np.histogram(arrivals_s, bins=[1000, 1045, 1090, 1135, 1180])[0]
    assert counts == pytest.approx(45 * rates, abs=3 * 95)  # three standard deviations
    assert counts[2] == 0
    assert all(normals.size == times.size for _, times, normals in minutes)


def test_gaps_are_poisson() -> None:
    arrivals_s = np.concatenate([times for _, times, _ in minutes_of_arrivals(np.full(20, 50.0), 60.0, 0.0, 3)])
    gaps = np.diff(arrivals_s)
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, abs=0.02)


def test_rates_that_vary_of_themselves_are_over_dispersed() -> None:
    def dispersion(shape: float | None) -> float:
        minutes = minutes_of_arrivals(np.full(400, 20.0), 60.0, 0.0, 3, shape)
        counts = np.array([times.size for _, times, _ in minutes])
        return float(counts.var() / counts.mean())

    assert dispersion(None) == pytest.approx(1.0, abs=0.2)
    assert dispersion(60.0) == pytest.approx(1 + 20.0 * 30.0 / 60.0, rel=0.2)


def test_the_last_minute_may_be_short() -> None:
    minutes = list(minutes_of_arrivals(np.full(5, 100.0), 15.0, 0.0, 3))
    assert [end_s for end_s, _, _ in minutes] == [60.0, 75.0]
    assert minutes[-1][1].max() < 75.0
