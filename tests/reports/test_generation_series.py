from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app.records.local import GenerationTest
from reports.charts.figures import build_chart
from reports.charts.picture import Chart
from reports.generation_series import list_depth_series, list_generation_figures
from reports.local_model import VariantRow
from reports.model import Report
from tests.fakes.language_model_runs import language_model_run
from tests.reports.conftest import report_of


def _charts(report: Report) -> dict[str, Chart]:
    figures = list_generation_figures(report.local)
    return {key: build_chart(key, figure) for key, figure in figures.items() if figure is not None}


def _points(chart: Chart) -> list[dict[str, Any]]:
    return [point for values in chart.spec["datasets"].values() for point in values]


def _with_variants(report: Report, variants: tuple[VariantRow, ...]) -> Report:
    assert report.local is not None
    return msgspec.structs.replace(report, local=msgspec.structs.replace(report.local, variants=variants))


def test_language_model_charts_exist_only_for_measured_tests(
    language_model_report: Report, local_report: Report
) -> None:
    assert [*_charts(language_model_report)] == ["test-decode", "test-prefill", "decode-by-depth", "model-memory"]
    only_prompts = report_of(language_model_run(tests=(GenerationTest(512, 0),)))
    assert [*_charts(only_prompts)] == ["test-prefill", "model-memory"]
    assert _charts(local_report) == {}
    assert _charts(_with_variants(language_model_report, ())) == {}


def test_generation_test_bars_have_intervals_and_skip_repeated_and_invalid_tests(language_model_report: Report) -> None:
    chart = _charts(language_model_report)["test-prefill"]
    assert [row[:2] for row in chart.rows] == [
        ("batch 1", "pp512"), ("batch 1", "pp512+tg16"), ("batch 2", "pp512"), ("batch 2", "pp512+tg16")
    ]  # fmt: skip
    assert all(point["low"] < point["value"] < point["high"] for point in _points(chart))
    assert language_model_report.local is not None
    first, *others = language_model_report.local.variants
    invalid = tuple(msgspec.structs.replace(row, validity="INVALID") for row in first.tests)
    report = _with_variants(language_model_report, (msgspec.structs.replace(first, tests=invalid), *others))
    assert {row[0] for row in _charts(report)["test-prefill"].rows} == {"batch 2"}


def test_depth_chart_has_only_tests_that_differ_only_in_depth(language_model_report: Report) -> None:
    chart = _charts(language_model_report)["decode-by-depth"]
    assert [(point["series"], point["x"]) for point in _points(chart)] == [
        ("batch 1", 0), ("batch 1", 1024), ("batch 2", 0), ("batch 2", 1024)
    ]  # fmt: skip
    assert chart.alternative == (
        "The decode throughput of batch 1 changes from 99.0 (98.1–99.9)\u202ftok/s at depth 0 to "
        "66.0 (65.4–66.6)\u202ftok/s at depth 1,024."
    )
    mixed = report_of(language_model_run(tests=(GenerationTest(0, 16), GenerationTest(512, 16, 1024))))
    assert "decode-by-depth" not in _charts(mixed)


def test_peak_memory_is_split_if_its_parts_are_known(language_model_report: Report) -> None:
    chart = _charts(language_model_report)["model-memory"]
    weights_gib, kv_gib = 20_800_000 / 2**30, 1040 * 4096 / 2**30
    assert [(point["series"], point["value"]) for point in _points(chart) if point["group"] == "batch 1"] == [
        ("weights", pytest.approx(weights_gib)), ("KV cache", pytest.approx(kv_gib)),
        ("rest", pytest.approx(0.25 - weights_gib - kv_gib)),
    ]  # fmt: skip
    assert language_model_report.local is not None
    first, *_ = language_model_report.local.variants
    on_gpu = msgspec.structs.replace(first, provider="cuda")
    chart = _charts(_with_variants(language_model_report, (on_gpu,)))["model-memory"]
    assert [(point["series"], point["value"]) for point in _points(chart)] == [("not split", 0.25)]
    assert chart.rows == (("batch 1", "n/a", "n/a", "n/a", "0.250\u202fGiB"),)


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
