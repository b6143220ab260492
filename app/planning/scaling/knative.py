"""Simulated Knative pod autoscaler with a stable and a panic window, and with scaling to and from
zero."""

from __future__ import annotations

import math
from typing import Literal

from app.planning.scaling.signals import FleetView, SlidingMean, is_due
from app.records.scaling import Knative


class KnativeState:
    """State of a Knative autoscaler.

    With more than one initial replica, the autoscaler starts in panic mode, as Knative does after a
    restart. This prevents scaling down based on an empty window.
    """

    def __init__(self, settings: Knative, slot_s: float, *, replicas: int, now_s: float = 0.0) -> None:
        self._settings = settings
        self._stable_window = SlidingMean(settings.stable_s, slot_s)
        self._panic_window = SlidingMean(settings.panic_s, slot_s)
        self._last_panic_s: float | None = now_s if replicas > 1 else None
        self._max_panic_replicas = replicas if replicas > 1 else 0
        self._last_tick_s: float | None = None
        self._scale_to_zero_state = _ScaleToZeroState(settings, now_s)

    @property
    def is_panicking(self) -> bool:
        return self._last_panic_s is not None

    def compute_desired_replicas(self, view: FleetView) -> int:
        """Return the desired number of replicas.

        The number is unchanged between ticks. However, the first request to a fleet scaled to 0
        triggers an immediate decision.
        """
        settings = self._settings
        metric_value = view.get_metric(settings.metric)
        is_monitored = view.desired_replicas > 0 or metric_value > 0
        if is_monitored:
            self._stable_window.add(view.now_s, metric_value)
            self._panic_window.add(view.now_s, metric_value)
        is_first_request = view.desired_replicas == 0 and metric_value > 0
        if not is_first_request and not is_due(view.now_s, self._last_tick_s, settings.tick_s):
            return view.desired_replicas
        self._last_tick_s = view.now_s
        stable_mean, panic_mean = (
            self._stable_window.compute_mean(view.now_s),
            self._panic_window.compute_mean(view.now_s),
        )
        if stable_mean is None:
            return view.desired_replicas
        replicas = max(self._compute_replicas(view, stable_mean, panic_mean or 0.0), settings.min)
        if settings.max:
            replicas = min(replicas, settings.max)
        return self._scale_to_zero_state.compute_replicas(view, replicas, panic_mean or 0.0)

    def _compute_replicas(self, view: FleetView, stable_mean: float, panic_mean: float) -> int:
        """Return the desired replicas for the means of the stable and the panic window, as the Knative autoscaler
        does. During panic mode the result never decreases."""
        settings = self._settings
        target = settings.capacity * settings.utilization
        ready_replicas = max(1, view.ready_replicas)
        max_replicas = math.ceil(settings.max_up_rate * ready_replicas)
        min_replicas = math.floor(ready_replicas / settings.max_down_rate)
        stable_replicas, panic_replicas = (math.ceil(value / target - 1e-9) for value in (stable_mean, panic_mean))
        self._update_panic_mode(view.now_s, panic_replicas / ready_replicas >= settings.panic_threshold)
        replicas = min(max(stable_replicas, min_replicas), max_replicas)
        if self._last_panic_s is None:
            return replicas
        self._max_panic_replicas = max(
            self._max_panic_replicas, replicas, min(max(panic_replicas, min_replicas), max_replicas)
        )
        return self._max_panic_replicas

    def _update_panic_mode(self, now_s: float, is_over_threshold: bool) -> None:
        if is_over_threshold:
            self._last_panic_s = now_s
        elif self._last_panic_s is not None and now_s - self._last_panic_s > self._settings.stable_s:
            self._last_panic_s, self._max_panic_replicas = None, 0


class _ScaleToZeroState:
    """State of scaling to and from zero.

    A fleet is scaled to 0 after it has been active for at least the stable window, and then
    inactive or behind the activator for the grace period.
    """

    def __init__(self, settings: Knative, now_s: float) -> None:
        self._settings = settings
        self._state: Literal["activating", "active", "inactive"] = "active"
        self._state_start_s = now_s
        self._proxy_start_s: float | None = None

    def compute_replicas(self, view: FleetView, replicas: int, panic_mean: float) -> int:
        self._update_activator(view, panic_mean)
        if view.desired_replicas == 0:
            self._enter_state("activating", view.now_s)
            return replicas
        if self._state == "activating":
            if view.ready_replicas == 0:
                return replicas or view.desired_replicas
            self._enter_state("active", view.now_s)
        if replicas > 0:
            if self._state == "inactive":
                self._enter_state("active", view.now_s)
            return replicas
        return self._scale_to_zero(view)

    def _scale_to_zero(self, view: FleetView) -> int:
        if self._state == "active":
            if view.now_s - self._state_start_s < self._settings.stable_s:
                return 1
            self._enter_state("inactive", view.now_s)
        activator_since_s = (
            self._state_start_s if self._proxy_start_s is None else min(self._state_start_s, self._proxy_start_s)
        )
        return 0 if view.now_s - activator_since_s >= self._settings.grace_s else view.desired_replicas

    def _update_activator(self, view: FleetView, panic_mean: float) -> None:
        settings = self._settings
        spare_capacity = view.ready_replicas * settings.capacity - settings.burst - panic_mean
        if settings.burst < 0 or (settings.burst > 0 and spare_capacity < 0) or self._state == "inactive":
            self._proxy_start_s = view.now_s if self._proxy_start_s is None else self._proxy_start_s
        else:
            self._proxy_start_s = None

    def _enter_state(self, state: Literal["activating", "active", "inactive"], now_s: float) -> None:
        self._state, self._state_start_s = state, now_s
