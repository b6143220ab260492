from __future__ import annotations

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from app.gui.docks.machine_watch import MachineState
from app.gui.home.presenter import MachineLine, build_quick_check, format_age, machine_lines, run_line
from app.records.estimate import Estimate
from app.records.machine import GpuState, MachineInfo, MachineNow, UnavailableProvider
from app.records.result import Check
from app.reporting.run_history import build_run_histories
from app.reporting.run_rows import HeadlineNumber, RunRow
from app.storage.run_directory import runs_home
from tests.fakes.parts import ENVIRONMENT

HOST = MachineNow(cpu_percent=12.0, cores=8, memory_gib=3.0, memory_total_gib=16.0)
GPU = GpuState(source="gpu0", name="NVIDIA L4", temperature_c=41.0, utilization_percent=None)
NO_GPU = replace(ENVIRONMENT, gpus=(), providers=("cpu",), cpu_governor=None)
REFUSED = (UnavailableProvider("cuda", "libcublasLt.so.13 is missing"),)


def lines(state: MachineState) -> dict[str, MachineLine]:
    return {line.title: line for line in machine_lines(state)}


def test_before_anything_is_known_it_is_being_read() -> None:
    reported = lines(MachineState())
    assert reported["CPU"].text == reported["GPU"].text == reported["Power mode"].text == "Reading…"
    assert reported["Execution providers"].text == "Checking…"


def test_without_a_gpu_it_says_what_is_available_and_alarms_nobody() -> None:
    reported = lines(MachineState(readings=HOST, machine_info=MachineInfo(NO_GPU, (), REFUSED)))
    assert reported["GPU"] == MachineLine("GPU", "No NVIDIA driver is installed. Local GPU runs are not available.")
    assert "cuda unavailable" not in reported
    assert reported["Power mode"].text == "n/a, not reported by this OS"
    assert {line.state for line in reported.values()} == {"plain"}


def test_with_a_gpu_a_provider_that_is_refused_is_missing_and_why() -> None:
    environment = replace(NO_GPU, gpus=ENVIRONMENT.gpus or (object(),))
    now = replace(HOST, gpus=(GPU,), driver="570.86")
    reported = lines(MachineState(readings=now, machine_info=MachineInfo(environment, (), REFUSED)))
    assert reported["GPU 0"].text == "NVIDIA L4, 41\u202f°C, utilization n/a, driver 570.86"
    assert reported["cuda unavailable"] == MachineLine("cuda unavailable", "libcublasLt.so.13 is missing", "warn")


def test_what_would_spoil_a_measurement_comes_with_what_to_do() -> None:
    busy = Check("other_load", 1.5, 0.3, "cores", "WARN", "End them.")
    fine = Check("cores", 8, 2, "cores", "VALID")
    reported = lines(MachineState(readings=HOST, machine_info=MachineInfo(NO_GPU, (fine, busy), ())))
    assert reported["Other load"] == MachineLine("Other load", "1.50 cores. End them.", "warn")
    assert "Cores" not in reported


def test_a_gpu_that_is_held_back_says_so_in_words() -> None:
    now = replace(HOST, gpus=(replace(GPU, throttled_by=("power cap",)),), driver="570.86")
    assert lines(MachineState(readings=now))["GPU 0"].text.endswith("throttled: power cap")


def test_a_look_that_failed_says_why() -> None:
    reported = lines(MachineState(readings=HOST, problem="the child crashed\nwith 11"))
    assert reported["Execution providers"] == MachineLine("Execution providers", "the child crashed with 11", "warn")


def test_a_run_has_its_outcome_and_its_trust_or_what_it_is() -> None:
    measured = RunRow("id", "/runs/id", "fraud", outcome="FAIL", verdict="INVALID", max_rate_text="198/s")
    assert (run_line(measured).outcome, run_line(measured).validity, run_line(measured).state) == (
        "FAIL",
        "INVALID",
        "",
    )
    assert run_line(replace(measured, title="before the driver")).name == "before the driver"
    cut = RunRow("20261127-fraud", "/runs/id", state="interrupted")
    assert (run_line(cut).name, run_line(cut).validity, run_line(cut).state) == ("20261127-fraud", "", "interrupted")


def test_the_quick_check_has_a_directory_of_its_own_at_home() -> None:
    first, second = build_quick_check(), build_quick_check()
    assert first.directory.parent == runs_home()
    assert first.directory != second.directory
    assert first.arguments == ("quickstart", "--seconds", "2", "--no-retry")


def around(value: float) -> Estimate:
    return Estimate(value, (value - 0.1, value + 0.1))


def test_a_card_has_the_change_in_color_only_if_it_is_one() -> None:
    before, slower, near = (
        RunRow(
            f"run-{place}",
            f"/runs/run-{place}",
            "chat",
            verdict="VALID",
            headline=f"p95 latency {value} ms",
            number=HeadlineNumber(
                "latency_ms", "p95", "ms", "lower", "steady", Estimate(value, (value - 0.1, value + 0.1))
            ),
            comparability_key="one",
            started_at=f"2026-08-01T12:0{place}:00+00:00",
        )
        for place, value in enumerate((10.0, 20.0, 20.1))
    )
    histories = build_run_histories([before, slower, near], {})
    now = datetime(2026, 8, 1, 15, 30, tzinfo=UTC)
    first, worse, same = (run_line(row, histories[row.directory], now) for row in (before, slower, near))
    assert (first.change, first.reference) == ("", None)
    assert (worse.change_state, worse.reference, worse.values) == ("bad", "/runs/run-0", (10.0, 20.0))
    assert same.change_state == "plain"
    assert worse.description.startswith("VALID, p95 latency 20.0 ms, +100 %")
    assert "2 comparable runs, 3 h ago" in worse.description


@pytest.mark.parametrize(
    ("started_at", "age"),
    [
        ("2026-08-01T11:59:40+00:00", "just now"),
        ("2026-08-01T11:55:00+00:00", "5 min ago"),
        ("2026-07-30T11:00:00+00:00", "2 d ago"),
        ("2026-01-01T00:00:00+00:00", ""),
        ("2026-08-01T12:00:01+00:00", ""),
        ("2026-08-01T11:00:00", ""),
        ("yesterday", ""),
    ],
)
def test_an_age_is_said_if_it_is_short_and_known(started_at: str, age: str) -> None:
    assert format_age(started_at, datetime(2026, 8, 1, 12, tzinfo=UTC)) == age
