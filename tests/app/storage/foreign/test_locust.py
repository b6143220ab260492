from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from app.errors import UsageError
from app.records.planning_inputs import ImportedCurve
from app.storage.foreign.reading import read_foreign

Read = Callable[..., ImportedCurve]
FILES = Path(__file__).parent / "files"


def test_the_aggregated_row_is_the_load_point(curve: Read) -> None:
    """900 requests and 30 failures at 30/s, of which 1/s failed; p95 230 ms and a mean of 135.5 ms."""
    found = curve("locust_stats.csv")
    (load_point,) = found.load_points
    assert (found.tool, found.precision) == ("Locust", "rounded")
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
        assert any(word in note for note in found.notes)


def test_the_history_reports_the_users(curve: Read) -> None:
    found = curve("locust_stats.csv", "locust_stats_history.csv")
    assert found.load_points[0].clients == 8.0
    assert not any("users" in note for note in found.notes)


def test_users_that_varied_are_reported(tmp_path: Path) -> None:
    for name in ("locust_stats.csv", "locust_stats_history.csv"):
        (tmp_path / name).write_text((FILES / name).read_text().replace("1767600030,8", "1767600030,16"))
    found = read_foreign([tmp_path])
    assert found.load_points[0].clients == 16.0
    assert any("users varied" in note for note in found.notes)


def test_a_run_without_a_request_has_no_latency(tmp_path: Path) -> None:
    lines = (FILES / "locust_stats.csv").read_text().splitlines()
    empty = ",Aggregated,0,0,0,0.0,0,0,0,0.0,0.0" + ",N/A" * 11
    (tmp_path / "a_stats.csv").write_text(f"{lines[0]}\n{empty}\n")
    (load_point,) = read_foreign([tmp_path / "a_stats.csv"]).load_points
    assert (load_point.completed, load_point.achieved_per_s, load_point.latencies_s) == (0, 0.0, {})


def test_a_history_alone_is_refused(curve: Read) -> None:
    with pytest.raises(UsageError, match=r"history file without its _stats.csv"):
        curve("locust_stats_history.csv")


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (",Aggregated,", ",All,", "0 rows named Aggregated"),
        ("Aggregated,900,30", "Aggregated,900,901", "901 failures but only 900"),
        ("Aggregated,900,30,130,135.5", "Aggregated,900,30,130,x", "'x' instead of a number of at least 0"),
    ],
)
def test_what_is_refused(tmp_path: Path, old: str, new: str, why: str) -> None:
    path = tmp_path / "b_stats.csv"
    path.write_text((FILES / "locust_stats.csv").read_text().replace(old, new))
    with pytest.raises(UsageError, match=why):
        read_foreign([path])
