from typing import Literal

import numpy as np
import pytest
from scipy import stats

from loadgen.arrivals import Offsets, clip_rates, compute_offsets_ns
from loadgen.records import OpenArrivals, TraceArrivals

Process = Literal["constant", "poisson", "gamma"]


def compute(
    rates: tuple[tuple[float, float], ...] | float = 1_000.0,
    duration: float = 1,
    process: Process = "poisson",
    lead_in: float = 0,
    seed: int = 7,
    cv: float = 1.0,
) -> Offsets:
    curve = ((0.0, rates),) if isinstance(rates, float) else rates
    return compute_offsets_ns(OpenArrivals(process, curve, cv), duration, lead_in, seed)


def count_expected_arrivals(at_s: np.ndarray, rates: tuple[tuple[float, float], ...]) -> np.ndarray:
    """Return the arrivals expected until each time, by summing the curve in steps of 0.1 ms."""
    times = np.arange(0, at_s.max() + 1e-3, 1e-4)
    curve = np.interp(times, [at for at, _ in rates], [rate for _, rate in rates])
    expected: np.ndarray = np.interp(at_s, times[1:], np.cumsum((curve[1:] + curve[:-1]) / 2 * 1e-4))
    return expected


def test_poisson_gaps_are_exponential_with_the_requested_mean() -> None:
    # the mean of 10,000 gaps has a standard error of 1 %: half a percent requires 160,000
    gaps_s = np.diff(compute(duration=180), prepend=0) / 1e9
    assert stats.kstest(gaps_s[:10_000], "expon", args=(0, 1 / 1_000)).pvalue > 0.01
    assert gaps_s.mean() == pytest.approx(1 / 1_000, rel=0.005)


def test_poisson_counts_have_the_variance_of_a_poisson_process() -> None:
    counts = np.histogram(compute(duration=100), bins=1_000, range=(0, 100e9))[0]
    assert counts.var() / counts.mean() == pytest.approx(1, abs=0.15)


def test_poisson_ramp_has_exponential_gaps_in_expected_arrivals() -> None:
    """Time rescaling: the areas between the arrivals of a Poisson process are independent exponentials of mean 1."""
    ramp = ((0.0, 100.0), (20.0, 900.0))
    at_s = compute(ramp, 20) / 1e9
    assert len(at_s) == pytest.approx(10_000, abs=400)
    gaps = np.diff(count_expected_arrivals(at_s, ramp), prepend=0)
    assert stats.kstest(gaps, "expon").pvalue > 0.01
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 0.05


@pytest.mark.parametrize("cv", [0.3, 1.0, 3.0])
def test_gamma_gaps_have_the_requested_mean_and_variation(cv: float) -> None:
    gaps_s = np.diff(compute(duration=100, process="gamma", cv=cv)) / 1e9
    assert gaps_s.mean() == pytest.approx(1 / 1_000, rel=0.03)
    assert gaps_s.std() / gaps_s.mean() == pytest.approx(cv, rel=0.05)
    # in a bursty process, many gaps are shorter than the nanosecond to which they are rounded
    at_s = np.geomspace(1e-5, 1e-2, 20)
    shares = np.searchsorted(np.sort(gaps_s), at_s) / len(gaps_s)
    assert shares == pytest.approx(stats.gamma.cdf(at_s, cv**-2, scale=cv**2 / 1_000), abs=0.01)


def test_gamma_arrivals_with_variation_1_are_poisson() -> None:
    gaps_s = np.diff(compute(duration=10, process="gamma")) / 1e9
    assert stats.kstest(gaps_s, "expon", args=(0, 1 / 1_000)).pvalue > 0.01


def test_constant_arrivals_are_evenly_spaced_from_the_start() -> None:
    offsets = compute(100.0, 12, "constant")
    assert len(offsets) == 1_200
    assert offsets[0] == 0
    assert set(np.diff(offsets)) == {10_000_000}


