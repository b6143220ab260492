from __future__ import annotations

from app.planning.scaling.keda import KedaState
from app.planning.scaling.signals import FleetView
from app.records.scaling import Keda


def seen(now_s: float, wanted: int, total: float, ready: int | None = None) -> FleetView:
    ready = wanted if ready is None else ready
    return FleetView(now_s, wanted, ready, total, 0.0, total, starting=wanted - ready)


def test_a_request_is_seen_at_the_next_poll() -> None:
    state = KedaState(Keda(target=10.0, max=20), 5.0)
    assert state.desired(seen(0.0, 0, 0.0)) == 0
    assert [state.desired(seen(5.0 * step, 0, 3.0)) for step in range(1, 7)] == [0, 0, 0, 0, 0, 1]


def test_it_wakes_to_its_least_replicas_and_its_activation_is_a_threshold() -> None:
    assert KedaState(Keda(target=10.0, max=20, min=2), 5.0).desired(seen(0.0, 0, 1.0)) == 2
    assert KedaState(Keda(target=10.0, max=20, activation=5.0), 5.0).desired(seen(0.0, 0, 5.0)) == 0


def test_awake_the_sum_over_the_target_counts_and_not_what_is_ready() -> None:
    state = KedaState(Keda(target=10.0, max=20), 15.0)
    assert state.desired(seen(0.0, 2, 41.0, ready=1)) == 5
    near = KedaState(Keda(target=10.0, max=20), 15.0)
    assert near.desired(seen(0.0, 4, 44.0)) == 4  # a tenth above 40


def test_it_sleeps_after_the_cool_down() -> None:
    state = KedaState(Keda(target=10.0, max=20), 15.0)
    wanted, course = 1, {}
    for step in range(25):
        now_s = 15.0 * step
        wanted = state.desired(seen(now_s, wanted, 5.0 if step == 0 else 0.0))
        course[now_s] = wanted
    assert course[300.0] == 1
    assert course[330.0] == 0  # the first poll more than 300 s after the last that saw a request


def test_with_a_least_it_never_sleeps() -> None:
    state = KedaState(Keda(target=10.0, max=20, min=1), 15.0)
    assert all(state.desired(seen(15.0 * step, 1, 0.0)) == 1 for step in range(100))
