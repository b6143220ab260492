from __future__ import annotations

import numpy as np

from app.planning.scaling.lifecycle import Phase, ReplicaPool, ReplicaState
from app.planning.scaling.operated_fleet import OperatedFleet, RolloutSteps, compute_rollout_limits, plan_rollout_steps
from app.planning.simulation.design import FleetDesign
from app.planning.simulation.serving import advance_to, get_totals, serve
from app.planning.simulation.state import Fleet, create_fleet
from app.records.scaling import ColdStartModel, FailureModel, Operations, RollingUpdate
from app.records.service import RequestService


def build_replicas(*ready: bool, version: int = 0, first: int = 0) -> list[ReplicaState]:
    return [
        ReplicaState(first + index, version, Phase.READY if is_ready else Phase.LOADING, 0.0)
        for index, is_ready in enumerate(ready)
    ]


def test_missing_replicas_are_started_and_newest_surplus_replicas_removed() -> None:
    assert plan_rollout_steps(build_replicas(True, True), 5, 0, None) == RolloutSteps(3, ())
    assert plan_rollout_steps(build_replicas(True, True, True), 1, 0, None) == RolloutSteps(0, (2, 1))
    # the replica that is not ready is removed first
    assert plan_rollout_steps(build_replicas(True, False, True), 2, 0, None) == RolloutSteps(0, (1,))


def test_draining_replica_does_not_count_as_a_replica() -> None:
    states = build_replicas(True, True)
    states[1].phase = Phase.DRAINING
    assert plan_rollout_steps(states, 2, 0, None) == RolloutSteps(1, ())


def test_rollout_limits_are_rounded_as_in_kubernetes() -> None:
    assert compute_rollout_limits(RollingUpdate(0.0), 10) == (3, 2)
    assert compute_rollout_limits(RollingUpdate(0.0), 4) == (1, 1)
    assert compute_rollout_limits(RollingUpdate(0.0, surge=0.0, unavailable=0.1), 4) == (0, 1)


def test_rollout_starts_its_surge_and_removes_max_unavailable_replicas() -> None:
    update = RollingUpdate(0.0)
    assert plan_rollout_steps(build_replicas(*[True] * 8), 8, 1, update) == RolloutSteps(2, (7, 6))
    # with two new replicas not ready, six old ones are the minimum that must be ready: none is removed
    waiting = [*build_replicas(*[True] * 6), *build_replicas(False, False, version=1, first=8)]
    assert plan_rollout_steps(waiting, 8, 1, update) == RolloutSteps(2, ())
    ready = [*build_replicas(*[True] * 6), *build_replicas(True, True, False, False, version=1, first=8)]
    assert plan_rollout_steps(ready, 8, 1, update) == RolloutSteps(0, (5, 4))


def test_rollout_removes_old_replicas_that_are_not_ready_first() -> None:
    assert plan_rollout_steps(build_replicas(True, True, True, False), 4, 1, RollingUpdate(0.0)) == RolloutSteps(
        1, (3,)
    )


def test_rollout_removes_fewer_ready_replicas_while_others_are_not_ready() -> None:
    # at least six must be ready: one of seven ready replicas and the one that is not ready are removed
    assert plan_rollout_steps(build_replicas(*[True] * 7, False), 8, 1, RollingUpdate(0.0, surge=0.0)) == RolloutSteps(
        0, (7, 6)
    )
    assert plan_rollout_steps(
        build_replicas(*[True] * 6, False, False), 8, 1, RollingUpdate(0.0, surge=0.0)
    ) == RolloutSteps(0, (6, 7))
    replicas = [*build_replicas(*[True] * 5), *build_replicas(False, False, version=1, first=8)]
    assert plan_rollout_steps(replicas, 8, 1, RollingUpdate(0.0, surge=0.25)).removed_numbers == ()


def test_rollout_replaces_all_replicas_within_its_limits() -> None:
    pool = ReplicaPool(ColdStartModel(engine_s=30.0), None, 1, replicas=8)
    update, min_ready, max_replicas = RollingUpdate(0.0), 8, 8
    for now_s in range(600):
        pool.advance(now_s)
        steps = plan_rollout_steps(pool.states, 8, 1, update)
        for number in steps.removed_numbers:
            pool.drain(number, now_s)
            if pool.count_in_phases(Phase.DRAINING):
                pool.remove(number, now_s)
        for _ in range(steps.new_count):
            pool.start_replica(1, now_s)
        min_ready, max_replicas = min(min_ready, len(pool.ready_numbers)), max(max_replicas, len(pool.states))
    assert {state.version for state in pool.states} == {1}
    assert (len(pool.ready_numbers), min_ready, max_replicas) == (8, 6, 10)


