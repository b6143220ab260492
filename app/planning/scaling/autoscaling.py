"""Construction of simulated autoscalers from their settings."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import assert_never

import numpy as np
import numpy.typing as npt

from app.planning.scaling.hpa import HpaState, KedaState
from app.planning.scaling.knative import KnativeState
from app.planning.scaling.signals import FleetView, PredictiveState, count_predicted_replicas, count_scheduled_replicas
from app.records.scaling import Autoscaler, Fixed, Hpa, Keda, Knative, Predictive, ScalingMetric, Scheduled

ComputeDesiredReplicas = Callable[[FleetView], int]


def build_autoscaler(
    settings: Autoscaler,
    replicas: int,
    slot_s: float,
    rates_per_s: npt.NDArray[np.float64],
    bin_s: float,
    start_s: float = 0.0,
) -> ComputeDesiredReplicas:
    """Build the decision function of an autoscaler, which returns the desired number of replicas.

    Call the function at the end of every time slot, in order. `replicas` is the number of replicas
    at `start_s`. `rates_per_s` is the forecast for predictive autoscaling.
    """
    match settings:
        case Fixed(replicas=fixed_replicas):
            return lambda _: fixed_replicas
        case Scheduled():
            return lambda view: count_scheduled_replicas(settings, view.now_s)
        case Predictive():
            return PredictiveState(settings, rates_per_s, bin_s, start_s).compute_desired_replicas
        case Hpa():
            return HpaState(settings, slot_s).compute_desired_replicas
        case Keda():
            return KedaState(settings, slot_s).compute_desired_replicas
        case Knative():
            return KnativeState(settings, slot_s, replicas=replicas, now_s=start_s).compute_desired_replicas
        case _:
            assert_never(settings)


def count_initial_replicas(
    settings: Autoscaler,
    rate_per_replica_per_s: float,
    rates_per_s: npt.NDArray[np.float64],
    bin_s: float,
    start_s: float = 0.0,
) -> int:
    """Return the number of replicas that the autoscaler would have reached under a constant first
    rate.

    Each replica is assumed to sustain `rate_per_replica_per_s` at full utilization.
    """
    match settings:
        case Fixed(replicas=replicas):
            return replicas
        case Scheduled():
            return count_scheduled_replicas(settings, start_s)
        case Predictive():
            return count_predicted_replicas(settings, start_s, rates_per_s, bin_s, start_s)
        case Hpa() | Keda() | Knative():
            needed_replicas = math.ceil(
                float(rates_per_s[0]) / (rate_per_replica_per_s * _get_target_utilization(settings)) - 1e-9
            )
            max_replicas = settings.max or needed_replicas
            return min(max(needed_replicas, settings.min), max(max_replicas, settings.min))
        case _:
            assert_never(settings)


def _get_target_utilization(settings: Hpa | Keda | Knative) -> float:
    """Return the target utilization of an autoscaler. For metrics other than utilization, 0.7 is
    assumed."""
    match settings:
        case Hpa(metric="busy"):
            return settings.target
        case Knative():
            return settings.utilization
        case _:
            return 0.7


def get_metric(settings: Autoscaler) -> ScalingMetric | None:
    """Return the metric of the autoscaler; `None` if its decisions use no metric."""
    return settings.metric if isinstance(settings, Hpa | Keda | Knative) else None


def get_max_replicas(settings: Autoscaler) -> int | None:
    """Return the maximum number of replicas that the autoscaler can request; `None` means
    unlimited."""
    match settings:
        case Fixed(replicas=replicas):
            return replicas
        case Scheduled():
            return max(row.replicas for row in settings.table)
        case Knative():
            return settings.max or None
        case Hpa() | Keda() | Predictive():
            return settings.max
        case _:
            assert_never(settings)
