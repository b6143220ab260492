from typing import Literal

import numpy as np
import pytest
from scipy import stats

from loadgen.arrivals import Offsets, clip_rates, compute_offsets_ns
from loadgen.records import OpenArrivals, TraceArrivals

Process = Literal["constant", "poisson", "gamma"]


def offsets(
    rates: tuple[tuple[float, float], ...] | float = 1_000.0,
    duration: float = 1,
    process: Process = "poisson",
    lead_in: float = 0,
    seed: int = 7,
    cv: float = 1.0,
) -> Offsets:
    curve = ((0.0, rates),) if isinstance(rates, float) else rates
    return compute_offsets_ns(OpenArrivals(process, curve, cv), duration, lead_in, seed)


def area_before(at_s: np.ndarray, rates: tuple[tuple[float, float], ...]) -> np.ndarray:
    """Arrivals expected until then, by summing the curve in steps of 0.1 ms."""
    times = np.arange(0, at_s.max() + 1e-3, 1e-4)
    curve = np.interp(times, [at for at, _ in rates], [rate for _, rate in rates])
    expected: np.ndarray = np.interp(at_s, times[1:], np.cumsum((curve[1:] + curve[:-1]) / 2 * 1e-4))
    return expected


def test_poisson_gaps_are_exponential_with_the_stated_mean() -> None:
    # the mean of 10,000 gaps has a standard error of 1 %: half a per cent of it needs 160,000
    gaps_s = np.diff(offsets(duration=180), prepend=0) / 1e9
    assert stats.kstest(gaps_s[:10_000], "expon", args=(0, 1 / 1_000)).pvalue > 0.01
    assert gaps_s.mean() == pytest.approx(1 / 1_000, rel=0.005)


def test_poisson_counts_have_the_variance_of_a_poisson_process() -> None:
    counts = np.histogram(offsets(duration=100), bins=1_000, range=(0, 100e9))[0]
    assert counts.var() / counts.mean() == pytest.approx(1, abs=0.15)


def test_a_poisson_ramp_is_exponential_in_the_area_under_its_curve() -> None:
    """Time rescaling: the areas between the arrivals of a Poisson process are independent exponentials of mean 1."""
    ramp = ((0.0, 100.0), (20.0, 900.0))
    at_s = offsets(ramp, 20) / 1e9
    assert len(at_s) == pytest.approx(10_000, abs=400)
    gaps = np.diff(area_before(at_s, ramp), prepend=0)
    assert stats.kstest(gaps, "expon").pvalue > 0.01
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 0.05


@pytest.mark.parametrize("cv", [0.3, 1.0, 3.0])
def test_gamma_gaps_have_the_stated_mean_and_variation(cv: float) -> None:
    gaps_s = np.diff(offsets(duration=100, process="gamma", cv=cv)) / 1e9
    assert gaps_s.mean() == pytest.approx(1 / 1_000, rel=0.03)
    assert gaps_s.std() / gaps_s.mean() == pytest.approx(cv, rel=0.05)
    # of a bursty process many gaps are shorter than the nanosecond they are rounded to: not the place to look
    at_s = np.geomspace(1e-5, 1e-2, 20)
    shares = np.searchsorted(np.sort(gaps_s), at_s) / len(gaps_s)
    assert shares == pytest.approx(stats.gamma.cdf(at_s, cv**-2, scale=cv**2 / 1_000), abs=0.01)


def test_gamma_of_variation_one_is_poisson() -> None:
    gaps_s = np.diff(offsets(duration=10, process="gamma")) / 1e9
    assert stats.kstest(gaps_s, "expon", args=(0, 1 / 1_000)).pvalue > 0.01


def test_constant_arrivals_are_evenly_spaced_from_the_start() -> None:
    found = offsets(100.0, 12, "constant")
    assert len(found) == 1_200
    assert found[0] == 0
    assert set(np.diff(found)) == {10_000_000}


def test_a_rate_that_does_not_divide_a_second_does_not_drift() -> None:
    found = offsets(3.0, 1_000, "constant")
    assert len(found) == 3_000
    assert found[2_999] == round(2_999 / 3 * 1e9)


def test_constant_arrivals_on_a_ramp_are_where_the_area_is_whole() -> None:
    """Rate 2 t: the n-th is at √n."""
    found = offsets(((0.0, 0.0), (10.0, 20.0)), 10, "constant")
    assert found.tolist() == [round(n**0.5 * 1e9) for n in range(100)]


def test_a_jump_is_sharp() -> None:
    found = offsets(((0.0, 10.0), (1.0, 10.0), (1.0, 1_000.0), (2.0, 1_000.0), (2.0, 10.0)), 3, "constant") / 1e9
    counts = [int(((found >= start) & (found < start + 1)).sum()) for start in range(3)]
    assert counts == [10, 1_000, 10]


@pytest.mark.parametrize("process", ["poisson", "constant", "gamma"])
def test_nothing_arrives_while_the_rate_is_zero(process: Process) -> None:
    curve = ((0.0, 100.0), (1.0, 100.0), (1.0, 0.0), (4.0, 0.0), (4.0, 100.0))
    found = offsets(curve, 5, process) / 1e9
    assert not ((found > 1) & (found < 4)).any()
    assert (found >= 4).sum() > 50


def test_a_rate_that_is_always_zero_gives_no_arrival() -> None:
    assert len(offsets(0.0)) == 0


def test_the_lead_in_holds_the_first_rate_and_goes_over_without_a_break() -> None:
    found = offsets(((0.0, 100.0), (10.0, 200.0)), 10, "constant", lead_in=2)
    assert found[0] == -2_000_000_000
    assert (found < 0).sum() == 200
    assert np.diff(found)[:200].tolist() == pytest.approx([10_000_000] * 200, rel=1e-3)
    assert len(found) == 200 + 1_500


@pytest.mark.parametrize("process", ["poisson", "constant", "gamma"])
def test_the_same_seed_gives_the_same_schedule(process: Process) -> None:
    assert np.array_equal(offsets(process=process), offsets(process=process))


def test_another_seed_gives_another_schedule() -> None:
    assert not np.array_equal(offsets(), offsets(seed=8))


@pytest.mark.parametrize("process", ["poisson", "constant", "gamma"])
@pytest.mark.parametrize("rate", [0.5, 3.0, 777.7, 20_000.0])
def test_every_arrival_is_inside_the_stage_and_in_order(process: Process, rate: float) -> None:
    found = offsets(rate, 2.5, process)
    assert (np.diff(found) >= 0).all()
    assert len(found) == 0 or (found[0] >= 0 and found[-1] < 2_500_000_000)


def test_a_trace_is_played_as_recorded_within_the_stage() -> None:
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
def test_the_curve_is_cut_to_what_was_played(
    start: float, end: float, expected: tuple[tuple[float, float], ...]
) -> None:
    assert clip_rates(((0.0, 10.0), (1.0, 10.0), (1.0, 30.0), (3.0, 50.0)), start, end) == expected
