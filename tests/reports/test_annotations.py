from __future__ import annotations

import re

import msgspec

from reports.annotations import MAX_ANNOTATIONS, build_workflow_commands
from reports.model import Report
from tests.reports.hostile import PAYLOADS, hostile


def _with_failed_objectives(report: Report, count: int = 1) -> Report:
    missed = [
        msgspec.structs.replace(report.objectives[0], text=f"latency_ms.p95 < {limit}", outcome="FAIL")
        for limit in range(50, 50 + count)
    ]
    verdict = msgspec.structs.replace(report.verdict, outcome="FAIL", exit_code=10)
    return msgspec.structs.replace(report, objectives=(*missed, *report.objectives[1:]), verdict=verdict)


def test_failed_objective_is_error_annotation_at_its_line_before_warnings(full_report: Report) -> None:
    first, *others = build_workflow_commands(
        _with_failed_objectives(full_report), "bench/p.yaml", {"latency_ms.p95 < 50": 11}
    )
    assert first.replace("\u202f", " ") == (
        "::error file=bench/p.yaml,line=11,title=sizewise%3A SLO::latency_ms.p95 < 50: observed 36.7 (32.8–46.4) "
        "ms in 3 steps at 218 req/s; limit < 50 ms"
    )
    assert [command.partition(" ")[0] for command in others] == ["::warning", "::warning"]
    assert all(command.startswith("::warning file=bench/p.yaml,title=") for command in others)


def test_annotations_are_limited_and_last_annotation_counts_omitted_results(full_report: Report) -> None:
    commands = build_workflow_commands(_with_failed_objectives(full_report, count=20), None, {})
    assert len(commands) == MAX_ANNOTATIONS
    assert commands[0].startswith("::error title=sizewise%3A SLO::latency_ms.p95 < 50")
    assert commands[-1] == "::warning::13 more results are listed in the job summary."


def test_run_without_warnings_has_no_annotations(full_report: Report) -> None:
    checks = tuple(check for check in full_report.checks if check.verdict == "VALID")
    clean = msgspec.structs.replace(full_report, checks=checks, objectives=full_report.objectives[:2])
    assert build_workflow_commands(clean, "p.yaml", {}) == []


def test_stopped_run_is_error_annotation(interrupted_report: Report) -> None:
    commands = build_workflow_commands(interrupted_report, None, {})
    assert commands[0].startswith("::error title=sizewise%3A run::verdict: INCONCLUSIVE")
    assert "the user stopped the run" in commands[0]


def test_hostile_text_adds_no_workflow_command(full_report: Report) -> None:
    for payload in (*PAYLOADS, "a\n::error::b", "\r::stop-commands::x\r", "%0A::error::", "x,line=9::"):
        commands = build_workflow_commands(
            hostile(_with_failed_objectives(full_report), payload), f"{payload}.yaml", {}
        )
        assert len(commands) == 3
        assert all(
            re.fullmatch(r"::(error|warning) file=[^,:\r\n]*,title=[^,:\r\n]*::[^\r\n]*", command)
            for command in commands
        )
