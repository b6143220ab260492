from __future__ import annotations

import numpy as np

from app.planning.scaling.lifecycle import Phase, ReplicaPool, ReplicaState
from app.planning.scaling.operated_fleet import OperatedFleet, RolloutSteps, compute_rollout_limits, plan_rollout_steps
from app.planning.simulation.design import FleetDesign
from app.planning.simulation.serving import advance_to, get_totals, serve
from app.planning.simulation.state import Fleet, create_fleet
from app.records.scaling import ColdStartModel, FailureModel, Operations, RollingUpdate
from app.records.service import RequestService


def fleet(*ready: bool, version: int = 0, first: int = 0) -> list[ReplicaState]:
    return [
        ReplicaState(first + place, version, Phase.READY if one else Phase.LOADING, 0.0)
        for place, one in enumerate(ready)
    ]


def test_without_an_update_the_missing_are_ordered_and_the_newest_leave() -> None:
    assert plan_rollout_steps(fleet(True, True), 5, 0, None) == RolloutSteps(3, ())
    assert plan_rollout_steps(fleet(True, True, True), 1, 0, None) == RolloutSteps(0, (2, 1))
    assert plan_rollout_steps(fleet(True, False, True), 2, 0, None) == RolloutSteps(
        0, (1,)
    )  # the one that is not ready first


def test_one_that_drains_does_not_count() -> None:
    lives = fleet(True, True)
    lives[1].phase = Phase.DRAINING
    assert plan_rollout_steps(lives, 2, 0, None) == RolloutSteps(1, ())


def test_shares_are_rounded_as_kubernetes_does() -> None:
    assert compute_rollout_limits(RollingUpdate(0.0), 10) == (3, 2)
    assert compute_rollout_limits(RollingUpdate(0.0), 4) == (1, 1)
    assert compute_rollout_limits(RollingUpdate(0.0, surge=0.0, unavailable=0.1), 4) == (0, 1)


def test_an_update_first_orders_its_surge_and_takes_what_may_be_missing() -> None:
    update = RollingUpdate(0.0)
    assert plan_rollout_steps(fleet(*[True] * 8), 8, 1, update) == RolloutSteps(2, (7, 6))
    # two new ones not ready, six old ones are the fewest that may be ready: nothing more goes
    waiting = [*fleet(*[True] * 6), *fleet(False, False, version=1, first=8)]
    assert plan_rollout_steps(waiting, 8, 1, update) == RolloutSteps(2, ())
    ready = [*fleet(*[True] * 6), *fleet(True, True, False, False, version=1, first=8)]
    assert plan_rollout_steps(ready, 8, 1, update) == RolloutSteps(0, (5, 4))


def test_old_replicas_that_are_not_ready_leave_first() -> None:
    assert plan_rollout_steps(fleet(True, True, True, False), 4, 1, RollingUpdate(0.0)) == RolloutSteps(1, (3,))


def test_while_old_ones_are_not_ready_fewer_ready_ones_go() -> None:
    # at least six must be ready: of seven that are one may go, though the one that is not goes too
    assert plan_rollout_steps(fleet(*[True] * 7, False), 8, 1, RollingUpdate(0.0, surge=0.0)) == RolloutSteps(0, (7, 6))
    assert plan_rollout_steps(fleet(*[True] * 6, False, False), 8, 1, RollingUpdate(0.0, surge=0.0)) == RolloutSteps(
        0, (6, 7)
    )
    slow = [*fleet(*[True] * 5), *fleet(False, False, version=1, first=8)]
    assert plan_rollout_steps(slow, 8, 1, RollingUpdate(0.0, surge=0.25)).removed_numbers == ()


def test_an_update_ends_with_all_replaced_and_never_too_few_ready() -> None:
    lives = ReplicaPool(ColdStartModel(engine_s=30.0), None, 1, replicas=8)
    update, fewest, most = RollingUpdate(0.0), 8, 8
    for now_s in range(600):
        lives.advance(now_s)
        steps = plan_rollout_steps(lives.states, 8, 1, update)
        for number in steps.removed_numbers:
            lives.drain(number, now_s)
            if lives.count_in_phases(Phase.DRAINING):
                lives.remove(number, now_s)
        for _ in range(steps.new_count):
            lives.start_replica(1, now_s)
        fewest, most = min(fewest, len(lives.ready_numbers)), max(most, len(lives.states))
    assert {life.version for life in lives.states} == {1}
    assert (len(lives.ready_numbers), fewest, most) == (8, 6, 10)


