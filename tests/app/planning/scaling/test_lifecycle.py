from __future__ import annotations

import numpy as np
import pytest

from app.planning.scaling.lifecycle import Phase, ReplicaPool, draw_cold_start
from app.records.scaling import ColdStartModel, FailureModel, Transfer

GB = 1e9
COLD_START = ColdStartModel(
    node_s=90.0,
    image=Transfer(8 * GB, network=1 * GB),
    weights=Transfer(16 * GB, network=2 * GB, disk=1 * GB, pcie=25 * GB),
    engine_s=40.0,
    warm_up_s=6.0,
    cv=0.5,
)


def test_cold_start_is_the_sum_of_its_phases_and_transfer_uses_the_lowest_bandwidth() -> None:
    assert COLD_START.weights.median_s == 16.0
    assert COLD_START.median_s == pytest.approx(90 + 8 + 16 + 40 + 6)
    draw = draw_cold_start(COLD_START, np.random.default_rng(1))
    assert draw.total_s == pytest.approx(draw.node_s + draw.image_s + draw.weights_s + draw.engine_s + draw.warm_up_s)
    assert draw.remove_node_phases().total_s == pytest.approx(draw.total_s - draw.node_s)
    exact = draw_cold_start(ColdStartModel(node_s=90.0, image=COLD_START.image), np.random.default_rng(1))
    assert (exact.node_s, exact.image_s, exact.total_s) == (90.0, 8.0, 98.0)


def test_cold_start_phases_are_lognormal_with_their_median_and_cv() -> None:
    generator = np.random.default_rng(3)
    nodes = np.array([draw_cold_start(COLD_START, generator).node_s for _ in range(20_000)])
    assert np.median(nodes) == pytest.approx(90.0, rel=0.02)
    assert nodes.std() / nodes.mean() == pytest.approx(0.5, rel=0.05)
    assert np.log(nodes).std() == pytest.approx(np.sqrt(np.log1p(0.25)), rel=0.02)


def test_waits_for_node_stock_are_geometric() -> None:
    generator = np.random.default_rng(4)
    settings = ColdStartModel(refusal_probability=0.25, retry_s=10.0)
    waits = np.array([draw_cold_start(settings, generator).stock_wait_s for _ in range(20_000)])
    assert waits.mean() == pytest.approx(10.0 * 0.25 / 0.75, rel=0.05)
    assert (waits == 0).mean() == pytest.approx(0.75, abs=0.01)


def test_cold_start_settings_use_the_same_random_numbers() -> None:
    short, long = (
        ColdStartModel(node_s=node_s, cv=0.5, refusal_probability=p) for node_s, p in ((10.0, 0.0), (20.0, 0.5))
    )
    first_rng, second_rng = np.random.default_rng(5), np.random.default_rng(5)
    assert draw_cold_start(long, first_rng).node_s == pytest.approx(2 * draw_cold_start(short, second_rng).node_s)
    assert first_rng.random() == second_rng.random()


def test_default_transfer_and_cold_start_take_no_time() -> None:
    assert Transfer().median_s == 0.0
    assert ColdStartModel().median_s == 0.0


POOL_COLD_START = ColdStartModel(node_s=90.0, image=Transfer(8.0, network=1.0), engine_s=20.0, warm_up_s=5.0)


def advance_replica(pool: ReplicaPool, number: int, until_s: float) -> list[tuple[float, Phase]]:
    return [
        (transition.time_s, transition.phase)
        for transition in pool.advance(until_s)
        if transition.replica_number == number
    ]


def test_replica_is_billed_from_provisioning_and_listed_when_ready() -> None:
    pool = ReplicaPool(POOL_COLD_START, None, 1, replicas=1)
    first = pool.start_replica(0, 100.0)
    assert (first.time_s, first.phase) == (100.0, Phase.PROVISIONING)
    assert pool.ready_numbers == [0]
    assert pool.count_billed_nodes(100.0) == 2
    assert advance_replica(pool, 1, 150.0) == []
    assert advance_replica(pool, 1, 300.0) == [
        (190.0, Phase.PULLING), (198.0, Phase.LOADING), (218.0, Phase.WARMING), (223.0, Phase.READY)
    ]  # fmt: skip
    assert pool.ready_numbers == [0, 1]
    billed = pool.compute_billed_s(300.0)
    assert [billed[phase] for phase in ("provisioning", "pulling", "loading", "warming")] == [90.0, 8.0, 20.0, 5.0]
    assert billed["ready"] == 300.0 + 77.0
    assert sum(billed.values()) == 300.0 + 200.0


