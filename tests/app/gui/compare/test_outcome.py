from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from app.gui.compare.entries import ComparisonEntry, Side
from app.gui.compare.outcome import build_load_overlays, select_drawn_entries
from app.records.result import Result
from tests.fakes.results import full_run, run_without_load


@pytest.mark.parametrize(
    ("baseline", "candidate", "drawn_indices"),
    [
        (1, 2, [0, 1, 2]),
        (7, 7, [0, 1, 2, 3, 7, 8, 9, 10]),
        (10, 1, [0, 1, 2, 3, 4, 5, 6, 10]),
        (1, 10, [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_only_the_first_runs_of_each_side_are_drawn_above_eight_runs(
    baseline: int, candidate: int, drawn_indices: list[int]
) -> None:
    runs = [ComparisonEntry(Path(f"b{index}"), "baseline") for index in range(baseline)]
    runs += [ComparisonEntry(Path(f"c{index}"), "candidate") for index in range(candidate)]
    assert [index for index, _ in select_drawn_entries(runs)] == drawn_indices


def make_entry(run: Result, side: Side = "candidate") -> ComparisonEntry:
    return ComparisonEntry(Path(run.run_id), side, run)


def test_load_overlay_draws_latency_over_rate_with_the_index_of_each_run() -> None:
    run = full_run().result
    figures = build_load_overlays(
        [make_entry(run, "baseline"), ComparisonEntry(Path("gone"), "drawn"), make_entry(run)]
    )
    latency = figures["latency_ms.p95"]
    assert (latency.x.text, latency.y.text) == ("Rate (req/s)", "p95 latency (ms)")
    assert [(line.style_index, line.name) for line in latency.lines] == [(0, "1 quickstart"), (2, "3 quickstart")]
    assert list(latency.lines[0].x) == sorted(latency.lines[0].x)


def test_runs_with_rates_and_with_clients_share_a_throughput_axis() -> None:
    rated = full_run().result
    stages = tuple(replace(stage, scheduled_per_s=None, concurrency=4) for stage in rated.stages)
    closed = replace(rated, stages=stages)
    assert {figure.x.label for figure in build_load_overlays([make_entry(closed)]).values()} == {"Clients"}
    both = build_load_overlays([make_entry(rated), make_entry(closed)])
    assert {figure.x.label for figure in both.values()} == {"Throughput"}
    assert build_load_overlays([make_entry(run_without_load().result)]) == {}
