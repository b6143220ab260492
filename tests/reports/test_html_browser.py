"""The HTML report in a browser: from disk, offline, with and without scripts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from reports.html import render_html
from reports.model import CheckRow, Report
from tests.fakes.chromium import open_tab, requested_urls, wait_until_drawn
from tests.reports.conftest import Rendered
from tests.reports.hostile import PAYLOADS, hostile

pytestmark = [pytest.mark.ui, pytest.mark.browser]


def _open(browser: webdriver.Chrome, html: str, folder: Path) -> str:
    page = folder / "report.html"
    page.write_text(html, "utf-8")
    browser.get(page.as_uri())
    return page.as_uri()


class _Drawn(NamedTuple):
    """A page with all charts drawn, in its own tab."""

    handle: str
    address: str
    requested: set[str]
    messages: list[str]
    """Console messages until the charts were drawn."""


@pytest.fixture(scope="module")
def drawn(chromium: webdriver.Chrome, full_html: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Drawn]:
    """The page with all charts, loaded once for tests that leave it as it is: drawing it takes seconds."""
    first = chromium.current_window_handle
    with open_tab(chromium):
        address = _open(chromium, full_html, tmp_path_factory.mktemp("drawn"))
        wait_until_drawn(chromium)
        messages = [entry["message"] for entry in chromium.get_log("browser")]
        page = _Drawn(chromium.current_window_handle, address, requested_urls(chromium), messages)
        chromium.switch_to.window(first)
        yield page
        chromium.switch_to.window(page.handle)


@pytest.fixture
def drawn_page(chromium: webdriver.Chrome, drawn: _Drawn) -> Iterator[webdriver.Chrome]:
    first = chromium.current_window_handle
    chromium.switch_to.window(drawn.handle)
    yield chromium
    chromium.switch_to.window(first)


def test_charts_become_interactive_without_network_requests_or_console_messages(
    drawn: _Drawn, drawn_page: webdriver.Chrome
) -> None:
    pictures = drawn_page.find_elements(By.CSS_SELECTOR, "[data-spec]")
    marks = [
        picture.find_elements(By.CSS_SELECTOR, ".live svg.marks path, .live svg.marks line") for picture in pictures
    ]
    assert len(pictures) == 13
    assert all(len(paths) > 5 for paths in marks)
    assert drawn.requested == {drawn.address}
    assert drawn.messages == []


def test_static_charts_are_shown_if_scripts_are_disabled(
    browser: webdriver.Chrome, full_html: str, tmp_path: Path
) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    address = _open(browser, full_html, tmp_path)

    pictures = browser.find_elements(By.CSS_SELECTOR, ".picture > svg")
    assert len(pictures) == 13
    assert all(picture.is_displayed() and picture.size["height"] == 280 for picture in pictures)
    assert browser.find_element(By.CSS_SELECTOR, ".outcome strong").text == "PASS"
    assert browser.find_elements(By.TAG_NAME, "button") == []
    assert requested_urls(browser) == {address}
    assert [entry for entry in browser.get_log("browser") if "Security Policy" in entry["message"]] == []


def test_verdict_is_in_first_400_pixels_and_page_fits_600_pixels(
    browser: webdriver.Chrome, full_html: str, tmp_path: Path
) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 600, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    )
    _open(browser, full_html, tmp_path)
    wait_until_drawn(browser)

    for selector in (".outcome", ".headline", ".lead .sentence", ".evidence"):
        part = browser.find_element(By.CSS_SELECTOR, selector)
        assert part.rect["y"] + part.rect["height"] < 400, selector
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 600


def test_long_hint_does_not_wrap_table_headings(browser: webdriver.Chrome, full_report: Report, tmp_path: Path) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 600, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    )
    check = CheckRow(
        id="arrival_dispersion",
        name="arrival dispersion",
        value=2.01,
        limit="performance",
        unit="variance/mean",
        verdict="WARN",
        hint="so " * 99,
    )
    _open(browser, render_html(msgspec.structs.replace(full_report, checks=(check,))), tmp_path)
    browser.execute_script("document.querySelector('#checks').closest('details').open = true")
    heights = browser.execute_script(
        "return [...document.querySelectorAll('#checks thead th')].map(one => one.clientHeight)"
    )
    assert 0 < max(heights) < 40, "every word of the head is on one line"


def test_chart_point_shows_its_numbers_on_hover(drawn_page: webdriver.Chrome) -> None:
    point = drawn_page.find_elements(By.CSS_SELECTOR, "#chart-curve .mark-symbol.role-mark path")[0]
    drawn_page.execute_script("arguments[0].scrollIntoView({block: 'center'})", point)
    webdriver.ActionChains(drawn_page).move_to_element(point).perform()

    WebDriverWait(drawn_page, 10).until(
        lambda driver: "probe 25 req/s" in driver.find_element(By.ID, "vg-tooltip-element").text
    )
    assert [entry["message"] for entry in drawn_page.get_log("browser")] == []


def test_downloaded_result_json_is_identical(drawn_page: webdriver.Chrome, full_report: Report, tmp_path: Path) -> None:
    drawn_page.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    WebDriverWait(drawn_page, 30).until(lambda driver: driver.find_elements(By.TAG_NAME, "button"))
    drawn_page.execute_script("document.querySelector('#data').closest('details').open = true")
    drawn_page.find_element(By.TAG_NAME, "button").click()

    saved = tmp_path / "result.json"
    WebDriverWait(drawn_page, 30).until(lambda _: saved.exists() and saved.stat().st_size > 0)
    assert saved.read_text("utf-8") == full_report.result_json


def test_report_without_measurement_has_no_console_messages(
    browser: webdriver.Chrome, rendered: Rendered, tmp_path: Path
) -> None:
    _open(browser, rendered("empty_report"), tmp_path)
    wait_until_drawn(browser)

    assert browser.find_element(By.CSS_SELECTOR, ".outcome strong").text == "INVALID"
    assert len(browser.find_elements(By.CSS_SELECTOR, ".empty")) >= 6
    assert [entry["message"] for entry in browser.get_log("browser")] == []


@pytest.mark.parametrize(
    ("name", "theme"),
    [
        ("streaming_report", "light"),
        ("spike_report", "dark"),
        ("clients_report", "dark"),
        ("locust_report", "light"),
        ("fallback_report", "light"),
        ("failed_report", "dark"),
        ("whole_plan_report", "dark"),
        # The unit tier draws these without a browser.
        *(
            pytest.param(name, theme, marks=pytest.mark.soak)
            for name, theme in (
                ("local_report", "dark"),
                ("language_model_report", "light"),
                ("planned_report", "light"),
            )
        ),
    ],
)
def test_charts_of_every_kind_of_run_are_drawn_without_console_messages(
    browser: webdriver.Chrome, name: str, theme: str, rendered: Rendered, tmp_path: Path
) -> None:
    scheme = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
    address = _open(browser, rendered(name), tmp_path)
    wait_until_drawn(browser)

    live = browser.find_elements(By.CSS_SELECTOR, ".live svg.marks")
    assert len(live) == len(browser.find_elements(By.CSS_SELECTOR, "[data-spec]")) >= 3
    assert requested_urls(browser) == {address}
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def test_plan_page_fits_small_window_and_shows_chart_tooltips(
    browser: webdriver.Chrome, rendered: Rendered, tmp_path: Path
) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 600, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    )
    _open(browser, rendered("whole_plan_report"), tmp_path)
    wait_until_drawn(browser)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 600

    chart = browser.find_element(By.CSS_SELECTOR, "#chart-day .live svg.marks")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", chart)
    webdriver.ActionChains(browser).move_to_element(chart).perform()
    WebDriverWait(browser, 10).until(lambda driver: "req/s" in driver.find_element(By.ID, "vg-tooltip-element").text)
    assert browser.execute_script("return window.hit") is None
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def test_hostile_text_runs_no_script_and_sends_no_request(
    browser: webdriver.Chrome, full_report: Report, tmp_path: Path
) -> None:
    address = _open(browser, render_html(hostile(full_report, "".join(PAYLOADS))), tmp_path)
    wait_until_drawn(browser)

    assert browser.execute_script("return window.hit") is None
    assert requested_urls(browser) == {address}
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def test_printed_report_has_light_colors_and_no_chart_tables(drawn_page: webdriver.Chrome) -> None:
    drawn_page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]},
    )
    try:
        color = drawn_page.execute_script("return getComputedStyle(document.body).backgroundColor")
        display = drawn_page.execute_script("return getComputedStyle(document.querySelector('.chart-data')).display")
    finally:
        drawn_page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    assert color == "rgb(255, 255, 255)"
    assert display == "none"
