"""Simulated Kubernetes HorizontalPodAutoscaler, with the decisions of its controller at each sync,
and simulated KEDA.

KEDA activates and deactivates a workload in its own polls, and delegates to an HPA on an external
metric while the workload is active.
"""

from __future__ import annotations

import math

from app.planning.scaling.signals import FleetView, SlidingMean, is_due
from app.records.scaling import Hpa, Keda, ScalingRules


class HpaState:
    """State of an HPA. Call `compute_desired_replicas` with ascending times."""

    def __init__(self, settings: Hpa, slot_s: float) -> None:
        self._settings = settings
        self._sliding_mean = SlidingMean(settings.window_s, slot_s)
        self._history = ScalingHistory(settings.up, settings.down)
        self._last_sync_s: float | None = None

    def compute_desired_replicas(self, view: FleetView) -> int:
        """Return the desired number of replicas. The number is unchanged between syncs, and for a
        fleet scaled to 0."""
        settings = self._settings
        if view.ready_replicas:
            self._sliding_mean.add(view.now_s, view.get_metric(settings.metric) / view.ready_replicas)
        if view.desired_replicas == 0 or not is_due(view.now_s, self._last_sync_s, settings.sync_s):
            return view.desired_replicas
        self._last_sync_s = view.now_s
        if not settings.min <= view.desired_replicas <= settings.max:
            return min(max(view.desired_replicas, settings.min), settings.max)
        mean_metric = self._sliding_mean.compute_mean(view.now_s)
        if mean_metric is None or view.ready_replicas == 0:
            return view.desired_replicas
        proposed_replicas = propose_replicas(mean_metric / settings.target, view, settings.tolerance)
        return self._history.limit_replicas(
            view.now_s, view.desired_replicas, proposed_replicas, settings.min, settings.max
        )


def propose_replicas(ratio: float, view: FleetView, tolerance: float) -> int:
    """Return the number of replicas that the HPA algorithm proposes.

    `ratio` is the mean metric of the ready replicas divided by its target. When scaling up,
    replicas that are not ready are assumed to be idle. When scaling down, running replicas without
    a metric are assumed to be exactly at the target, and replicas without a node are ignored. The
    number of replicas is unchanged if these assumptions reverse the direction of scaling.
    """
    idle_replicas = view.pending_replicas + view.starting_replicas if ratio > 1 else 0
    unmetered_replicas = view.starting_replicas if ratio < 1 else 0
    if idle_replicas + unmetered_replicas == 0:
        return (
            view.desired_replicas if _is_within_tolerance(ratio, tolerance) else _round_up(ratio * view.ready_replicas)
        )
    counted_replicas = view.ready_replicas + idle_replicas + unmetered_replicas
    adjusted_ratio = (ratio * view.ready_replicas + unmetered_replicas) / counted_replicas
    is_reversed = (ratio < 1 < adjusted_ratio) or (ratio > 1 > adjusted_ratio)
    if _is_within_tolerance(adjusted_ratio, tolerance) or is_reversed:
        return view.desired_replicas
    replicas = _round_up(adjusted_ratio * counted_replicas)
    if (adjusted_ratio < 1 and replicas > view.desired_replicas) or (
        adjusted_ratio > 1 and replicas < view.desired_replicas
    ):
        return view.desired_replicas
    return replicas


