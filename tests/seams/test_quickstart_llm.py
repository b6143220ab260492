"""The one command with a language model: from nothing to the fleet for a day of chats, and to a plan that uses nothing
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
from tests.fakes.program import Sizewise, SizewiseHere

pytestmark = pytest.mark.process

SCHEMA = Path(__file__).parents[2] / "docs" / "result.schema.json"
MAX_DURATION_S = 100.0
CLIENTS = (1, 2, 4, 8, 16, 32)
SHORT_CLIENTS = (1, 4)


class Shown(NamedTuple):
    result: dict[str, Any]
    text: str
    page: str
    duration_s: float
    program: Sizewise


def _measure(home: Path, program: Sizewise, *options: str) -> Shown:
    started_s = time.monotonic()
    done = program("quickstart", "--llm", *options, "--out", str(home / "run"))
    duration_s = time.monotonic() - started_s
    assert done.returncode == 0, done.stderr
    result = json.loads((home / "run" / "result.json").read_text())
    return Shown(result, done.stdout, (home / "run" / "report.html").read_text(), duration_s, program)


@pytest.fixture(scope="module")
def short(calibrated_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """With few numbers of clients, and steps so short that beside other work too few responses come for a plan: what
    else it shows is complete. The machine is calibrated, as no other quickstart finds it."""
    home = tmp_path_factory.mktemp("short")
    shutil.copy(calibrated_home / "calibration.json", home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(llm_quickstart, "_CLIENTS", SHORT_CLIENTS)
        return _measure(home, SizewiseHere(home, home, draws=False), "--seconds", "1")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    home = tmp_path_factory.mktemp("quickstart-llm")
    return _measure(home, Sizewise(home, home))


def test_the_result_meets_the_published_schema(short: Shown) -> None:
    jsonschema.validate(short.result, json.loads(SCHEMA.read_text()))


@pytest.mark.parametrize(
    ("measured", "clients"), [("short", SHORT_CLIENTS), pytest.param("shown", CLIENTS, marks=pytest.mark.soak)]
)
def test_every_number_of_clients_has_its_times_to_the_first_and_the_next_token(
    request: pytest.FixtureRequest, measured: str, clients: tuple[int, ...]
) -> None:
    run: Shown = request.getfixturevalue(measured)
    stages = [stage for stage in run.result["stages"] if stage["kind"] == "closed"]
    assert tuple(stage["concurrency"] for stage in stages) == clients
    assert all(stage["metrics"][metric]["p50"]["value"] > 0 for stage in stages for metric in ("ttft_ms", "tpot_ms"))


@pytest.mark.soak
def test_it_takes_at_most_100_seconds(shown: Shown) -> None:
    assert shown.duration_s <= MAX_DURATION_S


@pytest.mark.soak
def test_the_slo_is_met_with_few_clients_and_missed_with_many(shown: Shown) -> None:
    stages = [stage for stage in shown.result["stages"] if stage["kind"] == "closed"]
    assert stages[0]["meets_slo"] is not False
    assert stages[-1]["meets_slo"] is False
    assert stages[0]["metrics"]["ttft_ms"]["p50"]["value"] < stages[-1]["metrics"]["ttft_ms"]["p50"]["value"]


@pytest.mark.soak
def test_the_measured_model_is_planned_on_cpus_only(shown: Shown) -> None:
    plan = shown.result["plan"]
    assert plan is not None
    feasible = [offer for offer in plan["offers"] if offer["rejected"] is None]
    assert feasible
    assert {offer["accelerator"] for offer in feasible} == {None}
    assert {offer["basis"] for offer in feasible} == {"extrapolated"}


def test_the_larger_model_has_a_plan_on_gpus_and_nothing_of_the_run_in_it(short: Shown) -> None:
    plan = short.result["shape_plan"]["plan"]
    assert {offer["basis"] for offer in plan["offers"]} == {"assumed"}
    feasible = [offer for offer in plan["offers"] if offer["rejected"] is None]
    assert feasible
    assert all(offer["accelerator"] for offer in feasible)
    assert short.result["run_id"] not in json.dumps(plan)
    for text in (short.text, short.page):
        assert "Nothing that this run measured is part of it" in " ".join(text.split())


@pytest.mark.soak
def test_it_is_planned_again_for_another_peak(shown: Shown) -> None:
    done = shown.program("plan", "last", "--set", "traffic.peak=50/s", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["traffic"]["peak_per_s"] == 50
