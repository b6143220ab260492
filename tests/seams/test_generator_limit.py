"""A load beyond the generator capacity is invalid, and the reliable rate is reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.wiring.reference_server import NullServerProcess
from tests.fakes.program import Sizewise, write_profile

pytestmark = pytest.mark.timing


@pytest.fixture
def calibrated(
    quickstart: tuple[Path, str], request: pytest.FixtureRequest, tmp_path: Path
) -> tuple[dict[str, Any], Sizewise]:
    """The calibration of one worker with plain requests, and a program with its own home.

    A quickstart measures the same calibration, but does not store steps that other work disturbed.
    """
    home: Path = quickstart[0].parent
    if not (home / "calibration.json").exists():
        home = request.getfixturevalue("measured_home")
    calibration = json.loads((home / "calibration.json").read_text())
    (capacity,) = (row for row in calibration["capacities"] if row["kind"] == "plain" and row["workers"] == 1)
    calibration["capacities"] = [capacity]
    return calibration, Sizewise(tmp_path / "home", tmp_path, draws=False)


def run_at_rate(
    rate_per_s: float, calibrated: tuple[dict[str, Any], Sizewise], folder: Path, **changes: object
) -> tuple[dict[str, Any], str]:
    """The checks of one second at that rate, and the output, with `changes` to the stored generator capacity."""
    calibration, sizewise = calibrated
    calibration["capacities"][0].update(changes)
    sizewise.home.mkdir()
    (sizewise.home / "calibration.json").write_text(json.dumps(calibration))
    server = NullServerProcess("plain")
    try:
        path = write_profile(folder, server.url, rate=f"{rate_per_s:.0f}/s", duration="1s")
        done = sizewise("run", path, "--set", "load.workers=1", "--out", str(folder / "run"))
    finally:
        server.close()
    assert done.returncode == 4, done.stderr
    (stage,) = sizewise.result(folder / "run")["stages"]
    return {check["id"]: check for check in stage["checks"]}, " ".join(done.stdout.split())


def test_load_of_twice_capacity_is_invalid_and_reports_reliable_rate(
    calibrated: tuple[dict[str, Any], Sizewise], tmp_path: Path
) -> None:
    per_s = calibrated[0]["capacities"][0]["per_s"]
    checks, printed = run_at_rate(2 * per_s, calibrated, tmp_path, is_lower_bound=False)
    check = checks["generator_capacity"]
    assert check["verdict"] == "INVALID"
    assert 1.9 < check["value"] < 2.1
    assert f"is reliable up to {0.7 * per_s:,.0f} req/s" in check["hint"]
    assert check["hint"] in printed


def test_late_sends_make_run_invalid_if_capacity_is_lower_bound(
    calibrated: tuple[dict[str, Any], Sizewise], tmp_path: Path
) -> None:
    checks, printed = run_at_rate(200_000, calibrated, tmp_path, is_lower_bound=True)  # no worker sends so much
    assert checks["generator_capacity"]["verdict"] == "WARN"
    assert "the load generator can send at least" in checks["generator_capacity"]["hint"]
    assert checks["late_sends"]["verdict"] == "INVALID"
    assert checks["late_sends"]["hint"] in printed
