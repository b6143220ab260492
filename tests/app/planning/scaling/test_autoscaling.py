from __future__ import annotations

import msgspec
import numpy as np
import pytest

from app.planning.scaling.autoscaling import build_autoscaler, count_initial_replicas, get_max_replicas
from app.planning.scaling.signals import FleetView
from app.records.scaling import (
    Autoscaler,
    Fixed,
    Hpa,
    Keda,
    Knative,
    Predictive,
    Scheduled,
    ScheduledReplicas,
)

RATES = np.array([100.0, 400.0])
SCHEDULE = Scheduled((ScheduledReplicas(0.0, 2), ScheduledReplicas(60.0, 7)))


@pytest.mark.parametrize(
    ("settings", "initial", "maximum"),
    [
        (Fixed(5), 5, 5),
        (SCHEDULE, 2, 7),
        (Predictive(10.0, 60.0, max=50), 40, 50),
        (Hpa(target=0.5, max=50), 20, 50),  # 100 req/s at 10 req/s per replica and 50 % target utilization
        (Hpa(target=0.5, max=12), 12, 12),
        (Keda(target=3.0, max=50), 15, 50),
        (Knative(utilization=0.8), 13, None),
        (Knative(utilization=0.8, max=9), 9, 9),
    ],
)
def test_autoscaler_has_its_initial_and_max_replicas(settings: Autoscaler, initial: int, maximum: int | None) -> None:
    assert count_initial_replicas(settings, 10.0, RATES, 60.0) == initial
    assert get_max_replicas(settings) == maximum


def test_autoscaler_that_scales_to_zero_starts_with_0_replicas_without_traffic() -> None:
    no_traffic = np.zeros(2)
    initial_replicas = [
        count_initial_replicas(settings, 10.0, no_traffic, 60.0)
        for settings in (Knative(), Keda(3.0, max=9), Hpa(0.5, max=9))
    ]
    assert initial_replicas == [0, 0, 1]


@pytest.mark.parametrize(
    ("settings", "desired"),
    [
        (Fixed(5), 5),
        (SCHEDULE, 7),
        (Predictive(10.0, 60.0, max=50), 40),
        (Hpa(target=0.5, max=50), 6),
        (Keda(target=3.0, max=50), 5),
        (Knative(capacity=5.0), 4),
    ],
)
def test_each_autoscaler_kind_computes_desired_replicas(settings: Autoscaler, desired: int) -> None:
    compute_desired_replicas = build_autoscaler(settings, 3, 1.0, RATES, 60.0)
    assert compute_desired_replicas(FleetView(60.0, 3, 3, in_flight=14.0, utilization=3.0, rate_per_s=90.0)) == desired


def test_autoscaler_settings_round_trip_through_json_by_kind() -> None:
    text = b'{"kind": "hpa", "metric": "in_flight", "target": 4, "min": 2, "max": 40}'
    settings = msgspec.json.decode(text, type=Autoscaler)
    assert settings == Hpa(target=4, max=40, metric="in_flight", min=2)
    for autoscaler in (Fixed(5), SCHEDULE, Predictive(10.0, 60.0, max=50), Keda(3.0, max=50), Knative()):
        assert msgspec.json.decode(msgspec.json.encode(autoscaler), type=Autoscaler) == autoscaler
