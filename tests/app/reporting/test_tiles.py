from __future__ import annotations

import msgspec
import pytest

from app.records.result import Estimate, Judged, Objective
from app.reporting.load import curve_of, headline_stage
from app.reporting.tiles import load_tiles
from tests.fakes.results import Run
from tests.fakes.traffic import clients_run, locust_run, spike_run, streaming_run


def labels(run: Run) -> list[str]:
    stage = headline_stage(run.result, curve_of(run.result))
    assert stage is not None
    return [tile.label for tile in load_tiles(run.result, stage)]


def test_streams_lead_with_their_tokens() -> None:
    assert labels(streaming_run()) == [
        "Good rate", "TTFT p95", "TTFT p99", "TPOT p95", "Latency p95", "Latency p99", "Output tokens", "Error rate",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (spike_run(), ["Good rate", "Latency p95", "Latency p99", "Error rate"]),
        (clients_run(), ["Throughput", "Latency p95", "Latency p99", "Error rate"]),
        (locust_run(), ["Throughput", "Service time p95", "Service time p99", "Error rate"]),
    ],
)
def test_each_kind_of_traffic_has_its_headlines(run: Run, expected: list[str]) -> None:
    assert labels(run) == expected


def test_a_goodput_that_was_asked_for_is_a_headline() -> None:
    run = streaming_run()
    goodput = Objective("goodput_share >= 99%", "goodput_share", None, ">=", 0.99)
    result = msgspec.structs.replace(run.result, slo=(Judged(goodput, Estimate(0.995), "PASS"),))
    tiles = {tile.label: tile for tile in load_tiles(result, run.result.stages[0])}
    assert tiles["Goodput"].limit is not None


def test_a_limit_stands_beside_its_number() -> None:
    run = streaming_run()
    tiles = {tile.label: tile for tile in load_tiles(run.result, run.result.stages[0])}
    limit = tiles["TTFT p95"].limit
    assert limit is not None
    assert (limit.comparator, limit.value, limit.unit) == ("<", 250, "ms")
    assert tiles["TTFT p99"].limit is None


def test_an_accuracy_that_was_measured_is_a_headline() -> None:
    run = spike_run()
    stage = headline_stage(run.result, curve_of(run.result))
    assert stage is not None
    measured = msgspec.structs.replace(stage, metrics={**stage.metrics, "accuracy": {"value": Estimate(0.973, n=900)}})
    tiles = load_tiles(run.result, measured)
    assert [tile.label for tile in tiles][-2:] == ["Accuracy", "Error rate"]
    assert tiles[-2].quantity.value == 0.973
