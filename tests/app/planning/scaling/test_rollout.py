from __future__ import annotations

from app.planning.scaling.lives import Lives, Phase, ReplicaLife
from app.planning.scaling.rollout import RolloutSteps, limits_of, next_steps
from app.records.scaling import ColdStartModel, RollingUpdate


def fleet(*ready: bool, version: int = 0, first: int = 0) -> list[ReplicaLife]:
    return [
        ReplicaLife(first + place, version, Phase.READY if one else Phase.LOADING, 0.0)
        for place, one in enumerate(ready)
    ]


def test_without_an_update_the_missing_are_ordered_and_the_newest_leave() -> None:
    assert next_steps(fleet(True, True), 5, 0, None) == RolloutSteps(3, ())
    assert next_steps(fleet(True, True, True), 1, 0, None) == RolloutSteps(0, (2, 1))
    assert next_steps(fleet(True, False, True), 2, 0, None) == RolloutSteps(0, (1,))  # the one that is not ready first


def test_one_that_drains_does_not_count() -> None:
    lives = fleet(True, True)
    lives[1].phase = Phase.DRAINING
    assert next_steps(lives, 2, 0, None) == RolloutSteps(1, ())


def test_shares_are_rounded_as_kubernetes_does() -> None:
    assert limits_of(RollingUpdate(0.0), 10) == (3, 2)
    assert limits_of(RollingUpdate(0.0), 4) == (1, 1)
    assert limits_of(RollingUpdate(0.0, surge=0.0, unavailable=0.1), 4) == (0, 1)


def test_an_update_first_orders_its_surge_and_takes_what_may_be_missing() -> None:
    update = RollingUpdate(0.0)
    assert next_steps(fleet(*[True] * 8), 8, 1, update) == RolloutSteps(2, (7, 6))
    # two new ones not ready, six old ones are the fewest that may be ready: nothing more goes
    waiting = [*fleet(*[True] * 6), *fleet(False, False, version=1, first=8)]
    assert next_steps(waiting, 8, 1, update) == RolloutSteps(2, ())
    ready = [*fleet(*[True] * 6), *fleet(True, True, False, False, version=1, first=8)]
    assert next_steps(ready, 8, 1, update) == RolloutSteps(0, (5, 4))


def test_old_replicas_that_are_not_ready_leave_first() -> None:
    assert next_steps(fleet(True, True, True, False), 4, 1, RollingUpdate(0.0)) == RolloutSteps(1, (3,))


def test_while_old_ones_are_not_ready_fewer_ready_ones_go() -> None:
    # at least six must be ready: of seven that are one may go, though the one that is not goes too
    assert next_steps(fleet(*[True] * 7, False), 8, 1, RollingUpdate(0.0, surge=0.0)) == RolloutSteps(0, (7, 6))
    assert next_steps(fleet(*[True] * 6, False, False), 8, 1, RollingUpdate(0.0, surge=0.0)) == RolloutSteps(0, (6, 7))
    slow = [*fleet(*[True] * 5), *fleet(False, False, version=1, first=8)]
    assert next_steps(slow, 8, 1, RollingUpdate(0.0, surge=0.25)).leaving == ()


def test_an_update_ends_with_all_replaced_and_never_too_few_ready() -> None:
    lives = Lives(ColdStartModel(engine_s=30.0), None, 1, replicas=8)
    update, fewest, most = RollingUpdate(0.0), 8, 8
    for now_s in range(600):
        lives.advance(now_s)
        steps = next_steps(lives.lives, 8, 1, update)
        for number in steps.leaving:
            lives.drain(number, now_s)
            if lives.count(Phase.DRAINING):
                lives.release(number, now_s)
        for _ in range(steps.orders):
            lives.order(1, now_s)
        fewest, most = min(fewest, len(lives.ready)), max(most, len(lives.lives))
    assert {life.version for life in lives.lives} == {1}
    assert (len(lives.ready), fewest, most) == (8, 6, 10)
