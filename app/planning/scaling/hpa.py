"""Kubernetes' HorizontalPodAutoscaler, as its controller decides at each sync.

Includes KEDA, which activates and deactivates by its own poll and uses an HPA on an external metric in between.
"""

from __future__ import annotations

import math

from app.planning.scaling.signals import FleetView, SlidingMean, is_due
from app.records.scaling import Hpa, Keda, ScalingRules


class HpaState:
    """State of one HPA; times have to be ascending."""

    def __init__(self, settings: Hpa, slot_s: float) -> None:
        self._settings = settings
        self._metric = SlidingMean(settings.window_s, slot_s)
        self._changes = ScalingHistory(settings.up, settings.down)
        self._synced_s: float | None = None

    def decide(self, view: FleetView) -> int:
        """Return the requested number of replicas; unchanged between syncs, and for a fleet at 0."""
        settings = self._settings
        if view.ready:
            self._metric.add(view.now_s, view.get_metric(settings.metric) / view.ready)
        if view.requested == 0 or not is_due(view.now_s, self._synced_s, settings.sync_s):
            return view.requested
        self._synced_s = view.now_s
        if not settings.min <= view.requested <= settings.max:
            return min(max(view.requested, settings.min), settings.max)
        mean = self._metric.mean(view.now_s)
        if mean is None or view.ready == 0:
            return view.requested
        proposed = propose_replicas(mean / settings.target, view, settings.tolerance)
        return self._changes.limit(view.now_s, view.requested, proposed, settings.min, settings.max)


def propose_replicas(ratio: float, view: FleetView, tolerance: float) -> int:
    """Return the number of replicas for a mean over the ready ones that is `ratio` times its target.

    When scaling up, replicas that are not ready count as idle. When scaling down, those that run without a metric count
    as at their target, and those without a node are not counted. Where that reverses the direction, nothing changes.
    """
    idle = view.pending + view.starting if ratio > 1 else 0
    at_target = view.starting if ratio < 1 else 0
    if idle + at_target == 0:
        return view.requested if _is_within(ratio, tolerance) else _round_up(ratio * view.ready)
    counted = view.ready + idle + at_target
    adjusted = (ratio * view.ready + at_target) / counted
    turned = (ratio < 1 < adjusted) or (ratio > 1 > adjusted)
    if _is_within(adjusted, tolerance) or turned:
        return view.requested
    replicas = _round_up(adjusted * counted)
    if (adjusted < 1 and replicas > view.requested) or (adjusted > 1 and replicas < view.requested):
        return view.requested
    return replicas


class ScalingHistory:
    """Stabilization windows and rate policies, with the history of recommendations and changes."""

    def __init__(self, up: ScalingRules, down: ScalingRules) -> None:
        self._up, self._down = up, down
        self._recommended: list[tuple[float, int]] = []
        self._applied: list[tuple[float, int]] = []
        self._remembered_s = max(up.stabilization_s, down.stabilization_s)
        self._longest_s = max((policy.period_s for policy in (*up.policies, *down.policies)), default=0.0)

    def limit(self, now_s: float, current: int, proposed: int, min_replicas: int, max_replicas: int) -> int:
        """Return the part of a proposal that is allowed now, and record it as done."""
        stabilised = self._stabilize(now_s, current, proposed)
        if stabilised > current:
            granted = min(stabilised, max(current, self._ceiling(now_s, current)), max_replicas)
        elif stabilised < current:
            granted = max(stabilised, min(current, self._floor(now_s, current)), min_replicas)
        else:
            granted = current
        self._recommended = [entry for entry in self._recommended if entry[0] > now_s - self._remembered_s]
        self._recommended.append((now_s, proposed))
        self._applied = [entry for entry in self._applied if entry[0] > now_s - self._longest_s]
        if granted != current:
            self._applied.append((now_s, granted - current))
        return granted

    def _stabilize(self, now_s: float, current: int, proposed: int) -> int:
        """Return the proposal after stabilization.

        It goes up to the minimum of one direction's window, and down to the maximum of the other's.
        """
        lowest = min([proposed, *self._recommended_since(now_s - self._up.stabilization_s)])
        highest = max([proposed, *self._recommended_since(now_s - self._down.stabilization_s)])
        return min(max(current, lowest), highest)

    def _recommended_since(self, cut_s: float) -> list[int]:
        return [replicas for at_s, replicas in self._recommended if at_s > cut_s]

    def _ceiling(self, now_s: float, current: int) -> int:
        if self._up.select == "disabled":
            return current
        limits = [
            start + int(policy.value) if policy.unit == "pods" else _round_up(start * (1 + policy.value / 100))
            for policy in self._up.policies
            for start in (self._start_of(now_s - policy.period_s, current),)
        ]
        return (max if self._up.select == "max" else min)(limits, default=current)

    def _floor(self, now_s: float, current: int) -> int:
        if self._down.select == "disabled":
            return current
        limits = [
            start - int(policy.value) if policy.unit == "pods" else int(start * (1 - policy.value / 100))
            for policy in self._down.policies
            for start in (self._start_of(now_s - policy.period_s, current),)
        ]
        return (min if self._down.select == "max" else max)(limits, default=current)

    def _start_of(self, period_start_s: float, current: int) -> int:
        return current - sum(change for at_s, change in self._applied if at_s > period_start_s)


def _is_within(ratio: float, tolerance: float) -> bool:
    return abs(1 - ratio) <= tolerance + 1e-12


def _round_up(replicas: float) -> int:
    """Round up, ignoring the last bits of a float."""
    return math.ceil(replicas - 1e-9)


class KedaState:
    """State of one KEDA autoscaler, active when it starts."""

    def __init__(self, settings: Keda, slot_s: float) -> None:
        self._settings = settings
        self._metric = SlidingMean(settings.window_s, slot_s)
        self._changes = ScalingHistory(settings.up, settings.down)
        self._polled_s: float | None = None
        self._synced_s: float | None = None
        self._active_s: float | None = None

    def decide(self, view: FleetView) -> int:
        """Return the requested number of replicas. The poll comes before the HPA where both are due."""
        settings = self._settings
        self._metric.add(view.now_s, view.get_metric(settings.metric))
        requested = view.requested
        if is_due(view.now_s, self._polled_s, settings.polling_s):
            self._polled_s = view.now_s
            requested = self._poll(view)
        if requested == 0 or requested != view.requested or not is_due(view.now_s, self._synced_s, settings.sync_s):
            return requested
        self._synced_s = view.now_s
        return self._sync(view)

    def _poll(self, view: FleetView) -> int:
        settings = self._settings
        is_active = view.get_metric(settings.metric) > settings.activation
        if is_active or self._active_s is None:
            self._active_s = view.now_s
        if view.requested == 0 and is_active:
            return max(settings.min, 1)
        is_cold = view.now_s - self._active_s > settings.cool_down_s
        if view.requested > 0 and settings.min == 0 and not is_active and is_cold:
            return 0
        return max(view.requested, settings.min)

    def _sync(self, view: FleetView) -> int:
        """Return the number of replicas for the metric's total over the target of one replica.

        All replicas count, ready or not.
        """
        settings = self._settings
        total = self._metric.mean(view.now_s)
        min_replicas = max(settings.min, 1)
        if total is None:
            return view.requested
        needed = total / settings.target
        is_near = abs(1 - needed / view.requested) <= settings.tolerance + 1e-12
        proposed = view.requested if is_near else math.ceil(needed - 1e-9)
        return self._changes.limit(view.now_s, view.requested, max(proposed, min_replicas), min_replicas, settings.max)
