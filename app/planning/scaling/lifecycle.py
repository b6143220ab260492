"""Lifecycle of each replica and its cost, and random cold start times phase by phase."""

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
    """Times of one cold start in s. `stock_wait_s` is spent waiting for stock, before there is a node to pay for."""

    stock_wait_s: float
    node_s: float
    image_s: float
    weights_s: float
    engine_s: float
    warm_up_s: float

    @property
    def total_s(self) -> float:
        return self.stock_wait_s + self.node_s + self.image_s + self.weights_s + self.engine_s + self.warm_up_s

    def without_node(self) -> ColdStartDraw:
        """Return the same cold start on a node that is ready already."""
        return msgspec.structs.replace(self, stock_wait_s=0.0, node_s=0.0)


def draw_cold_start(settings: ColdStartModel, generator: np.random.Generator) -> ColdStartDraw:
    """Draw a cold start.

    It uses the same number of random numbers for all settings, so that settings can be compared under the same ones.
    """
    sigma = math.sqrt(math.log1p(settings.cv * settings.cv))
    node, image, weights, engine, warm_up = np.exp(sigma * generator.standard_normal(5)).tolist()
    return ColdStartDraw(
        stock_wait_s=settings.retry_s * _refusals(settings.refusal_probability, float(generator.random())),
        node_s=settings.node_s * node,
        image_s=settings.image.median_s * image,
        weights_s=settings.weights.median_s * weights,
        engine_s=settings.engine_s * engine,
        warm_up_s=settings.warm_up_s * warm_up,
    )


def _refusals(probability: float, uniform: float) -> int:
    """Return a geometric random number by inversion; a probability of 1 would never end."""
    if probability <= 0:
        return 0
    return math.floor(math.log(max(1 - uniform, 1e-300)) / math.log(probability))


_SECONDS_PER_HOUR = 3600.0


