from __future__ import annotations

import numpy as np
import pytest

from app.storage.foreign.aggregates import (
    compute_aggregates,
    compute_mean,
    convert_to_seconds,
    drop_empty,
    format_percentile_name,
)


def test_percentiles_of_aggregates_are_measured_values() -> None:
    """Of 1 to 1,000 in any order, the q-th quantile is the ceil(1,000 q)-th value."""
    values = np.random.default_rng(1).permutation(1000) + 1.0
    assert compute_aggregates(values) == {
        "mean": 500.5,
        "p50": 500.0,
        "p90": 900.0,
        "p95": 950.0,
        "p99": 990.0,
        "p99_9": 999.0,
        "max": 1000.0,
    }


def test_percentile_ranks_are_not_affected_by_rounding() -> None:
    """0.95 of 20 is exactly 19; 0.99 of 20 is above 19."""
    aggregates = compute_aggregates(float(at) for at in range(1, 21))
    assert (aggregates["p90"], aggregates["p95"], aggregates["p99"]) == (18.0, 19.0, 20.0)
    assert compute_aggregates([3.0])["p50"] == 3.0


def test_aggregates_of_no_values_or_only_zeros_are_empty() -> None:
    assert compute_aggregates([]) == compute_aggregates([0.0, 0.0]) == {}
    assert convert_to_seconds({"mean": 0.0, "p99": 0.0}, 1e-3) == {}
    assert convert_to_seconds({"p50": 0.0, "p99": 4.0}, 1e-3) == {"p50": 0.0, "p99": 0.004}
    assert compute_mean([]) is None
    assert compute_mean([1.0, 2.0]) == 1.5
    assert drop_empty({"ttft": {}, "latency": {"p50": 1.0}}) == {"latency": {"p50": 1.0}}


@pytest.mark.parametrize(("percent", "name"), [(50.0, "p50"), (99.9, "p99_9"), (99.99, "p99_99"), (0.1, "p0_1")])
def test_percentile_names_follow_the_metric_catalog(percent: float, name: str) -> None:
    assert format_percentile_name(percent) == name
