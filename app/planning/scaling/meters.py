"""Measurements of a simulated fleet: for the autoscaler once per slot, for the timeline once per minute."""

from __future__ import annotations

import numpy as np

from app.planning.scaling.lifecycle import PENDING_PHASES, STARTING_PHASES
from app.planning.scaling.operated_fleet import OperatedFleet
from app.planning.scaling.signals import FleetView
from app.planning.simulation.activator import sum_ages_s, sum_latencies_s
from app.planning.simulation.histogram import compute_quantile_s
from app.planning.simulation.results import compute_busy_s, get_histogram
from app.planning.simulation.serving import get_outstanding, get_totals
from app.planning.simulation.state import Fleet
from app.records.day import DayMinute, DayTotals


class SlotMeter:
    """Means over a slot: requests in the fleet by Little's law, busy shares by the seconds worked."""

    def __init__(self, fleet: Fleet, outside_s: float, timeout_s: float, start_s: float) -> None:
        self._fleet, self._outside_s = fleet, outside_s
        self._timeout_s = timeout_s if np.isfinite(timeout_s) else 0.0
        self._at_s = start_s
        self._counts = get_totals(fleet)
        self._answered_s = sum_latencies_s(fleet)
        self._ages_s = 0.0
        self._busy_s = compute_busy_s(fleet, start_s)

    def read(self, operated: OperatedFleet, now_s: float, requested: int) -> FleetView:
        """Return the view of the slot since the last reading; the fleet has to be advanced to `now_s`."""
        slot_s, counts, total_busy_s = now_s - self._at_s, get_totals(self._fleet), compute_busy_s(self._fleet, now_s)
        busy = (total_busy_s - self._busy_s) / slot_s
        ready = operated.ready_places
        view = FleetView(
            now_s=now_s,
            requested=requested,
            ready=len(ready),
            in_flight=self._in_flight(operated, now_s, counts),
            utilization=float(busy[ready].clip(0.0, 1.0).sum()),
            rate_per_s=(counts.arrivals - self._counts.arrivals) / slot_s,
            pending=operated.replicas.count(*PENDING_PHASES),
            starting=operated.replicas.count(*STARTING_PHASES),
        )
        self._at_s, self._counts, self._busy_s = now_s, counts, total_busy_s
        return view

    def restart(self) -> None:
        """Start again after requests or replicas were removed between slots."""
        self._ages_s = sum_ages_s(self._fleet, self._at_s)
        self._busy_s = compute_busy_s(self._fleet, self._at_s)
        self._counts = get_totals(self._fleet)

    def _in_flight(self, operated: OperatedFleet, now_s: float, counts: DayTotals) -> float:
        """Return the mean number in flight since the last reading, from the time spent in the fleet.

        Requests that have left since are counted; those of draining replicas are not.
        """
        last_counts = self._counts
        responses = counts.good + counts.late - last_counts.good - last_counts.late
        answered_total_s, ages_s = sum_latencies_s(self._fleet), sum_ages_s(self._fleet, now_s)
        time_in_fleet_s = answered_total_s - self._answered_s + ages_s - self._ages_s - responses * self._outside_s
        self._answered_s, self._ages_s = answered_total_s, ages_s
        time_in_fleet_s += (counts.timed_out - last_counts.timed_out) * self._timeout_s
        places = operated.draining_places
        draining = int(get_outstanding(self._fleet)[places].sum()) if places else 0
        return max(0.0, time_in_fleet_s / (now_s - self._at_s) - draining)


class MinuteMeter:
    """Differences between the counts at the end of one minute and the next."""

    def __init__(self, fleet: Fleet, usd_per_hour: float, start_s: float, cell_count: int) -> None:
        """Create the meter; all results are multiplied by `cell_count`."""
        self._fleet, self._usd_per_hour, self._times = fleet, usd_per_hour, cell_count
        self._at_s = start_s
        self._counts = get_totals(fleet)
        self._histogram = get_histogram(fleet)
        self._billed_s = 0.0

    def read(self, operated: OperatedFleet, now_s: float, requested: int) -> DayMinute:
        counts, histogram, last_counts = get_totals(self._fleet), get_histogram(self._fleet), self._counts
        billed_s = sum(operated.replicas.compute_billed_s(now_s).values())
        finished, times = histogram - self._histogram, self._times
        p50_s, p95_s, p99_s = (compute_quantile_s(finished, share) for share in (0.50, 0.95, 0.99))
        minute = DayMinute(
            at_s=self._at_s,
            arrivals_per_s=times * (counts.arrivals - last_counts.arrivals) / (now_s - self._at_s),
            desired=times * requested,
            ready=times * len(operated.ready_places),
            starting=times * operated.replicas.count(*PENDING_PHASES, *STARTING_PHASES),
            billed=times * operated.replicas.count_billed_nodes(now_s),
            in_flight=times * counts.in_flight,
            good=times * (counts.good - last_counts.good),
            late=times * (counts.late - last_counts.late),
            dropped=times * (counts.dropped - last_counts.dropped),
            timed_out=times * (counts.timed_out - last_counts.timed_out),
            failed=times * (counts.failed - last_counts.failed),
            p50_s=p50_s,
            p95_s=p95_s,
            p99_s=p99_s,
            usd=times * (billed_s - self._billed_s) / 3600 * self._usd_per_hour,
        )
        self._at_s, self._counts, self._histogram, self._billed_s = now_s, counts, histogram, billed_s
        return minute
