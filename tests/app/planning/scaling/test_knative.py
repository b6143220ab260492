from __future__ import annotations

from collections.abc import Callable

from app.planning.scaling.knative import KnativeState
from app.planning.scaling.signals import FleetView
from app.records.scaling import Knative

NO_ACTIVATOR = Knative(capacity=10.0, utilization=0.7, burst=0.0)


def simulate_replicas(
    state: KnativeState, in_flight: Callable[[float], float], until_s: int, replicas: int, slot_s: float = 2.0
) -> dict[float, int]:
    """Return the desired replicas by time, for a fleet without cold start."""
    replicas_by_s = {}
    for step in range(1, int(until_s / slot_s) + 1):
        now_s = step * slot_s
        total = in_flight(now_s)
        replicas = state.compute_desired_replicas(FleetView(now_s, replicas, replicas, total, 0.0, total))
        replicas_by_s[now_s] = replicas
    return replicas_by_s


def test_knative_desired_replicas_are_load_over_utilization_times_capacity() -> None:
    state = KnativeState(NO_ACTIVATOR, 2.0, replicas=1)
    # ⌈13 / 7⌉; panic mode starts at a ratio of 2
    assert state.compute_desired_replicas(FleetView(2.0, 1, 1, 13.0, 0.0, 0.0)) == 2
    rate = KnativeState(Knative(capacity=200.0, metric="rate", burst=0.0), 2.0, replicas=1)
    assert rate.compute_desired_replicas(FleetView(2.0, 3, 3, 0.0, 0.0, 700.0)) == 5


def test_knative_panics_at_twice_the_ready_capacity_and_stops_60_s_later() -> None:
    state = KnativeState(NO_ACTIVATOR, 2.0, replicas=1)
    replicas_by_s = simulate_replicas(state, lambda _: 7.0, 60, 1)
    assert set(replicas_by_s.values()) == {1}
    assert not state.is_panicking
    burst = {62.0: 21.0, 64.0: 21.0, 66.0: 21.0}
    replicas, states = 1, {}
    for step in range(31, 75):
        now_s = 2.0 * step
        total = burst.get(now_s, 7.0)
        replicas = state.compute_desired_replicas(FleetView(now_s, replicas, 1 if now_s <= 66 else 3, total, 0.0, 0.0))
        states[now_s] = (replicas, state.is_panicking)
    # the mean of 6 s is (7 + 7 + 21) / 3 = 11.7; over 7 that is 2 replicas for 1 ready one: panic mode
    assert states[62.0] == (
        2,
        True,
    )
    assert states[66.0] == (3, True)
    assert states[70.0] == (3, True)  # below the threshold, but panic mode never scales down
    assert states[126.0] == (3, True)
    assert states[128.0][1] is False  # more than 60 s after 66 s
    assert states[148.0] == (1, False)


def test_knative_starts_in_panic_mode_and_scales_down_by_at_most_half() -> None:
    state = KnativeState(NO_ACTIVATOR, 2.0, replicas=8)
    replicas_by_s = simulate_replicas(state, lambda _: 7.0, 70, 8)
    assert replicas_by_s[60.0] == 8
    assert [replicas_by_s[at_s] for at_s in (62.0, 64.0, 66.0, 68.0)] == [4, 2, 1, 1]


def test_knative_scale_up_is_limited_by_rate_and_max() -> None:
    slow = Knative(capacity=10.0, burst=0.0, max_up_rate=1.5)
    # ⌈4.5⌉
    assert KnativeState(slow, 2.0, replicas=1).compute_desired_replicas(FleetView(2.0, 3, 3, 700.0, 0.0, 0.0)) == 5
    assert (
        KnativeState(Knative(capacity=10.0, burst=0.0, max=12), 2.0, replicas=1).compute_desired_replicas(
            FleetView(2.0, 3, 3, 700.0, 0.0, 0.0)
        )
        == 12
    )


def test_knative_scales_to_zero_after_stable_window_and_grace_period() -> None:
    state = KnativeState(NO_ACTIVATOR, 2.0, replicas=1)
    replicas_by_s = simulate_replicas(state, lambda now_s: 5.0 if now_s <= 100 else 0.0, 220, 1)
    assert replicas_by_s[188.0] == 1
    assert replicas_by_s[190.0] == 0  # 160 s: 60 s without a request; 190 s: 30 s more in the path of the activator


def test_knative_scales_to_zero_without_grace_period_if_activator_is_in_path() -> None:
    state = KnativeState(Knative(capacity=10.0, burst=211.0), 2.0, replicas=1)
    replicas_by_s = simulate_replicas(state, lambda now_s: 5.0 if now_s <= 100 else 0.0, 220, 1)
    assert (replicas_by_s[158.0], replicas_by_s[160.0]) == (1, 0)


def test_knative_scales_from_zero_between_ticks() -> None:
    state = KnativeState(Knative(capacity=10.0, tick_s=10.0), 1.0, replicas=0)
    assert state.compute_desired_replicas(FleetView(10.0, 0, 0, 0.0, 0.0, 0.0)) == 0
    assert state.compute_desired_replicas(FleetView(11.0, 0, 0, 0.4, 0.0, 0.0)) == 1


def test_knative_starting_replica_is_not_removed_without_requests() -> None:
    state = KnativeState(Knative(capacity=10.0), 2.0, replicas=0)
    assert state.compute_desired_replicas(FleetView(2.0, 0, 0, 1.0, 0.0, 0.0)) == 1
    for step in range(2, 60):
        assert state.compute_desired_replicas(FleetView(2.0 * step, 1, 0, 0.0, 0.0, 0.0, starting_replicas=1)) == 1
    # ready at 120 s: active for the stable window, then scaled to zero
    replicas_by_s = {
        2.0 * step: state.compute_desired_replicas(FleetView(2.0 * step, 1, 1, 0.0, 0.0, 0.0)) for step in range(60, 92)
    }
    assert (replicas_by_s[178.0], replicas_by_s[180.0]) == (1, 0)


def test_knative_with_min_1_never_scales_to_zero() -> None:
    state = KnativeState(Knative(capacity=10.0, min=1), 2.0, replicas=1)
    assert set(simulate_replicas(state, lambda _: 0.0, 600, 1).values()) == {1}
