"""KEDA: awake or asleep by its own poll, an HPA on an external metric in between."""

from __future__ import annotations

import math

from app.planning.scaling.hpa import Changes
from app.planning.scaling.signals import FleetView, SlidingMean, is_due
from app.records.scaling import Keda


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
