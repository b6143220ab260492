"""An offline Chromium that opens reports, and what it requested.

The import of selenium takes half a second, so only functions that use a browser import it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from selenium import webdriver

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
_ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run",
)  # fmt: skip


@contextmanager
def offline_chromium() -> Iterator[webdriver.Chrome]:
    """Yield a Chromium with its own profile, offline, that records its network requests and console messages."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    for program in (CHROMIUM, DRIVER):
        if not program.exists():
            pytest.fail(f"{program} is missing: run tests/install-system-libraries")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for argument in (*_ARGUMENTS, f"--user-data-dir={profile}"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
        try:
            _go_offline(driver)
            yield driver
        finally:
            driver.quit()


@contextmanager
def open_tab(driver: webdriver.Chrome) -> Iterator[webdriver.Chrome]:
    """Yield the browser in a new tab, without the emulation and logs of earlier tabs."""
    first = driver.current_window_handle
    driver.switch_to.new_window("tab")
    try:
        _go_offline(driver)
        for log in ("browser", "performance"):
            driver.get_log(log)
        yield driver
    finally:
        driver.close()
        driver.switch_to.window(first)


def _go_offline(driver: webdriver.Chrome) -> None:
    driver.execute_cdp_cmd("Network.enable", {})
    driver.execute_cdp_cmd(
        "Network.emulateNetworkConditions",
        {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0},
    )


def wait_until_drawn(browser: webdriver.Chrome) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 30).until(
        lambda driver: driver.execute_script("return document.documentElement.dataset.charts") == "drawn"
    )


def requested_urls(browser: webdriver.Chrome) -> set[str]:
    """URLs requested since the start, except those of the browser's own start page."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
    return {request["request"]["url"] for request in sent if not request["documentURL"].startswith("chrome://")}
