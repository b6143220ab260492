"""What a pipeline is told of a run, one by one: the verdict, each objective, each validity check, and how it went."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from reports import formatting
from reports.model import CheckRow, ObjectiveRow, Report, ReportVerdict, Trust

State = Literal["passed", "failed", "error", "open", "warned"]
"""`error`: the measurement itself; `open`: neither passed nor failed; `warned`: missed, and meant to warn only."""
Subject = Literal["run", "SLO", "gate", "validity"]
_FAILED = (10, 11, 12)
_OF_CHECKS: dict[Trust, State] = {"VALID": "passed", "WARN": "warned", "INVALID": "error"}


class Judgement(msgspec.Struct, frozen=True):
    """`detail` has the observed value with its interval, and the limit."""

    subject: Subject
    name: str
    state: State
    detail: str


def judgements(report: Report) -> Iterator[Judgement]:
    """The first is the run's own: `failed` or `error` exactly where the command did not end with 0."""
    yield Judgement("run", "verdict", _state_of_run(report.verdict), _told_of_run(report.verdict))
    for row in report.objectives:
        yield Judgement(row.kind, row.text, _state_of(row, report.verdict), _told_of(row, report.verdict))
    for check in report.checks:
        yield Judgement("validity", check.name, _OF_CHECKS[check.verdict], _told_of_check(check))


def _state_of_run(verdict: ReportVerdict) -> State:
    if verdict.exit_code:
        return "failed" if verdict.exit_code in _FAILED else "error"
    return "open" if verdict.outcome == "INCONCLUSIVE" else "passed"


def _told_of_run(verdict: ReportVerdict) -> str:
    reasons = "".join(f" {reason};" for reason in verdict.reasons).rstrip(";")
    return f"{verdict.outcome}, measurement {verdict.trust}: {verdict.sentence}{reasons}"


def _state_of(row: ObjectiveRow, verdict: ReportVerdict) -> State:
    if verdict.trust == "INVALID" or row.judgement == "INCONCLUSIVE":
        return "open"
    if row.judgement == "PASS":
        return "passed"
    return "failed" if row.level == "fail" else "warned"


def _told_of(row: ObjectiveRow, verdict: ReportVerdict) -> str:
    where = f" in {row.stage}" if row.stage else ""
    parts = [
        f"observed {formatting.quantity(row.observed)}{where}",
        f"limit {formatting.limit(row.limit)}",
        *([row.why] if row.why else []),
        *(["the measurement is INVALID"] if verdict.trust == "INVALID" else []),
        *(["warns only"] if row.level == "warn" else []),
    ]
    return "; ".join(parts)


def _told_of_check(check: CheckRow) -> str:
    limit = "" if check.limit is None else f"; limit {formatting.check_limit(check)}"
    hint = f"; {check.hint}" if check.hint else ""
    return f"observed {formatting.check_value(check)}{limit}{hint}"
