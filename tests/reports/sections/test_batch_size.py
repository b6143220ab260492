from __future__ import annotations

import msgspec

from reports.model import Report
from reports.sections.batch_size import build_batch_figures, list_variant_families, select_valid_variants
from reports.sections.figure import MAX_SERIES, LineFigure


def _build(report: Report) -> tuple[LineFigure, ...]:
    return tuple(figure for figure in build_batch_figures(report).values() if isinstance(figure, LineFigure))


def _names(figure: LineFigure) -> list[str]:
    return [line.name for line in figure.lines]


def test_batch_charts_of_server_show_p50_and_p95(full_report: Report) -> None:
    times, rates = _build(full_report)
    assert set(_names(times)) == {"p50", "p95"}
    assert [x for line in rates.lines for x in line.x] == [1, 2, 4, 8, 16, 32]


def test_batch_chart_has_line_per_variant_family_fastest_first(local_report: Report) -> None:
    times, rates = _build(local_report)
    assert _names(times) == ["cpu int8-static", "cpu as-is"]
    assert [x for line in rates.lines for x in line.x] == [1, 4, 1, 4, 16]
    assert times.alternative.startswith("cpu int8-static changes from 1.0")
    assert times.note is None


def test_single_batch_line_shows_p50_and_p95(local_report: Report) -> None:
    assert local_report.local is not None
    plain = tuple(variant for variant in local_report.local.variants if variant.family == "cpu as-is")
    local = msgspec.structs.replace(local_report.local, variants=plain)
    times, _ = _build(msgspec.structs.replace(local_report, local=local))
    assert set(_names(times)) == {"cpu as-is p50", "cpu as-is p95"}


def test_series_beyond_limit_are_only_in_table(local_report: Report) -> None:
    assert local_report.local is not None
    plain = [variant for variant in local_report.local.variants if variant.family == "cpu as-is"]
    many = tuple(
        msgspec.structs.replace(variant, family=f"family {number}")
        for number in range(MAX_SERIES + 2)
        for variant in plain
    )
    local = msgspec.structs.replace(local_report.local, variants=many)
    times, _ = _build(msgspec.structs.replace(local_report, local=local))
    assert len(_names(times)) == MAX_SERIES
    assert len(times.rows) == 3 * (MAX_SERIES + 2)
    assert times.note == "2 more series are only in the table."


def test_single_batch_size_has_no_batch_chart(fallback_report: Report, empty_report: Report) -> None:
    assert _build(fallback_report) == ()
    assert _build(empty_report) == ()


def test_variant_families_are_sorted_by_speed_and_unmeasured_come_last(local_report: Report) -> None:
    assert local_report.local is not None
    assert list_variant_families(local_report.local) == ["cpu int8-static", "cpu as-is", "cuda as-is"]
    assert {variant.state for variant in select_valid_variants(local_report.local)} == {"best", "measured"}
