from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from app.errors import UsageError
from app.records.planning_inputs import ImportedCurve
from app.storage.foreign.reading import read_foreign


def test_perf_analyzer_rows_are_closed_loops_in_microseconds(read_curve: Callable[..., ImportedCurve]) -> None:
    """The file is sorted by throughput; the curve is sorted by concurrency."""
    imported = read_curve("perf_analyzer.csv")
    assert (imported.tool, imported.precision, imported.model) == ("perf_analyzer", "aggregates", None)
    assert [(load_point.clients, load_point.achieved_per_s) for load_point in imported.load_points] == [
        (1, 160.5),
        (2, 207.75),
        (4, 208.25),
    ]
    assert imported.load_points[0].latencies_s == {
        "latency": pytest.approx({"p50": 0.006212, "p90": 0.006289, "p95": 0.006328, "p99": 0.007407})
    }
    assert (imported.load_points[0].completed, imported.load_points[0].failed) == (None, None)


def test_perf_analyzer_load_points_are_sorted_by_concurrency_beyond_the_peak(tmp_path: Path) -> None:
    path = tmp_path / "perf.csv"
    path.write_text("Concurrency,Inferences/Second,p50 latency\n8,90,9\n1,50,5\n4,100,7\n")
    assert [load_point.clients for load_point in read_foreign([path]).load_points] == [1, 4, 8]


def test_verbose_perf_analyzer_file_of_request_rates_is_read(read_curve: Callable[..., ImportedCurve]) -> None:
    (load_point,) = read_curve("perf_analyzer-verbose.csv").load_points
    assert (load_point.offered_per_s, load_point.clients, load_point.achieved_per_s) == (100.0, None, 99.5)
    assert load_point.latencies_s["latency"]["p98"] == pytest.approx(0.0064)
    assert load_point.latencies_s["latency"]["mean"] == pytest.approx(0.0063)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Concurrency,Inferences/Second,Client Send\n1,10,5\n", "no latency percentile columns"),
        ("Concurrency,Inferences/Second,p50 latency\n", "it has no load point"),
        ("Concurrency,Inferences/Second,p50 latency\n1,10\n", "2 cells, but the header has 3; it may be truncated"),
        ("Concurrency,Inferences/Second,p50 latency\n1,nan,6\n", "'nan' instead of a number of at least 0"),
        ("Concurrency,Inferences/Second,p50 latency\n1,10,-6\n", "'-6' instead of a number of at least 0"),
        (
            "Concurrency,Inferences/Second,p50 latency,p90 latency\n1,10,6,5\n",
            "its p90 latency is below its p50 latency",
        ),
        ("Concurrency,Concurrency,Inferences/Second,p50 latency\n1,1,10,6\n", '"Concurrency" is duplicated'),
    ],
)
def test_invalid_perf_analyzer_files_are_rejected(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "perf.csv"
    path.write_text(content)
    with pytest.raises(UsageError, match=message):
        read_foreign([path])
