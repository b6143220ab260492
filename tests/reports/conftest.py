"""Reports to render, and a real browser without a network to open them in."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from app.reporting import build_report
from reports.html import render_html
from reports.model import Report
from tests.fakes.results import COMMAND, SPEC, Run, full_run, interrupted, nothing_measured

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
_ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run",
)  # fmt: skip


def report_of(run: Run) -> Report:
    return build_report(run.result, run.rows, run.telemetry, SPEC, COMMAND, msgspec.json.encode(run.result).decode())


@pytest.fixture(scope="session")
def full_report() -> Report:
    return report_of(full_run(gpu=True))


@pytest.fixture(scope="session")
def full_html(full_report: Report) -> str:
    return render_html(full_report)


@pytest.fixture(scope="session")
def empty_report() -> Report:
    return report_of(nothing_measured())


@pytest.fixture(scope="session")
def interrupted_report() -> Report:
    return report_of(interrupted())


@pytest.fixture
def browser() -> Iterator[webdriver.Chrome]:
    """A chromium of its own profile, offline, that records what it asks the network for and what its console says."""
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
            driver.execute_cdp_cmd("Network.enable", {})
            driver.execute_cdp_cmd(
                "Network.emulateNetworkConditions",
                {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0},
            )
            yield driver
        finally:
            driver.quit()