class ScalingHistory:
    """Stabilization windows and scaling policies of an HPA, with the history of recommendations and
    applied changes."""

    def __init__(self, up: ScalingRules, down: ScalingRules) -> None:
        self._up_rules, self._down_rules = up, down
        self._recommendations: list[tuple[float, int]] = []
        self._applied_changes: list[tuple[float, int]] = []
        self._max_window_s = max(up.stabilization_s, down.stabilization_s)
        self._max_period_s = max((policy.period_s for policy in (*up.policies, *down.policies)), default=0.0)

    def limit_replicas(
        self, now_s: float, current_replicas: int, proposed_replicas: int, min_replicas: int, max_replicas: int
    ) -> int:
        """Return the number of replicas that policies and stabilization allow at `now_s`, and
        record the number as applied."""
        stabilized_replicas = self._stabilize(now_s, current_replicas, proposed_replicas)
        if stabilized_replicas > current_replicas:
            allowed_replicas = min(
                stabilized_replicas,
                max(current_replicas, self._compute_upper_limit(now_s, current_replicas)),
                max_replicas,
            )
        elif stabilized_replicas < current_replicas:
            allowed_replicas = max(
                stabilized_replicas,
                min(current_replicas, self._compute_lower_limit(now_s, current_replicas)),
                min_replicas,
            )
        else:
            allowed_replicas = current_replicas
        self._recommendations = [entry for entry in self._recommendations if entry[0] > now_s - self._max_window_s]
        self._recommendations.append((now_s, proposed_replicas))
        self._applied_changes = [entry for entry in self._applied_changes if entry[0] > now_s - self._max_period_s]
        if allowed_replicas != current_replicas:
            self._applied_changes.append((now_s, allowed_replicas - current_replicas))
        return allowed_replicas

    def _stabilize(self, now_s: float, current_replicas: int, proposed_replicas: int) -> int:
        """Return the proposed number of replicas after stabilization.

        The number is raised at most to the lowest recommendation in the scale-up window, and
        lowered at most to the highest recommendation in the scale-down window.
        """
        lowest_recommendation = min(
            [proposed_replicas, *self._list_recommendations(now_s - self._up_rules.stabilization_s)]
        )
        highest_recommendation = max(
            [proposed_replicas, *self._list_recommendations(now_s - self._down_rules.stabilization_s)]
        )
        return min(max(current_replicas, lowest_recommendation), highest_recommendation)

    def _list_recommendations(self, window_start_s: float) -> list[int]:
        return [replicas for time_s, replicas in self._recommendations if time_s > window_start_s]

    def _compute_upper_limit(self, now_s: float, current_replicas: int) -> int:
        """Return the highest number of replicas that the scale-up policies allow now. Each policy limits the increase
        since the start of its period."""
        if self._up_rules.select == "disabled":
            return current_replicas
        limits = [
            start_replicas + int(policy.value)
            if policy.unit == "pods"
            else _round_up(start_replicas * (1 + policy.value / 100))
            for policy in self._up_rules.policies
            for start_replicas in (self._count_start_replicas(now_s - policy.period_s, current_replicas),)
        ]
        return (max if self._up_rules.select == "max" else min)(limits, default=current_replicas)

    def _compute_lower_limit(self, now_s: float, current_replicas: int) -> int:
        """Return the lowest number of replicas that the scale-down policies allow now. Each policy limits the
        decrease since the start of its period."""
        if self._down_rules.select == "disabled":
            return current_replicas
        limits = [
            start_replicas - int(policy.value)
            if policy.unit == "pods"
            else int(start_replicas * (1 - policy.value / 100))
            for policy in self._down_rules.policies
            for start_replicas in (self._count_start_replicas(now_s - policy.period_s, current_replicas),)
        ]
        return (min if self._down_rules.select == "max" else max)(limits, default=current_replicas)

    def _count_start_replicas(self, period_start_s: float, current_replicas: int) -> int:
        return current_replicas - sum(change for time_s, change in self._applied_changes if time_s > period_start_s)


def _is_within_tolerance(ratio: float, tolerance: float) -> bool:
    return abs(1 - ratio) <= tolerance + 1e-12


def _round_up(replicas: float) -> int:
    """Round up to an integer, with a tolerance for floating-point errors."""
    return math.ceil(replicas - 1e-9)


class KedaState:
    """State of a KEDA autoscaler, with an initially active workload. Call
    `compute_desired_replicas` with ascending times."""

    def __init__(self, settings: Keda, slot_s: float) -> None:
        self._settings = settings
        self._sliding_mean = SlidingMean(settings.window_s, slot_s)
        self._history = ScalingHistory(settings.up, settings.down)
        self._last_poll_s: float | None = None
        self._last_sync_s: float | None = None
        self._last_active_s: float | None = None

    def compute_desired_replicas(self, view: FleetView) -> int:
        """Return the desired number of replicas.

        If a KEDA poll and an HPA sync are due at the same time, the poll comes first.
        """
        settings = self._settings
        self._sliding_mean.add(view.now_s, view.get_metric(settings.metric))
        desired_replicas = view.desired_replicas
        if is_due(view.now_s, self._last_poll_s, settings.polling_s):
            self._last_poll_s = view.now_s
            desired_replicas = self._poll(view)
        if (
            desired_replicas == 0
            or desired_replicas != view.desired_replicas
            or not is_due(view.now_s, self._last_sync_s, settings.sync_s)
        ):
            return desired_replicas
        self._last_sync_s = view.now_s
        return self._sync(view)

    def _poll(self, view: FleetView) -> int:
        settings = self._settings
        is_active = view.get_metric(settings.metric) > settings.activation
        if is_active or self._last_active_s is None:
            self._last_active_s = view.now_s
        if view.desired_replicas == 0 and is_active:
            return max(settings.min, 1)
        is_cooled_down = view.now_s - self._last_active_s > settings.cool_down_s
        if view.desired_replicas > 0 and settings.min == 0 and not is_active and is_cooled_down:
            return 0
        return max(view.desired_replicas, settings.min)

    def _sync(self, view: FleetView) -> int:
        """Return the desired number of replicas of an HPA sync: total metric divided by the
        target per replica, within all limits.

        Replicas that are not ready count like ready replicas.
        """
        settings = self._settings
        total_metric = self._sliding_mean.compute_mean(view.now_s)
        min_replicas = max(settings.min, 1)
        if total_metric is None:
            return view.desired_replicas
        needed_replicas = total_metric / settings.target
        is_within_tolerance = abs(1 - needed_replicas / view.desired_replicas) <= settings.tolerance + 1e-12
        proposed_replicas = view.desired_replicas if is_within_tolerance else math.ceil(needed_replicas - 1e-9)
        return self._history.limit_replicas(
            view.now_s, view.desired_replicas, max(proposed_replicas, min_replicas), min_replicas, settings.max
        )
