from __future__ import annotations

import numpy as np
import pytest

from app.planning.simulation.histogram import (
    BUCKET_COUNT,
    compute_quantiles_s,
    find_bucket,
    get_bucket_edges_s,
)


def test_histogram_buckets_are_within_0_4_percent_from_10_us_to_1_h() -> None:
    edges_s = get_bucket_edges_s()
    assert edges_s[0] <= 10e-6
    assert edges_s[-1] >= 3600
    assert (np.diff(edges_s) / edges_s[:-1]).max() < 0.004


def test_latency_lies_between_the_edges_of_its_bucket() -> None:
    edges_s = get_bucket_edges_s()
    for time_s in np.exp(np.random.default_rng(1).uniform(np.log(1e-5), np.log(3600), 2000)):
        bucket = find_bucket(float(time_s))
        assert edges_s[bucket] <= time_s < edges_s[bucket + 1]
    assert find_bucket(0.0) == find_bucket(1e-9) == 0
    assert find_bucket(1e9) == BUCKET_COUNT - 1


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99, 0.999, 1.0])
def test_histogram_quantiles_are_within_0_5_percent_of_exact_quantiles(share: float) -> None:
    times_s = np.random.default_rng(2).lognormal(-3.0, 1.5, 20_000)
    counts = np.zeros(BUCKET_COUNT, dtype=np.int64)
    np.add.at(counts, [find_bucket(float(time_s)) for time_s in times_s], 1)
    assert compute_quantiles_s(counts, (share,))[0] == pytest.approx(np.quantile(times_s, share), rel=0.005)


def test_quantile_of_an_empty_histogram_is_none() -> None:
    assert compute_quantiles_s(np.zeros(BUCKET_COUNT, dtype=np.int64), (0.5,)) == (None,)


def test_several_quantiles_equal_those_computed_separately() -> None:
    counts = np.random.default_rng(3).integers(0, 3, BUCKET_COUNT)
    shares = (0.0, 0.3, 0.5, 0.999, 1.0)
    assert compute_quantiles_s(counts, shares) == tuple(compute_quantiles_s(counts, (share,))[0] for share in shares)
    assert compute_quantiles_s(np.zeros(BUCKET_COUNT, dtype=np.int64), (0.1, 0.9)) == (None, None)
