"""Reports to render."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import pytest
from selenium import webdriver

from app.reporting import build_report
from reports.html import render_html
from reports.model import Report
from tests.fakes.browsing import offline_chromium, tab_of
from tests.fakes.local_runs import local_run, one_variant, only_failed, strayed
from tests.fakes.results import COMMAND, SPEC, Run, full_run, interrupted, nothing_measured
from tests.fakes.searched_runs import searched_run
from tests.fakes.traffic import clients_run, locust_run, spike_run, streaming_run

Rendered = Callable[[str], str]


def report_of(run: Run) -> Report:
    return build_report(run.result, run.rows, run.telemetry, SPEC, COMMAND, msgspec.json.encode(run.result).decode())


@pytest.fixture(scope="session")
def full_report() -> Report:
    return report_of(full_run(gpu=True))


@pytest.fixture(scope="session")
def chromium() -> Iterator[webdriver.Chrome]:
    with offline_chromium() as driver:
        yield driver


@pytest.fixture
def browser(chromium: webdriver.Chrome) -> Iterator[webdriver.Chrome]:
    with tab_of(chromium) as driver:
        yield driver


@pytest.fixture(scope="session")
def pages() -> dict[str, str]:
    """What was rendered, by the name of its report: rendering is what takes time here."""
    return {}


@pytest.fixture
def rendered(pages: dict[str, str], request: pytest.FixtureRequest) -> Rendered:
    """The page of a report, by the name of its fixture."""

    def page(name: str) -> str:
        if name not in pages:
            pages[name] = render_html(request.getfixturevalue(name))
        return pages[name]

    return page


@pytest.fixture
def full_html(rendered: Rendered) -> str:
    return rendered("full_report")


@pytest.fixture(scope="session")
def empty_report() -> Report:
    return report_of(nothing_measured())


@pytest.fixture(scope="session")
def streaming_report() -> Report:
    return report_of(streaming_run())


@pytest.fixture(scope="session")
def spike_report() -> Report:
    return report_of(spike_run())


@pytest.fixture(scope="session")
def clients_report() -> Report:
    return report_of(clients_run())


@pytest.fixture(scope="session")
def locust_report() -> Report:
    return report_of(locust_run())


@pytest.fixture(scope="session")
def interrupted_report() -> Report:
    return report_of(interrupted())


@pytest.fixture(scope="session")
def local_report() -> Report:
    return report_of(local_run())


@pytest.fixture(scope="session")
def searched_report() -> Report:
    return report_of(searched_run())


@pytest.fixture(scope="session")
def alone_report() -> Report:
    return report_of(one_variant())


@pytest.fixture(scope="session")
def failed_report() -> Report:
    return report_of(only_failed())


@pytest.fixture(scope="session")
def strayed_report() -> Report:
    return report_of(strayed())
