from __future__ import annotations

from app.records.local import GenerationTest
from reports.generation_series import list_depth_series
from reports.model import Report
from tests.fakes.language_model_runs import language_model_run
from tests.reports.conftest import report_of


def _series(report: Report) -> list[tuple[str, list[int]]]:
    assert report.local is not None
    return [(series.name, [point.depth for point in series.points]) for series in list_depth_series(report.local)]


def test_depth_series_differ_only_in_depth(language_model_report: Report) -> None:
    assert _series(language_model_report) == [("batch 1", [0, 1024]), ("batch 2", [0, 1024])]


def test_depth_series_ascend_and_name_tests_if_there_are_several() -> None:
    tests = [GenerationTest(0, 8, depth) for depth in (512, 0, 64)] + [
        GenerationTest(16, 8, depth) for depth in (0, 32)
    ]
    assert _series(report_of(language_model_run(tests=tuple(tests))))[:2] == [
        ("batch 1, tg8", [0, 64, 512]), ("batch 1, pp16+tg8", [0, 32])
    ]  # fmt: skip
    single = report_of(language_model_run(tests=(GenerationTest(0, 8, 64),)))
    assert _series(single) == []
