from __future__ import annotations

import csv
import io
import json
import re
import time
from pathlib import Path

import pytest

from app.cli import simulate
from app.cli.main import main
from app.errors import ExitCode
from app.planning.days import planned_day
from app.profiles.scaling import AUTOSCALERS
from app.records.service import TokenService
from app.records.traffic import TokenLengths, Traffic
from app.wiring.plan_files import PlanFile, write_plan
from tests.fakes import small_plan as fakes

QUESTION = fakes.slow_planning_inputs()


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("plan") / "plan.yaml"
    write_plan(path, PlanFile("sizewise", fakes.cached_plan(QUESTION), QUESTION))
    return str(path)


def test_simulated_day_is_printed_by_hour_with_verdict_and_notes(
    plan: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planned_day, "_SLOT_S", 10.0)
    assert main(["simulate", plan, "--autoscaler", "schedule"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == "Saturday, 2026-08-01, with 6 × acme/c2@here planned"
    assert lines[2] == "The SLO is met over the day."
    assert "less than 6 instances without autoscaling, which would cost $144." in " ".join(lines)
    assert [line.split()[0] for line in lines if line[:2].isdecimal() and line[2:5] == ":00"] == [
        f"{hour:02}:00" for hour in range(24)
    ]
    assert any(re.match(r"- The replicas follow a schedule: \d+ from 00:00", line) for line in lines)
    assert max(map(len, lines)) <= 120
    assert all("of the day's requests simulated" in line for line in err.splitlines())


def test_simulated_day_of_language_model_has_ttft_and_tpot_per_hour(
    plan: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service = TokenService(0.02, 0.0005, 1e-5, max_sequences=32, kv_tokens=60_000)
    traffic = Traffic(4.0, "flat", (1.0,) * 24, tokens=(TokenLengths(1.0, 500.0, 50.0),))
    inputs = fakes.planning_inputs(service, slo="ttft_ms.p95 < 500", traffic=traffic)
    path = tmp_path / "tokens.yaml"
    write_plan(path, PlanFile("sizewise", fakes.cached_plan(inputs), inputs))
    columns = set()
    for source in (str(path), plan):
        assert main(["simulate", source, "--output", "csv"]) == ExitCode.OK
        rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
        columns.add(frozenset(rows[0]) & {"ttft_p95_ms", "tpot_p95_ms"})
        assert all(float(row[column]) > 0 for row in rows for column in row if column.startswith(("ttft", "tpot")))
    assert columns == {frozenset(("ttft_p95_ms", "tpot_p95_ms")), frozenset()}


def test_simulated_day_that_violates_the_slo_exits_with_0(plan: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", plan, "--instances", "2"]) == ExitCode.OK
    out = capsys.readouterr().out
    assert "The SLO is missed over the day." in out
    assert "All 4 planned replicas together cannot handle the busiest minute." in " ".join(out.split())


def test_simulate_json_counts_every_arrival_and_csv_has_every_minute(
    plan: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    minutes = tmp_path / "day.csv"
    assert main(["simulate", plan, "--json", "--csv", str(minutes), "--seed", "3"]) == 0
    day = json.loads(capsys.readouterr().out)
    totals = day["totals"]
    ends = ("good", "late", "dropped", "timed_out", "failed", "in_flight")
    assert totals["arrivals"] == sum(totals[end] for end in ends)
    assert day["conservation"].startswith(f"{totals['arrivals']} requests = {totals['good']} good")
    assert (day["seed"], len(day["hours"]), day["minutes"]) == (3, 24, [])
    with minutes.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1440
    assert sum(int(row["good"]) for row in rows) == totals["good"]


@pytest.mark.soak
def test_same_seed_simulates_the_same_day(plan: str, capsys: pytest.CaptureFixture[str]) -> None:
    documents = []
    for seed in ("1", "1", "2"):
        main(["simulate", plan, "--json", "--seed", seed])
        documents.append(capsys.readouterr().out)
    assert documents[0] == documents[1] != documents[2]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--autoscaler", "hpa", "--set", "autoscaler.mni=2"], "the key 'mni' is unknown in autoscaler"),
        (["--day", "soon"], "--day soon is not a valid date"),
        (["--csv", "/nowhere/day.csv"], "/nowhere/day.csv cannot be written"),
    ],
)
def test_invalid_simulate_options_are_usage_errors(
    plan: str, options: list[str], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", plan, *options]) == ExitCode.USAGE
    assert error in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--instances", "0"], ["--seed", "-1"], ["--autoscaler", "magic"]])
def test_simulate_options_outside_bounds_are_usage_errors(
    plan: str, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", plan, *options]) == ExitCode.USAGE
    assert options[0] in capsys.readouterr().err


def test_autoscaler_option_offers_all_autoscalers() -> None:
    assert simulate._AUTOSCALERS == AUTOSCALERS


def test_ctrl_c_during_simulation_exits_as_interrupted(plan: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(simulate._Progress, "report", interrupt)
    assert main(["simulate", plan]) == ExitCode.INTERRUPTED


def test_simulation_progress_appears_after_two_seconds_with_remaining_time(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = iter([100.0, 101.9, 102.1, 102.5, 104.0, 104.1])
    monkeypatch.setattr(time, "monotonic", lambda: next(now_s))
    progress = simulate._Progress()
    for simulated_share in (0.1, 0.3, 0.4, 0.5, 0.8, 1.0):
        progress.report(simulated_share)
    assert capsys.readouterr().err.splitlines() == [
        "40 % of the day's requests simulated, about 3 s remaining",
        "80 % of the day's requests simulated, about 1 s remaining",
        "100 % of the day's requests simulated, about 0 s remaining",
    ]


def test_hours_in_csv_have_full_precision(plan: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", plan, "--output", "csv"]) == ExitCode.OK
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert main(["simulate", plan, "--output", "json"]) == ExitCode.OK
    hours = json.loads(capsys.readouterr().out)["hours"]
    assert [int(row["hour"]) for row in rows] == [*range(24)]
    assert [float(row["p95_ms"]) for row in rows] == [hour["p95_ms"] for hour in hours]
    assert [float(row["good_share"]) for row in rows] == [hour["good_share"] for hour in hours]
