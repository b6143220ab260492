from __future__ import annotations

from typing import Any

import msgspec

from reports.charts.batch_size import build_batch_charts
from reports.charts.picture import Chart
from reports.charts.style import MAX_SERIES
from reports.model import Report


def _points(drawing: Chart) -> list[dict[str, Any]]:
    (values,) = drawing.spec["datasets"].values()
    return list(values)


def test_a_served_model_is_drawn_with_p50_and_p95(full_report: Report) -> None:
    times, rates = build_batch_charts(full_report)
    assert {one["series"] for one in _points(times)} == {"p50", "p95"}
    assert [one["batch"] for one in _points(rates)] == [1, 2, 4, 8, 16, 32]


def test_a_line_is_what_differs_in_its_batch_alone_the_fastest_first(local_report: Report) -> None:
    times, rates = build_batch_charts(local_report)
    assert list(dict.fromkeys(one["series"] for one in _points(times))) == ["cpu int8-static", "cpu as-is"]
    assert [one["batch"] for one in _points(rates)] == [1, 4, 1, 4, 16]
    assert times.alternative.startswith("cpu int8-static changes from 1.0")
    assert times.note is None


def test_one_line_has_its_p95_beside_it(local_report: Report) -> None:
    assert local_report.local is not None
    plain = tuple(one for one in local_report.local.variants if one.family == "cpu as-is")
    local = msgspec.structs.replace(local_report.local, variants=plain)
    times, _ = build_batch_charts(msgspec.structs.replace(local_report, local=local))
    assert {one["series"] for one in _points(times)} == {"cpu as-is p50", "cpu as-is p95"}


def test_more_lines_than_can_be_reported_apart_stay_in_the_table(local_report: Report) -> None:
    assert local_report.local is not None
    plain = [one for one in local_report.local.variants if one.family == "cpu as-is"]
    many = tuple(
        msgspec.structs.replace(one, family=f"family {number}") for number in range(MAX_SERIES + 2) for one in plain
    )
    local = msgspec.structs.replace(local_report.local, variants=many)
    times, _ = build_batch_charts(msgspec.structs.replace(local_report, local=local))
    assert len({one["series"] for one in _points(times)}) == MAX_SERIES
    assert len(times.rows) == 3 * (MAX_SERIES + 2)
    assert times.note == "2 more series are only in the table."


def test_one_batch_is_no_line(strayed_report: Report, empty_report: Report) -> None:
    assert build_batch_charts(strayed_report) == ()
    assert build_batch_charts(empty_report) == ()
