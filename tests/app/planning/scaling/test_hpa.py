from __future__ import annotations

import pytest

from app.planning.scaling.hpa import HpaState, KedaState, propose_replicas
from app.planning.scaling.signals import FleetView
from app.records.scaling import Hpa, Keda, RatePolicy, ScalingRules


def build_view(
    now_s: float, replicas: int, load: float, *, ready: int | None = None, pending: int = 0, starting: int = 0
) -> FleetView:
    ready = replicas if ready is None else ready
    return FleetView(now_s, replicas, ready, load * ready, load * ready, load * ready, pending, starting)


def simulate_replicas(state: HpaState, loads: list[tuple[float, float]], replicas: int) -> list[int]:
    """Return the desired replicas for a load per replica at each time, for a fleet without cold start."""
    desired_replicas = []
    for now_s, load in loads:
        replicas = state.compute_desired_replicas(build_view(now_s, replicas, load))
        desired_replicas.append(replicas)
    return desired_replicas


def test_hpa_scales_3_replicas_at_150_percent_to_5() -> None:
    state = HpaState(Hpa(target=1.0, max=40, metric="in_flight"), 15.0)
    assert state.compute_desired_replicas(build_view(0.0, 3, 1.5)) == 5


@pytest.mark.parametrize(("load", "replicas"), [(1.1, 10), (1.101, 12), (0.9, 10), (0.899, 9)])
def test_hpa_does_not_scale_within_10_percent_tolerance(load: float, replicas: int) -> None:
    assert propose_replicas(load, build_view(0.0, 10, load), 0.1) == replicas


def test_hpa_scale_up_counts_unready_replicas_as_idle() -> None:
    # 3 ready at 150 % need 5, and there are 5 with the two starting ones counted as idle: 4.5 of 5 is within 10 %
    assert propose_replicas(1.5, build_view(0.0, 5, 1.5, ready=3, starting=2), 0.1) == 5
    assert propose_replicas(2.0, build_view(0.0, 5, 2.0, ready=3, pending=1, starting=1), 0.1) == 6
    # counting idle replicas would reverse the direction
    assert propose_replicas(1.5, build_view(0.0, 6, 1.5, ready=3, pending=3), 0.1) == 6


def test_hpa_scale_down_counts_starting_replicas_at_target_and_ignores_pending_ones() -> None:
    # (3 × 0.4 + 2) of 5 is 0.64: 3.2
    assert propose_replicas(0.4, build_view(0.0, 5, 0.4, ready=3, starting=2), 0.1) == 4
    assert propose_replicas(0.4, build_view(0.0, 5, 0.4, ready=3, pending=2), 0.1) == 2


def test_hpa_syncs_every_15_s_with_the_mean_since_the_last_sync() -> None:
    state = HpaState(Hpa(target=1.0, max=40, metric="rate"), 5.0)
    assert state.compute_desired_replicas(build_view(0.0, 2, 1.0)) == 2
    assert [
        state.compute_desired_replicas(build_view(at_s, 2, load))
        for at_s, load in ((5.0, 3.0), (10.0, 3.0), (15.0, 1.5))
    ] == [2, 2, 5]


def test_hpa_default_scale_up_is_limited_to_double_or_4_pods_in_15_s() -> None:
    state = HpaState(Hpa(target=1.0, max=100, metric="in_flight"), 15.0)
    assert simulate_replicas(state, [(0.0, 50.0), (15.0, 50.0), (30.0, 50.0), (45.0, 50.0)], 1) == [5, 10, 20, 40]


def test_hpa_rate_policy_covers_its_period() -> None:
    up = ScalingRules(0.0, (RatePolicy("pods", 4.0, 60.0),))
    state = HpaState(Hpa(target=1.0, max=100, metric="in_flight", up=up), 15.0)
    loads = [(15.0 * step, 50.0) for step in range(6)]
    assert simulate_replicas(state, loads, 1) == [5, 5, 5, 5, 9, 9]


def test_hpa_select_policy_min_and_disabled_are_applied() -> None:
    up = ScalingRules(0.0, (RatePolicy("pods", 1.0), RatePolicy("percent", 100.0)), "min")
    state = HpaState(Hpa(target=1.0, max=100, metric="in_flight", up=up), 15.0)
    assert simulate_replicas(state, [(0.0, 9.0), (15.0, 9.0)], 4) == [5, 6]
    disabled = HpaState(Hpa(target=1.0, max=9, metric="in_flight", up=ScalingRules(0.0, (), "disabled")), 15.0)
    assert simulate_replicas(disabled, [(0.0, 9.0)], 4) == [4]


