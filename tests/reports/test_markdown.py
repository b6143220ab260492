"""Markdown reports, parsed by a CommonMark parser with tables and clickable addresses, as GitHub and GitLab have."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from reports.markdown import (
    build_bullet_list,
    build_table,
    escape_text,
    render_markdown,
    render_plan_markdown,
)
from reports.model import PlanReport, Report
from tests.fakes.golden import assert_golden
from tests.reports.hostile import PAYLOADS, hostile
from tests.tiers import first_in_unit_tier

_READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
_MARKUP = (
    "# a", "- a", "+ a", "1. a", "12) a", "> a", "```\na", "    code", "***", "---", "=== ", "[a](b)", "![a](b)",
    "a | b", "**a**", "_a_", "~~a~~", "$a$", "&lt;b&gt;", "a\n\n# b", "[x]: //y", "<http://a.b>", "\\", "`a`",
)  # fmt: skip


def _parse(markdown: str) -> tuple[list[str], str]:
    """The elements a reader sees, and the text in them."""
    tokens = _READER.parse(markdown)
    inline = [child for token in tokens for child in token.children or []]
    elements = [token.type for token in (*tokens, *inline) if token.type not in ("inline", "text", "text_special")]
    return elements, "".join(child.content for child in inline)


@given(st.text(st.characters(exclude_categories=("Cs", "Cc"))))
@pytest.mark.parametrize("place", ["paragraph", "item", "cell"])
def test_random_text_renders_literally_and_adds_no_element(place: str, raw: str) -> None:
    _assert_renders_literally(raw, place)


@pytest.mark.parametrize("place", ["paragraph", "item", "cell"])
@pytest.mark.parametrize("raw", [*PAYLOADS, *_MARKUP])
def test_markup_renders_literally_and_adds_no_element(raw: str, place: str) -> None:
    _assert_renders_literally(raw.replace("\0", ""), place)


def _assert_renders_literally(raw: str, place: str) -> None:
    expected = " ".join(raw.split())
    elements, shown = _parse(_place_text(place, escape_text(raw) or "x"))
    assert shown.removeprefix("head") == (expected or "x")
    assert elements == _parse(_place_text(place, "x"))[0]


def _place_text(place: str, text: str) -> str:
    if place == "cell":
        return "\n".join(build_table(["head"], [[text]]))
    return text if place == "paragraph" else build_bullet_list([text])[0]


@pytest.mark.parametrize(
    "raw", ["http://example.invalid/x", "https://example.invalid", "www.example.invalid", "a@b.cd"]
)
def test_addresses_are_not_linked_in_markdown(raw: str) -> None:
    """GitHub links addresses by these characters in the source; an escape between them prevents that."""
    assert not any(sign in escape_text(raw) for sign in ("://", "www.", "a@b"))


def test_table_without_rows_is_omitted() -> None:
    assert build_table(["a"], []) == []


def test_comparison_shows_environment_differences_before_regressions(
    compared_report: Report, full_report: Report
) -> None:
    shown = render_markdown(compared_report)
    assert "### Comparison\n\nREGRESSION: 2 headline metrics" in shown
    assert "**FORCED: the runs are compared although they are not comparable (workload).**" in shown
    assert shown.index("| workload | asked | other | **not comparable** |") < shown.index(
        "| latency\\_ms.p95 | steady |"
    )
    assert "**worse**" in shown
    assert "### Comparison" not in render_markdown(full_report)


@pytest.mark.parametrize(
    "name",
    ["full_report", "empty_report", "streaming_report", "local_report", "fallback_report", "language_model_report"],
)
def test_markdown_summary_matches_golden_file(name: str, request: pytest.FixtureRequest) -> None:
    assert_golden(f"summary_{name}.md", render_markdown(request.getfixturevalue(name)))


def test_markdown_of_plan_matches_golden_file(whole_plan_report: PlanReport) -> None:
    assert_golden("whole_plan.md", render_plan_markdown(whole_plan_report))


def test_markdown_starts_with_verdict_and_decision_then_caveats_then_numbers(full_report: Report) -> None:
    text = render_markdown(full_report)
    parts = (
        "## PASS: quickstart", "### 7 × aws/c7i.large, \\$456/month", "- Evidence: medium.",
        "**Max rate 218",
        "<summary>1 caveat: step duration</summary>", "**WARN** step duration", "9 of 10 checks", "| Max rate",
    )  # fmt: skip
    order = [text.index(part) for part in parts]
    assert order == sorted(order)


def test_numbers_of_an_invalid_measurement_are_struck_through(full_report: Report) -> None:
    tile = full_report.tiles[0]
    quantity = msgspec.structs.replace(tile.quantity, validity="INVALID")
    report = msgspec.structs.replace(full_report, tiles=(msgspec.structs.replace(tile, quantity=quantity),))
    assert "~~218 (218–238) req/s~~ INVALID" in render_markdown(report)


def test_markdown_summary_is_limited_in_bytes_and_refers_to_full_report(full_report: Report) -> None:
    max_bytes = len(render_markdown(full_report).partition("### Plan")[0].encode())
    text = render_markdown(full_report, max_bytes)
    assert len(text.encode()) <= max_bytes
    assert "### Stages" in text
    assert "### Plan" not in text
    assert text.rstrip().endswith("See report.html for the full report._")


@pytest.mark.parametrize("room", [-5, 0, 100])
def test_markdown_summary_without_room_for_verdict_is_empty(full_report: Report, room: int) -> None:
    assert render_markdown(full_report, room) == ""


def _elements(text: str) -> list[str]:
    tokens = _READER.parse(text)
    parts = [part for token in tokens for part in (token, *(token.children or ()))]
    return [part.type for part in parts if part.type not in ("text", "text_special")]


@pytest.fixture(scope="module")
def harmless(request: pytest.FixtureRequest) -> Callable[[str], list[str]]:
    """The elements of a report of harmless text, by the name of its fixture."""
    return cache(lambda name: _elements(render_markdown(hostile(request.getfixturevalue(name), "plain "))))


@pytest.mark.parametrize("name", first_in_unit_tier(["full_report", "streaming_report", "local_report"]))
@pytest.mark.parametrize("payload", PAYLOADS)
def test_hostile_text_adds_no_element_to_markdown(
    name: str, payload: str, harmless: Callable[[str], list[str]], request: pytest.FixtureRequest
) -> None:
    report: Report = request.getfixturevalue(name)
    assert _elements(render_markdown(hostile(report, payload))) == harmless(name)
