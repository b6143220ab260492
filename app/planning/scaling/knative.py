"""Knative's pod autoscaler: a stable and a panic window, and the way to none and back."""

from __future__ import annotations

import math
from typing import Literal

from app.planning.scaling.signals import FleetView, SlidingMean, is_due
from app.records.scaling import Knative


class KnativeState:
    """One autoscaler at work. It begins in panic where it finds more than one replica, as after a restart of its own,
    so that it does not scale down on an empty window."""

    def __init__(self, settings: Knative, slot_s: float, *, replicas: int, now_s: float = 0.0) -> None:
        self._settings = settings
        self._stable = SlidingMean(settings.stable_s, slot_s)
        self._panic = SlidingMean(settings.panic_s, slot_s)
        self._panic_s: float | None = now_s if replicas > 1 else None
        self._most_in_panic = replicas if replicas > 1 else 0
        self._ticked_s: float | None = None
        self._sleep = _Sleep(settings, now_s)

    @property
    def is_panicking(self) -> bool:
        return self._panic_s is not None

    def desired(self, seen: FleetView) -> int:
        """Between ticks, what is wanted already; but the first request to a fleet at 0 is acted upon at once."""
        settings = self._settings
        value = seen.total(settings.metric)
        is_watched = seen.wanted > 0 or value > 0
        if is_watched:
            self._stable.add(seen.now_s, value)
            self._panic.add(seen.now_s, value)
        is_poked = seen.wanted == 0 and value > 0
        if not is_poked and not is_due(seen.now_s, self._ticked_s, settings.tick_s):
            return seen.wanted
        self._ticked_s = seen.now_s
        stable, panic = self._stable.at(seen.now_s), self._panic.at(seen.now_s)
        if stable is None:
            return seen.wanted
        replicas = max(self._scaled(seen, stable, panic or 0.0), settings.min)
        if settings.max:
            replicas = min(replicas, settings.max)
        return self._sleep.settled(seen, replicas, panic or 0.0)

    def _scaled(self, seen: FleetView, stable: float, panic: float) -> int:
        settings = self._settings
        target = settings.capacity * settings.utilisation
        ready = max(1, seen.ready)
        highest = math.ceil(settings.max_up_rate * ready)
        lowest = math.floor(ready / settings.max_down_rate)
        for_stable, for_panic = (math.ceil(value / target - 1e-9) for value in (stable, panic))
        self._watch_panic(seen.now_s, for_panic / ready >= settings.panic_threshold)
        replicas = min(max(for_stable, lowest), highest)
        if self._panic_s is None:
            return replicas
        self._most_in_panic = max(self._most_in_panic, replicas, min(max(for_panic, lowest), highest))
        return self._most_in_panic

    def _watch_panic(self, now_s: float, is_over: bool) -> None:
        if is_over:
            self._panic_s = now_s
        elif self._panic_s is not None and now_s - self._panic_s > self._settings.stable_s:
            self._panic_s, self._most_in_panic = None, 0


class _Sleep:
    """A fleet is sent to 0 when it has been active for the stable window and, since then, inactive for the grace, or
    behind the activator for it."""

    def __init__(self, settings: Knative, now_s: float) -> None:
        self._settings = settings
        self._state: Literal["activating", "active", "inactive"] = "active"
        self._since_s = now_s
        self._proxied_s: float | None = None

    def settled(self, seen: FleetView, replicas: int, in_panic_window: float) -> int:
        self._watch_activator(seen, in_panic_window)
        if seen.wanted == 0:
            self._enter("activating", seen.now_s)
            return replicas
        if self._state == "activating":
            if seen.ready == 0:
                return replicas or seen.wanted
            self._enter("active", seen.now_s)
        if replicas > 0:
            if self._state == "inactive":
                self._enter("active", seen.now_s)
            return replicas
        return self._towards_none(seen)

    def _towards_none(self, seen: FleetView) -> int:
        if self._state == "active":
            if seen.now_s - self._since_s < self._settings.stable_s:
                return 1
            self._enter("inactive", seen.now_s)
        behind_s = self._since_s if self._proxied_s is None else min(self._since_s, self._proxied_s)
        return 0 if seen.now_s - behind_s >= self._settings.grace_s else seen.wanted

    def _watch_activator(self, seen: FleetView, in_panic_window: float) -> None:
        settings = self._settings
        spare = seen.ready * settings.capacity - settings.burst - in_panic_window
        if settings.burst < 0 or (settings.burst > 0 and spare < 0) or self._state == "inactive":
            self._proxied_s = seen.now_s if self._proxied_s is None else self._proxied_s
        else:
            self._proxied_s = None

    def _enter(self, state: Literal["activating", "active", "inactive"], now_s: float) -> None:
        self._state, self._since_s = state, now_s
