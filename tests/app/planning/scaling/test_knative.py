from __future__ import annotations

from collections.abc import Callable

from app.planning.scaling.knative import KnativeState
from app.planning.scaling.signals import FleetView
from app.records.scaling import Knative

NO_ACTIVATOR = Knative(capacity=10.0, utilization=0.7, burst=0.0)


def followed(
    state: KnativeState, in_flight: Callable[[float], float], until_s: int, wanted: int, slot_s: float = 2.0
) -> dict[float, int]:
    """A fleet with no cold start."""
    course = {}
    for step in range(1, int(until_s / slot_s) + 1):
        now_s = step * slot_s
        total = in_flight(now_s)
        wanted = state.compute_desired_replicas(FleetView(now_s, wanted, wanted, total, 0.0, total))
        course[now_s] = wanted
    return course


def test_the_stable_window_over_seventy_percent_of_the_capacity() -> None:
    state = KnativeState(NO_ACTIVATOR, 2.0, replicas=1)
    assert (
        state.compute_desired_replicas(FleetView(2.0, 1, 1, 13.0, 0.0, 0.0)) == 2
    )  # ⌈13 / 7⌉, panic only from a ratio of 2
    rate = KnativeState(Knative(capacity=200.0, metric="rate", burst=0.0), 2.0, replicas=1)
    assert rate.compute_desired_replicas(FleetView(2.0, 3, 3, 0.0, 0.0, 700.0)) == 5


def test_it_panics_at_twice_what_is_ready_and_leaves_sixty_seconds_after() -> None:
    state = KnativeState(NO_ACTIVATOR, 2.0, replicas=1)
    calm = followed(state, lambda _: 7.0, 60, 1)
    assert set(calm.values()) == {1}
    assert not state.is_panicking
    burst = {62.0: 21.0, 64.0: 21.0, 66.0: 21.0}
    wanted, course = 1, {}
    for step in range(31, 75):
        now_s = 2.0 * step
        total = burst.get(now_s, 7.0)
        wanted = state.compute_desired_replicas(FleetView(now_s, wanted, 1 if now_s <= 66 else 3, total, 0.0, 0.0))
        course[now_s] = (wanted, state.is_panicking)
    assert course[62.0] == (2, True)  # mean of 6 s: (7 + 7 + 21) / 3 = 11.7 over 7 is 2, of 1 ready: panic at once
    assert course[66.0] == (3, True)
    assert course[70.0] == (3, True)  # below the threshold, but it never scales down in panic
    assert course[126.0] == (3, True)
    assert course[128.0][1] is False  # more than 60 s after 66 s
    assert course[148.0] == (1, False)


def test_it_begins_in_panic_with_more_than_one_and_halves_at_most() -> None:
    state = KnativeState(NO_ACTIVATOR, 2.0, replicas=8)
    course = followed(state, lambda _: 7.0, 70, 8)
    assert course[60.0] == 8
    assert [course[at_s] for at_s in (62.0, 64.0, 66.0, 68.0)] == [4, 2, 1, 1]


def test_going_up_is_limited_by_the_rate() -> None:
    slow = Knative(capacity=10.0, burst=0.0, max_up_rate=1.5)
    assert (
        KnativeState(slow, 2.0, replicas=1).compute_desired_replicas(FleetView(2.0, 3, 3, 700.0, 0.0, 0.0)) == 5
    )  # ⌈4.5⌉
    assert (
        KnativeState(Knative(capacity=10.0, burst=0.0, max=12), 2.0, replicas=1).compute_desired_replicas(
            FleetView(2.0, 3, 3, 700.0, 0.0, 0.0)
        )
        == 12
    )


def test_to_none_after_the_stable_window_and_the_grace() -> None:
    state = KnativeState(NO_ACTIVATOR, 2.0, replicas=1)
    course = followed(state, lambda now_s: 5.0 if now_s <= 100 else 0.0, 220, 1)
    assert course[188.0] == 1
    assert course[190.0] == 0  # 160 s: 60 s without a request; 190 s: 30 s more behind the activator


def test_to_none_without_the_grace_where_the_activator_stood_before_the_replica_already() -> None:
    state = KnativeState(Knative(capacity=10.0, burst=211.0), 2.0, replicas=1)
    course = followed(state, lambda now_s: 5.0 if now_s <= 100 else 0.0, 220, 1)
    assert (course[158.0], course[160.0]) == (1, 0)


def test_the_first_request_wakes_it_between_ticks() -> None:
    state = KnativeState(Knative(capacity=10.0, tick_s=10.0), 1.0, replicas=0)
    assert state.compute_desired_replicas(FleetView(10.0, 0, 0, 0.0, 0.0, 0.0)) == 0
    assert state.compute_desired_replicas(FleetView(11.0, 0, 0, 0.4, 0.0, 0.0)) == 1


def test_a_replica_on_its_way_is_not_given_up_when_the_request_has_gone() -> None:
    state = KnativeState(Knative(capacity=10.0), 2.0, replicas=0)
    assert state.compute_desired_replicas(FleetView(2.0, 0, 0, 1.0, 0.0, 0.0)) == 1
    for step in range(2, 60):
        assert state.compute_desired_replicas(FleetView(2.0 * step, 1, 0, 0.0, 0.0, 0.0, starting_replicas=1)) == 1
    # ready at 120 s: active for the stable window, then away
    course = {
        2.0 * step: state.compute_desired_replicas(FleetView(2.0 * step, 1, 1, 0.0, 0.0, 0.0)) for step in range(60, 92)
    }
    assert (course[178.0], course[180.0]) == (1, 0)


def test_with_a_least_it_never_sleeps() -> None:
    state = KnativeState(Knative(capacity=10.0, min=1), 2.0, replicas=1)
    assert set(followed(state, lambda _: 0.0, 600, 1).values()) == {1}
