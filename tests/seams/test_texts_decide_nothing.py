"""No decision depends on a text: runs with placeholders for all texts have the same ids, exit codes and numbers.

So do golden runs with placeholders in their files, and runs by an engine that has placeholders in its code.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.analysis.comparisons.comparison import compare_runs
from app.analysis.comparisons.environment_differences import find_differences
from app.analysis.curve import build_capacity_curve, build_load_points
from app.records.comparison import Comparison
from app.records.offers import CapacityCurve
from app.records.planning_inputs import MeasuredLoadPoint
from app.reporting.opened import load_run
from app.storage.run_directory import EVENTS, RESULT, StoredRun
from tests.fakes.golden_runs import golden_run
from tests.fakes.program import FAKE_RENDERER_FOLDER
from tests.fakes.stored_runs import SEARCHED, reseal_run, stored_run
from tests.fakes.without_sentences import PLACEHOLDER

pytestmark = pytest.mark.process

_PROFILE = """sizewise: 1
name: short-search
target: {protocol: http, scripted: {delay: 20ms, spread: 0.4, parallel: 2}}
workload: {method: POST, body: {a: 1}}
load:
  warmup: 0s
  search: {start: 16/s, step_duration: 1s, repeats: 1, max_duration: 8s}
slo: ["latency_ms.p95 < 100", "error_rate < 1%"]
"""
_TEXTS = (
    "hint", "reason", "reasons", "unchecked", "limited_by", "arrivals", "notes", "text", "gpu_note", "note", "why",
    "sentence", "message",
)  # fmt: skip


def without_texts(value: Any, key: str = "") -> Any:
    """The JSON `value` with the placeholder for each sentence; objectives are as the user wrote them."""
    if isinstance(value, dict) and "comparator" in value:
        return value
    if key in _TEXTS:
        return _replace_texts(value)
    if isinstance(value, dict):
        return {name: without_texts(item, name) for name, item in value.items()}
    return [without_texts(item) for item in value] if isinstance(value, list) else value


def _replace_texts(value: Any) -> Any:
    if isinstance(value, list):
        return [_replace_texts(item) for item in value]
    if isinstance(value, dict):
        return without_texts(value)
    return PLACEHOLDER if isinstance(value, str) else value


def plain(record: msgspec.Struct) -> Any:
    return without_texts(json.loads(msgspec.json.encode(record)))


def with_placeholders(original: Path, folder: Path) -> StoredRun:
    """A copy of a run in which each text of its result and its events is the placeholder."""
    run = Path(shutil.copytree(original, folder / original.name))
    lines = [json.dumps(without_texts(json.loads(line))) for line in (run / EVENTS).read_text().splitlines()]
    (run / EVENTS).write_text("\n".join([*lines, ""]))
    (run / RESULT).write_text(json.dumps(without_texts(json.loads((run / RESULT).read_text()))))
    reseal_run(run)
    return StoredRun(run)


def without_sentences(folder: Path, *arguments: str) -> int:
    """The exit code of the product with placeholders in its code."""
    command = [sys.executable, "-m", "tests.fakes.without_sentences", *arguments]
    environment = {**os.environ, "SIZEWISE_HOME": str(folder / "home"), "PYTHONPATH": str(FAKE_RENDERER_FOLDER)}
    return subprocess.run(command, env=environment, timeout=300, check=False).returncode


@pytest.fixture(scope="module")
def live(calibrated_home: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A short search of the bundled reference server, by an engine without sentences; with its exit code."""
    folder = tmp_path_factory.mktemp("live")
    (folder / "home").mkdir()
    shutil.copy(calibrated_home / "calibration.json", folder / "home")
    (folder / "profile.yaml").write_text(_PROFILE)
    code = without_sentences(folder, "run", str(folder / "profile.yaml"), "--out", str(folder / "run"))
    return folder / "run", code


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, live: tuple[Path, int]) -> dict[str, tuple[StoredRun, StoredRun]]:
    """Golden runs and the live run, unchanged and with placeholders."""
    folders = {"live": Path(shutil.copytree(live[0], tmp_path_factory.mktemp("live-as-it-is") / "run"))}
    for name in ("search", "llm", "local"):
        folders[name] = golden_run(name, tmp_path_factory.mktemp(f"{name}-as-it-is"))
    for run in folders.values():
        reseal_run(run)
    return {
        name: (StoredRun(run), with_placeholders(run, tmp_path_factory.mktemp(f"{name}-placeholders")))
        for name, run in folders.items()
    }


