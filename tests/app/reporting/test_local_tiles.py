from __future__ import annotations

import msgspec
import pytest

from app.records.result import Estimate, Judged, Objective
from app.reporting.local_tiles import local_tiles
from tests.fakes.local_runs import local_run, one_variant, only_failed, variant
from tests.fakes.results import full_run
from tests.fakes.searched_runs import searched_run

_RESULT = local_run().result


def test_headlines_are_of_the_best_variant() -> None:
    tiles = {tile.label: tile for tile in local_tiles(_RESULT)}
    assert list(tiles) == [
        "Throughput", "Service time p50", "Service time p99", "Accuracy", "Accuracy kept", "Cost per 1M inferences",
    ]  # fmt: skip
    assert tiles["Throughput"].quantity.value == 1600.0
    assert tiles["Throughput"].note == "cpu int8-static, batch 4, single-stream"
    limit = tiles["Service time p99"].limit
    assert limit is not None
    assert limit.value == 8.0
    assert tiles["Cost per 1M inferences"].quantity.value == pytest.approx(0.36 / 3600 / 1600 * 1e6)
    assert tiles["Cost per 1M inferences"].note == "at 0.36 USD/h, never idle"


def test_an_slo_on_latency_is_shown_where_it_is_judged() -> None:
    assert _RESULT.local is not None
    slo = Objective("latency_ms.p95 < 9", "latency_ms", "p95", "<", 9.0)
    local = msgspec.structs.replace(_RESULT.local, best=variant("int8-static", 1))
    tiles = local_tiles(msgspec.structs.replace(_RESULT, local=local, slo=(Judged(slo, Estimate(1.7), "PASS"),)))
    assert [(tile.label, tile.note) for tile in tiles[1:4]] == [
        ("Latency p50", "server at 50.0/s"), ("Latency p95", "server at 50.0/s"), ("Latency p99", "server at 50.0/s"),
    ]  # fmt: skip
    assert tiles[2].limit is not None


def test_of_a_search_the_tiles_speak_of_the_rate_that_held() -> None:
    first, *others = local_tiles(searched_run().result)
    assert (first.label, first.quantity.value, first.quantity.unit) == ("Most arrivals", 400.0, "calls/s")
    p95 = next(tile for tile in others if tile.label == "Latency p95")
    assert p95.quantity.value == searched_run().result.slo[0].observed.value


def test_a_price_of_other_hardware_makes_the_cost_assumed() -> None:
    assert _RESULT.local is not None
    local = msgspec.structs.replace(_RESULT.local, price_basis="assumed")
    for result, basis in ((_RESULT, "measured"), (msgspec.structs.replace(_RESULT, local=local), "assumed")):
        assert local_tiles(result)[-1].quantity.basis == basis


def test_energy_is_shown_where_it_was_read() -> None:
    run = one_variant().result
    (only,) = run.stages
    metrics = {**only.metrics, "energy_j_per_inference": {"value": Estimate(0.5, (0.4, 0.6))}}
    tiles = local_tiles(msgspec.structs.replace(run, stages=(msgspec.structs.replace(only, metrics=metrics),)))
    assert [tile.label for tile in tiles] == [
        "Throughput", "Service time p50", "Service time p99", "Energy per inference",
    ]  # fmt: skip


def test_nothing_measured_is_no_headline() -> None:
    assert local_tiles(only_failed().result) == ()
    assert local_tiles(full_run().result) == ()
