"""From an autoscaler's settings to one at work."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import assert_never

import numpy as np
import numpy.typing as npt

from app.planning.scaling.hpa import HpaState, KedaState
from app.planning.scaling.knative import KnativeState
from app.planning.scaling.signals import FleetView, PredictiveState, predicted_replicas, scheduled_replicas
from app.records.scaling import Autoscaler, Fixed, Hpa, Keda, Knative, Predictive, Scheduled

Decide = Callable[[FleetView], int]


def autoscaler_at_work(
    settings: Autoscaler,
    replicas: int,
    slot_s: float,
    rates_per_s: npt.NDArray[np.float64],
    bin_s: float,
    start_s: float = 0.0,
) -> Decide:
    """A function to call at the end of every slot, in order, that gives the replicas wanted from now on.

    `replicas` are there at `start_s`, where time begins; the rates are the forecast of a predictive one.
    """
    match settings:
        case Fixed(replicas=fixed):
            return lambda _: fixed
        case Scheduled():
            return lambda seen: scheduled_replicas(settings, seen.now_s)
        case Predictive():
            return PredictiveState(settings, rates_per_s, bin_s, start_s).desired
        case Hpa():
            return HpaState(settings, slot_s).desired
        case Keda():
            return KedaState(settings, slot_s).desired
        case Knative():
            return KnativeState(settings, slot_s, replicas=replicas, now_s=start_s).desired
        case _:
            assert_never(settings)


def replicas_at_start(
    settings: Autoscaler,
    per_replica_per_s: float,
    rates_per_s: npt.NDArray[np.float64],
    bin_s: float,
    start_s: float = 0.0,
) -> int:
    """As if the autoscaler had long been at work at the first rate; a replica carries at most `per_replica_per_s`."""
    match settings:
        case Fixed(replicas=replicas):
            return replicas
        case Scheduled():
            return scheduled_replicas(settings, start_s)
        case Predictive():
            return predicted_replicas(settings, start_s, rates_per_s, bin_s, start_s)
        case Hpa() | Keda() | Knative():
            needed = math.ceil(float(rates_per_s[0]) / (per_replica_per_s * _aimed_share(settings)) - 1e-9)
            most = settings.max or needed
            return min(max(needed, settings.min), max(most, settings.min))
        case _:
            assert_never(settings)


def _aimed_share(settings: Hpa | Keda | Knative) -> float:
    """Of what a replica carries at most; told by the settings only where they speak of shares."""
    match settings:
        case Hpa(metric="busy"):
            return settings.target
        case Knative():
            return settings.utilisation
        case _:
            return 0.7


def most_replicas(settings: Autoscaler) -> int | None:
    """That it will ever want; None is no limit."""
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
