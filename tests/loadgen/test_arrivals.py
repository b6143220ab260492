import numpy as np
import pytest
from scipy import stats

from loadgen.arrivals import offsets_ns
from loadgen.records import StagePlan


def plan(arrivals: str = "poisson", rate: float = 1_000, duration: float = 1, seed: int = 7, limit: int | None = None):
    return StagePlan(
        index=0, name="s", arrivals=arrivals, rate_per_s=rate, duration_s=duration, seed=seed, max_requests=limit
    )


def test_poisson_gaps_are_exponential_with_the_stated_mean() -> None:
    # the mean of 10,000 gaps has a standard error of 1 %: half a per cent of it needs 160,000
    offsets = offsets_ns(plan(rate=1_000, duration=180))
    gaps_s = np.diff(offsets, prepend=0) / 1e9
    assert stats.kstest(gaps_s[:10_000], "expon", args=(0, 1 / 1_000)).pvalue > 0.01
    assert gaps_s.mean() == pytest.approx(1 / 1_000, rel=0.005)


def test_poisson_counts_have_the_variance_of_a_poisson_process() -> None:
    offsets = offsets_ns(plan(rate=1_000, duration=100))
    counts = np.histogram(offsets, bins=1_000, range=(0, 100e9))[0]
    assert counts.var() / counts.mean() == pytest.approx(1, abs=0.15)


def test_the_same_seed_gives_the_same_schedule_and_another_seed_another() -> None:
    assert np.array_equal(offsets_ns(plan()), offsets_ns(plan()))
    assert not np.array_equal(offsets_ns(plan()), offsets_ns(plan(seed=8)))


def test_constant_arrivals_are_evenly_spaced_from_the_start() -> None:
    offsets = offsets_ns(plan("constant", rate=100, duration=12))
    assert len(offsets) == 1_200
    assert offsets[0] == 0
    assert set(np.diff(offsets)) == {10_000_000}


def test_a_rate_that_does_not_divide_a_second_does_not_drift() -> None:
    offsets = offsets_ns(plan("constant", rate=3, duration=1_000))
    assert len(offsets) == 3_000
    assert offsets[2_999] == int(2_999 / 3 * 1e9)


@pytest.mark.parametrize("arrivals", ["poisson", "constant"])
@pytest.mark.parametrize("rate", [0.5, 3, 777.7, 20_000])
def test_every_arrival_is_inside_the_stage_and_in_order(arrivals: str, rate: float) -> None:
    offsets = offsets_ns(plan(arrivals, rate=rate, duration=2.5))
    assert (np.diff(offsets) >= 0).all()
    assert len(offsets) == 0 or (offsets[0] >= 0 and offsets[-1] < 2_500_000_000)


def test_max_requests_keeps_the_first_arrivals() -> None:
    assert np.array_equal(offsets_ns(plan(limit=10)), offsets_ns(plan())[:10])
