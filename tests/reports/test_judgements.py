from __future__ import annotations

import msgspec
import pytest

from reports.judgements import judgements
from reports.model import ObjectiveRow, Report


def _with(report: Report, row: ObjectiveRow, **verdict: object) -> Report:
    changed = msgspec.structs.replace(report.verdict, **verdict)
    return msgspec.structs.replace(report, objectives=(row,), verdict=changed)


def _row(report: Report, **changes: object) -> ObjectiveRow:
    return msgspec.structs.replace(report.objectives[0], **changes)


@pytest.mark.parametrize(
    ("row", "verdict", "state"),
    [
        ({"judgement": "PASS"}, {}, "passed"),
        ({"judgement": "FAIL"}, {}, "failed"),
        ({"judgement": "FAIL", "level": "warn"}, {}, "warned"),
        ({"judgement": "INCONCLUSIVE"}, {}, "open"),
        ({"judgement": "PASS"}, {"trust": "INVALID"}, "open"),
    ],
)
def test_an_objective_is_judged_unless_the_measurement_is_not_to_be_relied_on(
    full_report: Report, row: dict[str, object], verdict: dict[str, object], state: str
) -> None:
    found = [one for one in judgements(_with(full_report, _row(full_report, **row), **verdict)) if one.subject == "SLO"]
    assert [one.state for one in found] == [state]


@pytest.mark.parametrize(
    ("code", "outcome", "state"),
    [(0, "PASS", "passed"), (0, "INCONCLUSIVE", "open"), (10, "FAIL", "failed"), (11, "FAIL", "failed"),
     (12, "INCONCLUSIVE", "failed"), (4, "INVALID", "error"), (5, "INCONCLUSIVE", "error"),
     (130, "INCONCLUSIVE", "error")],
)  # fmt: skip
def test_the_runs_own_fails_exactly_where_the_command_did(
    full_report: Report, code: int, outcome: str, state: str
) -> None:
    report = _with(full_report, full_report.objectives[0], exit_code=code, outcome=outcome)
    assert next(judgements(report)).state == state


def test_a_detail_has_the_observed_value_its_interval_and_the_limit(full_report: Report) -> None:
    found = next(one for one in judgements(full_report) if one.subject == "SLO")
    assert found.detail.replace("\u202f", " ") == "observed 36.7 (32.8–46.4) ms in 3 holds at 218/s; limit < 50 ms"


def test_each_validity_check_is_one(full_report: Report) -> None:
    found = {one.name: one for one in judgements(full_report) if one.subject == "validity"}
    assert set(found) == {check.name for check in full_report.checks}
    assert found["hold length"].state == "warned"
    assert "Let each hold last 10 s" in found["hold length"].detail
