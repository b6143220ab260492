from __future__ import annotations

import numpy as np
import pytest

from app.planning.scaling.cold_start import draw_cold_start
from app.records.scaling import ColdStartModel, Transfer

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
    assert draw.on_a_node().total_s == pytest.approx(draw.total_s - draw.node_s)
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
    waits = np.array([draw_cold_start(settings, generator).refused_s for _ in range(20_000)])
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
