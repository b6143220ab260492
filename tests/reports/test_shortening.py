from __future__ import annotations

from collections.abc import Callable

import pytest

from reports.comparison_text import render_comparison
from reports.junit import render_junit
from reports.markdown import render_markdown, render_plan_markdown
from reports.model import PlanReport, Report
from reports.shortening import (
    MAX_LINE_CHARS,
    MAX_MESSAGE_LINES,
    MAX_VALUE_CHARS,
    shorten,
    shorten_lines,
    shorten_message,
)
from reports.text import render_plan, render_text
from tests.reports.hostile import hostile

_LONG = "x" * 100_000
_PAYLOAD = "x" * 5_000
"""Shorter, since it is put into thousands of texts."""


@pytest.mark.parametrize("text", ["", "plain", "two  spaces", "größe µs", "x" * 200])
def test_short_text_is_not_shortened(text: str) -> None:
    assert shorten(text) == text


@pytest.mark.parametrize("max_chars", [24, 60, 99, 100, 120, 200, 2_000])
def test_shortened_text_has_requested_length(max_chars: int) -> None:
    text = shorten(_LONG, max_chars)
    assert len(text) == max_chars
    assert text.endswith("… (100,000 characters)" if max_chars >= 100 else "x…")


@pytest.mark.parametrize("text", ["one\ntwo", "one\r\n\t two", "one\x1b two", "one\x00\x07two\u2028"])
def test_shortened_text_is_one_printable_line(text: str) -> None:
    assert shorten(text) == "one two"


def test_line_of_usual_length_is_not_shortened() -> None:
    path = "/" + "folder/" * 250
    assert shorten_lines(f"{path} does not exist") == f"{path} does not exist"


@pytest.mark.parametrize(
    "value",
    [_LONG, "word " * 20_000, "a/" * 50_000, "'" * 100_000, "\\" * 100_000, 'it\'s "it" ' * 10_000, "é" * 100_000],
    ids=["letters", "words", "path", "quotes", "backslashes", "both quotes", "accents"],
)
def test_only_long_value_of_line_is_shortened(value: str) -> None:
    path = "/" + "folder/" * 60
    line = shorten_lines(f"{path}profile.yaml:3: load.rate: {value!r} is not a rate")
    assert len(line) <= MAX_LINE_CHARS
    assert line.startswith(f"{path}profile.yaml:3: load.rate: ")
    assert line.endswith(" characters)' is not a rate") or line.endswith(' characters)" is not a rate')


def test_longest_values_are_shortened_first() -> None:
    medium, long = "m" * 900, "z" * 5_000
    assert shorten_lines(f"{medium} {long}") == f"{medium} {shorten(long)}"


@pytest.mark.parametrize("text", ["' " * 50_000, "a' \" " * 20_000, "\\' " * 30_000, "w " * 50_000, " " * 100_000])
def test_line_without_long_values_is_shortened_at_its_end(text: str) -> None:
    assert len(shorten_lines(text)) <= MAX_LINE_CHARS


def test_lines_are_shortened_separately() -> None:
    assert shorten_lines(f"one\n  {_LONG}\nthree\n").split("\n") == ["one", f"  {shorten(_LONG)}", "three", ""]


def test_message_is_limited_in_lines() -> None:
    assert shorten_message("one\ntwo") == "one\ntwo"
    lines = shorten_message("a\n" * 50_000).split("\n")
    assert lines == ["a"] * MAX_MESSAGE_LINES + ["… (49,951 more lines)"]


_RENDERERS: dict[str, Callable[[Report], str]] = {
    "text": render_text,
    "Markdown": render_markdown,
    "JUnit": render_junit,
}


@pytest.mark.parametrize("payload", [_PAYLOAD, "word " * 1_000], ids=["letters", "words"])
@pytest.mark.parametrize("name", _RENDERERS)
def test_long_texts_are_shortened_in_text_markdown_and_junit_reports(
    full_report: Report, name: str, payload: str
) -> None:
    text = _RENDERERS[name](hostile(full_report, payload))
    assert payload[: MAX_LINE_CHARS + 1] not in text
    assert len(text) < 1_000_000


@pytest.mark.parametrize("render", [lambda report: render_plan(report.plan), render_plan_markdown], ids=["text", "md"])
def test_long_texts_are_shortened_in_plan_reports(
    whole_plan_report: PlanReport, render: Callable[[PlanReport], str]
) -> None:
    assert _PAYLOAD[: MAX_VALUE_CHARS + 1] not in render(hostile(whole_plan_report, _PAYLOAD))


def test_long_texts_are_shortened_in_comparison_text(compared_report: Report) -> None:
    section = hostile(compared_report, _PAYLOAD).comparison
    assert section is not None
    text = render_comparison(section)
    assert _PAYLOAD[: MAX_VALUE_CHARS + 1] not in text
    assert max(map(len, text.splitlines())) <= MAX_LINE_CHARS
