from __future__ import annotations

import pytest

from app.planning.scaling.hpa import HpaState, KedaState, propose_replicas
from app.planning.scaling.signals import FleetView
from app.records.scaling import Hpa, Keda, RatePolicy, ScalingRules


def seen(
    now_s: float, wanted: int, each: float, *, ready: int | None = None, pending: int = 0, starting: int = 0
) -> FleetView:
    ready = wanted if ready is None else ready
    return FleetView(now_s, wanted, ready, each * ready, each * ready, each * ready, pending, starting)


def followed(state: HpaState, loads: list[tuple[float, float]], wanted: int) -> list[int]:
    """A fleet with no cold start, its load a replica given at each time."""
    course = []
    for now_s, each in loads:
        wanted = state.compute_desired_replicas(seen(now_s, wanted, each))
        course.append(wanted)
    return course


def test_three_replicas_at_150_percent_become_five() -> None:
    state = HpaState(Hpa(target=1.0, max=40, metric="in_flight"), 15.0)
    assert state.compute_desired_replicas(seen(0.0, 3, 1.5)) == 5


@pytest.mark.parametrize(("load", "replicas"), [(1.1, 10), (1.101, 12), (0.9, 10), (0.899, 9)])
def test_a_tenth_off_the_target_is_left_alone(load: float, replicas: int) -> None:
    assert propose_replicas(load, seen(0.0, 10, load), 0.1) == replicas


def test_unready_replicas_count_as_idle_on_the_way_up() -> None:
    # 3 ready at 150 %: 5 are needed, and 5 there are once the two on their way count as idle: 4.5 of 5 is within 10 %
    assert propose_replicas(1.5, seen(0.0, 5, 1.5, ready=3, starting=2), 0.1) == 5
    assert propose_replicas(2.0, seen(0.0, 5, 2.0, ready=3, pending=1, starting=1), 0.1) == 6
    assert propose_replicas(1.5, seen(0.0, 6, 1.5, ready=3, pending=3), 0.1) == 6  # idle ones would turn the direction


def test_on_the_way_down_those_that_start_count_as_at_target_and_those_without_a_node_not_at_all() -> None:
    assert propose_replicas(0.4, seen(0.0, 5, 0.4, ready=3, starting=2), 0.1) == 4  # (3 × 0.4 + 2) of 5 is 0.64: 3.2
    assert propose_replicas(0.4, seen(0.0, 5, 0.4, ready=3, pending=2), 0.1) == 2


def test_it_syncs_every_15_s_on_the_mean_since() -> None:
    state = HpaState(Hpa(target=1.0, max=40, metric="rate"), 5.0)
    assert state.compute_desired_replicas(seen(0.0, 2, 1.0)) == 2
    assert [
        state.compute_desired_replicas(seen(at_s, 2, each)) for at_s, each in ((5.0, 3.0), (10.0, 3.0), (15.0, 1.5))
    ] == [2, 2, 5]


def test_at_most_double_or_four_more_in_15_s() -> None:
    state = HpaState(Hpa(target=1.0, max=100, metric="in_flight"), 15.0)
    assert followed(state, [(0.0, 50.0), (15.0, 50.0), (30.0, 50.0), (45.0, 50.0)], 1) == [5, 10, 20, 40]


def test_a_rate_policy_looks_over_its_whole_period() -> None:
    up = ScalingRules(0.0, (RatePolicy("pods", 4.0, 60.0),))
    state = HpaState(Hpa(target=1.0, max=100, metric="in_flight", up=up), 15.0)
    loads = [(15.0 * step, 50.0) for step in range(6)]
    assert followed(state, loads, 1) == [5, 5, 5, 5, 9, 9]


def test_of_several_policies_the_stricter_where_asked() -> None:
    up = ScalingRules(0.0, (RatePolicy("pods", 1.0), RatePolicy("percent", 100.0)), "min")
    state = HpaState(Hpa(target=1.0, max=100, metric="in_flight", up=up), 15.0)
    assert followed(state, [(0.0, 9.0), (15.0, 9.0)], 4) == [5, 6]
    off = HpaState(Hpa(target=1.0, max=9, metric="in_flight", up=ScalingRules(0.0, (), "disabled")), 15.0)
    assert followed(off, [(0.0, 9.0)], 4) == [4]


