"""Autoscalers that watch no metric: a table for the day, and a forecast."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from app.planning.scaling.signals import FleetView, is_due
from app.records.scaling import Predictive, Scheduled

DAY_S = 86_400.0


def scheduled_replicas(settings: Scheduled, at_s: float) -> int:
    """`at_s` counts from midnight, of this day or another."""
    time_s = at_s % DAY_S
    rows = [row for row in settings.table if row.at_s <= time_s]
    return (rows or settings.table)[-1].replicas


def predicted_replicas(
    settings: Predictive, now_s: float, rates_per_s: npt.NDArray[np.float64], bin_s: float, start_s: float = 0.0
) -> int:
    """For the highest rate of the bins that [now, now + lead] touches; beyond the last bin its rate is taken to hold.

    `start_s` is when the first bin begins.
    """
    last = rates_per_s.size - 1
    first, until = (
        min(max(0, math.floor((moment_s - start_s) / bin_s)), last) for moment_s in (now_s, now_s + settings.lead_s)
    )
    peak = float(rates_per_s[first : until + 1].max())
    needed = math.ceil(peak * (1 + settings.headroom) / settings.per_replica_per_s - 1e-9)
    return min(max(needed, settings.min), settings.max)


class PredictiveState:
    """One forecast at work, every tick anew."""

    def __init__(
        self, settings: Predictive, rates_per_s: npt.NDArray[np.float64], bin_s: float, start_s: float = 0.0
    ) -> None:
        self._settings = settings
        self._rates_per_s, self._bin_s, self._start_s = rates_per_s, bin_s, start_s
        self._ticked_s: float | None = None

    def desired(self, seen: FleetView) -> int:
        if not is_due(seen.now_s, self._ticked_s, self._settings.tick_s):
            return seen.wanted
        self._ticked_s = seen.now_s
        return predicted_replicas(self._settings, seen.now_s, self._rates_per_s, self._bin_s, self._start_s)
