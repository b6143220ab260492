"""Kubernetes' HorizontalPodAutoscaler, as its controller decides at each sync.

KEDA: awake or asleep by its own poll, an HPA on an external metric in between.
"""

from __future__ import annotations

import math

from app.planning.scaling.signals import FleetView, SlidingMean, is_due
from app.records.scaling import Hpa, Keda, ScalingRules


class HpaState:
    """One autoscaler at work. Times never go back."""

    def __init__(self, settings: Hpa, slot_s: float) -> None:
        self._settings = settings
        self._metric = SlidingMean(settings.window_s, slot_s)
        self._changes = Changes(settings.up, settings.down)
        self._synced_s: float | None = None

    def desired(self, seen: FleetView) -> int:
        """Between syncs, what is wanted already. A fleet at 0 is left alone."""
        settings = self._settings
        if seen.ready:
            self._metric.add(seen.now_s, seen.total(settings.metric) / seen.ready)
        if seen.wanted == 0 or not is_due(seen.now_s, self._synced_s, settings.sync_s):
            return seen.wanted
        self._synced_s = seen.now_s
        if not settings.min <= seen.wanted <= settings.max:
            return min(max(seen.wanted, settings.min), settings.max)
        mean = self._metric.at(seen.now_s)
        if mean is None or seen.ready == 0:
            return seen.wanted
        proposed = proposal(mean / settings.target, seen, settings.tolerance)
        return self._changes.limited(seen.now_s, seen.wanted, proposed, settings.min, settings.max)


def proposal(ratio: float, seen: FleetView, tolerance: float) -> int:
    """Replicas for a mean over the ready ones that is `ratio` times its target.

    To scale up, replicas that are not ready count as idle; to scale down, those that run without a metric count as at
    their target, and those without a node not at all. Where that turns the direction round, nothing changes.
    """
    idle = seen.pending + seen.starting if ratio > 1 else 0
    at_target = seen.starting if ratio < 1 else 0
    if idle + at_target == 0:
        return seen.wanted if _within(ratio, tolerance) else _up(ratio * seen.ready)
    counted = seen.ready + idle + at_target
    adjusted = (ratio * seen.ready + at_target) / counted
    turned = (ratio < 1 < adjusted) or (ratio > 1 > adjusted)
    if _within(adjusted, tolerance) or turned:
        return seen.wanted
    replicas = _up(adjusted * counted)
    if (adjusted < 1 and replicas > seen.wanted) or (adjusted > 1 and replicas < seen.wanted):
        return seen.wanted
    return replicas


class Changes:
    """Stabilisation and rate policies: the memory of what was recommended and what was done."""

    def __init__(self, up: ScalingRules, down: ScalingRules) -> None:
        self._up, self._down = up, down
        self._recommended: list[tuple[float, int]] = []
        self._done: list[tuple[float, int]] = []
        self._remembered_s = max(up.stabilisation_s, down.stabilisation_s)
        self._longest_s = max((policy.period_s for policy in (*up.policies, *down.policies)), default=0.0)

    def limited(self, now_s: float, current: int, proposed: int, least: int, most: int) -> int:
        """What may be done of a proposal now; taken as done."""
        steady = self._stabilised(now_s, current, proposed)
        if steady > current:
            granted = min(steady, max(current, self._ceiling(now_s, current)), most)
        elif steady < current:
            granted = max(steady, min(current, self._floor(now_s, current)), least)
        else:
            granted = current
        self._recommended = [one for one in self._recommended if one[0] > now_s - self._remembered_s]
        self._recommended.append((now_s, proposed))
        self._done = [one for one in self._done if one[0] > now_s - self._longest_s]
        if granted != current:
            self._done.append((now_s, granted - current))
        return granted

    def _stabilised(self, now_s: float, current: int, proposed: int) -> int:
        """Up to the least of the window of one direction, down to the most of that of the other."""
        lowest = min([proposed, *self._recommended_since(now_s - self._up.stabilisation_s)])
        highest = max([proposed, *self._recommended_since(now_s - self._down.stabilisation_s)])
        return min(max(current, lowest), highest)

    def _recommended_since(self, cut_s: float) -> list[int]:
        return [replicas for at_s, replicas in self._recommended if at_s > cut_s]

    def _ceiling(self, now_s: float, current: int) -> int:
        if self._up.select == "disabled":
            return current
        limits = [
            start + int(policy.value) if policy.unit == "pods" else _up(start * (1 + policy.value / 100))
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
        return current - sum(change for at_s, change in self._done if at_s > period_start_s)


def _within(ratio: float, tolerance: float) -> bool:
    return abs(1 - ratio) <= tolerance + 1e-12


def _up(replicas: float) -> int:
    """Rounded up, but not for the last bits of a float."""
    return math.ceil(replicas - 1e-9)


class KedaState:
    """One autoscaler at work, taken as active when it starts."""

    def __init__(self, settings: Keda, slot_s: float) -> None:
        self._settings = settings
        self._metric = SlidingMean(settings.window_s, slot_s)
        self._changes = Changes(settings.up, settings.down)
        self._polled_s: float | None = None
        self._synced_s: float | None = None
        self._active_s: float | None = None

    def desired(self, seen: FleetView) -> int:
        """The poll comes before the HPA where both are due."""
        settings = self._settings
        self._metric.add(seen.now_s, seen.total(settings.metric))
        wanted = seen.wanted
        if is_due(seen.now_s, self._polled_s, settings.polling_s):
            self._polled_s = seen.now_s
            wanted = self._polled(seen)
        if wanted == 0 or wanted != seen.wanted or not is_due(seen.now_s, self._synced_s, settings.sync_s):
            return wanted
        self._synced_s = seen.now_s
        return self._synced(seen)

    def _polled(self, seen: FleetView) -> int:
        settings = self._settings
        is_active = seen.total(settings.metric) > settings.activation
        if is_active or self._active_s is None:
            self._active_s = seen.now_s
        if seen.wanted == 0 and is_active:
            return max(settings.min, 1)
        is_cold = seen.now_s - self._active_s > settings.cool_down_s
        if seen.wanted > 0 and settings.min == 0 and not is_active and is_cold:
            return 0
        return max(seen.wanted, settings.min)

    def _synced(self, seen: FleetView) -> int:
        """The sum over the target of one, all replicas counted whether ready or not."""
        settings = self._settings
        total = self._metric.at(seen.now_s)
        least = max(settings.min, 1)
        if total is None:
            return seen.wanted
        needed = total / settings.target
        is_near = abs(1 - needed / seen.wanted) <= settings.tolerance + 1e-12
        proposed = seen.wanted if is_near else math.ceil(needed - 1e-9)
        return self._changes.limited(seen.now_s, seen.wanted, max(proposed, least), least, settings.max)