def test_it_scales_down_to_the_most_recommended_in_five_minutes() -> None:
    state = HpaState(Hpa(target=1.0, max=40, metric="in_flight"), 15.0)
    loads = [(0.0, 1.0)] + [(15.0 * step, 0.4) for step in range(1, 22)]
    course = followed(state, loads, 10)
    assert course[:20] == [10] * 20  # the recommendation of 10 at 0 s counts until 300 s after
    assert course[20] == 4


def test_a_fall_in_between_does_not_scale_down() -> None:
    state = HpaState(Hpa(target=1.0, max=40, metric="in_flight"), 15.0)
    assert set(followed(state, [(15.0 * step, 0.2 if step % 10 else 1.0) for step in range(60)], 10)) == {10}


def test_scaling_up_can_be_stabilised_too() -> None:
    up = ScalingRules(60.0, (RatePolicy("percent", 1000.0),))
    state = HpaState(Hpa(target=1.0, max=40, metric="in_flight", up=up), 15.0)
    loads = [(0.0, 1.0)] + [(15.0 * step, 2.0) for step in range(1, 6)]
    assert followed(state, loads, 2) == [2, 2, 2, 2, 4, 4]  # 4 was least of the last 60 s


def test_the_bounds_hold() -> None:
    state = HpaState(Hpa(target=1.0, min=2, max=6, metric="in_flight"), 15.0)
    assert followed(state, [(0.0, 9.0), (15.0, 9.0)], 4) == [6, 6]
    assert HpaState(Hpa(target=1.0, min=2, max=6), 15.0).compute_desired_replicas(seen(0.0, 1, 0.1)) == 2
    assert HpaState(Hpa(target=1.0, min=2, max=6), 15.0).compute_desired_replicas(seen(0.0, 9, 0.1)) == 6


def test_without_a_ready_replica_nothing_is_known_and_a_fleet_at_none_is_left_alone() -> None:
    state = HpaState(Hpa(target=1.0, max=6), 15.0)
    assert state.compute_desired_replicas(seen(0.0, 3, 0.0, ready=0, starting=3)) == 3
    assert state.compute_desired_replicas(FleetView(15.0, 0, 0, 50.0, 0.0, 50.0)) == 0


def keda_seen(now_s: float, wanted: int, total: float, ready: int | None = None) -> FleetView:
    ready = wanted if ready is None else ready
    return FleetView(now_s, wanted, ready, total, 0.0, total, starting_replicas=wanted - ready)


def test_a_request_is_seen_at_the_next_poll() -> None:
    state = KedaState(Keda(target=10.0, max=20), 5.0)
    assert state.compute_desired_replicas(keda_seen(0.0, 0, 0.0)) == 0
    assert [state.compute_desired_replicas(keda_seen(5.0 * step, 0, 3.0)) for step in range(1, 7)] == [0, 0, 0, 0, 0, 1]


def test_it_wakes_to_its_least_replicas_and_its_activation_is_a_threshold() -> None:
    assert KedaState(Keda(target=10.0, max=20, min=2), 5.0).compute_desired_replicas(keda_seen(0.0, 0, 1.0)) == 2
    assert (
        KedaState(Keda(target=10.0, max=20, activation=5.0), 5.0).compute_desired_replicas(keda_seen(0.0, 0, 5.0)) == 0
    )


def test_awake_the_sum_over_the_target_counts_and_not_what_is_ready() -> None:
    state = KedaState(Keda(target=10.0, max=20), 15.0)
    assert state.compute_desired_replicas(keda_seen(0.0, 2, 41.0, ready=1)) == 5
    near = KedaState(Keda(target=10.0, max=20), 15.0)
    assert near.compute_desired_replicas(keda_seen(0.0, 4, 44.0)) == 4  # a tenth above 40


def test_it_sleeps_after_the_cool_down() -> None:
    state = KedaState(Keda(target=10.0, max=20), 15.0)
    wanted, course = 1, {}
    for step in range(25):
        now_s = 15.0 * step
        wanted = state.compute_desired_replicas(keda_seen(now_s, wanted, 5.0 if step == 0 else 0.0))
        course[now_s] = wanted
    assert course[300.0] == 1
    assert course[330.0] == 0  # the first poll more than 300 s after the last that saw a request


def test_with_a_least_it_never_sleeps() -> None:
    state = KedaState(Keda(target=10.0, max=20, min=1), 15.0)
    assert all(state.compute_desired_replicas(keda_seen(15.0 * step, 1, 0.0)) == 1 for step in range(100))
