from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from app.analysis.columns import Floats
from app.analysis.traces import select_busiest_rows
from app.planning.sizing.bursts import (
    MAX_REQUESTS,
    Bursts,
    Modulation,
    compute_burst_factor,
    compute_fluid_rate_per_s,
    draw_arrivals,
    find_modulation,
)
from app.records.traffic import Dispersion, Traffic
from tests.tiers import first_in_unit_tier

FLAT = (1.0,) * 24


def draw_modulated_arrivals(
    modulation: Modulation, rate_per_s: float, span_s: float, seed: int
) -> npt.NDArray[np.float64]:
    dice = np.random.default_rng(seed)
    windows = round(span_s / modulation.window_s)
    factors = dice.gamma(modulation.shape, 1 / modulation.shape, windows)
    counts = dice.poisson(rate_per_s * modulation.window_s * factors)
    starts = np.repeat(np.arange(windows) * modulation.window_s, counts)
    return np.sort(starts + dice.uniform(0, modulation.window_s, counts.sum()))


def compute_dispersion_index(at_s: npt.NDArray[np.float64], window_s: float, span_s: float) -> float:
    counts = np.bincount((at_s // window_s).astype(int), minlength=round(span_s / window_s))
    return float(counts.var(ddof=1) / counts.mean())


@pytest.mark.parametrize("rate_per_s", first_in_unit_tier([2.0, 20.0]))
def test_modulated_arrivals_have_the_requested_dispersion_index(rate_per_s: float) -> None:
    traffic = Traffic(rate_per_s, "flat", FLAT, dispersion=Dispersion(8.0, 60.0))
    modulation = find_modulation(traffic)
    assert modulation == Modulation(rate_per_s * 60.0 / 7.0, 60.0)
    at_s = draw_modulated_arrivals(modulation, rate_per_s, 500_000, seed=1)
    assert compute_dispersion_index(at_s, 60.0, 500_000) == pytest.approx(8.0, rel=0.1)
    assert compute_dispersion_index(at_s, 300.0, 500_000 // 300 * 300) == pytest.approx(8.0, rel=0.15)


@pytest.mark.parametrize("index", [0.5, 1.0])
def test_dispersion_index_up_to_1_needs_no_modulation(index: float) -> None:
    assert find_modulation(Traffic(20.0, "flat", FLAT, dispersion=Dispersion(index))) is None


def test_cache_share_lowers_the_dispersion_index_but_not_the_modulation() -> None:
    traffic = Traffic(20.0, "flat", FLAT, dispersion=Dispersion(8.0), cache_share=0.5)
    assert find_modulation(traffic) == find_modulation(Traffic(20.0, "flat", FLAT, dispersion=Dispersion(8.0)))
    modulation = Modulation(5.0, 60.0)
    at_s = draw_modulated_arrivals(modulation, 20.0, 300_000, seed=2)
    uncached_s = at_s[np.random.default_rng(3).random(at_s.size) < 0.5]
    assert compute_dispersion_index(uncached_s, 60.0, 300_000) == pytest.approx(1 + 10.0 * 60.0 / 5.0, rel=0.1)


LOADS, SHARES = (0.5, 0.8, 1.0, 1.05), (0.0, 0.01, 0.05, 1.0)


def test_burst_factor_of_nearly_constant_arrivals_is_1() -> None:
    assert compute_burst_factor(LOADS, SHARES, 0.052, shape=1e9) == 1.0


def test_burst_factor_counts_as_many_requests_as_arrive_without_bursts() -> None:
    loads, shares = (0.001, 1e6), (0.05, 0.05)  # the load does not change the share of late requests
    assert compute_burst_factor(loads, shares, 0.0499, shape=0.1) == pytest.approx(0, abs=1e-6)
    assert compute_burst_factor(loads, shares, 0.0501, shape=0.1) == 1.0


def test_burst_factor_falls_with_burstiness_and_grows_with_the_allowed_late_share() -> None:
    factors = [compute_burst_factor(LOADS, SHARES, 0.05, shape) for shape in (1000.0, 100.0, 10.0, 1.0)]
    assert factors == sorted(factors, reverse=True)
    assert 0.9 < factors[0] < 1
    assert 0 < factors[-1] < 0.4
    assert compute_burst_factor(LOADS, SHARES, 0.2, 10.0) > compute_burst_factor(LOADS, SHARES, 0.05, 10.0)


# if no request is late up to the full rate and all are late beyond it, the late requests are those of windows over the
# full rate; a window's share of the requests is its factor times a gamma density: a gamma with its shape increased by 1
@pytest.mark.parametrize("allowed", [0.05, 0.2])
@pytest.mark.parametrize("shape", [3.0, 30.0])
def test_burst_factor_for_a_step_of_the_late_share_equals_the_gamma_quantile(shape: float, allowed: float) -> None:
    exact = 1 / stats.gamma.ppf(1 - allowed, shape + 1, scale=1 / shape)
    assert compute_burst_factor((0.0, 1.0), (0.0, 0.0), allowed, shape) == pytest.approx(exact, rel=0.01)


EVEN_S = np.arange(0.0, 600.0, 0.1)
BURST_S = np.sort(np.concatenate([EVEN_S, np.linspace(300.0, 305.0, 500, endpoint=False)]))
"""10 req/s, and 110 req/s for 5 s."""


def build_bursts(at_s: Floats, rate_factor: float = 1.0) -> Bursts:
    rows = select_busiest_rows(at_s)
    return Bursts(rows, Dispersion(), rate_factor * len(at_s) / rows.window_s)


def test_trace_at_its_own_rate_is_replayed_as_recorded() -> None:
    arrivals = draw_arrivals(build_bursts(BURST_S), 1.0)
    assert arrivals is not None
    assert all(sample.times_s.size == BURST_S.size for sample in arrivals)
    np.testing.assert_allclose(arrivals[0].times_s, BURST_S, atol=1e-6)
    assert arrivals[0].compress(2.0).times_s[-1] == pytest.approx(BURST_S[-1] / 2)


def test_arrivals_beyond_the_request_limit_are_not_drawn() -> None:
    assert draw_arrivals(build_bursts(EVEN_S, 1.01 * MAX_REQUESTS / EVEN_S.size), 1.0) is None
    assert draw_arrivals(build_bursts(EVEN_S, 1.01 * MAX_REQUESTS / EVEN_S.size), 0.5) is not None


def test_drawn_bursts_have_the_requested_dispersion_in_their_window() -> None:
    arrivals = draw_arrivals(Bursts(None, Dispersion(8.0, 5.0), 10.0), 1.0)
    assert arrivals is not None
    counts = np.concatenate(
        [np.histogram(sample.times_s, np.arange(0.0, sample.end_s + 1, 5.0))[0] for sample in arrivals]
    )
    assert counts.mean() == pytest.approx(50.0, rel=0.03)
    assert counts.var() / counts.mean() == pytest.approx(8.0, rel=0.2)


def simulate_late_share(at_s: Floats, per_s: float, slack_s: float) -> float:
    """Return the share of requests that a server of `per_s` req/s serves later than `slack_s`."""
    free_s, late = 0.0, 0
    for arrival_s in at_s.tolist():
        late += free_s - arrival_s > slack_s
        free_s = max(free_s, arrival_s) + 1 / per_s
    return late / at_s.size


def test_fluid_rate_serves_a_burst_within_the_slack() -> None:
    rate_per_s = compute_fluid_rate_per_s(build_bursts(BURST_S), 2.0, 0.01)
    assert 30 < rate_per_s < 110
    assert (
        simulate_late_share(BURST_S, 1.01 * rate_per_s, 2.0)
        <= 0.01
        < simulate_late_share(BURST_S, 0.97 * rate_per_s, 2.0)
    )
    assert compute_fluid_rate_per_s(build_bursts(BURST_S), 2.0, 0.2) < 20.0  # the whole burst may be late
    assert compute_fluid_rate_per_s(build_bursts(EVEN_S), 2.0, 0.01) == pytest.approx(10.0, rel=0.01)


def test_fluid_rate_of_a_large_trace_is_estimated_from_a_sample() -> None:
    spread_s = np.sort(np.tile(BURST_S, 40) + np.random.default_rng(1).uniform(0, 1, 40 * BURST_S.size))
    rows = select_busiest_rows(spread_s)
    rate_per_s = compute_fluid_rate_per_s(Bursts(rows, Dispersion(), spread_s.size / rows.window_s), 2.0, 0.01)
    assert rate_per_s == pytest.approx(40 * compute_fluid_rate_per_s(build_bursts(BURST_S), 2.0, 0.01), rel=0.15)
