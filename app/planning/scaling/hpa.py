"""Kubernetes HorizontalPodAutoscaler, simulated as its controller decides at each sync; and KEDA.

KEDA activates and deactivates a workload in its own polls, and delegates to an HPA on an external
metric in between.
"""

from __future__ import annotations

import math

from app.planning.scaling.signals import FleetView, SlidingMean, is_due
from app.records.scaling import Hpa, Keda, ScalingRules


class HpaState:
    """State of an HPA; `decide` must be called with ascending times."""

    def __init__(self, settings: Hpa, slot_s: float) -> None:
        self._settings = settings
        self._metric = SlidingMean(settings.window_s, slot_s)
        self._changes = ScalingHistory(settings.up, settings.down)
        self._synced_s: float | None = None

    def decide(self, view: FleetView) -> int:
        """Return the requested number of replicas; unchanged between syncs and for a fleet scaled
        to 0."""
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
    """Return the number of replicas that the HPA algorithm proposes.

    `ratio` is the mean metric of the ready replicas divided by its target. When scaling up,
    replicas that are not ready count as idle. When scaling down, running replicas without a metric
    count as at their target, and replicas without a node are ignored. The number is unchanged if
    this correction reverses the direction.
    """
    idle = view.pending + view.starting if ratio > 1 else 0
    at_target = view.starting if ratio < 1 else 0
    if idle + at_target == 0:
        return view.requested if _is_within(ratio, tolerance) else _round_up(ratio * view.ready)
    counted_replicas = view.ready + idle + at_target
    adjusted = (ratio * view.ready + at_target) / counted_replicas
    is_reversed = (ratio < 1 < adjusted) or (ratio > 1 > adjusted)
    if _is_within(adjusted, tolerance) or is_reversed:
        return view.requested
    replicas = _round_up(adjusted * counted_replicas)
    if (adjusted < 1 and replicas > view.requested) or (adjusted > 1 and replicas < view.requested):
        return view.requested
    return replicas


class ScalingHistory:
    """Stabilization windows and rate policies of an HPA, with the history of recommendations and
    changes."""

    def __init__(self, up: ScalingRules, down: ScalingRules) -> None:
        self._up, self._down = up, down
        self._recommended: list[tuple[float, int]] = []
        self._applied: list[tuple[float, int]] = []
        self._max_window_s = max(up.stabilization_s, down.stabilization_s)
        self._max_period_s = max((policy.period_s for policy in (*up.policies, *down.policies)), default=0.0)

    def limit(self, now_s: float, current: int, proposed: int, min_replicas: int, max_replicas: int) -> int:
        """Return the number of replicas that policies and stabilization allow now, and record it as
        applied."""
        stabilized = self._stabilize(now_s, current, proposed)
        if stabilized > current:
            allowed = min(stabilized, max(current, self._compute_upper_limit(now_s, current)), max_replicas)
        elif stabilized < current:
            allowed = max(stabilized, min(current, self._compute_lower_limit(now_s, current)), min_replicas)
        else:
            allowed = current
        self._recommended = [entry for entry in self._recommended if entry[0] > now_s - self._max_window_s]
        self._recommended.append((now_s, proposed))
        self._applied = [entry for entry in self._applied if entry[0] > now_s - self._max_period_s]
        if allowed != current:
            self._applied.append((now_s, allowed - current))
        return allowed

    def _stabilize(self, now_s: float, current: int, proposed: int) -> int:
        """Return the proposal after stabilization.

        The number is raised at most to the minimum of the recommendations in the scale-up window,
        and lowered at most to their maximum in the scale-down window.
        """
        lowest = min([proposed, *self._list_recommended_since(now_s - self._up.stabilization_s)])
        highest = max([proposed, *self._list_recommended_since(now_s - self._down.stabilization_s)])
        return min(max(current, lowest), highest)

    def _list_recommended_since(self, cut_s: float) -> list[int]:
        return [replicas for at_s, replicas in self._recommended if at_s > cut_s]

    def _compute_upper_limit(self, now_s: float, current: int) -> int:
        if self._up.select == "disabled":
            return current
        limits = [
            start + int(policy.value) if policy.unit == "pods" else _round_up(start * (1 + policy.value / 100))
            for policy in self._up.policies
            for start in (self._count_replicas_at(now_s - policy.period_s, current),)
        ]
        return (max if self._up.select == "max" else min)(limits, default=current)

    def _compute_lower_limit(self, now_s: float, current: int) -> int:
        if self._down.select == "disabled":
            return current
        limits = [
            start - int(policy.value) if policy.unit == "pods" else int(start * (1 - policy.value / 100))
            for policy in self._down.policies
            for start in (self._count_replicas_at(now_s - policy.period_s, current),)
        ]
        return (min if self._down.select == "max" else max)(limits, default=current)

    def _count_replicas_at(self, period_start_s: float, current: int) -> int:
        return current - sum(change for at_s, change in self._applied if at_s > period_start_s)


def _is_within(ratio: float, tolerance: float) -> bool:
    return abs(1 - ratio) <= tolerance + 1e-12


def _round_up(replicas: float) -> int:
    """Round up to an integer, with a tolerance for floating-point errors."""
    return math.ceil(replicas - 1e-9)


class KedaState:
    """State of a KEDA autoscaler, which starts active; `decide` must be called with ascending
    times."""

    def __init__(self, settings: Keda, slot_s: float) -> None:
        self._settings = settings
        self._metric = SlidingMean(settings.window_s, slot_s)
        self._changes = ScalingHistory(settings.up, settings.down)
        self._polled_s: float | None = None
        self._synced_s: float | None = None
        self._active_s: float | None = None

    def decide(self, view: FleetView) -> int:
        """Return the requested number of replicas.

        If poll and HPA sync are due at the same time, the poll comes first.
        """
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
        """Return the number of replicas for the total metric divided by the target of one replica.

        All replicas count, whether or not they are ready.
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
