from __future__ import annotations

import numpy as np
import pytest

from app.analysis.traces import select_busiest_rows
from app.planning.scaling.arrivals import iterate_arrivals, iterate_trace_arrivals
from app.planning.simulation.arrivals import Arrivals


def test_arrivals_are_sorted_and_follow_the_requested_rates() -> None:
    rates = np.array([50.0, 200.0, 0.0, 100.0])
    minutes = list(iterate_arrivals(rates, 45.0, 1000.0, 3))
    assert [minute.end_s for minute in minutes] == [1060.0, 1120.0, 1180.0]
    arrivals_s = np.concatenate([minute.times_s for minute in minutes])
    assert (np.diff(arrivals_s) >= 0).all()
    counts = np.histogram(arrivals_s, bins=[1000, 1045, 1090, 1135, 1180])[0]
    assert counts == pytest.approx(45 * rates, abs=3 * 95)  # three standard deviations
    assert counts[2] == 0
    assert all(minute.normals.size == minute.times_s.size for minute in minutes)


def test_gaps_between_arrivals_are_exponential() -> None:
    arrivals_s = np.concatenate([minute.times_s for minute in iterate_arrivals(np.full(20, 50.0), 60.0, 0.0, 3)])
    gaps = np.diff(arrivals_s)
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, abs=0.02)


def test_modulated_arrivals_are_overdispersed() -> None:
    def dispersion(shape: float | None) -> float:
        minutes = iterate_arrivals(np.full(400, 20.0), 60.0, 0.0, 3, shape)
        counts = np.array([minute.times_s.size for minute in minutes])
        return float(counts.var() / counts.mean())

    assert dispersion(None) == pytest.approx(1.0, abs=0.2)
    assert dispersion(60.0) == pytest.approx(1 + 20.0 * 30.0 / 60.0, rel=0.2)


def test_last_minute_of_arrivals_may_be_partial() -> None:
    minutes = list(iterate_arrivals(np.full(5, 100.0), 15.0, 0.0, 3))
    assert [minute.end_s for minute in minutes] == [60.0, 75.0]
    assert minutes[-1].times_s.max() < 75.0


TRACE_S = np.array([0.0, 1.0, 1.5, 30.0, 89.0])
TRACE = select_busiest_rows(TRACE_S, (np.arange(5, dtype=np.int32), np.arange(5, dtype=np.int32)))


def replay_trace(rates: list[float]) -> list[Arrivals]:
    return list(iterate_trace_arrivals(np.array(rates), 60.0, 1000.0, 4, TRACE))


def test_trace_at_its_own_rate_is_repeated_as_recorded() -> None:
    own_per_s = 5 / TRACE.window_s
    minutes = replay_trace([own_per_s] * 4)
    at_s = np.concatenate([minute.times_s for minute in minutes]) - 1000.0
    expected = np.concatenate([TRACE_S + repetition * TRACE.window_s for repetition in range(3)])
    np.testing.assert_allclose(at_s, expected[expected < 240.0])
    assert np.concatenate([minute.rows for minute in minutes]).tolist() == ([0, 1, 2, 3, 4] * 3)[: at_s.size]
    assert [minute.end_s for minute in minutes] == [1060.0, 1120.0, 1180.0, 1240.0]


@pytest.mark.parametrize("rate_factor", [0.3, 2.5, 200.0])
def test_trace_at_another_rate_is_sampled_or_copied(rate_factor: float) -> None:
    per_s = rate_factor * 5 / TRACE.window_s
    minutes = replay_trace([per_s] * 500)
    counts = np.array([minute.times_s.size for minute in minutes])
    assert counts.mean() == pytest.approx(60 * per_s, rel=0.2)
    assert all((np.diff(minute.times_s) >= 0).all() for minute in minutes)
    assert all(((minute.times_s >= minute.end_s - 60) & (minute.times_s < minute.end_s)).all() for minute in minutes)
    assert all(minute.rows.size == minute.normals.size == minute.times_s.size for minute in minutes)


def test_service_times_follow_trace_tokens_if_requested() -> None:
    minutes = list(iterate_trace_arrivals(np.full(4, 5 / TRACE.window_s), 60.0, 0.0, 4, TRACE, True))
    rows, normals = (np.concatenate([getattr(minute, name) for minute in minutes]) for name in ("rows", "normals"))
    assert all(len(set(normals[rows == row].tolist())) == 1 for row in range(5))
    assert (np.diff([normals[rows == row][0] for row in range(1, 5)]) > 0).all()  # 0 tokens count as 1
