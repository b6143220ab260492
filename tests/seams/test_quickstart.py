"""The one command, on this machine, from nothing to a report that a browser opens offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

import sizewise as notebook
from tests.fakes.browsing import requested, wait_until_drawn
from tests.fakes.program import SizewiseHere
from tests.fakes.stored_runs import sealed_again

pytestmark = pytest.mark.timing

SCHEMA = Path(__file__).parents[2] / "docs" / "result.schema.json"


@pytest.fixture
def result(quickstart: tuple[Path, str]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((quickstart[0] / "result.json").read_text())
    return document


def test_the_result_meets_the_published_schema(result: dict[str, Any]) -> None:
    jsonschema.validate(result, json.loads(SCHEMA.read_text()))


def test_it_reports_what_the_model_does_here(result: dict[str, Any]) -> None:
    alone = [stage for stage in result["stages"] if stage["variant"]]
    assert [stage["variant"]["batch"] for stage in alone] == [1, 2, 4, 8]
    assert all(stage["metrics"]["service_ms"]["p50"]["value"] > 0 for stage in alone)
    accuracy = alone[0]["metrics"]["accuracy"]["value"]
    assert accuracy["n"] == 450
    assert accuracy["value"] > 0.97


def test_it_finds_a_rate_and_keeps_the_failed_probes(result: dict[str, Any]) -> None:
    assert result["max_rate"]["per_s"]["value"] > 10
    assert result["max_rate"]["limited_by"]
    assert {stage["meets_slo"] for stage in result["stages"] if stage["kind"] == "probe"} == {True, False}


def test_short_holds_carry_a_warning(result: dict[str, Any]) -> None:
    check = next(check for check in result["validity"] if check["id"] == "step_duration")
    assert check["verdict"] == "WARN"


def test_it_plans_a_fleet_on_cpu_offers_and_refuses_the_others_with_a_sentence(result: dict[str, Any]) -> None:
    plan = result["plan"]
    fleet = plan["recommendation"]["fleet"]
    assert fleet["accelerator"] is None
    assert fleet["basis"] == "extrapolated"
    assert fleet["spare_instances"] == 1
    assert fleet["usd_per_month"]["value"] == pytest.approx(730 * fleet["instances"] * fleet["usd_per_hour_each"])
    assert plan["runner_up"]["usd_per_month"]["value"] >= fleet["usd_per_month"]["value"]
    refused = [offer for offer in plan["offers"] if offer["accelerator"] == "l4"]
    assert refused
    assert all(offer["rejected"] and offer["instances"] is None for offer in refused)


def test_the_notebook_opens_it(quickstart: tuple[Path, str]) -> None:
    run = notebook.open_run(quickstart[0])
    assert run.is_complete
    assert len(run.requests) > 100
    assert {"host", "endpoint", "generator", "engine"} <= set(run.telemetry["source"])
    assert "latency_ms.p95" in run.stages
    assert (run.offers["rejected"].isna()).any()


def test_its_terminal_output_begins_with_a_verdict_and_ends_with_the_report(quickstart: tuple[Path, str]) -> None:
    lines = quickstart[1].splitlines()
    assert lines[0].split()[0] in ("PASS", "FAIL", "INCONCLUSIVE", "INVALID")
    assert lines[-1] == f"Report: {quickstart[0]}/report.html"


def test_its_facts_are_enough_to_plan_again_elsewhere(quickstart: tuple[Path, str], tmp_path: Path) -> None:
    """A run copied to a machine that has neither its model nor its rows."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in quickstart[0].iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    spec = copy / "spec.yaml"
    spec.write_text(spec.read_text().replace("digits.npz", "gone.npz"))
    sealed_again(copy)
    done = SizewiseHere(tmp_path, tmp_path)("plan", str(copy), "--set", "traffic.peak=50/s", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["traffic"]["peak_per_s"] == 50


@pytest.mark.browser
def test_its_report_opens_offline_with_charts_and_without_a_request(
    quickstart: tuple[Path, str], browser: webdriver.Chrome
) -> None:
    page = quickstart[0] / "report.html"
    assert page.stat().st_size <= 2_000_000
    browser.get(page.as_uri())
    wait_until_drawn(browser)
    assert browser.find_elements(By.CSS_SELECTOR, ".live svg.marks path")
    assert requested(browser) == {page.as_uri()}
    assert [entry["message"] for entry in browser.get_log("browser")] == []


@pytest.mark.browser
def test_its_report_has_its_charts_where_scripts_are_off(
    quickstart: tuple[Path, str], browser: webdriver.Chrome
) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    page = quickstart[0] / "report.html"
    browser.get(page.as_uri())
    pictures = browser.find_elements(By.CSS_SELECTOR, ".picture > svg")
    assert len(pictures) >= 8
    assert all(picture.is_displayed() for picture in pictures)
    assert requested(browser) == {page.as_uri()}
