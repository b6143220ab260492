from __future__ import annotations

import re

import msgspec

from reports.annotations import MAX_ANNOTATIONS, build_workflow_commands
from reports.model import Report
from tests.reports.hostile import PAYLOADS, hostile


def _failing(report: Report, times: int = 1) -> Report:
    missed = [
        msgspec.structs.replace(report.objectives[0], text=f"latency_ms.p95 < {limit}", outcome="FAIL")
        for limit in range(50, 50 + times)
    ]
    verdict = msgspec.structs.replace(report.verdict, outcome="FAIL", exit_code=10)
    return msgspec.structs.replace(report, objectives=(*missed, *report.objectives[1:]), verdict=verdict)


def test_a_failed_objective_is_an_error_at_its_line_before_all_warnings(full_report: Report) -> None:
    first, *others = build_workflow_commands(_failing(full_report), "bench/p.yaml", {"latency_ms.p95 < 50": 11})
    assert first.replace("\u202f", " ") == (
        "::error file=bench/p.yaml,line=11,title=sizewise%3A SLO::latency_ms.p95 < 50: observed 36.7 (32.8–46.4) "
        "ms in 3 steps at 218 req/s; limit < 50 ms"
    )
    assert [one.partition(" ")[0] for one in others] == ["::warning", "::warning"]
    assert all(one.startswith("::warning file=bench/p.yaml,title=") for one in others)


def test_there_are_never_more_than_ten_and_the_last_says_how_many_are_missing(full_report: Report) -> None:
    reported = build_workflow_commands(_failing(full_report, times=20), None, {})
    assert len(reported) == MAX_ANNOTATIONS
    assert reported[0].startswith("::error title=sizewise%3A SLO::latency_ms.p95 < 50")
    assert reported[-1] == "::warning::13 more results are listed in the job summary."


def test_a_run_that_nothing_warnings_has_none(full_report: Report) -> None:
    checks = tuple(check for check in full_report.checks if check.verdict == "VALID")
    clean = msgspec.structs.replace(full_report, checks=checks, objectives=full_report.objectives[:2])
    assert build_workflow_commands(clean, "p.yaml", {}) == []


def test_a_stopped_run_says_so_itself(interrupted_report: Report) -> None:
    reported = build_workflow_commands(interrupted_report, None, {})
    assert reported[0].startswith("::error title=sizewise%3A run::verdict: INCONCLUSIVE")
    assert "the user stopped the run" in reported[0]


def test_hostile_text_gives_no_command_of_its_own(full_report: Report) -> None:
    for payload in (*PAYLOADS, "a\n::error::b", "\r::stop-commands::x\r", "%0A::error::", "x,line=9::"):
        reported = build_workflow_commands(hostile(_failing(full_report), payload), f"{payload}.yaml", {})
        assert len(reported) == 3
        assert all(
            re.fullmatch(r"::(error|warning) file=[^,:\r\n]*,title=[^,:\r\n]*::[^\r\n]*", one) for one in reported
        )