def test_constant_arrivals_do_not_accumulate_rounding_errors() -> None:
    offsets = compute(3.0, 1_000, "constant")
    assert len(offsets) == 3_000
    assert offsets[2_999] == round(2_999 / 3 * 1e9)


def test_constant_arrivals_on_ramp_are_at_whole_expected_counts() -> None:
    """With the rate 2 t, the n-th arrival is at √n."""
    offsets = compute(((0.0, 0.0), (10.0, 20.0)), 10, "constant")
    assert offsets.tolist() == [round(n**0.5 * 1e9) for n in range(100)]


def test_rate_jump_changes_arrivals_immediately() -> None:
    offsets = compute(((0.0, 10.0), (1.0, 10.0), (1.0, 1_000.0), (2.0, 1_000.0), (2.0, 10.0)), 3, "constant") / 1e9
    counts = [int(((offsets >= start) & (offsets < start + 1)).sum()) for start in range(3)]
    assert counts == [10, 1_000, 10]


@pytest.mark.parametrize("process", ["poisson", "constant", "gamma"])
def test_no_request_arrives_while_rate_is_zero(process: Process) -> None:
    curve = ((0.0, 100.0), (1.0, 100.0), (1.0, 0.0), (4.0, 0.0), (4.0, 100.0))
    offsets = compute(curve, 5, process) / 1e9
    assert not ((offsets > 1) & (offsets < 4)).any()
    assert (offsets >= 4).sum() > 50


def test_zero_rate_produces_no_arrivals() -> None:
    assert len(compute(0.0)) == 0


def test_lead_in_has_first_rate_and_continues_without_gap() -> None:
    offsets = compute(((0.0, 100.0), (10.0, 200.0)), 10, "constant", lead_in=2)
    assert offsets[0] == -2_000_000_000
    assert (offsets < 0).sum() == 200
    assert np.diff(offsets)[:200].tolist() == pytest.approx([10_000_000] * 200, rel=1e-3)
    assert len(offsets) == 200 + 1_500


@pytest.mark.parametrize("process", ["poisson", "constant", "gamma"])
def test_same_seed_produces_same_schedule(process: Process) -> None:
    assert np.array_equal(compute(process=process), compute(process=process))


def test_other_seed_produces_other_schedule() -> None:
    assert not np.array_equal(compute(), compute(seed=8))


@pytest.mark.parametrize("process", ["poisson", "constant", "gamma"])
@pytest.mark.parametrize("rate", [0.5, 3.0, 777.7, 20_000.0])
def test_every_arrival_is_inside_the_stage_and_in_order(process: Process, rate: float) -> None:
    offsets = compute(rate, 2.5, process)
    assert (np.diff(offsets) >= 0).all()
    assert len(offsets) == 0 or (offsets[0] >= 0 and offsets[-1] < 2_500_000_000)


def test_trace_is_replayed_as_recorded_within_stage() -> None:
    recorded = np.array([-3_000, -1_000, 0, 5_000, 5_000, 2_000_000_000], "<i8")
    trace = TraceArrivals(recorded.tobytes())
    assert compute_offsets_ns(trace, 1, 0, seed=1).tolist() == [0, 5_000, 5_000]
    assert compute_offsets_ns(trace, 1, 2e-6, seed=1).tolist() == [-1_000, 0, 5_000, 5_000]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, 4, ((0, 10), (1, 10), (1, 30), (3, 50), (4, 50))),
        (-2, 1, ((-2, 10), (0, 10), (1, 10))),
        (1, 2, ((1, 30), (2, 40))),
    ],
)
def test_rate_curve_is_clipped_to_time_range(
    start: float, end: float, expected: tuple[tuple[float, float], ...]
) -> None:
    assert clip_rates(((0.0, 10.0), (1.0, 10.0), (1.0, 30.0), (3.0, 50.0)), start, end) == expected
