from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from reports.marks import DIM_END, DIM_START, drop_marks, replace_marks
from reports.model import MessageRow, Quantity, Report, SelfTestRow
from reports.text import render_plan, render_text
from tests.fakes.golden import assert_golden

_REPORTS = (
    "full_report", "empty_report", "interrupted_report", "streaming_report", "spike_report", "clients_report",
    "locust_report", "local_report", "alone_report", "failed_report", "fallback_report",
    "searched_report", "language_model_report",
)  # fmt: skip


@pytest.mark.parametrize("name", _REPORTS)
def test_text_summary_matches_golden_file(name: str, request: pytest.FixtureRequest) -> None:
    assert_golden(f"summary_{name}.txt", render_text(request.getfixturevalue(name)) + "\n")


@pytest.mark.parametrize("name", ["whole_plan_report", "max_rate_plan_report", "no_offer_plan_report"])
def test_text_of_plan_matches_golden_file(name: str, request: pytest.FixtureRequest) -> None:
    assert_golden(f"{name.removesuffix('_report')}.txt", render_plan(request.getfixturevalue(name).plan) + "\n")


def test_text_summary_fits_80_columns_and_45_lines(full_report: Report) -> None:
    lines = render_text(full_report, width=80).splitlines()
    assert len(lines) <= 45
    assert max(map(len, lines)) <= 80


def test_caveats_are_one_line_above_numbers_with_details_below(
    full_report: Report,
) -> None:
    text = render_text(full_report)
    order = [
        text.index(part)
        for part in (
            "PASS", "7 × aws/c7i.large, $456/month", "Evidence: medium", "Max rate 218 req/s",
            "1 caveat: step duration", "Numbers", "SLO  ", "WARN step duration",
        )
    ]  # fmt: skip
    assert order == sorted(order)


def test_failed_validity_check_is_above_numbers(full_report: Report) -> None:
    checks = tuple(msgspec.structs.replace(check, verdict="INVALID") for check in full_report.checks[:1])
    verdict = msgspec.structs.replace(full_report.verdict, outcome="INVALID", validity="INVALID")
    text = render_text(msgspec.structs.replace(full_report, checks=checks, verdict=verdict))
    assert "Decision" not in text
    assert text.index(f"INVALID {checks[0].name}: ") < text.index("Numbers") < text.index("7 × aws/c7i.large")


def test_passed_checks_are_one_line_below_numbers(full_report: Report) -> None:
    checks = tuple(check for check in full_report.checks if check.verdict == "VALID")
    text = render_text(msgspec.structs.replace(full_report, checks=checks))
    assert "caveat" not in text
    assert text.index("Numbers") < text.index("Checks     9 checks passed\n")


@pytest.mark.parametrize(
    ("selftest", "line"),
    [
        (
            SelfTestRow(id="0123456789ab", at="2026-08-01T09:00:00+00:00", passed=True),
            "0123456789ab, 2026-08-01, passed",
        ),
        (
            SelfTestRow(id="0123456789ab", at="2026-08-01T09:00:00+00:00", passed=False, failed=("stall", "clock")),
            "0123456789ab, 2026-08-01, FAILED: stall, clock",
        ),
    ],
)
def test_self_test_is_above_numbers(full_report: Report, selftest: SelfTestRow, line: str) -> None:
    text = render_text(msgspec.structs.replace(full_report, selftest=selftest))
    assert text.index(f"Self-test  {line}") < text.index("Numbers")


def test_only_statuses_are_marked_and_not_equal_words_in_names(full_report: Report) -> None:
    header = msgspec.structs.replace(full_report.header, title="FAIL", target="INVALID")
    report, statuses = msgspec.structs.replace(full_report, header=header), list[str]()

    def collect(status: str) -> str:
        statuses.append(status)
        return status

    text = replace_marks(render_text(report, with_marks=True), collect, "", "")
    assert text == render_text(report)
    assert report.plan is not None
    checks = [check.verdict for check in (*report.checks, *report.plan.checks) if check.verdict != "VALID"]
    objectives = [row.outcome for row in report.objectives]
    assert statuses == [report.verdict.outcome, report.verdict.validity, *objectives, *checks]


def test_control_characters_are_removed_from_text(full_report: Report) -> None:
    header = msgspec.structs.replace(full_report.header, title="\x1b[2J\x07evil\x9b")
    assert not {"\x1b", "\x07", "\x9b"} & set(render_text(msgspec.structs.replace(full_report, header=header)))