class Phase(StrEnum):
    """Phase of a replica.

    `WAITING` is for stock, before there is a node; `PULLING` is for its image; `GONE` is the end.
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
    """Change of phase at its exact time."""

    at_s: float
    replica: int
    phase: Phase


@dataclass
class ReplicaState:
    """State of one replica; its `number` is never reused.

    The future is known: `ends_s` is the end of this phase, and `next_phases` has the phases after it.
    """

    number: int
    version: int
    phase: Phase
    phase_start_s: float
    phase_end_s: float = np.inf
    next_phases: list[tuple[Phase, float]] = field(default_factory=list)
    fails_after_s: float = np.inf
    starts: int = 0
    billed_s: dict[Phase, float] = field(default_factory=lambda: dict.fromkeys(BILLED_PHASES, 0.0))

    @property
    def is_ready(self) -> bool:
        return self.phase is Phase.READY

    @property
    def is_leaving(self) -> bool:
        return self.phase in (Phase.DRAINING, Phase.GONE)

    def enter(self, at_s: float, phase: Phase, ends_s: float = np.inf) -> PhaseChange:
        if self.phase in self.billed_s:
            self.billed_s[self.phase] += at_s - self.phase_start_s
        self.phase, self.phase_start_s, self.phase_end_s = phase, at_s, ends_s
        return PhaseChange(at_s, self.number, phase)

    def compute_billed_s(self, now_s: float) -> dict[Phase, float]:
        """Return the billed seconds by phase, including the present phase."""
        billed = dict(self.billed_s)
        if self.phase in billed:
            billed[self.phase] += max(0.0, now_s - self.phase_start_s)
        return billed


class ReplicaPool:
    """All replicas of a fleet and its warm nodes.

    Random numbers depend on the seed, the replica's number and how often it has started, so they do not depend on the
    other replicas.
    """

    def __init__(
        self, cold_start: ColdStartModel, failures: FailureModel | None, seed: int, *, replicas: int, now_s: float = 0.0
    ) -> None:
        """Create the replicas; `replicas` of them are ready at the start."""
        self._cold_start, self._failures, self._seed = cold_start, failures, seed
        self.states: list[ReplicaState] = []
        self._removed_s = {phase.value: 0.0 for phase in BILLED_PHASES}
        self._warm_nodes_from_s = [(now_s, now_s)] * cold_start.warm_nodes
        self._idle_nodes_s = 0.0
        self._next_number = 0
        self._next_change_s = np.inf
        for _ in range(replicas):
            life = self._new(0, now_s)
            life.phase, life.phase_end_s = Phase.READY, now_s + life.fails_after_s
            self._next_change_s = min(self._next_change_s, life.phase_end_s)

    @property
    def ready(self) -> list[int]:
        """Numbers of the ready replicas, ascending."""
        return [life.number for life in self.states if life.is_ready]

    def count(self, *phases: Phase) -> int:
        return sum(1 for life in self.states if life.phase in phases)

    def start_replica(self, version: int, now_s: float) -> PhaseChange:
        """Start one more replica, on a warm node if one is ready, else on a node to provision."""
        life = self._new(version, now_s)
        draw = self._draw(life)
        if self._take_warm_node(now_s, draw):
            draw = draw.without_node()
        return self._begin(life, draw, now_s, is_cached=False)

    def advance(self, now_s: float) -> list[PhaseChange]:
        """Return every change of phase until now that needs no command, in order of time."""
        if now_s < self._next_change_s:
            return []
        changes = []
        for life in self.states:
            while life.phase_end_s <= now_s:
                changes.append(self._next_phase(life))
        self._next_change_s = min((life.phase_end_s for life in self.states), default=np.inf)
        return sorted(changes)

    def drain(self, number: int, now_s: float) -> PhaseChange:
        """Stop requests to a replica; one that is not ready is removed at once."""
        life = self._life(number)
        if life.is_ready:
            return life.enter(now_s, Phase.DRAINING)
        return self.remove(number, now_s)

    def remove(self, number: int, now_s: float) -> PhaseChange:
        life = self._life(number)
        change = life.enter(now_s, Phase.GONE)
        self.states.remove(life)
        for phase, seconds in life.billed_s.items():
            self._removed_s[phase.value] += seconds
        return change

    def compute_billed_s(self, now_s: float) -> dict[str, float]:
        """Return the billed seconds by phase until now, of all replicas so far.

        `pooled` are those of unused warm nodes.
        """
        billed = dict(self._removed_s)
        for life in self.states:
            for phase, seconds in life.compute_billed_s(now_s).items():
                billed[phase.value] += seconds
        idle_s = sum(max(0.0, now_s - from_s) for from_s, _ in self._warm_nodes_from_s)
        return {**billed, "pooled": self._idle_nodes_s + idle_s}

    def count_billed_nodes(self, now_s: float) -> int:
        """Return the number of replicas and warm nodes billed now."""
        return self.count(*BILLED_PHASES) + sum(1 for from_s, _ in self._warm_nodes_from_s if from_s <= now_s)

    def _new(self, version: int, now_s: float) -> ReplicaState:
        life = ReplicaState(self._next_number, version, Phase.WAITING, now_s)
        self._next_number += 1
        self.states.append(life)
        life.fails_after_s = self._time_to_failure(life)
        return life

    def _begin(self, life: ReplicaState, draw: ColdStartDraw, now_s: float, *, is_cached: bool) -> PhaseChange:
        life.starts += 1
        life.next_phases = [
            (Phase.WAITING, draw.stock_wait_s),
            (Phase.PROVISIONING, draw.node_s),
            (Phase.PULLING, 0.0 if is_cached else draw.image_s),
            (Phase.LOADING, draw.weights_s + draw.engine_s),
            (Phase.WARMING, draw.warm_up_s),
            (Phase.READY, life.fails_after_s),
        ]
        life.next_phases = [(phase, duration_s) for phase, duration_s in life.next_phases if duration_s > 0]
        phase, duration_s = life.next_phases.pop(0)
        self._next_change_s = min(self._next_change_s, now_s + duration_s)
        return life.enter(now_s, phase, now_s + duration_s)

    def _next_phase(self, life: ReplicaState) -> PhaseChange:
        at_s = life.phase_end_s
        if life.next_phases:
            phase, duration_s = life.next_phases.pop(0)
            return life.enter(at_s, phase, at_s + duration_s)
        assert self._failures is not None
        if life.phase is Phase.READY:
            return life.enter(at_s, Phase.FAILED, at_s + self._failures.detect_s)
        return self._restart(life, at_s)

    def _restart(self, life: ReplicaState, at_s: float) -> PhaseChange:
        life.fails_after_s = self._time_to_failure(life)
        draw = self._draw(life)
        if self._failures is not None and not self._failures.new_node:
            return self._begin(life, draw.without_node(), at_s, is_cached=True)
        return self._begin(life, draw, at_s, is_cached=False)

    def _take_warm_node(self, now_s: float, draw: ColdStartDraw) -> bool:
        """Take a warm node if one is ready.

        The node's own cost continues; its replacement takes the time that this replica would have waited for.
        """
        for index, (from_s, ready_s) in enumerate(self._warm_nodes_from_s):
            if ready_s <= now_s:
                self._idle_nodes_s += now_s - from_s
                ordered_s = now_s + draw.stock_wait_s
                self._warm_nodes_from_s[index] = (ordered_s, ordered_s + draw.node_s)
                return True
        return False

    def _draw(self, life: ReplicaState) -> ColdStartDraw:
        return draw_cold_start(self._cold_start, self._generator(life, 0))

    def _time_to_failure(self, life: ReplicaState) -> float:
        if self._failures is None:
            return np.inf
        return float(self._generator(life, 1).exponential(self._failures.mtbf_hours * _SECONDS_PER_HOUR))

    def _generator(self, life: ReplicaState, purpose: int) -> np.random.Generator:
        return np.random.default_rng((self._seed, 3, life.number, life.starts, purpose))

    def _life(self, number: int) -> ReplicaState:
        return next(life for life in self.states if life.number == number)