def test_hpa_scale_down_uses_the_highest_recommendation_of_5_min() -> None:
    state = HpaState(Hpa(target=1.0, max=40, metric="in_flight"), 15.0)
    loads = [(0.0, 1.0)] + [(15.0 * step, 0.4) for step in range(1, 22)]
    desired_replicas = simulate_replicas(state, loads, 10)
    assert desired_replicas[:20] == [10] * 20  # the recommendation of 10 at 0 s counts until 300 s after
    assert desired_replicas[20] == 4


def test_hpa_does_not_scale_down_on_intermittent_load() -> None:
    state = HpaState(Hpa(target=1.0, max=40, metric="in_flight"), 15.0)
    assert set(simulate_replicas(state, [(15.0 * step, 0.2 if step % 10 else 1.0) for step in range(60)], 10)) == {10}


def test_hpa_scale_up_stabilization_uses_the_lowest_recommendation() -> None:
    up = ScalingRules(60.0, (RatePolicy("percent", 1000.0),))
    state = HpaState(Hpa(target=1.0, max=40, metric="in_flight", up=up), 15.0)
    loads = [(0.0, 1.0)] + [(15.0 * step, 2.0) for step in range(1, 6)]
    assert simulate_replicas(state, loads, 2) == [2, 2, 2, 2, 4, 4]  # 4 was the minimum of the last 60 s


def test_hpa_replicas_stay_within_min_and_max() -> None:
    state = HpaState(Hpa(target=1.0, min=2, max=6, metric="in_flight"), 15.0)
    assert simulate_replicas(state, [(0.0, 9.0), (15.0, 9.0)], 4) == [6, 6]
    assert HpaState(Hpa(target=1.0, min=2, max=6), 15.0).compute_desired_replicas(build_view(0.0, 1, 0.1)) == 2
    assert HpaState(Hpa(target=1.0, min=2, max=6), 15.0).compute_desired_replicas(build_view(0.0, 9, 0.1)) == 6


def test_hpa_does_not_scale_without_ready_replicas_or_from_zero() -> None:
    state = HpaState(Hpa(target=1.0, max=6), 15.0)
    assert state.compute_desired_replicas(build_view(0.0, 3, 0.0, ready=0, starting=3)) == 3
    assert state.compute_desired_replicas(FleetView(15.0, 0, 0, 50.0, 0.0, 50.0)) == 0


def build_keda_view(now_s: float, replicas: int, total: float, ready: int | None = None) -> FleetView:
    ready = replicas if ready is None else ready
    return FleetView(now_s, replicas, ready, total, 0.0, total, starting_replicas=replicas - ready)


def test_keda_scales_from_zero_at_the_next_poll() -> None:
    state = KedaState(Keda(target=10.0, max=20), 5.0)
    assert state.compute_desired_replicas(build_keda_view(0.0, 0, 0.0)) == 0
    replicas = [state.compute_desired_replicas(build_keda_view(5.0 * step, 0, 3.0)) for step in range(1, 7)]
    assert replicas == [0, 0, 0, 0, 0, 1]


def test_keda_scales_from_zero_to_min_replicas_above_the_activation_threshold() -> None:
    assert KedaState(Keda(target=10.0, max=20, min=2), 5.0).compute_desired_replicas(build_keda_view(0.0, 0, 1.0)) == 2
    assert (
        KedaState(Keda(target=10.0, max=20, activation=5.0), 5.0).compute_desired_replicas(build_keda_view(0.0, 0, 5.0))
        == 0
    )


def test_keda_desired_replicas_are_total_load_over_target_regardless_of_readiness() -> None:
    state = KedaState(Keda(target=10.0, max=20), 15.0)
    assert state.compute_desired_replicas(build_keda_view(0.0, 2, 41.0, ready=1)) == 5
    within_tolerance = KedaState(Keda(target=10.0, max=20), 15.0)
    assert within_tolerance.compute_desired_replicas(build_keda_view(0.0, 4, 44.0)) == 4  # 10 % above 40


def test_keda_scales_to_zero_after_the_cooldown() -> None:
    state = KedaState(Keda(target=10.0, max=20), 15.0)
    replicas, replicas_by_s = 1, {}
    for step in range(25):
        now_s = 15.0 * step
        replicas = state.compute_desired_replicas(build_keda_view(now_s, replicas, 5.0 if step == 0 else 0.0))
        replicas_by_s[now_s] = replicas
    assert replicas_by_s[300.0] == 1
    assert replicas_by_s[330.0] == 0  # the first poll more than 300 s after the last poll with a request


def test_keda_with_min_1_never_scales_to_zero() -> None:
    state = KedaState(Keda(target=10.0, max=20, min=1), 15.0)
    assert all(state.compute_desired_replicas(build_keda_view(15.0 * step, 1, 0.0)) == 1 for step in range(100))