def token_lines(report: Report, *, stages: int = 1, width: int = 100) -> list[str]:
    """The lines of the tables of tokens, with a stage per row."""
    (row,) = report.tokens
    few = Quantity(None, "ms", n=57, reason="57 of 368 required samples", undersampled=307.0)
    rows = tuple(
        replace(row, stage=f"stage {number}", ttft_p50=few, ttft_p95=few, ttft_p99=few) for number in range(stages)
    )
    text = render_text(replace(report, tokens=rows), width, with_marks=True)
    return text.partition("\nTokens ")[2].partition("\n\n")[0].splitlines()


def test_token_table_has_mean_percentiles_and_throughput_per_load(streaming_report: Report) -> None:
    lines = [drop_marks(line).split() for line in token_lines(streaming_report, stages=3)]
    assert [line[:6] for line in lines[1:4]] == [["stage", str(n), "444", "7.37", "221", "171"] for n in range(3)]
    assert lines[4][2:6] == ["ITL", "p50", "p95", "p99"]


def test_undersampled_percentile_is_dimmed_with_asterisk(streaming_report: Report) -> None:
    lines = token_lines(streaming_report)
    assert lines[1].count(f"{DIM_START}307*{DIM_END}") == 3
    assert "* too few samples" in lines[-1]
    assert "TTFT n/a" not in "\n".join(lines)


@pytest.mark.parametrize(("width", "tables"), [(120, 2), (100, 2), (80, 3), (60, 6)])
def test_token_tables_fit_page_width(streaming_report: Report, width: int, tables: int) -> None:
    lines = [drop_marks(line) for line in token_lines(streaming_report, width=width)]
    assert max(map(len, lines)) <= width
    assert [line.split()[0] for line in lines].count("stage") == 2 * tables


def test_token_table_that_fits_is_not_split_because_of_marks(streaming_report: Report) -> None:
    widest = max(len(drop_marks(line)) for line in token_lines(streaming_report)[:2])
    lines = token_lines(streaming_report, width=widest)
    assert [line.split()[0] for line in lines[:4]] == ["stage", "stage", "stage", "stage"]


def test_message_table_has_times_gaps_and_rate(full_report: Report) -> None:
    times = {
        name: Quantity(float(number), "ms", n=9)
        for number, name in enumerate(("first_p50", "first_p95", "first_p99", "gap_p50", "gap_p95", "gap_p99"), 11)
    }
    row = MessageRow(stage="calm", per_s=Quantity(170, "messages/s"), per_response=Quantity(4, "messages"), **times)
    report = replace(full_report, messages=(row,))
    lines = render_text(report, 120).partition("\nMessages ")[2].partition("\n\n")[0].splitlines()
    assert lines[1].split() == ["calm", "170", "4.00", "11.0", "12.0", "13.0", "14.0", "15.0", "16.0"]


def test_token_columns_without_any_value_are_omitted(streaming_report: Report) -> None:
    (row,) = streaming_report.tokens
    unknown = Quantity(None, "ms", reason="the server does not count tokens")
    names = ("itl_mean", "itl_p50", "itl_p95", "itl_p99")
    report = replace(streaming_report, tokens=(replace(row, **dict.fromkeys(names, unknown)),))
    text = render_text(report)
    assert "mean ITL" not in text
    assert "ITL n/a: the server does not count tokens" in text


def test_report_of_older_version_shows_stored_token_times(streaming_report: Report) -> None:
    document = msgspec.to_builtins(streaming_report)
    for name in ("ttft_mean", "latency_mean", "latency_p50", "latency_p95", "latency_p99", "throughput"):
        del document["tokens"][0][name]
    text = render_text(msgspec.convert(document, Report))
    assert "mean TTFT  p50" in text
    assert "mean latency  p50" not in text


def test_wide_stage_table_is_split_in_two(streaming_report: Report) -> None:
    def headers(width: int) -> list[str]:
        text = render_text(streaming_report, width)
        lines = text.partition("\nStages ")[2].partition("\n\n")[0].splitlines()
        return [" ".join(line.split()) for line in lines[::2]]

    assert headers(100) == ["stage load throughput p50 latency p95 failed SLO"]
    assert headers(72) == ["stage load throughput p50 latency p95", "stage failed SLO"]


def test_empty_stage_column_is_omitted(streaming_report: Report) -> None:
    (row,) = streaming_report.stages
    report = replace(streaming_report, stages=(replace(row, meets_slo=None),))

    def table(width: int) -> list[str]:
        return render_text(report, width).partition("\nStages ")[2].partition("\n\n")[0].splitlines()

    widest = 11 + max(len(line.strip()) for line in table(120))
    assert len(table(widest)) == 2
