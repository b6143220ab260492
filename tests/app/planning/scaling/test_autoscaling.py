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
TABLE = Scheduled((ScheduledReplicas(0.0, 2), ScheduledReplicas(60.0, 7)))


@pytest.mark.parametrize(
    ("settings", "at_start", "most"),
    [
        (Fixed(5), 5, 5),
        (TABLE, 2, 7),
        (Predictive(10.0, 60.0, max=50), 40, 50),
        (Hpa(target=0.5, max=50), 20, 50),  # 100/s over 10/s, half of it aimed at
        (Hpa(target=0.5, max=12), 12, 12),
        (Keda(target=3.0, max=50), 15, 50),
        (Knative(utilization=0.8), 13, None),
        (Knative(utilization=0.8, max=9), 9, 9),
    ],
)
def test_where_an_autoscaler_begins_and_ends(settings: Autoscaler, at_start: int, most: int | None) -> None:
    assert count_initial_replicas(settings, 10.0, RATES, 60.0) == at_start
    assert get_max_replicas(settings) == most


def test_a_fleet_that_may_sleep_begins_asleep_without_traffic() -> None:
    nothing = np.zeros(2)
    begun = [count_initial_replicas(one, 10.0, nothing, 60.0) for one in (Knative(), Keda(3.0, max=9), Hpa(0.5, max=9))]
    assert begun == [0, 0, 1]


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        (Fixed(5), 5),
        (TABLE, 7),
        (Predictive(10.0, 60.0, max=50), 40),
        (Hpa(target=0.5, max=50), 6),
        (Keda(target=3.0, max=50), 5),
        (Knative(capacity=5.0), 4),
    ],
)
def test_each_kind_is_at_work(settings: Autoscaler, wanted: int) -> None:
    compute_desired_replicas = build_autoscaler(settings, 3, 1.0, RATES, 60.0)
    assert compute_desired_replicas(FleetView(60.0, 3, 3, in_flight=14.0, utilization=3.0, rate_per_s=90.0)) == wanted


def test_settings_are_written_and_read_by_their_kind() -> None:
    text = b'{"kind": "hpa", "metric": "in_flight", "target": 4, "min": 2, "max": 40}'
    settings = msgspec.json.decode(text, type=Autoscaler)
    assert settings == Hpa(target=4, max=40, metric="in_flight", min=2)
    for one in (Fixed(5), TABLE, Predictive(10.0, 60.0, max=50), Keda(3.0, max=50), Knative()):
        assert msgspec.json.decode(msgspec.json.encode(one), type=Autoscaler) == one
