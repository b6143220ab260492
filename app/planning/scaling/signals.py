"""Metrics of an autoscaler and their sliding means.

The module also contains the autoscalers that use no metric: replica schedules and predictive
scaling.
"""

from __future__ import annotations

import math
from collections import deque

import msgspec
import numpy as np
import numpy.typing as npt

from app.records.scaling import Predictive, ScalingMetric, Scheduled


class FleetView(msgspec.Struct, frozen=True):
    """State of the fleet at the end of a time slot, as an autoscaler sees it.

    `desired_replicas` is the number of replicas that the autoscaler requested last,
    `pending_replicas` the number of replicas without a container, and `starting_replicas` the
    number of replicas whose container is not ready. No count includes draining replicas.

    `in_flight` is the number of requests that run in ready replicas or are queued, and
    `utilization` is the sum of the replicas' utilizations. Both are means over the time slot.
    `rate_per_s` is the arrival rate in the time slot. A metric that the autoscaler does not use is
    not measured.
    """

    now_s: float
    desired_replicas: int
    ready_replicas: int
    in_flight: float | None
    utilization: float | None
    rate_per_s: float | None
    pending_replicas: int = 0
    starting_replicas: int = 0

    @property
    def replicas(self) -> int:
        return self.ready_replicas + self.pending_replicas + self.starting_replicas

    def get_metric(self, metric: ScalingMetric) -> float:
        """Return the value of the metric, which must have been measured, summed over all replicas."""
        values: dict[ScalingMetric, float | None] = {
            "busy": self.utilization,
            "in_flight": self.in_flight,
            "rate": self.rate_per_s,
        }
        value = values[metric]
        assert value is not None, metric
        return value


class SlidingMean:
    """Mean of the values of the last `window_s` seconds, with at most one value per time slot.

    Time slots without a value count as 0. Time slots before the first value are ignored.
    """

    def __init__(self, window_s: float, slot_s: float) -> None:
        self._slot_count = max(1, round(window_s / slot_s))
        self._slot_s = slot_s
        self._values: deque[tuple[int, float]] = deque()
        self._first_slot = 0

    def add(self, now_s: float, value: float) -> None:
        """Add a value to the window. A window without values restarts with the new value."""
        slot = round(now_s / self._slot_s)
        if not self._values or slot - self._values[-1][0] > self._slot_count:
            self._values.clear()
            self._first_slot = slot
        self._values.append((slot, value))

    def compute_mean(self, now_s: float) -> float | None:
        """Return the mean over the window; `None` if the window contains no value."""
        slot = round(now_s / self._slot_s)
        while self._values and self._values[0][0] <= slot - self._slot_count:
            self._values.popleft()
        if not self._values:
            return None
        return sum(value for _, value in self._values) / min(self._slot_count, slot - self._first_slot + 1)


def is_due(now_s: float, last_time_s: float | None, interval_s: float) -> bool:
    return last_time_s is None or now_s - last_time_s >= interval_s - 1e-9


DAY_S = 86_400.0


def count_scheduled_replicas(settings: Scheduled, time_s: float) -> int:
    """Return the number of replicas that the schedule sets at `time_s`, in seconds after midnight
    of any day."""
    time_of_day_s = time_s % DAY_S
    rows = [row for row in settings.table if row.at_s <= time_of_day_s]
    return (rows or settings.table)[-1].replicas


def count_predicted_replicas(
    settings: Predictive, now_s: float, rates_per_s: npt.NDArray[np.float64], bin_s: float, start_s: float = 0.0
) -> int:
    """Return the number of replicas for the highest forecast rate from `now_s` until the end of the
    lead time.

    The first bin of the forecast begins at `start_s`. After the last bin, its rate is assumed to
    continue.
    """
    last_bin = rates_per_s.size - 1
    first_bin, last_needed_bin = (
        min(max(0, math.floor((time_s - start_s) / bin_s)), last_bin) for time_s in (now_s, now_s + settings.lead_s)
    )
    peak_per_s = float(rates_per_s[first_bin : last_needed_bin + 1].max())
    needed_replicas = math.ceil(peak_per_s * (1 + settings.headroom) / settings.rate_per_replica_per_s - 1e-9)
    return min(max(needed_replicas, settings.min), settings.max)


class PredictiveState:
    """State of a predictive autoscaler, which decides at every tick."""

    def __init__(
        self, settings: Predictive, rates_per_s: npt.NDArray[np.float64], bin_s: float, start_s: float = 0.0
    ) -> None:
        self._settings = settings
        self._rates_per_s, self._bin_s, self._start_s = rates_per_s, bin_s, start_s
        self._last_tick_s: float | None = None

    def compute_desired_replicas(self, view: FleetView) -> int:
        if not is_due(view.now_s, self._last_tick_s, self._settings.tick_s):
            return view.desired_replicas
        self._last_tick_s = view.now_s
        return count_predicted_replicas(self._settings, view.now_s, self._rates_per_s, self._bin_s, self._start_s)
