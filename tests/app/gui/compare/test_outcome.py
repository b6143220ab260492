from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from app.gui.compare.entries import ComparisonEntry, Side
from app.gui.compare.outcome import build_load_overlays, select_drawn_entries
from app.records.result import Result
from tests.fakes.results import full_run, nothing_measured


@pytest.mark.parametrize(
    ("baseline", "candidate", "drawn"),
    [
        (1, 2, [0, 1, 2]),
        (7, 7, [0, 1, 2, 3, 7, 8, 9, 10]),
        (10, 1, [0, 1, 2, 3, 4, 5, 6, 10]),
        (1, 10, [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_more_runs_than_can_be_reported_apart_are_drawn_by_the_first_of_each_side(
    baseline: int, candidate: int, drawn: list[int]
) -> None:
    runs = [ComparisonEntry(Path(f"b{place}"), "baseline") for place in range(baseline)]
    runs += [ComparisonEntry(Path(f"c{place}"), "candidate") for place in range(candidate)]
    assert [place for place, _ in select_drawn_entries(runs)] == drawn


def entry(run: Result, side: Side = "candidate") -> ComparisonEntry:
    return ComparisonEntry(Path(run.run_id), side, run)


def test_latency_is_drawn_over_the_load_of_each_run_with_its_own_position() -> None:
    whole = full_run().result
    overlays = build_load_overlays([entry(whole, "baseline"), ComparisonEntry(Path("gone"), "drawn"), entry(whole)])
    by_metric = {overlay.metric: overlay for overlay in overlays}
    latency = by_metric["latency_ms.p95"]
    assert (latency.x_label, latency.x_unit, latency.y_label, latency.y_unit) == ("Rate", "req/s", "p95 latency", "ms")
    assert [(line.index, line.label) for line in latency.lines] == [(0, "1 quickstart"), (2, "3 quickstart")]
    assert list(latency.lines[0].x) == sorted(latency.lines[0].x)


def test_runs_with_rates_and_with_clients_share_a_throughput_axis() -> None:
    rated = full_run().result
    stages = tuple(replace(stage, scheduled_per_s=None, concurrency=4) for stage in rated.stages)
    closed = replace(rated, stages=stages)
    assert {overlay.x_label for overlay in build_load_overlays([entry(closed)])} == {"Clients"}
    assert {overlay.x_label for overlay in build_load_overlays([entry(rated), entry(closed)])} == {"Throughput"}
    assert build_load_overlays([entry(nothing_measured().result)]) == ()
