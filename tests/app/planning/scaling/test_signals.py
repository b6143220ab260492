from __future__ import annotations

import numpy as np
import pytest

from app.planning.scaling.signals import (
    FleetView,
    PredictiveState,
    SlidingMean,
    count_predicted_replicas,
    count_scheduled_replicas,
)
from app.records.scaling import Predictive, Scheduled, ScheduledReplicas


def test_sliding_mean_covers_the_window_or_the_available_values() -> None:
    mean = SlidingMean(6.0, 2.0)
    assert mean.compute_mean(0.0) is None
    means = []
    for now_s, value in ((2.0, 6.0), (4.0, 0.0), (6.0, 0.0), (8.0, 3.0)):
        mean.add(now_s, value)
        means.append(mean.compute_mean(now_s))
    assert means == pytest.approx([6.0, 3.0, 2.0, 1.0])


def test_sliding_mean_counts_gaps_as_0_and_is_none_after_an_empty_window() -> None:
    mean = SlidingMean(10.0, 1.0)
    mean.add(1.0, 4.0)
    mean.add(8.0, 4.0)
    assert mean.compute_mean(8.0) == pytest.approx(1.0)
    assert mean.compute_mean(18.0) is None
    mean.add(20.0, 4.0)
    assert mean.compute_mean(20.0) == 4.0


SCHEDULE = Scheduled((ScheduledReplicas(7 * 3600.0, 8), ScheduledReplicas(19 * 3600.0, 3)))


def test_scheduled_replicas_apply_from_their_time_and_across_midnight() -> None:
    assert [count_scheduled_replicas(SCHEDULE, hour * 3600.0) for hour in (0, 6.99, 7, 18.99, 19, 23.9)] == [
        3,
        3,
        8,
        8,
        3,
        3,
    ]
    assert count_scheduled_replicas(SCHEDULE, (24 + 8) * 3600.0) == 8


def test_predicted_replicas_are_for_the_highest_rate_within_the_lead_time() -> None:
    rates = np.array([10.0, 20.0, 50.0, 5.0])
    settings = Predictive(rate_per_replica_per_s=10.0, lead_s=60.0, max=40)
    times_s = (0.0, 59.0, 60.0, 120.0, 180.0, 900.0)
    assert [count_predicted_replicas(settings, at_s, rates, 60.0) for at_s in times_s] == [2, 2, 5, 5, 1, 1]
    with_headroom = Predictive(rate_per_replica_per_s=10.0, lead_s=0.0, max=40, headroom=0.2)
    assert count_predicted_replicas(with_headroom, 120.0, rates, 60.0) == 6
    assert count_predicted_replicas(Predictive(10.0, 0.0, max=3), 120.0, rates, 60.0) == 3
    assert count_predicted_replicas(settings, 1060.0, rates, 60.0, start_s=1000.0) == 5


def test_predictive_autoscaler_changes_replicas_at_its_ticks() -> None:
    state = PredictiveState(Predictive(10.0, 0.0, max=9, tick_s=30.0), np.array([10.0, 30.0]), 10.0)
    desired_replicas = [
        state.compute_desired_replicas(FleetView(at_s, 1, 1, 0.0, 0.0, 0.0)) for at_s in (0.0, 10.0, 20.0, 30.0)
    ]
    assert desired_replicas == [1, 1, 1, 3]
