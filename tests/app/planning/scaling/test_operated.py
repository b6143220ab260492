from __future__ import annotations

import numpy as np

from app.planning.scaling.lives import Lives
from app.planning.scaling.operated import OperatedFleet
from app.planning.simulation.design import FleetDesign
from app.planning.simulation.serving import counts_of, serve, settle
from app.planning.simulation.state import Fleet, new_fleet
from app.records.scaling import ColdStartModel, FailureModel, Operations, RollingUpdate
from app.records.service import RequestService

SERVICE = RequestService(slots=2, mean_s=4.0, cv=0.0)


def operated(operations: Operations, replicas: int, places: int = 6, seed: int = 1) -> tuple[Fleet, OperatedFleet]:
    plane = new_fleet(FleetDesign((SERVICE,) * places, "round_robin"), np.random.SeedSequence(1))
    lives = Lives(operations.cold_start, operations.failures, seed, replicas=replicas)
    return plane, OperatedFleet(plane, lives, operations, places, None, 0.0)


def test_one_that_drains_gets_no_more_and_goes_when_it_is_empty() -> None:
    plane, fleet = operated(Operations(drain_s=60.0), 2)
    serve(plane, np.array([0.5, 0.6]), np.zeros(2))
    settle(plane, 1.0)
    fleet.step(1.0, 1)
    assert (fleet.ready_places, fleet.draining_places) == ([0], [1])
    serve(plane, np.array([1.5, 1.6]), np.zeros(2))
    settle(plane, 4.0)
    fleet.step(4.0, 1)
    assert fleet.draining_places == [1]
    settle(plane, 5.0)
    fleet.step(5.0, 1)
    assert fleet.draining_places == []
    assert fleet.lives.billed_s(5.0)["draining"] == 4.0
    settle(plane, 20.0)
    assert counts_of(plane).good == 4


def test_what_it_holds_at_the_end_of_the_grace_fails() -> None:
    plane, fleet = operated(Operations(drain_s=2.0), 2)
    serve(plane, np.array([0.5, 0.6]), np.zeros(2))
    for now_s in (1.0, 2.0, 3.0):
        settle(plane, now_s)
        fleet.step(now_s, 1)
    assert counts_of(plane).failed == 1
    assert fleet.draining_places == []


def test_a_failed_replica_loses_what_it_holds_and_its_place_is_taken_again() -> None:
    plane, fleet = operated(Operations(ColdStartModel(engine_s=30.0), FailureModel(0.5, detect_s=5.0)), 1, seed=3)
    fails_s = fleet.lives.lives[0].ends_s
    serve(plane, np.array([fails_s - 1.0]), np.zeros(1))
    settle(plane, fails_s + 1.0)
    fleet.step(fails_s + 1.0, 1)
    assert counts_of(plane).failed == 1
    assert fleet.ready_places == []
    serve(plane, np.array([fails_s + 2.0]), np.zeros(1))
    settle(plane, fails_s + 34.9)
    fleet.step(fails_s + 34.9, 1)
    assert (fleet.ready_places, counts_of(plane).dropped) == ([], 1)
    fleet.step(fails_s + 35.0, 1)
    assert fleet.ready_places == [0]


def test_ready_without_a_place_waits_for_one() -> None:
    _, fleet = operated(Operations(), 1, places=2)
    fleet.step(1.0, 3)
    assert len(fleet.lives.ready) == 3
    assert fleet.ready_places == [0, 1]


def test_an_update_is_due_at_its_time_of_the_day() -> None:
    operations = Operations(ColdStartModel(engine_s=10.0), updates=(RollingUpdate(100.0),), drain_s=0.0)
    plane, fleet = operated(operations, 4, places=12)
    course = []
    for now_s in range(0, 200, 5):
        settle(plane, float(now_s))
        fleet.step(float(now_s), 4)
        course.append(({life.version for life in fleet.lives.lives}, len(fleet.ready_places)))
    assert all(versions == {0} for versions, _ in course[:20])
    assert course[20][0] == {0, 1}
    assert course[-1] == ({1}, 4)
    assert min(ready for _, ready in course) == 3