SERVICE = RequestService(slots=2, mean_s=4.0, cv=0.0)


def build_operated_fleet(
    operations: Operations, replicas: int, slots: int = 6, seed: int = 1
) -> tuple[Fleet, OperatedFleet]:
    simulated_fleet = create_fleet(FleetDesign((SERVICE,) * slots, "round-robin"), np.random.SeedSequence(1))
    pool = ReplicaPool(operations.cold_start, operations.failures, seed, replicas=replicas)
    return simulated_fleet, OperatedFleet(simulated_fleet, pool, operations, slots, None, 0.0)


def test_draining_replica_gets_no_requests_and_is_removed_when_idle() -> None:
    simulated_fleet, fleet = build_operated_fleet(Operations(drain_s=60.0), 2)
    serve(simulated_fleet, np.array([0.5, 0.6]), np.zeros(2))
    advance_to(simulated_fleet, 1.0)
    fleet.step(1.0, 1)
    assert (fleet.ready_slots, fleet.draining_slots) == ([0], [1])
    serve(simulated_fleet, np.array([1.5, 1.6]), np.zeros(2))
    advance_to(simulated_fleet, 4.0)
    fleet.step(4.0, 1)
    assert fleet.draining_slots == [1]
    advance_to(simulated_fleet, 5.0)
    fleet.step(5.0, 1)
    assert fleet.draining_slots == []
    assert fleet.replica_pool.compute_billed_s(5.0)["draining"] == 4.0
    advance_to(simulated_fleet, 20.0)
    assert get_totals(simulated_fleet).good == 4


def test_requests_in_flight_at_the_end_of_the_drain_period_fail() -> None:
    simulated_fleet, fleet = build_operated_fleet(Operations(drain_s=2.0), 2)
    serve(simulated_fleet, np.array([0.5, 0.6]), np.zeros(2))
    for now_s in (1.0, 2.0, 3.0):
        advance_to(simulated_fleet, now_s)
        fleet.step(now_s, 1)
    assert get_totals(simulated_fleet).failed == 1
    assert fleet.draining_slots == []


def test_failed_replica_loses_its_requests_and_its_slot_is_reused() -> None:
    simulated_fleet, fleet = build_operated_fleet(
        Operations(ColdStartModel(engine_s=30.0), FailureModel(0.5, detect_s=5.0)), 1, seed=3
    )
    fails_s = fleet.replica_pool.states[0].phase_end_s
    serve(simulated_fleet, np.array([fails_s - 1.0]), np.zeros(1))
    advance_to(simulated_fleet, fails_s + 1.0)
    fleet.step(fails_s + 1.0, 1)
    assert get_totals(simulated_fleet).failed == 1
    assert fleet.ready_slots == []
    serve(simulated_fleet, np.array([fails_s + 2.0]), np.zeros(1))
    advance_to(simulated_fleet, fails_s + 34.9)
    fleet.step(fails_s + 34.9, 1)
    assert (fleet.ready_slots, get_totals(simulated_fleet).dropped) == ([], 1)
    fleet.step(fails_s + 35.0, 1)
    assert fleet.ready_slots == [0]


def test_ready_replica_without_a_free_slot_waits() -> None:
    _, fleet = build_operated_fleet(Operations(), 1, slots=2)
    fleet.step(1.0, 3)
    assert len(fleet.replica_pool.ready_numbers) == 3
    assert fleet.ready_slots == [0, 1]


def test_rolling_update_starts_at_its_time_of_day() -> None:
    operations = Operations(ColdStartModel(engine_s=10.0), updates=(RollingUpdate(100.0),), drain_s=0.0)
    simulated_fleet, fleet = build_operated_fleet(operations, 4, slots=12)
    observed = []
    for now_s in range(0, 200, 5):
        advance_to(simulated_fleet, float(now_s))
        fleet.step(float(now_s), 4)
        observed.append(({state.version for state in fleet.replica_pool.states}, len(fleet.ready_slots)))
    assert all(versions == {0} for versions, _ in observed[:20])
    assert observed[20][0] == {0, 1}
    assert observed[-1] == ({1}, 4)
    assert min(ready for _, ready in observed) == 3
