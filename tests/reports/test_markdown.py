from __future__ import annotations

import msgspec
import pytest
from markdown_it import MarkdownIt

from reports.markdown import MAX_BYTES, render_markdown, render_plan_markdown
from reports.model import PlanReport, Report
from tests.fakes.golden import assert_golden
from tests.reports.hostile import PAYLOADS, hostile

_READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


@pytest.mark.parametrize("name", ["full_report", "empty_report", "streaming_report", "local_report", "strayed_report"])
def test_the_summary_is_the_golden_one(name: str, request: pytest.FixtureRequest) -> None:
    assert_golden(f"summary_{name}.md", render_markdown(request.getfixturevalue(name)))


def test_a_plans_is_the_golden_one(whole_plan_report: PlanReport) -> None:
    assert_golden("whole_plan.md", render_plan_markdown(whole_plan_report))


def test_the_verdict_stands_first_and_doubts_above_the_first_number(full_report: Report) -> None:
    text = render_markdown(full_report)
    order = [text.index(part) for part in ("## PASS: quickstart", "hold length", "9 of 10 checks", "| Max rate")]
    assert order == sorted(order)


def test_numbers_of_an_invalid_measurement_are_struck_through(full_report: Report) -> None:
    tile = full_report.tiles[0]
    quantity = msgspec.structs.replace(tile.quantity, trust="INVALID")
    report = msgspec.structs.replace(full_report, tiles=(msgspec.structs.replace(tile, quantity=quantity),))
    assert "~~218 (218–238)/s~~ INVALID" in render_markdown(report)


def test_it_is_never_larger_than_a_summary_may_be_and_says_what_is_left_out(full_report: Report) -> None:
    error = msgspec.structs.replace(full_report.errors[0], error="e" * MAX_BYTES)
    text = render_markdown(msgspec.structs.replace(full_report, errors=(error,)))
    assert len(text.encode()) <= MAX_BYTES
    assert "### Stages" in text
    assert "### Plan" not in text
    assert text.rstrip().endswith("it is in report.html._")


@pytest.mark.parametrize("room", [-5, 0, 100])
def test_without_room_for_the_verdict_there_is_nothing(full_report: Report, room: int) -> None:
    assert render_markdown(full_report, room) == ""


def _elements(text: str) -> list[str]:
    tokens = _READER.parse(text)
    parts = [one for token in tokens for one in (token, *(token.children or ()))]
    return [one.type for one in parts if one.type not in ("text", "text_special")]


@pytest.mark.parametrize("name", ["full_report", "streaming_report", "local_report"])
@pytest.mark.parametrize("payload", PAYLOADS)
def test_hostile_text_adds_no_element(name: str, payload: str, request: pytest.FixtureRequest) -> None:
    report: Report = request.getfixturevalue(name)
    assert _elements(render_markdown(hostile(report, payload))) == _elements(render_markdown(hostile(report, "plain ")))
