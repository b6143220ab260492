from __future__ import annotations

import pytest

from app.planning.scaling.cell import choose_divisor, divide_autoscaler, divide_operations
from app.records.scaling import (
    Autoscaler,
    ColdStartModel,
    Fixed,
    Hpa,
    Knative,
    Operations,
    Predictive,
    Scheduled,
    ScheduledReplicas,
)


@pytest.mark.parametrize(
    ("requests", "autoscaler", "peak_replicas", "divisor"),
    [
        (1e7, Fixed(1000), 1000, 1),
        (1e8, Fixed(1000), 1000, 5),
        (1e8, Fixed(90), 90, 2),  # 3 or more cells would have too few replicas
        (1e8, Fixed(997), 997, 1),  # a prime
        (1.3e8, Fixed(1000), 1000, 8),  # seven does not divide it
        (1e8, Hpa(0.7, max=500), 400, 5),
        (1e9, Hpa(0.7, max=500), 400, 12),
        (1e9, Hpa(0.7, max=500), 10, 1),
        (1e9, Fixed(80), 80, 5),  # 16 replicas per cell, since 2 cells would have too many requests
        (1.9e8, Fixed(80), 80, 2),
        (1e8, Scheduled((ScheduledReplicas(0.0, 100), ScheduledReplicas(9.0, 250))), 250, 2),
    ],
)
def test_cell_divisor_bounds_requests_and_keeps_enough_replicas(
    requests: float, autoscaler: Autoscaler, peak_replicas: int, divisor: int
) -> None:
    assert choose_divisor(requests, autoscaler, peak_replicas) == divisor


def test_autoscaler_bounds_and_warm_nodes_are_divided_among_cells() -> None:
    hpa = divide_autoscaler(Hpa(0.7, min=10, max=101), 4)
    assert isinstance(hpa, Hpa)
    assert (hpa.min, hpa.max, hpa.target) == (3, 26, 0.7)
    assert [(policy.unit, policy.value) for policy in hpa.up.policies] == [("percent", 100.0), ("pods", 1)]
    knative = divide_autoscaler(Knative(max=0, burst=211.0), 2)
    assert isinstance(knative, Knative)
    assert (knative.max, knative.burst, knative.capacity) == (0, 105.5, 100.0)
    assert divide_autoscaler(Fixed(1000), 5) == Fixed(200)
    assert divide_autoscaler(Predictive(9.0, 60.0, max=100), 5) == Predictive(9.0, 60.0, max=20)
    assert divide_operations(Operations(ColdStartModel(warm_nodes=5)), 4).cold_start.warm_nodes == 2
