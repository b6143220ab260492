from __future__ import annotations

import numpy as np
import pytest

from app.analysis.columns import Floats
from app.analysis.trace_rows import busiest_rows
from app.planning.burst_arrivals import MAX_REQUESTS, Bursts, drawn_arrivals, fluid_rate_per_s
from app.records.traffic import Dispersion

EVEN_S = np.arange(0.0, 600.0, 0.1)
BURST_S = np.sort(np.concatenate([EVEN_S, np.linspace(300.0, 305.0, 500, endpoint=False)]))
"""10 requests/s, and 110/s for 5 s."""


def bursts(at_s: Floats, times: float = 1.0) -> Bursts:
    rows = busiest_rows(at_s)
    return Bursts(rows, Dispersion(), times * len(at_s) / rows.window_s)


def test_a_trace_at_its_own_level_is_played_as_recorded() -> None:
    drawn = drawn_arrivals(bursts(BURST_S), 1.0)
    assert drawn is not None
    assert all(one.at_s.size == BURST_S.size for one in drawn)
    np.testing.assert_allclose(drawn[0].at_s, BURST_S, atol=1e-6)
    assert drawn[0].compressed(2.0).at_s[-1] == pytest.approx(BURST_S[-1] / 2)


def test_more_than_can_be_simulated_is_not_drawn() -> None:
    assert drawn_arrivals(bursts(EVEN_S, 1.01 * MAX_REQUESTS / EVEN_S.size), 1.0) is None
    assert drawn_arrivals(bursts(EVEN_S, 1.01 * MAX_REQUESTS / EVEN_S.size), 0.5) is not None


def test_stated_bursts_have_their_dispersion_in_windows_of_their_length() -> None:
    drawn = drawn_arrivals(Bursts(None, Dispersion(8.0, 5.0), 10.0), 1.0)
    assert drawn is not None
    counts = np.concatenate([np.histogram(one.at_s, np.arange(0.0, one.window_s + 1, 5.0))[0] for one in drawn])
    assert counts.mean() == pytest.approx(50.0, rel=0.03)
    assert counts.var() / counts.mean() == pytest.approx(8.0, rel=0.2)


def late_share(at_s: Floats, per_s: float, slack_s: float) -> float:
    """Of one fast server, request by request."""
    free_s, late = 0.0, 0
    for arrival_s in at_s.tolist():
        late += free_s - arrival_s > slack_s
        free_s = max(free_s, arrival_s) + 1 / per_s
    return late / at_s.size


def test_the_fluid_rate_works_off_a_burst_within_the_slack() -> None:
    needed = fluid_rate_per_s(bursts(BURST_S), 2.0, 0.01)
    assert 30 < needed < 110
    assert late_share(BURST_S, 1.01 * needed, 2.0) <= 0.01 < late_share(BURST_S, 0.97 * needed, 2.0)
    assert fluid_rate_per_s(bursts(BURST_S), 2.0, 0.2) < 20.0  # the whole burst may be late
    assert fluid_rate_per_s(bursts(EVEN_S), 2.0, 0.01) == pytest.approx(10.0, rel=0.01)


def test_of_a_large_trace_a_part_tells_the_fluid_rate() -> None:
    spread_s = np.sort(np.tile(BURST_S, 40) + np.random.default_rng(1).uniform(0, 1, 40 * BURST_S.size))
    rows = busiest_rows(spread_s)
    needed = fluid_rate_per_s(Bursts(rows, Dispersion(), spread_s.size / rows.window_s), 2.0, 0.01)
    assert needed == pytest.approx(40 * fluid_rate_per_s(bursts(BURST_S), 2.0, 0.01), rel=0.15)
