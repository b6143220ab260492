"""The GPU's energy counter compared with its integrated power, over 20 s of load."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from app.analysis.gpu_use import compute_energy, divide_energy
from app.inference.job import SessionSettings, VariantJob
from app.inference.process import VariantProcess
from app.records.estimate import Variant
from app.records.gpu import THROTTLE_REASONS, list_throttle_reasons
from app.records.result import Stage, Window
from app.records.telemetry import TELEMETRY_SCHEMA
from app.telemetry.sampler import Sampler
from tests.gpu.findings import Findings
from tests.gpu.measuring import OPEN_LIMIT_S, run_for

BURN_S = 20.0
IDLE_S = 3.0
COUNTER = "gpu_energy_j"
MAX_DIFFERENCE = 0.1


@pytest.fixture(scope="module")
def burn(resnet50: Path) -> tuple[Stage, Window, pd.DataFrame]:
    """A stage of load, the idle window before it, and the telemetry of both."""
    batches: list[pa.RecordBatch] = []
    sampler, pause = Sampler(), threading.Event()
    sampler.start(batches.append)
    pause.wait(1.0)
    start_ns = time.perf_counter_ns()
    pause.wait(IDLE_S)
    idle = Window(start_ns, time.perf_counter_ns())
    settings = SessionSettings(io_binding=True)
    process = VariantProcess("the load", VariantJob(model=str(resnet50), provider="cuda", batch=1, settings=settings))
    try:
        process.wait_until_open(OPEN_LIMIT_S)
        stage = run_for(process, Variant("resnet50", "cuda", "as-is", 1, 1), BURN_S)
        pause.wait(0.5)
    finally:
        process.close()
        sampler.close()
    return stage, idle, pa.Table.from_batches(batches, TELEMETRY_SCHEMA).to_pandas()


def test_energy_counter_and_integrated_power_agree(
    burn: tuple[Stage, Window, pd.DataFrame], findings: Findings
) -> None:
    stage, idle, telemetry = burn
    counted = compute_energy(telemetry, "gpu0", stage.window, idle)
    drawn = compute_energy(telemetry[telemetry["metric"] != COUNTER], "gpu0", stage.window, idle)
    findings.add("20 s of ResNet-50, energy", f"{counted.total_j.value} J by {counted.method}")
    findings.add("20 s of ResNet-50, area", f"{drawn.total_j.value} J by {drawn.method}; idle {drawn.idle_w.value} W")
    if counted.method != "counter" or drawn.total_j.value is None:
        pytest.skip("this GPU does not have both an energy counter and power readings")
    assert counted.total_j.value is not None
    findings.add("energy per inference", f"{divide_energy(counted, stage.completed).total_j.value} J")
    findings.add("area to counter", f"{drawn.total_j.value / counted.total_j.value:.3f}")
    assert abs(drawn.total_j.value / counted.total_j.value - 1) < MAX_DIFFERENCE


def test_throttle_reasons_under_load_have_names(burn: tuple[Stage, Window, pd.DataFrame], findings: Findings) -> None:
    _, _, telemetry = burn
    throttle_bits = telemetry[(telemetry["source"] == "gpu0") & (telemetry["metric"] == "gpu_throttle_reasons")][
        "value"
    ]
    if throttle_bits.dropna().empty:
        pytest.skip("this GPU reports no throttle reasons")
    names = {name for bits in throttle_bits.dropna().unique() for name in list_throttle_reasons(bits)}
    findings.add("throttle reasons under load", ", ".join(sorted(names)) or "none")
    assert names <= set(THROTTLE_REASONS.values())
