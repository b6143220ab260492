"""Reports to render."""

from __future__ import annotations

import functools
from collections.abc import Callable

import msgspec
import pytest

from app.analysis.comparisons.comparison import compare_runs
from app.reporting.comparison import build_comparison_section
from app.reporting.plan import build_plan_report, build_plan_section
from app.reporting.report import build_report
from reports.html import render_html, render_plan_html
from reports.model import ArtifactRow, PlanReport, PlanSection, Report
from tests.fakes.language_model_runs import language_model_run
from tests.fakes.local_runs import local_run, run_of_failed_variants, run_of_one_variant, run_with_fallback_nodes
from tests.fakes.repeated import result, steady
from tests.fakes.results import COMMAND, SPEC, Run, full_run, interrupted_run, run_without_load
from tests.fakes.searched_runs import searched_run
from tests.fakes.traffic import clients_run, locust_run, spike_run, streaming_run
from tests.fakes.whole_plan import plan_by_max_rate, plan_without_feasible_offer, planning_inputs, whole_plan

Rendered = Callable[[str], str]


def report_of(run: Run) -> Report:
    return build_report(run.result, run.rows, run.telemetry, SPEC, COMMAND, msgspec.json.encode(run.result).decode())


@pytest.fixture(scope="session")
def full_report() -> Report:
    """A report with the checksums of two data files, which the run in memory does not have."""
    artifacts = tuple(ArtifactRow(path=name, sha256="0f3b" * 16) for name in ("requests.arrow", "telemetry.arrow"))
    return msgspec.structs.replace(report_of(full_run(gpu=True)), artifacts=artifacts)


@pytest.fixture(scope="session")
def small_report(full_report: Report) -> Report:
    """A report with a chart for each kind of text: names of points, series and the legend."""
    cores = [series for series in full_report.telemetry if series.unit == "cores"]
    return msgspec.structs.replace(
        full_report, stages=full_report.stages[-6:], telemetry=tuple(cores), load=None, heat_map=None, model=None
    )


@pytest.fixture(scope="session")
def compared_report(clients_report: Report) -> Report:
    """A report with a forced comparison with a baseline that is not comparable."""
    baseline = result(steady(10.0, 0.1), run_id="baseline")
    other = msgspec.structs.replace(baseline, workload_hash="other", stages=(steady(20.0, 0.1),))
    section = build_comparison_section(compare_runs([baseline], [other], is_forced=True))
    return msgspec.structs.replace(clients_report, comparison=section)


@pytest.fixture(scope="session")
def pages() -> dict[str, str]:
    """The rendered pages by the name of the report: rendering takes most of the time of these tests."""
    return {}


@pytest.fixture(scope="session")
def rendered(pages: dict[str, str], request: pytest.FixtureRequest) -> Rendered:
    """The page of a report, by the name of its fixture."""
    return functools.partial(_render_once, pages, request)


@pytest.fixture(scope="module")
def text_pages() -> dict[str, str]:
    """Pages whose charts were not drawn, by the name of the report."""
    return {}


@pytest.fixture
def rendered_text(
    pages: dict[str, str], text_pages: dict[str, str], pages_without_charts: None, request: pytest.FixtureRequest
) -> Rendered:
    """For tests of the text of a page, where a browser draws the same page in another test: the page without pictures,
    unless it was rendered with them."""
    return lambda name: pages.get(name) or _render_once(text_pages, request, name)


def _render_once(pages: dict[str, str], request: pytest.FixtureRequest, name: str) -> str:
    if name not in pages:
        report = request.getfixturevalue(name)
        pages[name] = render_plan_html(report) if isinstance(report, PlanReport) else render_html(report)
    return pages[name]


@pytest.fixture(scope="session")
def full_html(rendered: Rendered) -> str:
    return rendered("full_report")


@pytest.fixture(scope="session")
def empty_report() -> Report:
    return report_of(run_without_load())


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
    return report_of(interrupted_run())


@pytest.fixture(scope="session")
def local_report() -> Report:
    return report_of(local_run())


@pytest.fixture(scope="session")
def searched_report() -> Report:
    return report_of(searched_run())


@pytest.fixture(scope="session")
def alone_report() -> Report:
    return report_of(run_of_one_variant())


@pytest.fixture(scope="session")
def failed_report() -> Report:
    return report_of(run_of_failed_variants())


@pytest.fixture(scope="session")
def language_model_report() -> Report:
    return report_of(language_model_run(usd_per_hour=3.6))


@pytest.fixture(scope="session")
def fallback_report() -> Report:
    return report_of(run_with_fallback_nodes())


@pytest.fixture(scope="session")
def whole_plan_report() -> PlanReport:
    return build_plan_report(whole_plan(), planning_inputs(), "sizewise 0.1.0", "sizewise plan chat.yaml")


@pytest.fixture(scope="session")
def max_rate_plan_report() -> PlanReport:
    return build_plan_report(plan_by_max_rate(), planning_inputs(), "sizewise 0.1.0", "sizewise plan chat.yaml")


@pytest.fixture(scope="session")
def no_offer_plan_report() -> PlanReport:
    return build_plan_report(
        plan_without_feasible_offer(), planning_inputs(), "sizewise 0.1.0", "sizewise plan chat.yaml"
    )


@pytest.fixture(scope="session")
def planned_report(full_report: Report) -> Report:
    """A run with every part of a plan."""
    return msgspec.structs.replace(full_report, plan=build_plan_section(whole_plan()))


@pytest.fixture
def plan(whole_plan_report: PlanReport) -> PlanSection:
    return whole_plan_report.plan
