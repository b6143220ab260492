from __future__ import annotations

import msgspec

from reports import formatting
from reports.local_model import LocalSection, VariantRow
from reports.local_text import (
    build_headline_variant_lines,
    build_remaining_variant_lines,
    build_test_table,
    build_variant_table,
)
from reports.model import Report


def _local(report: Report) -> LocalSection:
    assert report.local is not None
    return report.local


def _many(local: LocalSection, count: int) -> LocalSection:
    """The section with `count` variants, repeated from its own, and the best one last."""
    others = [variant for variant in local.variants if variant.state == "measured"]
    best = next(variant for variant in local.variants if variant.state == "best")
    slow = msgspec.structs.replace(best.throughput, value=1.0)
    best = msgspec.structs.replace(best, throughput=slow, is_on_frontier=False)
    more = [msgspec.structs.replace(others[index % len(others)], name=f"variant {index}") for index in range(count - 1)]
    return msgspec.structs.replace(local, variants=(*more, best))


def test_every_variant_is_table_row_with_its_slo_state(local_report: Report) -> None:
    header, *rows = build_variant_table(_local(local_report), 90)
    assert header == ["variant", "p50 / p99", "infer/s", "retained", "p99 server", "SLO"]
    assert [row[-1] for row in rows] == ["met", "met", "missed", "met", "met", "skipped", "ended early"]
    assert rows[4][0] == "cpu int8-static, batch 4 (best)"
    assert rows[-1][1:5] == ["–", "–", "–", "–"]
    assert [row[3] for row in rows[:2]] == ["n/a", "100\u202f%"]


def test_searched_variant_shows_max_call_rate_and_server_latency(searched_report: Report) -> None:
    header, row = build_variant_table(_local(searched_report), 90)
    assert header == ["variant", "p50 / p99", "max calls/s", "infer/s", "p99 server", "SLO"]
    scenario = _local(searched_report).variants[0].scenarios[1]
    assert (row[2], row[4]) == ("400", formatting.format_value(scenario.p99))
    bound = msgspec.structs.replace(_local(searched_report).variants[0], is_arrivals_lower_bound=True)
    assert build_variant_table(msgspec.structs.replace(_local(searched_report), variants=(bound,)), 90)[1][2] == "≥ 400"


def test_narrow_variant_table_drops_less_important_columns(local_report: Report) -> None:
    header = build_variant_table(_local(local_report), 78)[0]
    assert header == ["variant", "p50 / p99", "infer/s", "retained", "SLO"]
    assert build_variant_table(_local(local_report), 20)[0] == ["variant", "p50 / p99", "infer/s", "SLO"]


def test_variant_table_shows_twelve_of_many_variants_including_best(local_report: Report) -> None:
    many = _many(_local(local_report), 40)
    rows = build_variant_table(many, 90)[1:]
    assert len(rows) == 12
    assert rows[-1][0].endswith("(best)")
    assert build_remaining_variant_lines(many)[0] == "… and 28 more in the report"


def test_shared_reason_is_reported_once_for_its_variants(local_report: Report) -> None:
    local = _local(local_report)
    skipped = next(variant for variant in local.variants if variant.state == "skipped")
    variants = tuple(msgspec.structs.replace(skipped, name=f"batch {batch}") for batch in range(5))
    (line,) = build_remaining_variant_lines(msgspec.structs.replace(local, variants=variants))
    assert line == "batch 0; batch 1; batch 2 and 2 more, skipped: batch 4 is beyond the SLO already."


def test_cold_start_of_equally_opened_variant_is_reported(local_report: Report) -> None:
    local = _local(local_report)
    shown = msgspec.structs.replace(local, headline_variant="cpu as-is, batch 16")
    cold, cached = dict(build_headline_variant_lines(shown))["Cold start"]
    assert cold.startswith("cold: 207\u202fms, max 227\u202fms: process 25.0\u202fms, library load 155\u202fms")
    assert cached.startswith("cached optimized model: 199")
    assert dict(build_headline_variant_lines(local))["Cold start"] == []


def test_fallback_lines_name_variant_and_providers(fallback_report: Report) -> None:
    lines = dict(build_headline_variant_lines(_local(fallback_report)))["Fallback"]
    assert lines == ["cuda: Conv on CPUExecutionProvider, instead of cuda"]


