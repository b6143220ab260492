"""Every payload in every kind of text a report shows, as a real browser reads it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from reports.html import render_html
from reports.model import Download, GroupTable, Report
from reports.shortening import shorten_lines
from tests.fakes.chromium import open_tab, requested_urls, wait_until_drawn
from tests.reports.hostile import MORE_PAYLOADS, PAYLOADS

if TYPE_CHECKING:
    from selenium import webdriver

pytestmark = pytest.mark.browser

_ALL = (*PAYLOADS, *MORE_PAYLOADS)
_ELEMENTS = """
    return [...document.querySelectorAll('*')]
        .filter((one) => one.tagName === 'svg' || !one.closest('svg'))
        .map((one) => `${one.tagName} ${[...one.attributes].map((pair) => pair.name).sort()}`);
"""
_IN_PICTURES = "return [...new Set([...document.querySelectorAll('svg *')].map((one) => one.tagName))];"
_DRAWN = {"g", "path", "text", "tspan", "line", "rect", "defs", "clipPath"}

_replace = msgspec.structs.replace
SetText = Callable[[Report, str], Report]
Elements = dict[bool, list[str]]


def _set_in_first(field: str, name: str) -> SetText:
    """Set a text of the first of several records."""

    def set_text(report: Report, text: str) -> Report:
        first, *rest = getattr(report, field)
        return _replace(report, **{field: (_replace(first, **{name: text}), *rest)})

    return set_text


def _set_in(field: str, name: str) -> SetText:
    return lambda report, text: _replace(report, **{field: _replace(getattr(report, field), **{name: text})})


def _set_in_offer(report: Report, text: str) -> Report:
    assert report.plan is not None
    first, *rest = report.plan.offers
    return _replace(report, plan=_replace(report.plan, offers=(_replace(first, offer=text), *rest)))


FIELDS: dict[str, SetText] = {
    "title": _set_in("header", "title"),
    "run id": _set_in("header", "run_id"),
    "target": _set_in("header", "target"),
    "hardware": _set_in("header", "hardware"),
    "tool": _set_in("header", "tool"),
    "headline": _set_in("verdict", "headline"),
    "reason": lambda report, text: _replace(report, verdict=_replace(report.verdict, reasons=(text,))),
    "note": lambda report, text: _replace(report, notes=(text,)),
    "tile": _set_in_first("tiles", "label"),
    "tile's note": _set_in_first("tiles", "note"),
    "check": _set_in_first("checks", "name"),
    "check's value": _set_in_first("checks", "value"),
    "advice": _set_in_first("checks", "hint"),
    "objective": _set_in_first("objectives", "label"),
    "stage": _set_in_first("stages", "name"),
    "limit": _set_in("max_rate", "limited_by"),
    "class of errors": _set_in_first("errors", "error"),
    "sample of an error": _set_in_first("errors", "sample"),
    "source of telemetry": _set_in_first("telemetry", "source"),
    "group": lambda report, text: _replace(report, groups=(GroupTable(title=text, column=text, rows=()),)),
    "offer": _set_in_offer,
    "method": lambda report, text: _replace(report, method=(text,)),
    "environment": _set_in_first("environment", "value"),
    "command": _set_in("reproduce", "command"),
    "profile": _set_in("reproduce", "spec_text"),
    "file of the run": _set_in_first("artifacts", "path"),
    "file beside it": lambda report, text: _replace(
        report, downloads=(Download(name=text, contents=text, sha256="0", size_bytes=1),)
    ),
}


_SHOWN_WHOLE = {"profile"}
"""Whole documents, whose long lines are not shortened."""
_ALWAYS_TESTED = tuple(range(0, len(_ALL), len(FIELDS)))
"""These turns put every payload into some field. The others, which put every payload into every field, are soak
tests."""
_OTHERS = [turn for turn in range(len(_ALL)) if turn not in _ALWAYS_TESTED]
_PAGES_A_TEST = 5


def _page(report: Report, texts: list[str]) -> str:
    for set_text, text in zip(FIELDS.values(), texts, strict=True):
        report = set_text(report, text)
    return render_html(report)


def _list_payloads(turn: int) -> list[str]:
    """The texts of the fields: over as many turns as there are payloads, every field has every payload."""
    return [_ALL[(turn + index) % len(_ALL)] for index in range(len(FIELDS))]


@pytest.fixture(scope="session")
def harmless(small_report: Report) -> str:
    return _page(small_report, ["plain text"] * len(FIELDS))


def _elements(browser: webdriver.Chrome, page: Path, *, scripts: bool) -> list[str]:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not scripts})
    browser.get(page.as_uri())
    if scripts:
        wait_until_drawn(browser)
    elements: list[str] = browser.execute_script(_ELEMENTS)
    return elements


@pytest.fixture(scope="session")
def harmless_elements(harmless: str, chromium: webdriver.Chrome, tmp_path_factory: pytest.TempPathFactory) -> Elements:
    """The elements of the page without payloads, with scripts and without."""
    page = tmp_path_factory.mktemp("harmless") / "plain.html"
    page.write_text(harmless, "utf-8", newline="\n")
    with open_tab(chromium) as tab:
        elements = {scripts: _elements(tab, page, scripts=scripts) for scripts in (True, False)}
        _assert_nothing_happened(tab, [page])
    return elements


def _assert_nothing_happened(browser: webdriver.Chrome, pages: list[Path]) -> None:
    """Only the pages were requested, and the console has only messages about scripts that were disabled."""
    assert requested_urls(browser) == {page.as_uri() for page in pages}
    messages = [entry["message"] for entry in browser.get_log("browser")]
    assert [message for message in messages if "Blocked script execution" not in message] == [], os.linesep.join(
        messages
    )


def test_at_least_fifty_payloads_and_twenty_fields_are_tested() -> None:
    assert len(set(_ALL)) >= 50
    assert len(FIELDS) >= 20


def test_pages_outside_soak_tier_contain_every_payload() -> None:
    assert {text for turn in _ALWAYS_TESTED for text in _list_payloads(turn)} == set(_ALL)


@pytest.mark.parametrize(
    "turns",
    [
        _ALWAYS_TESTED,
        *(
            pytest.param(tuple(_OTHERS[place : place + _PAGES_A_TEST]), marks=pytest.mark.soak)
            for place in range(0, len(_OTHERS), _PAGES_A_TEST)
        ),
    ],
    ids=lambda turns: f"from {turns[0]}",
)
def test_hostile_payloads_add_no_element_and_run_no_script(
    browser: webdriver.Chrome, small_report: Report, harmless_elements: Elements, turns: tuple[int, ...], tmp_path: Path
) -> None:
    pages = []
    for turn in turns:
        texts = _list_payloads(turn)
        pages.append(tmp_path / f"{turn}.html")
        pages[-1].write_text(_page(small_report, texts), "utf-8", newline="\n")
        for scripts in (True, False):
            assert _elements(browser, pages[-1], scripts=scripts) == harmless_elements[scripts]
            assert set(browser.execute_script(_IN_PICTURES)) <= _DRAWN
            assert browser.execute_script("return window.hit") is None
        shown = browser.execute_script("return document.documentElement.textContent")
        missing = [
            field
            for field, text in zip(FIELDS, texts, strict=True)
            if (printable := text.replace("\0", "\ufffd"))
            and (printable if field in _SHOWN_WHOLE else shorten_lines(printable)) not in shown
        ]
        assert missing == []
    _assert_nothing_happened(browser, pages)
