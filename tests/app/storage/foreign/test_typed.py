from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from app.errors import UsageError
from app.records.planning_inputs import ImportedCurve
from app.storage.foreign.reading import read_foreign

Read = Callable[..., ImportedCurve]


def test_csv_entered_by_hand_is_read_in_milliseconds(read_curve: Read) -> None:
    imported = read_curve("assumed.csv")
    assert (imported.tool, imported.precision, imported.model) == ("typed", "typed", None)
    assert [(load_point.offered_per_s, load_point.achieved_per_s) for load_point in imported.load_points] == [
        (5, 5),
        (10, 10),
        (20, 20),
    ]
    assert imported.load_points[1].latencies_s == {"latency": pytest.approx({"p50": 0.012, "p95": 0.02, "p99": 0.0315})}
    assert imported.load_points[0].completed is None
    assert "entered by hand" in imported.notes[0]
    assert "equal the offered rate" in imported.notes[1]


def test_yaml_entered_by_hand_has_the_same_keys_and_a_model(read_curve: Read) -> None:
    imported = read_curve("assumed.yaml")
    assert (imported.precision, imported.model) == ("typed", "fraud-scoring")
    assert [(load_point.offered_per_s, load_point.achieved_per_s) for load_point in imported.load_points] == [
        (10.0, 10.0),
        (40.0, 38.5),
    ]
    assert imported.load_points[0].latencies_s == {"latency": {"p95": 0.02}, "ttft": {"mean": 0.005}}
    assert imported.load_points[1].latencies_s["latency"]["p99_9"] == pytest.approx(0.2)


def test_yaml_entered_by_hand_may_be_a_plain_list(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("- {offered_per_s: 10, latency_ms.p95: 20}\n- {offered_per_s: 5, latency_ms.p95: 15}\n")
    assert [load_point.offered_per_s for load_point in read_foreign([path]).load_points] == [5.0, 10.0]


def test_completion_rates_entered_by_hand_are_not_replaced_by_the_offered_rate(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("offered_per_s,latency_ms.p95,achieved_per_s\n10,20,9.5\n")
    imported = read_foreign([path])
    assert imported.load_points[0].achieved_per_s == 9.5
    assert len(imported.notes) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("offered_per_s,latency_ms.p95,latency_s.p99\n1,2,3\n", '"latency_s.p99" is not a column of a load curve'),
        ("offered_per_s,latency_ms.p100\n1,2\n", '"latency_ms.p100" is not a column'),
        ("offered_per_s,achieved_per_s\n1,1\n", "it has no latencies"),
        ("offered_per_s,latency_ms.p95\n0,2\n", "an offered rate or a concurrency of 0"),
        ("offered_per_s,latency_ms.p95\n,2\n", "'' instead of a number of at least 0"),
        ("offered_per_s,latency_ms.p95\n1_0,2\n", "'1_0' instead of a number of at least 0"),
        ("offered_per_s,latency_ms.p95\n10,inf\n", "'inf' instead of a number of at least 0"),
        ("offered_per_s,latency_ms.p50,latency_ms.p95\n10,20,19\n", "its p95 latency is below its p50 latency"),
        ("offered_per_s,latency_ms.p95\n", "it has no load point"),
        ("- {latency_ms.p95: 20}\n", "offered_per_s"),
        ("- {offered_per_s: 10, offered_per_s: 11, latency_ms.p95: 20}\n", '"offered_per_s" is duplicated'),
        ("- &a {offered_per_s: 10, latency_ms.p95: 20}\n- *a\n", "it has a YAML alias"),
        ("- {offered_per_s: {a: 1}, latency_ms.p95: 20}\n", "nested too deeply"),
        ("- 10\n- 20\n", "one of its points is not a mapping"),
        ("points: 10\n", "it is not a supported result file"),
        ("curve:\n  - {offered_per_s: 10, latency_ms.p95: 20}\n", "it is not a supported result file"),
        ("points: [\n", "neither a supported result file nor YAML"),
        ("- " * 20_000 + "1\n", "nested too deeply"),
        ("- " + "[" * 20_000 + "\n", "nested too deeply"),
        ("- !!python/object/apply:os.system [id]\n", "one of its points is not a mapping"),
        ("just words\n", "it is not a supported result file"),
        ("- {offered_per_s: 10, latency_ms.p95: 20}\n" * 2000, "too long"),
    ],
)
def test_invalid_curves_entered_by_hand_are_rejected(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "typed"
    path.write_text(content)
    with pytest.raises(UsageError, match=f"typed cannot be read as a curve.*({message})"):
        read_foreign([path])
