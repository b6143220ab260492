"""What an open window and telemetry do to a measurement, by pairs of runs (tests/performance/disturbance.py).

The bounds hold on a machine that others use too. The budgets, which need a quiet one, are those of the benchmark.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.performance.disturbance import Measured, Mode, compare, measure

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1200)]

PAIRS = 5
SECONDS = 5
MIN_THROUGHPUT_RATIO = 0.9
MAX_RATIO = {"p50_ms": 1.2, "p99_ms": 1.5}


@pytest.fixture(scope="module")
def measured(calibrated_home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Mode, list[Measured]]:
    home = tmp_path_factory.mktemp("disturbance")
    shutil.copy(calibrated_home / "calibration.json", home)
    return measure(home, PAIRS, SECONDS)


def list_exceeded_bounds(plain: Sequence[Measured], disturbed: Sequence[Measured]) -> list[str]:
    """Return the changes beyond the bounds by their median; beside other work, equal runs may differ by more."""
    return [
        str(change)
        for change in compare(plain, disturbed)
        if (
            change.median < min(MIN_THROUGHPUT_RATIO, 1 / change.equal_ratio)
            if change.quantity == "clients_per_s"
            else change.median > max(MAX_RATIO[change.quantity], change.equal_ratio)
        )
    ]


def test_watching_window_changes_results_within_bounds(measured: dict[Mode, list[Measured]]) -> None:
    assert list_exceeded_bounds(measured[Mode.PLAIN], measured[Mode.WATCHED]) == []


def test_telemetry_changes_results_within_bounds(measured: dict[Mode, list[Measured]]) -> None:
    assert list_exceeded_bounds(measured[Mode.WITHOUT_TELEMETRY], measured[Mode.PLAIN]) == []


def test_change_beyond_bounds_is_detected() -> None:
    quiet = [Measured(5.0, 10.0, 700.0), Measured(5.1, 10.5, 690.0), Measured(5.0, 10.2, 705.0)]
    disturbed = [Measured(6.5, 16.0, 600.0), Measured(6.4, 16.5, 610.0), Measured(6.6, 9.0, 900.0)]
    assert list_exceeded_bounds(quiet, quiet) == []
    assert [change.split()[0] for change in list_exceeded_bounds(quiet, disturbed)] == list(Measured.__struct_fields__)
