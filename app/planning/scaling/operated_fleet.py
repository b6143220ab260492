"""Replicas' lifecycle joined to the places of a simulated fleet: which are routable, which fail, which have finished.

Decides which replicas to start and which to remove, as Kubernetes Deployments do.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from typing import NamedTuple

from app.planning.scaling.lifecycle import Phase, ReplicaPool, ReplicaState
from app.planning.scaling.signals import DAY_S
from app.planning.simulation.activator import make_activator, release_held
from app.planning.simulation.compiled import Ints
from app.planning.simulation.serving import fail_replica, get_outstanding, set_routable
from app.planning.simulation.state import Fleet
from app.records.scaling import Operations, RollingUpdate


class RolloutSteps(NamedTuple):
    """Next steps of a rollout: `orders` new replicas of the latest version, and the numbers of those that leave."""

    new_count: int
    leaving_numbers: tuple[int, ...]


def plan_steps(
    replicas: Sequence[ReplicaState], requested: int, version: int, update: RollingUpdate | None
) -> RolloutSteps:
    """Return the steps from the present replicas to the requested number, all of `version` in the end.

    `update` is the one in progress, if any. Draining replicas are not counted. The first to leave are those that are
    not ready, then the newest.
    """
    staying = [life for life in replicas if not life.is_leaving]
    old = [life for life in staying if life.version != version]
    if update is None or not old:
        return _scale_steps(staying, requested)
    surge, unavailable = compute_rollout_limits(update, requested)
    new = len(staying) - len(old)
    orders = max(0, min(requested + surge - len(staying), requested - new))
    surplus = _first_to_leave([life for life in staying if life.version == version], max(0, new - requested))
    ready = [life for life in staying if life.is_ready]
    unready_old = [life for life in old if not life.is_ready]
    removable = max(0, len(ready) + len(unready_old) - (requested - unavailable))
    ready_old = [life for life in reversed(old) if life.is_ready]
    leaving_old = [*unready_old, *ready_old][:removable]
    return RolloutSteps(orders, tuple(life.number for life in (*surplus, *leaving_old)))


def compute_rollout_limits(update: RollingUpdate, requested: int) -> tuple[int, int]:
    """Return the surge and the unavailable limit in replicas; at least one of them is 1."""
    surge, unavailable = math.ceil(update.surge * requested - 1e-9), math.floor(update.unavailable * requested + 1e-9)
    return (surge, unavailable) if surge or unavailable else (0, 1)


def _scale_steps(staying: Sequence[ReplicaState], requested: int) -> RolloutSteps:
    missing = requested - len(staying)
    leaving = _first_to_leave(staying, max(0, -missing))
    return RolloutSteps(max(0, missing), tuple(life.number for life in leaving))


def _first_to_leave(lives: Sequence[ReplicaState], count: int) -> list[ReplicaState]:
    ranked = sorted(lives, key=lambda life: (life.is_ready, -life.number))
    return ranked[:count]


class OperatedFleet:
    """Fleet with its replicas' lifecycle.

    Steps come between slots, on a fleet that has been advanced to the slot's end. `activator_place` is the place that
    holds requests while no replica is ready; `None` where they are refused.
    """

    def __init__(
        self,
        fleet: Fleet,
        replicas: ReplicaPool,
        operations: Operations,
        place_count: int,
        activator_place: int | None,
        start_s: float,
    ) -> None:
        self._fleet, self.replicas, self._gate = fleet, replicas, activator_place
        self._drain_s = operations.drain_s
        self._updates = _timed_updates(operations.updates, start_s)
        self._free = list(range(place_count))
        self._places: dict[int, int] = {}
        self._unplaced: list[int] = []
        self._draining: dict[int, float] = {}
        self._last_target: tuple[int, int] | None = None
        if activator_place is not None:
            make_activator(fleet, activator_place)
        for number in replicas.ready:
            self._places[number] = heapq.heappop(self._free)
        self._update_routing()

    @property
    def ready_places(self) -> list[int]:
        """Places that accept requests, ascending."""
        return sorted(place for number, place in self._places.items() if number not in self._draining)

    @property
    def draining_places(self) -> list[int]:
        return [self._places[number] for number in self._draining]

    def step(self, now_s: float, requested: int) -> bool:
        """Apply everything that is due by now, and return whether any replica was added, removed or failed."""
        changes = self.replicas.advance(now_s)
        for change in changes:
            if change.phase is Phase.READY:
                self._unplaced.append(change.replica)
            elif change.phase is Phase.FAILED:
                self._vacate(change.replica, now_s)
        finished = self._finish_draining(now_s) if self._draining else False
        version = sum(1 for at_s, _ in self._updates if at_s <= now_s)
        has_changed = bool(changes) or finished or self._last_target != (requested, version)
        if has_changed:
            self._apply_steps(now_s, requested, version)
        if has_changed or self._unplaced:
            self._assign_places()
            self._update_routing()
        if self._gate is not None and self._has_ready:
            release_held(self._fleet, self._gate, now_s)
        return has_changed

    def _apply_steps(self, now_s: float, requested: int, version: int) -> None:
        self._last_target = (requested, version)
        update = self._updates[version - 1][1] if version else None
        steps = plan_steps(self.replicas.states, requested, version, update)
        for number in steps.leaving_numbers:
            if self.replicas.drain(number, now_s).phase is Phase.DRAINING:
                self._drain(number, now_s)
        for _ in range(steps.new_count):
            change = self.replicas.start_replica(version, now_s)
            if change.phase is Phase.READY:
                self._unplaced.append(change.replica)
        if steps.new_count or steps.leaving_numbers:  # an update may continue at once
            self._last_target = None

    def _drain(self, number: int, now_s: float) -> None:
        if number in self._places:
            self._draining[number] = now_s + self._drain_s
        else:
            self._unplaced.remove(number)
            self.replicas.remove(number, now_s)

    def _finish_draining(self, now_s: float) -> bool:
        outstanding: Ints = get_outstanding(self._fleet)
        finished = [
            number
            for number, until_s in self._draining.items()
            if outstanding[self._places[number]] == 0 or until_s <= now_s
        ]
        for number in finished:
            del self._draining[number]
            self._vacate(number, now_s)
            self.replicas.remove(number, now_s)
        return bool(finished)

    def _vacate(self, number: int, now_s: float) -> None:
        """Empty the replica's place."""
        if number in self._unplaced:
            self._unplaced.remove(number)
        if (place := self._places.pop(number, None)) is not None:
            fail_replica(self._fleet, place, now_s)
            heapq.heappush(self._free, place)

    def _assign_places(self) -> None:
        while self._unplaced and self._free:
            self._places[self._unplaced.pop(0)] = heapq.heappop(self._free)

    def _update_routing(self) -> None:
        ready = self.ready_places
        self._has_ready = bool(ready)
        if not ready and self._gate is not None:
            ready = [self._gate]
        set_routable(self._fleet, ready)


def _timed_updates(updates: tuple[RollingUpdate, ...], start_s: float) -> list[tuple[float, RollingUpdate]]:
    """Return each update with its first time of the day after the start."""
    timed = [(start_s + (update.at_s - start_s) % DAY_S, update) for update in updates]
    return sorted(timed, key=lambda pair: pair[0])