def test_session_with_placeholder_texts_has_same_result(tmp_path: Path) -> None:
    as_is = stored_run(tmp_path / "as-is", SEARCHED).result
    assert without_sentences(tmp_path, "session", str(tmp_path / "replaced")) == 0
    replaced = StoredRun(tmp_path / "replaced").result
    assert as_is is not None
    assert replaced is not None
    assert replaced.max_rate is not None
    assert PLACEHOLDER in replaced.max_rate.limited_by
    assert plain(as_is) == plain(replaced)


def test_live_run_with_placeholder_texts_matches_its_reevaluation(live: tuple[Path, int]) -> None:
    run, code = live
    result = StoredRun(run).result
    assert result is not None
    assert code == result.exit.code
    assert plain(result) == plain(load_run(StoredRun(run)).reevaluate())


def test_placeholder_runs_have_no_original_texts(runs: dict[str, tuple[StoredRun, StoredRun]]) -> None:
    for as_is, replaced in runs.values():
        result = replaced.result
        assert result is not None
        assert result != as_is.result
        assert {text for stage in result.stages for text in stage.verdict.reasons} <= {PLACEHOLDER}


@pytest.mark.parametrize(
    ("name", "slo"),
    [
        ("search", ["latency_ms.p95 < 250", "error_rate < 1%"]),
        ("search", ["latency_ms.p95 < 120"]),
        ("search", ["latency_ms.p95 < 1"]),
        ("llm", ["ttft_ms.p50 < 1000"]),
        ("local", ["service_ms.p99 < 0.001"]),
        ("local", ["service_ms.p99 < 10000"]),
        ("live", ["latency_ms.p95 < 40"]),
        ("live", ["latency_ms.p95 < 1"]),
    ],
)
def test_reevaluation_does_not_depend_on_texts(
    runs: dict[str, tuple[StoredRun, StoredRun]], name: str, slo: list[str]
) -> None:
    as_is, replaced = (load_run(run).reevaluate(slo) for run in runs[name])
    assert plain(as_is) == plain(replaced)
    assert [cause.id for cause in as_is.exit.causes] == [cause.id for cause in replaced.exit.causes]


def test_comparison_does_not_depend_on_texts(runs: dict[str, tuple[StoredRun, StoredRun]]) -> None:
    def compare_side(side: int) -> Comparison:
        first, second = (pair[side].complete_result for pair in (runs["search"], runs["llm"]))
        return compare_runs([first], [second], is_forced=True)

    assert plain(compare_side(0)) == plain(compare_side(1))


def test_run_with_placeholder_texts_has_no_environment_differences(
    runs: dict[str, tuple[StoredRun, StoredRun]],
) -> None:
    for as_is, replaced in runs.values():
        assert find_differences([as_is.complete_result], [replaced.complete_result]) == ()


def test_report_verdict_does_not_depend_on_texts(runs: dict[str, tuple[StoredRun, StoredRun]]) -> None:
    for pair in runs.values():
        as_is, replaced = (load_run(run).report().verdict for run in pair)
        assert (as_is.outcome, as_is.validity, as_is.exit_code) == (
            replaced.outcome,
            replaced.validity,
            replaced.exit_code,
        )


def test_plan_inputs_do_not_depend_on_texts(runs: dict[str, tuple[StoredRun, StoredRun]]) -> None:
    def planned_from(run: StoredRun) -> tuple[CapacityCurve, tuple[MeasuredLoadPoint, ...]]:
        result = run.complete_result
        assert result.max_rate is not None
        slo = [evaluated.objective for evaluated in result.slo]
        return build_capacity_curve(result.stages, slo, result.max_rate), build_load_points(result.stages)

    for name in ("search", "llm", "live"):
        as_is, replaced = (planned_from(run) for run in runs[name])
        assert as_is == replaced
        assert {load_point.gaps for load_point in as_is[1]} == {"random"}, "a service model can be fitted to them"
