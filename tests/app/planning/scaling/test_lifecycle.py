from __future__ import annotations

import numpy as np
import pytest

from app.planning.scaling.lifecycle import Phase, ReplicaPool, draw_cold_start
from app.records.scaling import ColdStartModel, FailureModel, Transfer

GB = 1e9
COLD = ColdStartModel(
    node_s=90.0,
    image=Transfer(8 * GB, network=1 * GB),
    weights=Transfer(16 * GB, network=2 * GB, disk=1 * GB, pcie=25 * GB),
    engine_s=40.0,
    warm_up_s=6.0,
    cv=0.5,
)


def test_the_phases_add_up_and_weights_go_through_the_narrowest() -> None:
    assert COLD.weights.median_s == 16.0
    assert COLD.median_s == pytest.approx(90 + 8 + 16 + 40 + 6)
    draw = draw_cold_start(COLD, np.random.default_rng(1))
    assert draw.total_s == pytest.approx(draw.node_s + draw.image_s + draw.weights_s + draw.engine_s + draw.warm_up_s)
    assert draw.remove_node_phases().total_s == pytest.approx(draw.total_s - draw.node_s)
    exact = draw_cold_start(ColdStartModel(node_s=90.0, image=COLD.image), np.random.default_rng(1))
    assert (exact.node_s, exact.image_s, exact.total_s) == (90.0, 8.0, 98.0)


def test_each_phase_is_lognormal_with_its_median_and_variation() -> None:
    generator = np.random.default_rng(3)
    nodes = np.array([draw_cold_start(COLD, generator).node_s for _ in range(20_000)])
    assert np.median(nodes) == pytest.approx(90.0, rel=0.02)
    assert nodes.std() / nodes.mean() == pytest.approx(0.5, rel=0.05)
    assert np.log(nodes).std() == pytest.approx(np.sqrt(np.log1p(0.25)), rel=0.02)


def test_refusals_are_geometric() -> None:
    generator = np.random.default_rng(4)
    settings = ColdStartModel(refusal_probability=0.25, retry_s=10.0)
    waits = np.array([draw_cold_start(settings, generator).stock_wait_s for _ in range(20_000)])
    assert waits.mean() == pytest.approx(10.0 * 0.25 / 0.75, rel=0.05)
    assert (waits == 0).mean() == pytest.approx(0.75, abs=0.01)


def test_settings_take_the_same_random_numbers() -> None:
    short, long = (
        ColdStartModel(node_s=node_s, cv=0.5, refusal_probability=p) for node_s, p in ((10.0, 0.0), (20.0, 0.5))
    )
    one, other = np.random.default_rng(5), np.random.default_rng(5)
    assert draw_cold_start(long, one).node_s == pytest.approx(2 * draw_cold_start(short, other).node_s)
    assert one.random() == other.random()


def test_no_bytes_take_no_time() -> None:
    assert Transfer().median_s == 0.0
    assert ColdStartModel().median_s == 0.0


LIVES_COLD = ColdStartModel(node_s=90.0, image=Transfer(8.0, network=1.0), engine_s=20.0, warm_up_s=5.0)


def phases_of(lives: ReplicaPool, number: int, until_s: float) -> list[tuple[float, Phase]]:
    return [(turn.time_s, turn.phase) for turn in lives.advance(until_s) if turn.replica_number == number]


def test_a_replica_is_paid_for_from_provisioning_and_serves_when_ready() -> None:
    lives = ReplicaPool(LIVES_COLD, None, 1, replicas=1)
    first = lives.start_replica(0, 100.0)
    assert (first.time_s, first.phase) == (100.0, Phase.PROVISIONING)
    assert lives.ready_numbers == [0]
    assert lives.count_billed_nodes(100.0) == 2
    assert phases_of(lives, 1, 150.0) == []
    assert phases_of(lives, 1, 300.0) == [
        (190.0, Phase.PULLING), (198.0, Phase.LOADING), (218.0, Phase.WARMING), (223.0, Phase.READY)
    ]  # fmt: skip
    assert lives.ready_numbers == [0, 1]
    billed = lives.compute_billed_s(300.0)
    assert [billed[phase] for phase in ("provisioning", "pulling", "loading", "warming")] == [90.0, 8.0, 20.0, 5.0]
    assert billed["ready"] == 300.0 + 77.0
    assert sum(billed.values()) == 300.0 + 200.0


