"""Lifecycle of the replicas of a simulated fleet: assignment to replica slots, routing, failures,
draining and rollouts.

Replicas are started and removed in the same order as by Kubernetes Deployments.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from typing import NamedTuple

from app.planning.scaling.lifecycle import Phase, ReplicaPool, ReplicaState
from app.planning.scaling.signals import DAY_S
from app.planning.simulation.activator import make_activator, release_queued_requests
from app.planning.simulation.compiled import Ints
from app.planning.simulation.serving import fail_replica, get_outstanding_counts, set_routable_replicas
from app.planning.simulation.state import Fleet
from app.records.scaling import Operations, RollingUpdate


class RolloutSteps(NamedTuple):
    """Next steps of a rollout: how many replicas of the latest version to start, and the `number`
    of each replica to remove."""

    new_count: int
    removed_numbers: tuple[int, ...]


def plan_rollout_steps(
    replicas: Sequence[ReplicaState], desired_replicas: int, version: int, update: RollingUpdate | None
) -> RolloutSteps:
    """Return the next steps from the current replicas towards `desired_replicas` replicas of
    version `version`.

    `update` is the update in progress, if any. Draining replicas are not counted. Replicas that are
    not ready are removed first, then the newest replicas.
    """
    remaining_replicas = [replica for replica in replicas if not replica.is_leaving]
    outdated_replicas = [replica for replica in remaining_replicas if replica.version != version]
    if update is None or not outdated_replicas:
        return _plan_scaling(remaining_replicas, desired_replicas)
    max_surge, max_unavailable = compute_rollout_limits(update, desired_replicas)
    current_count = len(remaining_replicas) - len(outdated_replicas)
    new_count = max(0, min(desired_replicas + max_surge - len(remaining_replicas), desired_replicas - current_count))
    surplus_replicas = _select_replicas_to_remove(
        [replica for replica in remaining_replicas if replica.version == version],
        max(0, current_count - desired_replicas),
    )
    ready_replicas = [replica for replica in remaining_replicas if replica.is_ready]
    unready_outdated_replicas = [replica for replica in outdated_replicas if not replica.is_ready]
    removable_count = max(
        0, len(ready_replicas) + len(unready_outdated_replicas) - (desired_replicas - max_unavailable)
    )
    ready_outdated_replicas = [replica for replica in reversed(outdated_replicas) if replica.is_ready]
    removed_outdated_replicas = [*unready_outdated_replicas, *ready_outdated_replicas][:removable_count]
    return RolloutSteps(new_count, tuple(replica.number for replica in (*surplus_replicas, *removed_outdated_replicas)))


def compute_rollout_limits(update: RollingUpdate, desired_replicas: int) -> tuple[int, int]:
    """Return the maximum surge and the maximum number of unavailable replicas. If both would be 0,
    one replica may be unavailable."""
    max_surge, max_unavailable = (
        math.ceil(update.surge * desired_replicas - 1e-9),
        math.floor(update.unavailable * desired_replicas + 1e-9),
    )
    return (max_surge, max_unavailable) if max_surge or max_unavailable else (0, 1)


def _plan_scaling(remaining_replicas: Sequence[ReplicaState], desired_replicas: int) -> RolloutSteps:
    missing_count = desired_replicas - len(remaining_replicas)
    removed_replicas = _select_replicas_to_remove(remaining_replicas, max(0, -missing_count))
    return RolloutSteps(max(0, missing_count), tuple(replica.number for replica in removed_replicas))


def _select_replicas_to_remove(replicas: Sequence[ReplicaState], count: int) -> list[ReplicaState]:
    ranked_replicas = sorted(replicas, key=lambda replica: (replica.is_ready, -replica.number))
    return ranked_replicas[:count]


class OperatedFleet:
    """Simulated fleet whose replicas start, fail, drain and are updated.

    `step` is called between time slots, after the fleet has been advanced to the end of the time
    slot. `activator_slot` is the replica slot that queues requests while no replica is ready; if
    `None`, such requests are dropped.
    """

    def __init__(
        self,
        fleet: Fleet,
        replica_pool: ReplicaPool,
        operations: Operations,
        slot_count: int,
        activator_slot: int | None,
        start_s: float,
    ) -> None:
        self._fleet, self.replica_pool, self._activator_slot = fleet, replica_pool, activator_slot
        self._drain_s = operations.drain_s
        self._updates = _schedule_updates(operations.updates, start_s)
        self._free_slots = list(range(slot_count))
        self._slot_by_number: dict[int, int] = {}
        self._unassigned_numbers: list[int] = []
        self._drain_end_by_number: dict[int, float] = {}
        self._last_target: tuple[int, int] | None = None
        self.ready_slots: list[int] = []
        """Replica slots with ready replicas that accept requests, in ascending order."""
        if activator_slot is not None:
            make_activator(fleet, activator_slot)
        for number in replica_pool.ready_numbers:
            self._slot_by_number[number] = heapq.heappop(self._free_slots)
        self._update_routing()

    @property
    def draining_slots(self) -> list[int]:
        return [self._slot_by_number[number] for number in self._drain_end_by_number]

    def step(self, now_s: float, desired_replicas: int) -> bool:
        """Apply all phase changes, removals and rollout steps that are due at `now_s`. Return
        whether any replica was added, removed or failed."""
        changes = self.replica_pool.advance(now_s)
        for change in changes:
            if change.phase is Phase.READY:
                self._unassigned_numbers.append(change.replica_number)
            elif change.phase is Phase.FAILED:
                self._free_slot(change.replica_number, now_s)
        has_finished_draining = self._finish_draining(now_s) if self._drain_end_by_number else False
        version = sum(1 for time_s, _ in self._updates if time_s <= now_s)
        has_changed = bool(changes) or has_finished_draining or self._last_target != (desired_replicas, version)
        if has_changed:
            self._apply_steps(now_s, desired_replicas, version)
        if has_changed or self._unassigned_numbers:
            self._assign_slots()
            self._update_routing()
        if self._activator_slot is not None and self.ready_slots:
            release_queued_requests(self._fleet, self._activator_slot, now_s)
        return has_changed

    def _apply_steps(self, now_s: float, desired_replicas: int, version: int) -> None:
        self._last_target = (desired_replicas, version)
        update = self._updates[version - 1][1] if version else None
        steps = plan_rollout_steps(self.replica_pool.states, desired_replicas, version, update)
        for number in steps.removed_numbers:
            if self.replica_pool.drain(number, now_s).phase is Phase.DRAINING:
                self._drain_replica(number, now_s)
        for _ in range(steps.new_count):
            change = self.replica_pool.start_replica(version, now_s)
            if change.phase is Phase.READY:
                self._unassigned_numbers.append(change.replica_number)
        if steps.new_count or steps.removed_numbers:  # an update may continue in the next time slot
            self._last_target = None

    def _drain_replica(self, number: int, now_s: float) -> None:
        if number in self._slot_by_number:
            self._drain_end_by_number[number] = now_s + self._drain_s
        else:
            self._unassigned_numbers.remove(number)
            self.replica_pool.remove(number, now_s)

    def _finish_draining(self, now_s: float) -> bool:
        outstanding_by_slot: Ints = get_outstanding_counts(self._fleet)
        finished_numbers = [
            number
            for number, drain_end_s in self._drain_end_by_number.items()
            if outstanding_by_slot[self._slot_by_number[number]] == 0 or drain_end_s <= now_s
        ]
        for number in finished_numbers:
            del self._drain_end_by_number[number]
            self._free_slot(number, now_s)
            self.replica_pool.remove(number, now_s)
        return bool(finished_numbers)

    def _free_slot(self, number: int, now_s: float) -> None:
        """Free the slot of the replica. Requests that are still in the slot fail."""
        if number in self._unassigned_numbers:
            self._unassigned_numbers.remove(number)
        if (slot := self._slot_by_number.pop(number, None)) is not None:
            fail_replica(self._fleet, slot, now_s)
            heapq.heappush(self._free_slots, slot)

    def _assign_slots(self) -> None:
        while self._unassigned_numbers and self._free_slots:
            self._slot_by_number[self._unassigned_numbers.pop(0)] = heapq.heappop(self._free_slots)

    def _update_routing(self) -> None:
        self.ready_slots = sorted(
            slot for number, slot in self._slot_by_number.items() if number not in self._drain_end_by_number
        )
        routable_slots = self.ready_slots
        if not routable_slots and self._activator_slot is not None:
            routable_slots = [self._activator_slot]
        set_routable_replicas(self._fleet, routable_slots)


def _schedule_updates(updates: tuple[RollingUpdate, ...], start_s: float) -> list[tuple[float, RollingUpdate]]:
    """Return each update with its first start time after `start_s`, in order of time."""
    scheduled_updates = [(start_s + (update.at_s - start_s) % DAY_S, update) for update in updates]
    return sorted(scheduled_updates, key=lambda pair: pair[0])
