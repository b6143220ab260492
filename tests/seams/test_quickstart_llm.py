"""The quickstart command with a language model: up to the fleet for a day of chats, and to a plan that uses no data
of the measurement."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import pytest

from app.wiring import llm_quickstart
from tests.fakes.program import Sizewise, SizewiseInProcess

pytestmark = pytest.mark.process

SCHEMA = Path(__file__).parents[2] / "docs" / "result.schema.json"
MAX_DURATION_S = 100.0
CLIENTS = (1, 2, 4, 8, 16, 32)
SHORT_CLIENTS = (1, 4)


class QuickstartRun(NamedTuple):
    result: dict[str, Any]
    text: str
    page: str
    duration_s: float
    program: Sizewise


def _measure(home: Path, program: Sizewise, *options: str) -> QuickstartRun:
    started_s = time.monotonic()
    done = program("quickstart", "--llm", *options, "--out", str(home / "run"))
    duration_s = time.monotonic() - started_s
    assert done.returncode == 0, done.stderr
    result = json.loads((home / "run" / "result.json").read_text())
    return QuickstartRun(result, done.stdout, (home / "run" / "report.html").read_text(), duration_s, program)


@pytest.fixture(scope="module")
def short(calibrated_home: Path, tmp_path_factory: pytest.TempPathFactory) -> QuickstartRun:
    """A run with few numbers of clients, and steps so short that a busy machine has too few responses for a plan. The
    rest of its result is complete. Its home already has a calibration."""
    home = tmp_path_factory.mktemp("short")
    shutil.copy(calibrated_home / "calibration.json", home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(llm_quickstart, "_CLIENTS", SHORT_CLIENTS)
        return _measure(home, SizewiseInProcess(home, home, draws=False), "--seconds", "1")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> QuickstartRun:
    home = tmp_path_factory.mktemp("quickstart-llm")
    return _measure(home, Sizewise(home, home))


def test_llm_quickstart_result_matches_published_schema(short: QuickstartRun) -> None:
    jsonschema.validate(short.result, json.loads(SCHEMA.read_text()))


@pytest.mark.parametrize(
    ("measured", "clients"), [("short", SHORT_CLIENTS), pytest.param("shown", CLIENTS, marks=pytest.mark.soak)]
)
def test_every_concurrency_has_ttft_and_tpot(
    request: pytest.FixtureRequest, measured: str, clients: tuple[int, ...]
) -> None:
    run: QuickstartRun = request.getfixturevalue(measured)
    stages = [stage for stage in run.result["stages"] if stage["kind"] == "closed"]
    assert tuple(stage["concurrency"] for stage in stages) == clients
    assert all(stage["metrics"][metric]["p50"]["value"] > 0 for stage in stages for metric in ("ttft_ms", "tpot_ms"))


@pytest.mark.soak
def test_llm_quickstart_takes_at_most_100_seconds(shown: QuickstartRun) -> None:
    assert shown.duration_s <= MAX_DURATION_S


@pytest.mark.soak
def test_slo_is_met_at_low_and_missed_at_high_concurrency(shown: QuickstartRun) -> None:
    stages = [stage for stage in shown.result["stages"] if stage["kind"] == "closed"]
    assert stages[0]["meets_slo"] is not False
    assert stages[-1]["meets_slo"] is False
    assert stages[0]["metrics"]["ttft_ms"]["p50"]["value"] < stages[-1]["metrics"]["ttft_ms"]["p50"]["value"]


@pytest.mark.soak
def test_measured_model_is_planned_only_on_cpus(shown: QuickstartRun) -> None:
    plan = shown.result["plan"]
    assert plan is not None
    feasible = [offer for offer in plan["offers"] if offer["rejected"] is None]
    assert feasible
    assert {offer["accelerator"] for offer in feasible} == {None}
    assert {offer["basis"] for offer in feasible} == {"extrapolated"}


def test_larger_model_is_planned_on_gpus_without_measured_data(short: QuickstartRun) -> None:
    plan = short.result["shape_plan"]["plan"]
    assert {offer["basis"] for offer in plan["offers"]} == {"assumed"}
    feasible = [offer for offer in plan["offers"] if offer["rejected"] is None]
    assert feasible
    assert all(offer["accelerator"] for offer in feasible)
    assert short.result["run_id"] not in json.dumps(plan)
    for text in (short.text, short.page):
        assert "Nothing that this run measured is part of it" in " ".join(text.split())


@pytest.mark.soak
def test_llm_quickstart_run_is_planned_for_another_peak(shown: QuickstartRun) -> None:
    done = shown.program("plan", "last", "--set", "traffic.peak=50/s", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["traffic"]["peak_per_s"] == 50