SERVICE = RequestService(slots=2, mean_s=4.0, cv=0.0)


def operated(operations: Operations, replicas: int, places: int = 6, seed: int = 1) -> tuple[Fleet, OperatedFleet]:
    plane = create_fleet(FleetDesign((SERVICE,) * places, "round-robin"), np.random.SeedSequence(1))
    lives = ReplicaPool(operations.cold_start, operations.failures, seed, replicas=replicas)
    return plane, OperatedFleet(plane, lives, operations, places, None, 0.0)


def test_one_that_drains_gets_no_more_and_goes_when_it_is_empty() -> None:
    plane, fleet = operated(Operations(drain_s=60.0), 2)
    serve(plane, np.array([0.5, 0.6]), np.zeros(2))
    advance_to(plane, 1.0)
    fleet.step(1.0, 1)
    assert (fleet.ready_slots, fleet.draining_slots) == ([0], [1])
    serve(plane, np.array([1.5, 1.6]), np.zeros(2))
    advance_to(plane, 4.0)
    fleet.step(4.0, 1)
    assert fleet.draining_slots == [1]
    advance_to(plane, 5.0)
    fleet.step(5.0, 1)
    assert fleet.draining_slots == []
    assert fleet.replica_pool.compute_billed_s(5.0)["draining"] == 4.0
    advance_to(plane, 20.0)
    assert get_totals(plane).good == 4


def test_what_it_holds_at_the_end_of_the_grace_fails() -> None:
    plane, fleet = operated(Operations(drain_s=2.0), 2)
    serve(plane, np.array([0.5, 0.6]), np.zeros(2))
    for now_s in (1.0, 2.0, 3.0):
        advance_to(plane, now_s)
        fleet.step(now_s, 1)
    assert get_totals(plane).failed == 1
    assert fleet.draining_slots == []


def test_a_failed_replica_loses_what_it_holds_and_its_place_is_taken_again() -> None:
    plane, fleet = operated(Operations(ColdStartModel(engine_s=30.0), FailureModel(0.5, detect_s=5.0)), 1, seed=3)
    fails_s = fleet.replica_pool.states[0].phase_end_s
    serve(plane, np.array([fails_s - 1.0]), np.zeros(1))
    advance_to(plane, fails_s + 1.0)
    fleet.step(fails_s + 1.0, 1)
    assert get_totals(plane).failed == 1
    assert fleet.ready_slots == []
    serve(plane, np.array([fails_s + 2.0]), np.zeros(1))
    advance_to(plane, fails_s + 34.9)
    fleet.step(fails_s + 34.9, 1)
    assert (fleet.ready_slots, get_totals(plane).dropped) == ([], 1)
    fleet.step(fails_s + 35.0, 1)
    assert fleet.ready_slots == [0]


def test_ready_without_a_place_waits_for_one() -> None:
    _, fleet = operated(Operations(), 1, places=2)
    fleet.step(1.0, 3)
    assert len(fleet.replica_pool.ready_numbers) == 3
    assert fleet.ready_slots == [0, 1]


def test_an_update_is_due_at_its_time_of_the_day() -> None:
    operations = Operations(ColdStartModel(engine_s=10.0), updates=(RollingUpdate(100.0),), drain_s=0.0)
    plane, fleet = operated(operations, 4, places=12)
    course = []
    for now_s in range(0, 200, 5):
        advance_to(plane, float(now_s))
        fleet.step(float(now_s), 4)
        course.append(({life.version for life in fleet.replica_pool.states}, len(fleet.ready_slots)))
    assert all(versions == {0} for versions, _ in course[:20])
    assert course[20][0] == {0, 1}
    assert course[-1] == ({1}, 4)
    assert min(ready for _, ready in course) == 3
