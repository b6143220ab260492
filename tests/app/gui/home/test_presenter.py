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
from tests.fakes.session_dependencies import ENVIRONMENT

HOST = MachineNow(cpu_percent=12.0, cores=8, memory_gib=3.0, memory_total_gib=16.0)
GPU = GpuState(source="gpu0", name="NVIDIA L4", temperature_c=41.0, utilization_percent=None)
NO_GPU = replace(ENVIRONMENT, gpus=(), providers=("cpu",), cpu_governor=None)
REFUSED = (UnavailableProvider("cuda", "libcublasLt.so.13 is missing"),)


def list_machine_lines(state: MachineState) -> dict[str, MachineLine]:
    return {line.title: line for line in machine_lines(state)}


def test_machine_lines_display_reading_and_checking_until_values_arrive() -> None:
    machine = list_machine_lines(MachineState())
    assert machine["CPU"].text == machine["GPU"].text == machine["Power mode"].text == "Reading…"
    assert machine["Execution providers"].text == "Checking…"


def test_machine_without_gpu_has_plain_lines_with_the_reason() -> None:
    machine = list_machine_lines(MachineState(readings=HOST, machine_info=MachineInfo(NO_GPU, (), REFUSED)))
    assert machine["GPU"] == MachineLine("GPU", "No NVIDIA driver is installed. Local GPU runs are not available.")
    assert "cuda unavailable" not in machine
    assert machine["Power mode"].text == "n/a, not reported by this OS"
    assert {line.state for line in machine.values()} == {"plain"}


def test_unavailable_provider_is_a_warning_if_the_machine_has_a_gpu() -> None:
    environment = replace(NO_GPU, gpus=ENVIRONMENT.gpus or (object(),))
    now = replace(HOST, gpus=(GPU,), driver="570.86")
    machine = list_machine_lines(MachineState(readings=now, machine_info=MachineInfo(environment, (), REFUSED)))
    assert machine["GPU 0"].text == "NVIDIA L4, 41\u202f°C, utilization n/a, driver 570.86"
    assert machine["cuda unavailable"] == MachineLine("cuda unavailable", "libcublasLt.so.13 is missing", "warn")


def test_failed_machine_check_is_a_warning_with_its_hint() -> None:
    busy = Check("other_load", 1.5, 0.3, "cores", "WARN", "End them.")
    fine = Check("cores", 8, 2, "cores", "VALID")
    machine = list_machine_lines(MachineState(readings=HOST, machine_info=MachineInfo(NO_GPU, (fine, busy), ())))
    assert machine["Other load"] == MachineLine("Other load", "1.50 cores. End them.", "warn")
    assert "Cores" not in machine


def test_throttled_gpu_line_has_the_throttle_reason() -> None:
    now = replace(HOST, gpus=(replace(GPU, throttled_by=("power cap",)),), driver="570.86")
    assert list_machine_lines(MachineState(readings=now))["GPU 0"].text.endswith("throttled: power cap")


def test_failed_machine_inspection_is_a_warning_with_its_problem() -> None:
    machine = list_machine_lines(MachineState(readings=HOST, problem="the child crashed\nwith 11"))
    assert machine["Execution providers"] == MachineLine("Execution providers", "the child crashed with 11", "warn")


def test_run_line_has_outcome_and_validity_or_the_run_state() -> None:
    measured = RunRow("id", "/runs/id", "fraud", outcome="FAIL", verdict="INVALID", max_rate_text="198/s")
    assert (run_line(measured).outcome, run_line(measured).validity, run_line(measured).state) == (
        "FAIL",
        "INVALID",
        "",
    )
    assert run_line(replace(measured, title="before the driver")).name == "before the driver"
    interrupted = RunRow("20261127-fraud", "/runs/id", state="interrupted")
    assert (run_line(interrupted).name, run_line(interrupted).validity, run_line(interrupted).state) == (
        "20261127-fraud",
        "",
        "interrupted",
    )


def test_quick_check_has_its_own_run_directory() -> None:
    first, second = build_quick_check(), build_quick_check()
    assert first.directory.parent == runs_home()
    assert first.directory != second.directory
    assert first.arguments == ("quickstart", "--seconds", "2", "--no-retry")


def estimate_around(value: float) -> Estimate:
    return Estimate(value, (value - 0.1, value + 0.1))


def test_run_card_has_a_change_state_only_for_a_significant_change() -> None:
    before, slower, similar = (
        RunRow(
            f"run-{index}",
            f"/runs/run-{index}",
            "chat",
            verdict="VALID",
            headline=f"p95 latency {value} ms",
            number=HeadlineNumber(
                "latency_ms", "p95", "ms", "lower", "steady", Estimate(value, (value - 0.1, value + 0.1))
            ),
            comparability_key="one",
            started_at=f"2026-08-01T12:0{index}:00+00:00",
        )
        for index, value in enumerate((10.0, 20.0, 20.1))
    )
    histories = build_run_histories([before, slower, similar], {})
    now = datetime(2026, 8, 1, 15, 30, tzinfo=UTC)
    first, worse, same = (run_line(row, histories[row.directory], now) for row in (before, slower, similar))
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
def test_age_text_is_empty_for_old_future_and_invalid_times(started_at: str, age: str) -> None:
    assert format_age(started_at, datetime(2026, 8, 1, 12, tzinfo=UTC)) == age
