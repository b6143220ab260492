from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from app.errors import UsageError
from app.records.planning_inputs import ImportedCurve
from app.storage.foreign.reading import read_foreign

Read = Callable[..., ImportedCurve]
FILES = Path(__file__).parent / "files"


def test_aggregated_row_of_locust_statistics_is_the_load_point(read_curve: Read) -> None:
    """900 requests, 30 of them failed, at 30 req/s (1 req/s failed); p95 230 ms and a mean of 135.5 ms."""
    imported = read_curve("locust_stats.csv")
    (load_point,) = imported.load_points
    assert (imported.tool, imported.precision) == ("Locust", "rounded")
    assert (load_point.offered_per_s, load_point.clients, load_point.achieved_per_s, load_point.duration_s) == (
        None,
        None,
        29.0,
        30.0,
    )
    assert (load_point.completed, load_point.failed) == (870, 30)
    assert load_point.latencies_s["latency"]["p95"] == pytest.approx(0.23)
    assert load_point.latencies_s["latency"]["p99_9"] == pytest.approx(0.52)
    assert load_point.latencies_s["latency"]["mean"] == pytest.approx(0.1355)
    assert load_point.latencies_s["latency"]["max"] == pytest.approx(0.52025)
    for word in (
        "Locust rounds percentiles",
        "latencies include failed requests",
        "does not include the number of users",
    ):
        assert any(word in note for note in imported.notes)


def test_locust_history_has_the_number_of_users(read_curve: Read) -> None:
    imported = read_curve("locust_stats.csv", "locust_stats_history.csv")
    assert imported.load_points[0].clients == 8.0
    assert not any("users" in note for note in imported.notes)


def test_varying_number_of_locust_users_is_noted(tmp_path: Path) -> None:
    for name in ("locust_stats.csv", "locust_stats_history.csv"):
        (tmp_path / name).write_text((FILES / name).read_text().replace("1767600030,8", "1767600030,16"))
    imported = read_foreign([tmp_path])
    assert imported.load_points[0].clients == 16.0
    assert any("users varied" in note for note in imported.notes)


def test_locust_run_without_requests_has_no_latencies(tmp_path: Path) -> None:
    lines = (FILES / "locust_stats.csv").read_text().splitlines()
    empty = ",Aggregated,0,0,0,0.0,0,0,0,0.0,0.0" + ",N/A" * 11
    (tmp_path / "a_stats.csv").write_text(f"{lines[0]}\n{empty}\n")
    (load_point,) = read_foreign([tmp_path / "a_stats.csv"]).load_points
    assert (load_point.completed, load_point.achieved_per_s, load_point.latencies_s) == (0, 0.0, {})


def test_locust_history_without_statistics_is_rejected(read_curve: Read) -> None:
    with pytest.raises(UsageError, match=r"history file without its _stats.csv"):
        read_curve("locust_stats_history.csv")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",Aggregated,", ",All,", "0 rows named Aggregated"),
        ("Aggregated,900,30", "Aggregated,900,901", "901 failures but only 900"),
        ("Aggregated,900,30,130,135.5", "Aggregated,900,30,130,x", "'x' instead of a number of at least 0"),
    ],
)
def test_invalid_locust_statistics_are_rejected(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "b_stats.csv"
    path.write_text((FILES / "locust_stats.csv").read_text().replace(old, new))
    with pytest.raises(UsageError, match=message):
        read_foreign([path])
