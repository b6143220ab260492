"""Lifecycle and cost of each replica, with random durations of cold start phases."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import msgspec
import msgspec.structs
import numpy as np

from app.records.scaling import ColdStartModel, FailureModel


class ColdStartDraw(msgspec.Struct, frozen=True):
    """Random durations of one cold start in seconds.

    `stock_wait_s` is the unbilled wait for capacity at the provider.
    """

    stock_wait_s: float
    node_s: float
    image_s: float
    weights_s: float
    engine_s: float
    warm_up_s: float

    @property
    def total_s(self) -> float:
        return self.stock_wait_s + self.node_s + self.image_s + self.weights_s + self.engine_s + self.warm_up_s

    def remove_node_phases(self) -> ColdStartDraw:
        """Return the cold start without the phases before the node is ready."""
        return msgspec.structs.replace(self, stock_wait_s=0.0, node_s=0.0)


def draw_cold_start(settings: ColdStartModel, rng: np.random.Generator) -> ColdStartDraw:
    """Draw the durations of a cold start.

    The number of random numbers drawn does not depend on the settings, so that settings can be
    compared with common random numbers.
    """
    sigma = math.sqrt(math.log1p(settings.cv * settings.cv))
    node_factor, image_factor, weights_factor, engine_factor, warm_up_factor = np.exp(
        sigma * rng.standard_normal(5)
    ).tolist()
    return ColdStartDraw(
        stock_wait_s=settings.retry_s * _draw_rejection_count(settings.refusal_probability, float(rng.random())),
        node_s=settings.node_s * node_factor,
        image_s=settings.image.median_s * image_factor,
        weights_s=settings.weights.median_s * weights_factor,
        engine_s=settings.engine_s * engine_factor,
        warm_up_s=settings.warm_up_s * warm_up_factor,
    )


def _draw_rejection_count(probability: float, uniform: float) -> int:
    """Draw the number of rejected capacity requests from a geometric distribution, by inversion.

    `probability` is the probability of a rejection, less than 1. `uniform` is a uniform random
    number in [0, 1).
    """
    if probability <= 0:
        return 0
    return math.floor(math.log(max(1 - uniform, 1e-300)) / math.log(probability))


_SECONDS_PER_HOUR = 3600.0


class Phase(StrEnum):
    """Phase of a replica's lifecycle.

    A replica is `WAITING` while the provider has no capacity, `PULLING` while its image is pulled,
    and `GONE` once it is removed.
    """

    WAITING = "waiting"
    PROVISIONING = "provisioning"
    PULLING = "pulling"
    LOADING = "loading"
    WARMING = "warming"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"
    GONE = "gone"


PENDING_PHASES = (Phase.WAITING, Phase.PROVISIONING, Phase.PULLING)
STARTING_PHASES = (Phase.LOADING, Phase.WARMING, Phase.FAILED)
BILLED_PHASES = tuple(phase for phase in Phase if phase not in (Phase.WAITING, Phase.GONE))


class PhaseChange(NamedTuple):
    """Change of a replica's phase, with the exact time in seconds."""

    time_s: float
    replica_number: int
    phase: Phase


@dataclass
class ReplicaState:
    """State of one replica, whose `number` is never reused.

    Future phases are known in advance: the current phase ends at `phase_end_s`. `next_phases` holds
    the later phases and their durations in seconds.
    """

    number: int
    version: int
    phase: Phase
    phase_start_s: float
    phase_end_s: float = np.inf
    next_phases: list[tuple[Phase, float]] = field(default_factory=list)
    time_to_failure_s: float = np.inf
    start_count: int = 0
    billed_s: dict[Phase, float] = field(default_factory=lambda: dict.fromkeys(BILLED_PHASES, 0.0))

    @property
    def is_ready(self) -> bool:
        return self.phase is Phase.READY

    @property
    def is_leaving(self) -> bool:
        return self.phase in (Phase.DRAINING, Phase.GONE)

    def enter_phase(self, time_s: float, phase: Phase, end_s: float = np.inf) -> PhaseChange:
        if self.phase in self.billed_s:
            self.billed_s[self.phase] += time_s - self.phase_start_s
        self.phase, self.phase_start_s, self.phase_end_s = phase, time_s, end_s
        return PhaseChange(time_s, self.number, phase)

    def compute_billed_s(self, now_s: float) -> dict[Phase, float]:
        """Return the billed seconds of the replica by phase, up to `now_s`."""
        billed_s = dict(self.billed_s)
        if self.phase in billed_s:
            billed_s[self.phase] += max(0.0, now_s - self.phase_start_s)
        return billed_s