def test_invalid_numbers_are_in_parentheses(fallback_report: Report) -> None:
    rows = build_variant_table(_local(fallback_report), 90)[1:]
    assert rows[0][1].startswith("(")
    assert rows[0][2:] == ["(1,000)", "INVALID"]


def test_failed_local_run_has_no_variant_table(failed_report: Report) -> None:
    local = _local(failed_report)
    assert build_variant_table(local, 90) == []
    assert build_headline_variant_lines(local) == []
    assert build_remaining_variant_lines(local) == ["batch 1; batch 8, ended early: out of memory."]


def test_output_differences_are_quantified(local_report: Report) -> None:
    scores, outputs = dict(build_headline_variant_lines(_local(local_report)))["Outputs"]
    assert scores == "top-1 96.9 (94.8–98.1)\u202f%, fp32 97.8\u202f% (p 0.062, McNemar)"
    assert outputs.startswith("compared with fp32 on the CPU, 64 rows of the measured run: agreement 98.4\u202f%")
    plain: VariantRow = _local(local_report).variants[0]
    shown = msgspec.structs.replace(_local(local_report), headline_variant=plain.name)
    assert (
        dict(build_headline_variant_lines(shown))["Outputs"][1]
        == "identical to fp32 on the CPU in 64 rows of the measured run"
    )


def test_generation_tests_are_separate_table(language_model_report: Report, local_report: Report) -> None:
    local = _local(language_model_report)
    header, *rows = build_test_table(local, 200)
    assert header == [
        "variant", "test", "prefill tok/s", "decode tok/s", "p50 TTFT", "p99 TTFT", "p50 ITL", "p99 ITL", "p50 E2E",
        "n", "validity",
    ]  # fmt: skip
    assert [row[1] for row in rows[:5]] == ["pp512", "tg16", "pp512+tg16", "tg16 @ d1024", "pp512 #2"]
    assert rows[0][2] == "2,530 (2,510–2,560)", "with its interval"
    assert rows[0][3] == rows[0][4] == "–", "a test has only some of the quantities"
    assert rows[4][-1] == "WARN", "its drift"
    assert len({row[0] for row in rows}) == 2
    assert build_test_table(_local(local_report), 200) == []


def test_narrow_table_of_generation_tests_has_rates_and_median_itl(language_model_report: Report) -> None:
    header = build_test_table(_local(language_model_report), 85)[0]
    assert header == ["variant", "test", "prefill tok/s", "decode tok/s", "p50 ITL", "validity"]
    single = msgspec.structs.replace(_local(language_model_report), variants=_local(language_model_report).variants[:1])
    assert build_test_table(single, 85)[0] == [
        "test", "prefill tok/s", "decode tok/s", "p50 TTFT", "p50 ITL", "validity"
    ]  # fmt: skip


def test_language_model_variants_show_rates_and_memory(language_model_report: Report) -> None:
    header, *rows = build_variant_table(_local(language_model_report), 200)
    assert header == ["variant", "decode tok/s", "prefill tok/s", "peak memory", "file size", "SLO"]
    assert rows[0] == [
        "batch 1 (best)", "99.0 (98.1–99.9)", "2,530 (2,510–2,560)", "0.250\u202fGiB", "20.8\u202fMB", "met"
    ]  # fmt: skip
    assert rows[2][1:4] == ["–", "–", "n/a"]
    assert "file size" not in build_variant_table(_local(language_model_report), 75)[0]


def test_language_model_lines_have_bottleneck_per_phase_and_quality(language_model_report: Report) -> None:
    lines = dict(build_headline_variant_lines(_local(language_model_report)))
    assert lines["Bottleneck"] == [
        "batch 1, prefill: compute bound: 80 % of the peak",
        "batch 1, decode: memory bound: 80 % of the peak",
    ]
    assert lines["Quality"] == [
        "batch 1: perplexity 3.00 (2.00–4.00) on 999 tokens",
        "batch 2: perplexity 3.30 (2.30–4.30); compared with batch 1: ratio 1.10 (1.09–1.11), "
        "agreement 95.0 (93.0–97.0)\u202f%, KL divergence 0.00500 (0.00400–0.00600)\u202fnats",
    ]
