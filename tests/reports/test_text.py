from __future__ import annotations

import msgspec
import pytest

from reports.marks import replace_marks
from reports.model import Report, SelfTestRow
from reports.text import render_plan, render_text
from tests.fakes.golden import assert_golden

_REPORTS = (
    "full_report", "empty_report", "interrupted_report", "streaming_report", "spike_report", "clients_report",
    "locust_report", "local_report", "alone_report", "failed_report", "strayed_report",
    "searched_report",
)  # fmt: skip


@pytest.mark.parametrize("name", _REPORTS)
def test_the_summary_is_the_golden_one(name: str, request: pytest.FixtureRequest) -> None:
    assert_golden(f"summary_{name}.txt", render_text(request.getfixturevalue(name)) + "\n")


@pytest.mark.parametrize("name", ["whole_plan_report", "max_rate_plan_report", "no_offer_plan_report"])
def test_a_plans_text_is_the_golden_one(name: str, request: pytest.FixtureRequest) -> None:
    assert_golden(f"{name.removesuffix('_report')}.txt", render_plan(request.getfixturevalue(name).plan) + "\n")


def test_a_screen_holds_it(full_report: Report) -> None:
    lines = render_text(full_report, width=80).splitlines()
    assert len(lines) <= 45
    assert max(map(len, lines)) <= 80


def test_the_caveats_are_one_line_between_the_result_and_the_numbers_and_their_details_follow(
    full_report: Report,
) -> None:
    text = render_text(full_report)
    order = [
        text.index(part)
        for part in (
            "PASS", "7 × c7i.large, $456/month", "Evidence: medium", "Max rate 218 req/s",
            "1 caveat: step duration", "Numbers", "SLO  ", "WARN step duration",
        )
    ]  # fmt: skip
    assert order == sorted(order)


def test_what_is_invalid_is_said_in_full_above_the_numbers(full_report: Report) -> None:
    checks = tuple(msgspec.structs.replace(check, verdict="INVALID") for check in full_report.checks[:1])
    verdict = msgspec.structs.replace(full_report.verdict, outcome="INVALID", validity="INVALID")
    text = render_text(msgspec.structs.replace(full_report, checks=checks, verdict=verdict))
    assert "Decision" not in text
    assert text.index(f"INVALID {checks[0].name}: ") < text.index("Numbers") < text.index("7 × c7i.large")


def test_without_warning_the_checks_are_one_line(full_report: Report) -> None:
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
def test_the_self_test_is_above_the_numbers(full_report: Report, selftest: SelfTestRow, line: str) -> None:
    text = render_text(msgspec.structs.replace(full_report, selftest=selftest))
    assert text.index(f"Self-test  {line}") < text.index("Numbers")


def test_statuses_are_marked_and_the_same_words_in_names_are_not(full_report: Report) -> None:
    header = msgspec.structs.replace(full_report.header, title="FAIL", target="INVALID")
    report, found = msgspec.structs.replace(full_report, header=header), list[str]()

    def collect(status: str) -> str:
        found.append(status)
        return status

    text = replace_marks(render_text(report, with_marks=True), collect, "", "")
    assert text == render_text(report)
    assert report.plan is not None
    checks = [check.verdict for check in (*report.checks, *report.plan.checks) if check.verdict != "VALID"]
    objectives = [row.outcome for row in report.objectives]
    assert found == [report.verdict.outcome, report.verdict.validity, *objectives, *checks]


def test_no_text_can_steer_the_terminal(full_report: Report) -> None:
    header = msgspec.structs.replace(full_report.header, title="\x1b[2J\x07evil\x9b")
    assert not {"\x1b", "\x07", "\x9b"} & set(render_text(msgspec.structs.replace(full_report, header=header)))