class ReplicaPool:
    """All replicas and warm nodes of a fleet.

    Random numbers of a replica depend only on the seed, the replica's number and its number of
    starts, not on other replicas.
    """

    def __init__(
        self, cold_start: ColdStartModel, failures: FailureModel | None, seed: int, *, replicas: int, now_s: float = 0.0
    ) -> None:
        """Create the pool with `replicas` replicas, which are ready at `now_s`, and with all warm
        nodes available."""
        self._cold_start, self._failures, self._seed = cold_start, failures, seed
        self.states: list[ReplicaState] = []
        self._removed_billed_s = {phase.value: 0.0 for phase in BILLED_PHASES}
        self._warm_node_times_s = [(now_s, now_s)] * cold_start.warm_nodes
        self._idle_node_billed_s = 0.0
        self._next_number = 0
        self._next_change_s = np.inf
        for _ in range(replicas):
            replica = self._add_replica(0, now_s)
            replica.phase, replica.phase_end_s = Phase.READY, now_s + replica.time_to_failure_s
            self._next_change_s = min(self._next_change_s, replica.phase_end_s)

    @property
    def ready_numbers(self) -> list[int]:
        """Indices of the ready replicas, in ascending order."""
        return [replica.number for replica in self.states if replica.is_ready]

    def count_in_phases(self, *phases: Phase) -> int:
        return sum(1 for replica in self.states if replica.phase in phases)

    def start_replica(self, version: int, now_s: float) -> PhaseChange:
        """Start a replica, on a warm node if one is ready, otherwise on a node that must be
        provisioned."""
        replica = self._add_replica(version, now_s)
        cold_start = self._draw_cold_start(replica)
        if self._use_warm_node(now_s, cold_start):
            cold_start = cold_start.remove_node_phases()
        return self._begin_cold_start(replica, cold_start, now_s, is_image_cached=False)

    def advance(self, now_s: float) -> list[PhaseChange]:
        """Apply all phase changes that are due up to `now_s`, and return them in order of time."""
        if now_s < self._next_change_s:
            return []
        changes = []
        for replica in self.states:
            while replica.phase_end_s <= now_s:
                changes.append(self._enter_next_phase(replica))
        self._next_change_s = min((replica.phase_end_s for replica in self.states), default=np.inf)
        return sorted(changes)

    def drain(self, number: int, now_s: float) -> PhaseChange:
        """Start draining a ready replica. Remove a replica that is not ready immediately."""
        replica = self._find_replica(number)
        if replica.is_ready:
            return replica.enter_phase(now_s, Phase.DRAINING)
        return self.remove(number, now_s)

    def remove(self, number: int, now_s: float) -> PhaseChange:
        replica = self._find_replica(number)
        change = replica.enter_phase(now_s, Phase.GONE)
        self.states.remove(replica)
        for phase, seconds in replica.billed_s.items():
            self._removed_billed_s[phase.value] += seconds
        return change

    def compute_billed_s(self, now_s: float) -> dict[str, float]:
        """Return the billed seconds of all current and past replicas by phase, up to `now_s`.

        The key `pooled` holds the billed seconds of unused warm nodes.
        """
        billed_s = dict(self._removed_billed_s)
        for replica in self.states:
            for phase, seconds in replica.compute_billed_s(now_s).items():
                billed_s[phase] += seconds
        idle_s = sum(max(0.0, now_s - billing_start_s) for billing_start_s, _ in self._warm_node_times_s)
        return {**billed_s, "pooled": self._idle_node_billed_s + idle_s}

    def count_billed_nodes(self, now_s: float) -> int:
        """Return the number of replicas and warm nodes that are billed at `now_s`."""
        return self.count_in_phases(*BILLED_PHASES) + sum(
            1 for billing_start_s, _ in self._warm_node_times_s if billing_start_s <= now_s
        )

    def _add_replica(self, version: int, now_s: float) -> ReplicaState:
        replica = ReplicaState(self._next_number, version, Phase.WAITING, now_s)
        self._next_number += 1
        self.states.append(replica)
        replica.time_to_failure_s = self._draw_time_to_failure_s(replica)
        return replica

    def _begin_cold_start(
        self, replica: ReplicaState, cold_start: ColdStartDraw, now_s: float, *, is_image_cached: bool
    ) -> PhaseChange:
        replica.start_count += 1
        replica.next_phases = [
            (Phase.WAITING, cold_start.stock_wait_s),
            (Phase.PROVISIONING, cold_start.node_s),
            (Phase.PULLING, 0.0 if is_image_cached else cold_start.image_s),
            (Phase.LOADING, cold_start.weights_s + cold_start.engine_s),
            (Phase.WARMING, cold_start.warm_up_s),
            (Phase.READY, replica.time_to_failure_s),
        ]
        replica.next_phases = [(phase, duration_s) for phase, duration_s in replica.next_phases if duration_s > 0]
        phase, duration_s = replica.next_phases.pop(0)
        self._next_change_s = min(self._next_change_s, now_s + duration_s)
        return replica.enter_phase(now_s, phase, now_s + duration_s)

    def _enter_next_phase(self, replica: ReplicaState) -> PhaseChange:
        time_s = replica.phase_end_s
        if replica.next_phases:
            phase, duration_s = replica.next_phases.pop(0)
            return replica.enter_phase(time_s, phase, time_s + duration_s)
        assert self._failures is not None
        if replica.phase is Phase.READY:
            return replica.enter_phase(time_s, Phase.FAILED, time_s + self._failures.detect_s)
        return self._restart(replica, time_s)

    def _restart(self, replica: ReplicaState, time_s: float) -> PhaseChange:
        replica.time_to_failure_s = self._draw_time_to_failure_s(replica)
        cold_start = self._draw_cold_start(replica)
        if self._failures is not None and not self._failures.new_node:
            return self._begin_cold_start(replica, cold_start.remove_node_phases(), time_s, is_image_cached=True)
        return self._begin_cold_start(replica, cold_start, time_s, is_image_cached=False)

    def _use_warm_node(self, now_s: float, cold_start: ColdStartDraw) -> bool:
        """Assign a ready warm node, if any, to a new replica. Return whether a node was assigned.

        The assigned node continues to be billed. The replacement of the warm node is ready after
        the replica's `stock_wait_s` and `node_s`.
        """
        for index, (billing_start_s, ready_s) in enumerate(self._warm_node_times_s):
            if ready_s <= now_s:
                self._idle_node_billed_s += now_s - billing_start_s
                order_time_s = now_s + cold_start.stock_wait_s
                self._warm_node_times_s[index] = (order_time_s, order_time_s + cold_start.node_s)
                return True
        return False

    def _draw_cold_start(self, replica: ReplicaState) -> ColdStartDraw:
        return draw_cold_start(self._cold_start, self._build_rng(replica, 0))

    def _draw_time_to_failure_s(self, replica: ReplicaState) -> float:
        if self._failures is None:
            return np.inf
        return float(self._build_rng(replica, 1).exponential(self._failures.mtbf_hours * _SECONDS_PER_HOUR))

    def _build_rng(self, replica: ReplicaState, purpose: int) -> np.random.Generator:
        return np.random.default_rng((self._seed, 3, replica.number, replica.start_count, purpose))

    def _find_replica(self, number: int) -> ReplicaState:
        return next(replica for replica in self.states if replica.number == number)
