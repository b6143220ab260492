"""The quickstart command on this machine, up to a report that a browser opens offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

import sizewise as notebook
from tests.fakes.chromium import requested_urls, wait_until_drawn
from tests.fakes.program import SizewiseInProcess
from tests.fakes.stored_runs import reseal_run

pytestmark = pytest.mark.timing

SCHEMA = Path(__file__).parents[2] / "docs" / "result.schema.json"


@pytest.fixture
def result(quickstart: tuple[Path, str]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((quickstart[0] / "result.json").read_text())
    return document


def test_quickstart_result_matches_published_schema(result: dict[str, Any]) -> None:
    jsonschema.validate(result, json.loads(SCHEMA.read_text()))


def test_quickstart_reports_service_time_and_accuracy_of_model(result: dict[str, Any]) -> None:
    model_stages = [stage for stage in result["stages"] if stage["variant"]]
    assert [stage["variant"]["batch"] for stage in model_stages] == [1, 2, 4, 8]
    assert all(stage["metrics"]["service_ms"]["p50"]["value"] > 0 for stage in model_stages)
    accuracy = model_stages[0]["metrics"]["accuracy"]["value"]
    assert accuracy["n"] == 450
    assert accuracy["value"] > 0.97


def test_quickstart_finds_max_rate_and_stores_failed_probes(result: dict[str, Any]) -> None:
    assert result["max_rate"]["per_s"]["value"] > 10
    assert result["max_rate"]["limited_by"]
    assert {stage["meets_slo"] for stage in result["stages"] if stage["kind"] == "probe"} == {True, False}


def test_short_steps_have_warning(result: dict[str, Any]) -> None:
    check = next(check for check in result["validity"] if check["id"] == "step_duration")
    assert check["verdict"] == "WARN"


def test_quickstart_plans_cpu_fleet_and_excludes_gpu_offers_with_reason(result: dict[str, Any]) -> None:
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


def test_notebook_opens_quickstart_run(quickstart: tuple[Path, str]) -> None:
    run = notebook.open_run(quickstart[0])
    assert run.is_complete
    assert len(run.requests) > 100
    assert {"host", "endpoint", "generator", "engine"} <= set(run.telemetry["source"])
    assert "latency_ms.p95" in run.stages
    assert (run.offers["rejected"].isna()).any()


def test_quickstart_output_starts_with_verdict_and_ends_with_report_path(quickstart: tuple[Path, str]) -> None:
    lines = quickstart[1].splitlines()
    assert lines[0].split()[0] in ("PASS", "FAIL", "INCONCLUSIVE", "INVALID")
    assert lines[-1] == f"Report: {quickstart[0]}/report.html"


def test_copied_run_is_planned_without_its_model(quickstart: tuple[Path, str], tmp_path: Path) -> None:
    """A run copied to a machine that does not have its model."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in quickstart[0].iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    spec = copy / "spec.yaml"
    spec.write_text(spec.read_text().replace("digits.npz", "gone.npz"))
    reseal_run(copy)
    done = SizewiseInProcess(tmp_path, tmp_path)("plan", str(copy), "--set", "traffic.peak=50/s", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["traffic"]["peak_per_s"] == 50


@pytest.mark.browser
def test_quickstart_report_draws_charts_offline(quickstart: tuple[Path, str], browser: webdriver.Chrome) -> None:
    page = quickstart[0] / "report.html"
    assert page.stat().st_size <= 2_000_000
    browser.get(page.as_uri())
    wait_until_drawn(browser)
    assert browser.find_elements(By.CSS_SELECTOR, ".live svg.marks path")
    assert requested_urls(browser) == {page.as_uri()}
    assert [entry["message"] for entry in browser.get_log("browser")] == []


@pytest.mark.browser
def test_quickstart_report_has_static_charts_without_scripts(
    quickstart: tuple[Path, str], browser: webdriver.Chrome
) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    page = quickstart[0] / "report.html"
    browser.get(page.as_uri())
    pictures = browser.find_elements(By.CSS_SELECTOR, ".picture > svg")
    assert len(pictures) >= 8
    assert all(picture.is_displayed() for picture in pictures)
    assert requested_urls(browser) == {page.as_uri()}
