from __future__ import annotations

import pandas as pd

from app.analysis.stages import telemetry_metrics
from app.analysis.telemetry_sources import elsewhere
from app.analysis.validity import telemetry_check
from app.records.result import Window

ROWS = [
    ("host", "host_cpu_percent", 40.0),
    ("host/core0", "core_cpu_percent", 80.0),
    ("gpu0", "gpu_power_w", 100.0),
    ("gpu0", "gpu_energy_j", 1e6),
    ("lab", "scrape_ok", 1.0),
    ("lab", "scrape_ms", 3.0),
    ("lab/host", "host_cpu_percent", 90.0),
    ("lab/gpu0", "gpu_power_w", 700.0),
]


def telemetry(every_ns: int = 1_000_000_000) -> pd.DataFrame:
    return pd.DataFrame(
        [(at * every_ns, *row) for at in range(10) for row in ROWS], columns=["at_ns", "source", "metric", "value"]
    )


def test_a_page_and_what_it_tells_of_are_elsewhere() -> None:
    assert elsewhere(telemetry()) == {"lab", "lab/host", "lab/gpu0"}


def test_readings_of_other_machines_are_not_mixed_with_this_ones() -> None:
    found = telemetry_metrics(telemetry(), Window(0, 10_000_000_000))
    assert found["gpu_power_w"]["mean"].value == 100
    assert found["host_cpu_percent"]["max"].value == 40


def test_a_counter_has_no_mean() -> None:
    assert "gpu_energy_j" not in telemetry_metrics(telemetry(), Window(0, 10_000_000_000))


def test_sources_that_are_slow_on_purpose_are_no_gaps() -> None:
    slow = telemetry()
    steady = pd.DataFrame(
        [(at * 100_000_000, "host", "host_cpu_percent", 1.0) for at in range(100)], columns=list(slow.columns)
    )
    others = slow[~slow["source"].isin(["host", "gpu0"])]
    assert telemetry_check(pd.concat([others, steady], ignore_index=True)).verdict == "VALID"
    assert telemetry_check(slow).verdict == "WARN"
