from __future__ import annotations

from typing import Any

import msgspec

from reports.charts.batch_size import build_batch_charts
from reports.charts.picture import Chart
from reports.model import Report
from reports.sections.figure import MAX_SERIES


def _points(drawing: Chart) -> list[dict[str, Any]]:
    (values,) = drawing.spec["datasets"].values()
    return list(values)


def test_batch_charts_of_server_show_p50_and_p95(full_report: Report) -> None:
    times, rates = build_batch_charts(full_report)
    assert {point["series"] for point in _points(times)} == {"p50", "p95"}
    assert [point["batch"] for point in _points(rates)] == [1, 2, 4, 8, 16, 32]


def test_batch_chart_has_line_per_variant_family_fastest_first(local_report: Report) -> None:
    times, rates = build_batch_charts(local_report)
    assert list(dict.fromkeys(point["series"] for point in _points(times))) == ["cpu int8-static", "cpu as-is"]
    assert [point["batch"] for point in _points(rates)] == [1, 4, 1, 4, 16]
    assert times.alternative.startswith("cpu int8-static changes from 1.0")
    assert times.note is None


def test_single_batch_line_shows_p50_and_p95(local_report: Report) -> None:
    assert local_report.local is not None
    plain = tuple(variant for variant in local_report.local.variants if variant.family == "cpu as-is")
    local = msgspec.structs.replace(local_report.local, variants=plain)
    times, _ = build_batch_charts(msgspec.structs.replace(local_report, local=local))
    assert {point["series"] for point in _points(times)} == {"cpu as-is p50", "cpu as-is p95"}


def test_series_beyond_limit_are_only_in_table(local_report: Report) -> None:
    assert local_report.local is not None
    plain = [variant for variant in local_report.local.variants if variant.family == "cpu as-is"]
    many = tuple(
        msgspec.structs.replace(variant, family=f"family {number}")
        for number in range(MAX_SERIES + 2)
        for variant in plain
    )
    local = msgspec.structs.replace(local_report.local, variants=many)
    times, _ = build_batch_charts(msgspec.structs.replace(local_report, local=local))
    assert len({point["series"] for point in _points(times)}) == MAX_SERIES
    assert len(times.rows) == 3 * (MAX_SERIES + 2)
    assert times.note == "2 more series are only in the table."


def test_single_batch_size_has_no_batch_chart(fallback_report: Report, empty_report: Report) -> None:
    assert build_batch_charts(fallback_report) == ()
    assert build_batch_charts(empty_report) == ()