def test_nothing_is_paid_while_there_is_no_stock() -> None:
    lives = ReplicaPool(ColdStartModel(node_s=90.0, refusal_probability=0.9, retry_s=60.0), None, 1, replicas=0)
    waits = [lives.start_replica(0, 0.0).phase for _ in range(20)]
    assert waits.count(Phase.WAITING) > 10
    turns = lives.advance(1e5)
    provisioned = {turn.replica_number: turn.time_s for turn in turns if turn.phase is Phase.PROVISIONING}
    assert all(at_s % 60.0 == 0 and at_s > 0 for at_s in provisioned.values())
    assert lives.compute_billed_s(1e5)["provisioning"] == pytest.approx(20 * 90.0)
    assert lives.compute_billed_s(1e5)["ready"] == pytest.approx(20 * (1e5 - 90.0) - sum(provisioned.values()))


def test_a_warm_node_is_paid_for_and_saves_the_provisioning() -> None:
    lives = ReplicaPool(ColdStartModel(node_s=90.0, engine_s=20.0, warm_nodes=1), None, 1, replicas=0)
    assert lives.count_billed_nodes(0.0) == 1
    assert lives.start_replica(0, 100.0).phase is Phase.LOADING
    assert lives.start_replica(0, 110.0).phase is Phase.PROVISIONING  # the pool's next node is on its way until 190 s
    assert lives.start_replica(0, 190.0).phase is Phase.LOADING
    assert lives.count_billed_nodes(190.0) == 4
    billed = lives.compute_billed_s(190.0)
    assert billed["pooled"] == 190.0
    assert billed["provisioning"] == 80.0


def test_one_that_leaves_drains_and_is_paid_for_until_released() -> None:
    lives = ReplicaPool(LIVES_COLD, None, 1, replicas=2)
    lives.drain(1, 50.0)
    assert lives.ready_numbers == [0]
    lives.remove(1, 62.0)
    assert lives.compute_billed_s(100.0)["draining"] == 12.0
    assert lives.compute_billed_s(100.0)["ready"] == 150.0
    coming = lives.start_replica(0, 100.0).replica_number
    assert lives.drain(coming, 130.0).phase is Phase.GONE
    assert lives.compute_billed_s(200.0)["provisioning"] == 30.0


def test_a_failed_replica_starts_again_on_its_node_without_the_image_or_on_a_new_one() -> None:
    same = ReplicaPool(LIVES_COLD, FailureModel(mtbf_hours=1.0, detect_s=10.0), 3, replicas=1)
    failed, loading, warming, ready = phases_of(same, 0, 80_000.0)[:4]
    assert failed[1] is Phase.FAILED
    assert loading[0] == pytest.approx(failed[0] + 10.0)
    assert loading[1] is Phase.LOADING
    assert warming[0] == pytest.approx(loading[0] + 20.0)
    assert ready[0] == pytest.approx(warming[0] + 5.0)
    assert ready[1] is Phase.READY
    new = ReplicaPool(LIVES_COLD, FailureModel(mtbf_hours=1.0, detect_s=10.0, new_node=True), 3, replicas=1)
    again = phases_of(new, 0, 80_000.0)
    assert again[0] == failed  # the same draw
    assert again[1][0] == pytest.approx(failed[0] + 10.0)
    assert again[1][1] is Phase.PROVISIONING


def test_failures_come_as_often_as_the_mtbf_says() -> None:
    lives = ReplicaPool(ColdStartModel(), FailureModel(mtbf_hours=10.0, detect_s=0.0), 5, replicas=50)
    failures = sum(turn.phase is Phase.FAILED for turn in lives.advance(86_400.0))
    assert failures == pytest.approx(120, abs=33)  # three standard deviations of a Poisson of 50 × 24 h / 10 h


def test_draws_of_a_replica_do_not_depend_on_the_others() -> None:
    settings = ColdStartModel(node_s=90.0, cv=0.5)
    alone, beside = ReplicaPool(settings, None, 7, replicas=1), ReplicaPool(settings, None, 7, replicas=1)
    alone.start_replica(0, 0.0)
    beside.start_replica(0, 0.0)
    beside.start_replica(0, 1.0)
    assert alone.advance(1e4) == [turn for turn in beside.advance(1e4) if turn.replica_number == 1]
