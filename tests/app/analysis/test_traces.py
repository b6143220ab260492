from __future__ import annotations

import datetime

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from app.analysis.traces import (
    compute_dispersion_index,
    compute_hourly_profile,
    compute_modulation_shape,
    compute_peak_rate_per_s,
    compute_rate_per_s,
    compute_squared_cv,
    compute_trace_statistics,
    compute_weekly_profile,
    find_rows_error,
    select_busiest_rows,
    unpack_times_s,
    unpack_token_pairs,
)

DAY_S = 86_400.0
Floats = npt.NDArray[np.float64]


def draw_poisson(rate_per_s: float, span_s: float, seed: int = 1) -> Floats:
    rng = np.random.default_rng(seed)
    return np.sort(rng.uniform(0, span_s, rng.poisson(rate_per_s * span_s)))


def draw_modulated(shape: float, rates_per_s: Floats, window_s: float, seed: int) -> Floats:
    """Arrivals with one rate per window, multiplied by a gamma factor of mean 1."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rates_per_s * window_s * rng.gamma(shape, 1 / shape, rates_per_s.size))
    starts = np.repeat(np.arange(rates_per_s.size) * window_s, counts)
    return np.concatenate([[0.0], np.sort(starts + rng.uniform(0, window_s, counts.sum()))])


def test_trace_statistics_match_hand_computed_values() -> None:
    at_s = np.array([0.0, 0.1, 0.2, 1.5, 4.0])
    assert compute_peak_rate_per_s(at_s, 1.0) == 3.0
    assert (
        compute_peak_rate_per_s(at_s, 4.0) == 1.0
    )  # the last arrival is in the window that starts at the second arrival
    assert compute_peak_rate_per_s(at_s, 5.0) is None
    gaps = np.diff(at_s)
    assert compute_squared_cv(at_s) == pytest.approx(gaps.var() / gaps.mean() ** 2)
    # windows of three, one and no arrivals in turn, and one more arrival in the incomplete last window
    turns = np.concatenate([10 * start + np.array([0, 1, 2, 11]) for start in (0, 3, 6, 9)] + [np.array([120.0])])
    counts = np.array([3, 1, 0] * 4)
    assert compute_dispersion_index(turns, 10.0) == pytest.approx(counts.var(ddof=1) / counts.mean())
    assert compute_dispersion_index(turns, 20.0) is None


def test_trace_statistics_of_even_and_poisson_arrivals() -> None:
    even = np.arange(0, 1000, 0.5)
    assert compute_squared_cv(even) == pytest.approx(0.0)
    assert compute_dispersion_index(even, 10.0) == pytest.approx(0.0)
    statistics = compute_trace_statistics(draw_poisson(20.0, 40_000.0))
    assert statistics.mean_per_s == pytest.approx(20.0, rel=0.02)
    assert statistics.ca2 == pytest.approx(1.0, abs=0.02)
    assert [statistics.index_1s, statistics.index_10s, statistics.index_60s] == pytest.approx([1.0] * 3, abs=0.2)
    assert statistics.peak_1h_per_s == pytest.approx(20.0, rel=0.05)
    assert statistics.peak_1s_per_s is not None
    assert 35 <= statistics.peak_1s_per_s <= 55
    assert statistics.modulation_shape is None


def test_poisson_arrivals_are_not_detected_as_modulated() -> None:
    """A variance exceeds three sigma by chance in about 4 of 1,000 cases."""
    assert sum(compute_modulation_shape(draw_poisson(2.0, 7_200.0, seed)) is not None for seed in range(60)) <= 1


@pytest.mark.parametrize(("shape", "rate_per_s"), [(0.5, 5.0), (2.0, 8.0), (5.0, 3.0)])
def test_modulation_shape_is_estimated_from_modulated_arrivals(shape: float, rate_per_s: float) -> None:
    at_s = draw_modulated(shape, np.full(5 * 1440, rate_per_s), 60.0, seed=2)
    assert compute_modulation_shape(at_s) == pytest.approx(shape, rel=0.12)
    assert compute_dispersion_index(at_s, 60.0) == pytest.approx(1 + rate_per_s * 60 / shape, rel=0.12)


def test_modulation_shape_is_estimated_without_bias() -> None:
    at_s = draw_modulated(0.5, np.full(40 * 1440, 0.5), 60.0, seed=0)
    assert compute_modulation_shape(at_s) == pytest.approx(0.5, rel=0.015)


def test_daily_profile_is_not_detected_as_modulation() -> None:
    minutes = np.arange(4 * 1440)
    rates = 10 * (1.1 + np.repeat(np.sin(minutes[::60] / 1440 * 2 * np.pi), 60))
    calm = draw_poisson_at_rates(rates)
    index = compute_dispersion_index(calm, 60.0)
    assert index is not None
    assert index > 50
    assert compute_modulation_shape(calm) is None
    assert compute_modulation_shape(draw_modulated(3.0, rates, 60.0, seed=3)) == pytest.approx(3.0, rel=0.12)


def draw_poisson_at_rates(rates_per_s: Floats) -> Floats:
    rng = np.random.default_rng(4)
    starts = np.repeat(np.arange(rates_per_s.size) * 60.0, rng.poisson(rates_per_s * 60))
    return np.sort(starts + rng.uniform(0, 60, starts.size))


def test_hourly_and_weekly_profiles_are_estimated() -> None:
    shares = np.r_[np.full(8, 0.2), np.full(10, 1.0), np.full(6, 0.5)]
    week = np.array([1, 1, 1, 1, 1, 0.4, 0.3])
    since_s = 5 * DAY_S + 6 * 3600  # from Saturday, six in the morning
    hours = (np.arange(15 * 24) + 5 * 24 + 6) % 168
    rates = 2 * shares[hours % 24] * week[hours // 24]
    at_s = draw_poisson_at_rates(np.repeat(rates, 60))
    assert compute_weekly_profile(at_s, 6 * 3600.0, 5) == pytest.approx(week, abs=0.04)
    hourly_profile = compute_hourly_profile(at_s, since_s % DAY_S)
    assert max(hourly_profile) == 1.0
    assert np.array(hourly_profile)[:8] == pytest.approx(np.full(8, 0.2), abs=0.04)
    statistics = compute_trace_statistics(at_s, datetime.datetime(2026, 6, 6, 6))  # noqa: DTZ001 - as written
    assert statistics.weekly_share == compute_weekly_profile(at_s, 6 * 3600.0, 5)
    assert statistics.hourly_share == hourly_profile
    assert compute_trace_statistics(at_s).weekly_share is None


def test_short_trace_has_only_count_span_rate_and_tokens() -> None:
    statistics = compute_trace_statistics(np.array([0.0, 0.5]), mean_tokens=(10.0, None))
    assert (statistics.count, statistics.span_s, statistics.mean_per_s) == (2, 0.5, 2.0)
    assert (statistics.mean_input_tokens, statistics.mean_output_tokens) == (10.0, None)
    absent = (
        statistics.peak_1s_per_s,
        statistics.ca2,
        statistics.index_1s,
        statistics.modulation_shape,
        statistics.hourly_share,
    )
    assert absent == (None,) * 5


def test_trace_with_gap_of_years_has_statistics() -> None:
    statistics = compute_trace_statistics(np.array([0.0, 1.0, 3e8]))
    assert statistics.index_1s == pytest.approx(1.0, abs=0.1)
    assert statistics.hourly_share is not None


def test_short_trace_is_selected_completely_with_rate_and_tokens() -> None:
    rows = select_busiest_rows(
        np.array([0.0, 1.5, 2.0]), (np.array([5, 0, 7], np.int32), np.array([1, 2, 3], np.int32))
    )
    assert unpack_times_s(rows).tolist() == [0.0, 1.5, 2.0]
    pairs = unpack_token_pairs(rows)
    assert pairs is not None
    assert pairs.tolist() == [[5, 1], [1, 2], [7, 3]]
    assert compute_rate_per_s(rows) == pytest.approx(1.0)  # two gaps in 2 s
    assert find_rows_error(rows) is None


def test_busiest_hour_of_longer_trace_is_selected() -> None:
    at_s = np.concatenate([[0.0], np.linspace(7200, 9000, 500), [20_000.0]])
    rows = select_busiest_rows(at_s)
    assert unpack_times_s(rows).size == 500
    assert (rows.window_s, unpack_token_pairs(rows)) == (3600.0, None)


def test_sampled_trace_rows_preserve_rate_and_bursts() -> None:
    at_s = np.concatenate([np.linspace(0, 100, 4000, endpoint=False), np.linspace(100, 101, 4000)])
    rows = select_busiest_rows(at_s, max_rows=1000)
    assert unpack_times_s(rows).size == 1000
    assert compute_rate_per_s(rows) == pytest.approx(8000 / 101, rel=0.01)
    assert np.mean(unpack_times_s(rows) >= 100) == pytest.approx(0.5, abs=0.06)


def test_damaged_trace_rows_are_rejected() -> None:
    rows = select_busiest_rows(np.array([0.0, 1.0, 2.0]))
    descending = np.array([0, 5, 4], "<u4").tobytes()
    for changes in (
        {"at_us": b"abc"},
        {"at_us": descending},
        {"at_us": rows.at_us[:4]},
        {"window_s": 1.0},
        {"window_s": 0.0},
        {"sampled_share": 0.0},
        {"input_tokens": b"1234"},
        {"input_tokens": rows.at_us},
    ):
        assert find_rows_error(msgspec.structs.replace(rows, **changes)) is not None
