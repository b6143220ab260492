"""Measurements of a simulated fleet: once per time slot for the autoscaler, and once per minute for
the timeline."""

from __future__ import annotations

import numpy as np

from app.planning.scaling.lifecycle import PENDING_PHASES, STARTING_PHASES
from app.planning.scaling.operated_fleet import OperatedFleet
from app.planning.scaling.signals import FleetView
from app.planning.simulation.activator import sum_ages_s, sum_latencies_s
from app.planning.simulation.results import compute_busy_s, compute_latency_percentiles, get_histograms
from app.planning.simulation.serving import get_outstanding_counts, get_totals
from app.planning.simulation.state import Fleet
from app.records.day import DayMinute
from app.records.scaling import ScalingMetric


class SlotMeter:
    """Meter of means over a time slot: requests in flight by Little's law, and utilization from
    busy time. Only `metric` is measured, if any."""

    def __init__(
        self, fleet: Fleet, metric: ScalingMetric | None, outside_s: float, timeout_s: float, start_s: float
    ) -> None:
        self._fleet, self._metric, self._outside_s = fleet, metric, outside_s
        self._timeout_s = timeout_s if np.isfinite(timeout_s) else 0.0
        self._last_read_s = start_s
        self._totals = get_totals(fleet)
        self._total_latency_s = sum_latencies_s(fleet)
        self._total_age_s = 0.0
        self._busy_s = compute_busy_s(fleet, start_s)

    def read(self, operated_fleet: OperatedFleet, now_s: float, desired_replicas: int) -> FleetView:
        """Return the fleet's state at `now_s`, with means since the last reading. The fleet must
        have been advanced to `now_s`."""
        view = FleetView(
            now_s=now_s,
            desired_replicas=desired_replicas,
            ready_replicas=len(operated_fleet.ready_slots),
            in_flight=self._compute_in_flight(operated_fleet, now_s) if self._metric == "in_flight" else None,
            utilization=self._compute_utilization(operated_fleet, now_s) if self._metric == "busy" else None,
            rate_per_s=self._compute_rate_per_s(now_s) if self._metric == "rate" else None,
            pending_replicas=operated_fleet.replica_pool.count_in_phases(*PENDING_PHASES),
            starting_replicas=operated_fleet.replica_pool.count_in_phases(*STARTING_PHASES),
        )
        self._last_read_s = now_s
        return view

    def restart(self) -> None:
        """Reset the reference values of the next reading after requests or replicas changed between
        time slots."""
        self._total_age_s = sum_ages_s(self._fleet, self._last_read_s)
        self._busy_s = compute_busy_s(self._fleet, self._last_read_s)
        self._totals = get_totals(self._fleet)

    def _compute_utilization(self, operated_fleet: OperatedFleet, now_s: float) -> float:
        """Return the sum of the utilizations of all ready replicas since the last reading."""
        last_busy_s, self._busy_s = self._busy_s, compute_busy_s(self._fleet, now_s)
        slot_utilizations = (self._busy_s - last_busy_s) / (now_s - self._last_read_s)
        return float(slot_utilizations[operated_fleet.ready_slots].clip(0.0, 1.0).sum())

    def _compute_rate_per_s(self, now_s: float) -> float:
        last_totals, self._totals = self._totals, get_totals(self._fleet)
        return (self._totals.arrivals - last_totals.arrivals) / (now_s - self._last_read_s)

    def _compute_in_flight(self, operated_fleet: OperatedFleet, now_s: float) -> float:
        """Return the mean number of requests in flight since the last reading, by Little's law.

        Requests that ended since the last reading are included; requests of draining replicas are
        not.
        """
        last_totals, totals = self._totals, get_totals(self._fleet)
        self._totals = totals
        responses = totals.good + totals.late - last_totals.good - last_totals.late
        total_latency_s, total_age_s = sum_latencies_s(self._fleet), sum_ages_s(self._fleet, now_s)
        time_in_fleet_s = (
            total_latency_s - self._total_latency_s + total_age_s - self._total_age_s - responses * self._outside_s
        )
        self._total_latency_s, self._total_age_s = total_latency_s, total_age_s
        time_in_fleet_s += (totals.timed_out - last_totals.timed_out) * self._timeout_s
        draining_slots = operated_fleet.draining_slots
        draining_requests = int(get_outstanding_counts(self._fleet)[draining_slots].sum()) if draining_slots else 0
        return max(0.0, time_in_fleet_s / (now_s - self._last_read_s) - draining_requests)


class PeriodMeter:
    """Meter of the changes of all counts since the previous reading, usually a minute ago."""

    def __init__(self, fleet: Fleet, usd_per_hour: float, start_s: float, cell_count: int) -> None:
        """Create the meter. All counts are multiplied by `cell_count`, since only one cell of the
        fleet is simulated."""
        self._fleet, self._usd_per_hour, self._cell_count = fleet, usd_per_hour, cell_count
        self._period_start_s = start_s
        self._totals = get_totals(fleet)
        self._histograms = get_histograms(fleet)
        self._billed_s = 0.0

    def read(self, operated_fleet: OperatedFleet, now_s: float, desired_replicas: int) -> DayMinute:
        """Return the counts, latencies and cost since the last reading, multiplied by the number of cells, and begin
        the next period at `now_s`."""
        totals, histograms, last_totals = get_totals(self._fleet), get_histograms(self._fleet), self._totals
        billed_s = sum(operated_fleet.replica_pool.compute_billed_s(now_s).values())
        cell_count = self._cell_count
        minute = DayMinute(
            at_s=self._period_start_s,
            arrivals_per_s=cell_count * (totals.arrivals - last_totals.arrivals) / (now_s - self._period_start_s),
            desired=cell_count * desired_replicas,
            ready=cell_count * len(operated_fleet.ready_slots),
            starting=cell_count * operated_fleet.replica_pool.count_in_phases(*PENDING_PHASES, *STARTING_PHASES),
            billed=cell_count * operated_fleet.replica_pool.count_billed_nodes(now_s),
            in_flight=cell_count * totals.in_flight,
            good=cell_count * (totals.good - last_totals.good),
            late=cell_count * (totals.late - last_totals.late),
            dropped=cell_count * (totals.dropped - last_totals.dropped),
            timed_out=cell_count * (totals.timed_out - last_totals.timed_out),
            failed=cell_count * (totals.failed - last_totals.failed),
            usd=cell_count * (billed_s - self._billed_s) / 3600 * self._usd_per_hour,
            **compute_latency_percentiles(histograms - self._histograms),
        )
        self._period_start_s, self._totals, self._histograms, self._billed_s = now_s, totals, histograms, billed_s
        return minute