def test_waiting_for_stock_is_not_billed() -> None:
    pool = ReplicaPool(ColdStartModel(node_s=90.0, refusal_probability=0.9, retry_s=60.0), None, 1, replicas=0)
    first_phases = [pool.start_replica(0, 0.0).phase for _ in range(20)]
    assert first_phases.count(Phase.WAITING) > 10
    transitions = pool.advance(1e5)
    provisioned = {
        transition.replica_number: transition.time_s
        for transition in transitions
        if transition.phase is Phase.PROVISIONING
    }
    assert all(at_s % 60.0 == 0 and at_s > 0 for at_s in provisioned.values())
    assert pool.compute_billed_s(1e5)["provisioning"] == pytest.approx(20 * 90.0)
    assert pool.compute_billed_s(1e5)["ready"] == pytest.approx(20 * (1e5 - 90.0) - sum(provisioned.values()))


def test_warm_node_is_billed_and_avoids_provisioning() -> None:
    pool = ReplicaPool(ColdStartModel(node_s=90.0, engine_s=20.0, warm_nodes=1), None, 1, replicas=0)
    assert pool.count_billed_nodes(0.0) == 1
    assert pool.start_replica(0, 100.0).phase is Phase.LOADING
    assert pool.start_replica(0, 110.0).phase is Phase.PROVISIONING  # the next node of the pool is ready at 190 s
    assert pool.start_replica(0, 190.0).phase is Phase.LOADING
    assert pool.count_billed_nodes(190.0) == 4
    billed = pool.compute_billed_s(190.0)
    assert billed["pooled"] == 190.0
    assert billed["provisioning"] == 80.0


def test_draining_replica_is_billed_until_removed() -> None:
    pool = ReplicaPool(POOL_COLD_START, None, 1, replicas=2)
    pool.drain(1, 50.0)
    assert pool.ready_numbers == [0]
    pool.remove(1, 62.0)
    assert pool.compute_billed_s(100.0)["draining"] == 12.0
    assert pool.compute_billed_s(100.0)["ready"] == 150.0
    starting_number = pool.start_replica(0, 100.0).replica_number
    assert pool.drain(starting_number, 130.0).phase is Phase.GONE
    assert pool.compute_billed_s(200.0)["provisioning"] == 30.0


def test_failed_replica_restarts_on_its_node_without_image_pull_or_on_a_new_node() -> None:
    same_node = ReplicaPool(POOL_COLD_START, FailureModel(mtbf_hours=1.0, detect_s=10.0), 3, replicas=1)
    failed, loading, warming, ready = advance_replica(same_node, 0, 80_000.0)[:4]
    assert failed[1] is Phase.FAILED
    assert loading[0] == pytest.approx(failed[0] + 10.0)
    assert loading[1] is Phase.LOADING
    assert warming[0] == pytest.approx(loading[0] + 20.0)
    assert ready[0] == pytest.approx(warming[0] + 5.0)
    assert ready[1] is Phase.READY
    new_node = ReplicaPool(POOL_COLD_START, FailureModel(mtbf_hours=1.0, detect_s=10.0, new_node=True), 3, replicas=1)
    new_node_phases = advance_replica(new_node, 0, 80_000.0)
    assert new_node_phases[0] == failed  # the same draw
    assert new_node_phases[1][0] == pytest.approx(failed[0] + 10.0)
    assert new_node_phases[1][1] is Phase.PROVISIONING


def test_failure_count_follows_the_mtbf() -> None:
    pool = ReplicaPool(ColdStartModel(), FailureModel(mtbf_hours=10.0, detect_s=0.0), 5, replicas=50)
    failures = sum(transition.phase is Phase.FAILED for transition in pool.advance(86_400.0))
    assert failures == pytest.approx(120, abs=33)  # three standard deviations of a Poisson of 50 × 24 h / 10 h


def test_random_draws_of_a_replica_do_not_depend_on_other_replicas() -> None:
    settings = ColdStartModel(node_s=90.0, cv=0.5)
    one_started, two_started = ReplicaPool(settings, None, 7, replicas=1), ReplicaPool(settings, None, 7, replicas=1)
    one_started.start_replica(0, 0.0)
    two_started.start_replica(0, 0.0)
    two_started.start_replica(0, 1.0)
    assert one_started.advance(1e4) == [
        transition for transition in two_started.advance(1e4) if transition.replica_number == 1
    ]
