from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import msgspec
import pytest

from reports.junit import build_case_results, render_junit
from reports.model import ObjectiveRow, Report
from tests.fakes.golden import assert_golden
from tests.reports.hostile import PAYLOADS, hostile

if TYPE_CHECKING:
    import xmlschema


def _with(report: Report, row: ObjectiveRow, **verdict: object) -> Report:
    changed = msgspec.structs.replace(report.verdict, **verdict)
    return msgspec.structs.replace(report, objectives=(row,), verdict=changed)


def _row(report: Report, **changes: object) -> ObjectiveRow:
    return msgspec.structs.replace(report.objectives[0], **changes)


@pytest.mark.parametrize(
    ("row", "verdict", "state"),
    [
        ({"outcome": "PASS"}, {}, "passed"),
        ({"outcome": "FAIL"}, {}, "failed"),
        ({"outcome": "FAIL", "level": "warn"}, {}, "warned"),
        ({"outcome": "INCONCLUSIVE"}, {}, "open"),
        ({"outcome": "PASS"}, {"validity": "INVALID"}, "open"),
    ],
)
def test_objective_case_has_state_of_outcome_unless_measurement_is_invalid(
    full_report: Report, row: dict[str, object], verdict: dict[str, object], state: str
) -> None:
    cases = [
        case
        for case in build_case_results(_with(full_report, _row(full_report, **row), **verdict))
        if case.subject == "SLO"
    ]
    assert [case.state for case in cases] == [state]


@pytest.mark.parametrize(
    ("code", "outcome", "state"),
    [(0, "PASS", "passed"), (0, "INCONCLUSIVE", "open"), (10, "FAIL", "failed"), (11, "FAIL", "failed"),
     (12, "INCONCLUSIVE", "failed"), (4, "INVALID", "error"), (5, "INCONCLUSIVE", "error"),
     (130, "INCONCLUSIVE", "error")],
)  # fmt: skip
def test_run_case_state_follows_exit_code(full_report: Report, code: int, outcome: str, state: str) -> None:
    report = _with(full_report, full_report.objectives[0], exit_code=code, outcome=outcome)
    assert next(build_case_results(report)).state == state


def test_objective_detail_has_observed_value_interval_and_limit(full_report: Report) -> None:
    objective_case = next(case for case in build_case_results(full_report) if case.subject == "SLO")
    assert (
        objective_case.detail.replace("\u202f", " ")
        == "observed 36.7 (32.8–46.4) ms in 3 steps at 218 req/s; limit < 50 ms"
    )


def test_each_validity_check_is_junit_case(full_report: Report) -> None:
    cases = {case.name: case for case in build_case_results(full_report) if case.subject == "validity"}
    assert set(cases) == {check.name for check in full_report.checks}
    assert cases["step duration"].state == "warned"
    assert "Lengthen each step to 10 s" in cases["step duration"].detail


@functools.cache
def _schema() -> xmlschema.XMLSchema:
    import xmlschema  # takes half a second

    return xmlschema.XMLSchema(Path(__file__).parent / "junit.xsd")


_NAMES = ("full_report", "empty_report", "interrupted_report", "streaming_report", "clients_report", "local_report",
          "failed_report", "fallback_report")  # fmt: skip


def _failing(report: Report) -> Report:
    missed = msgspec.structs.replace(report.objectives[0], outcome="FAIL", margin=-0.2)
    verdict = msgspec.structs.replace(report.verdict, outcome="FAIL", exit_code=10, reasons=("x failed",))
    return msgspec.structs.replace(report, objectives=(missed, *report.objectives[1:]), verdict=verdict)


@pytest.mark.parametrize("name", _NAMES)
def test_junit_report_is_valid_by_schema(name: str, request: pytest.FixtureRequest) -> None:
    _schema().validate(render_junit(request.getfixturevalue(name)))


def test_junit_report_of_failing_run_matches_golden_file(full_report: Report) -> None:
    text = render_junit(_failing(full_report))
    _schema().validate(text)
    assert_golden("junit_failing.xml", text)


def test_invalid_measurement_is_junit_error(empty_report: Report) -> None:
    suite = ElementTree.fromstring(render_junit(empty_report))[0]
    assert suite.get("errors") == "2"
    assert [case.get("name") for case in suite.iter("testcase") if case.find("error") is not None] == [
        "verdict", "generator capacity",
    ]  # fmt: skip


@pytest.mark.parametrize("name", _NAMES)
def test_junit_totals_match_cases(name: str, request: pytest.FixtureRequest) -> None:
    root = ElementTree.fromstring(render_junit(request.getfixturevalue(name)))
    totals = {
        "tests": len(list(root.iter("testcase"))),
        "failures": len(list(root.iter("failure"))),
        "errors": len(list(root.iter("error"))),
        "skipped": len(list(root.iter("skipped"))),
    }
    assert {key: int(root.get(key, "")) for key in totals} == totals
    assert {key: int(root[0].get(key, "")) for key in totals} == totals


@pytest.fixture(scope="module")
def harmless(full_report: Report) -> list[tuple[str, list[str]]]:
    return _elements(render_junit(hostile(_failing(full_report), "plain ")))


@pytest.mark.parametrize("payload", [*PAYLOADS, "]]>", "<!DOCTYPE x>", "\x0b\ufffe\x00", "&amp;&#0;"])
def test_hostile_text_adds_no_element_to_junit_report(
    full_report: Report, harmless: list[tuple[str, list[str]]], payload: str
) -> None:
    attacked = render_junit(hostile(_failing(full_report), payload))
    _schema().validate(attacked)
    assert _elements(attacked) == harmless


def _elements(text: str) -> list[tuple[str, list[str]]]:
    return [(element.tag, sorted(element.keys())) for element in ElementTree.fromstring(text).iter()]
