"""Runs, a bundle and a plan file of version 0.1.0 are read and show the numbers of that version."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from app.profiles.loading import load_profile
from app.records.result import Estimate, Result
from app.reporting.opened import load_run
from app.storage.bundle import import_run
from app.storage.run_directory import StoredRun
from app.wiring.plan_files import read_plan
from tests.fakes.golden_runs import GOLDEN_RUNS, golden_bundle, golden_plan, golden_run

NUMBERS = GOLDEN_RUNS / "numbers.json"
REEVALUATED_LLM = "llm re-evaluated"
"""Numbers of the run of a language model as this version evaluates them: its intervals are wider."""


def _numbers(estimate: Estimate | None) -> list[float | None] | None:
    return None if estimate is None else [estimate.value, *(estimate.ci95 or ()), estimate.n]


def _summarize_result(result: Result) -> dict[str, Any]:
    return {
        "exit_code": result.exit.code,
        "validity": result.verdict.status,
        "max_rate": _numbers(result.max_rate.per_s) if result.max_rate else None,
        "slo": [evaluated.outcome for evaluated in result.slo],
        "stages": [
            {
                "name": stage.name,
                "offered": _numbers(stage.offered_per_s),
                "achieved": _numbers(stage.achieved_per_s),
                "goodput": _numbers(stage.good_per_s),
                "completed": stage.completed,
                "errors": dict(stage.errors),
                "metrics": {
                    f"{name}.{aggregate}": _numbers(estimate)
                    for name, estimates in sorted(stage.metrics.items())
                    for aggregate, estimate in sorted(estimates.items())
                },
            }
            for stage in result.stages
        ],
        "variants": [
            _numbers(variant.accuracy.value) if variant.accuracy else None for variant in result.local.variants
        ]
        if result.local
        else [],
    }


def _summarize_plan(path: Path) -> dict[str, Any]:
    plan = read_plan(path).plan
    assert plan.recommendation is not None
    fleet = plan.recommendation.fleet
    return {
        "offer": fleet.offer,
        "instances": fleet.instances,
        "capacity": _numbers(fleet.capacity_per_instance_per_s),
        "cost": _numbers(fleet.usd_per_month),
        "offers": len(plan.offers),
    }


def _bound_at_zero(golden: dict[str, Any], current: dict[str, Any]) -> dict[str, Any]:
    """The golden metrics with negative bounds of means set to 0 if they are 0 today: version 0.1.0 did not bound them,
    and stored values that are not reevaluated, such as telemetry, have their old bounds."""
    return {
        name: [numbers[0], 0, *numbers[2:]] if _has_bound(current[name], 0) and numbers[1] < 0 else numbers
        for name, numbers in golden.items()
    }


def _has_bound(numbers: list[float | None] | None, bound: float) -> bool:
    return numbers is not None and len(numbers) == 4 and numbers[1] == bound


def _assert_golden(name: str, summary: dict[str, Any]) -> None:
    summary = _rounded(json.loads(json.dumps(summary)))
    golden: dict[str, Any] = json.loads(NUMBERS.read_text()) if NUMBERS.exists() else {}
    if os.environ.get("REFRESH_GOLDEN") == "1":
        NUMBERS.write_text(json.dumps(golden | {name: summary}, indent=1, sort_keys=True) + "\n")
        return
    for stage, golden_stage in zip(summary.get("stages", []), golden[name].get("stages", []), strict=True):
        # a later version may have more metrics, and computes them when it evaluates a run again
        added = stage["metrics"].keys() - golden_stage["metrics"].keys()
        stage["metrics"] = {metric: value for metric, value in stage["metrics"].items() if metric not in added}
        golden_stage["metrics"] = _bound_at_zero(golden_stage["metrics"], stage["metrics"])
    assert summary == _rounded(golden[name])


def _rounded(value: Any) -> Any:
    """Floats to 12 digits: sums of NumPy differ in the last one by the processor's vector instructions."""
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return float(f"{value:.12g}") if isinstance(value, float) else value


@pytest.mark.parametrize("name", ["search", "llm", "local"])
def test_result_of_older_version_is_unchanged(name: str, tmp_path: Path) -> None:
    run = StoredRun(golden_run(name, tmp_path))
    opened = load_run(run)
    _assert_golden(name, _summarize_result(opened.result))
    _assert_golden(REEVALUATED_LLM if name == "llm" else name, _summarize_result(opened.reevaluate()))


@pytest.mark.parametrize("name", ["search", "llm", "killed"])
def test_stored_profile_of_golden_run_loads(name: str, tmp_path: Path) -> None:
    profile = load_profile(golden_run(name, tmp_path) / "spec.yaml", is_stored=True)
    assert profile.name.startswith("golden")


def test_killed_run_is_recovered_with_golden_numbers(tmp_path: Path) -> None:
    opened = load_run(StoredRun(golden_run("killed", tmp_path)), recover=True)
    _assert_golden("killed", _summarize_result(opened.result) | {"rows": opened.table.num_rows})


def test_imported_bundle_is_reevaluated_to_golden_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "home"))
    directory, is_new = import_run(golden_bundle(tmp_path))
    assert is_new
    _assert_golden(REEVALUATED_LLM, _summarize_result(load_run(StoredRun(directory)).reevaluate()))


def test_plan_file_of_older_version_is_unchanged(tmp_path: Path) -> None:
    _assert_golden("plan", _summarize_plan(golden_plan(tmp_path)))
