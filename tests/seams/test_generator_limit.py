"""Asked for more than it can send, the generator says so, and what it can vouch for."""

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
    """What was found of one worker and plain requests, and a program with a home of its own.

    A quickstart calibrates the same, but does not store what other work disturbed.
    """
    home: Path = quickstart[0].parent
    if not (home / "calibration.json").exists():
        home = request.getfixturevalue("measured_home")
    calibration = json.loads((home / "calibration.json").read_text())
    (ceiling,) = (one for one in calibration["capacities"] if one["kind"] == "plain" and one["workers"] == 1)
    calibration["capacities"] = [ceiling]
    return calibration, Sizewise(tmp_path / "home", tmp_path, draws=False)


def asked_for(
    rate_per_s: float, calibrated: tuple[dict[str, Any], Sizewise], folder: Path, **known: object
) -> tuple[dict[str, Any], str]:
    """The checks of one second at that rate, and what was printed, where `known` is what the ceiling is taken for."""
    calibration, sizewise = calibrated
    calibration["capacities"][0].update(known)
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
    return {one["id"]: one for one in stage["checks"]}, " ".join(done.stdout.split())


def test_twice_the_ceiling_is_invalid_with_the_rate_to_vouch_for(
    calibrated: tuple[dict[str, Any], Sizewise], tmp_path: Path
) -> None:
    per_s = calibrated[0]["capacities"][0]["per_s"]
    checks, printed = asked_for(2 * per_s, calibrated, tmp_path, is_lower_bound=False)
    found = checks["generator_capacity"]
    assert found["verdict"] == "INVALID"
    assert 1.9 < found["value"] < 2.1
    assert f"is reliable up to {0.7 * per_s:,.0f} req/s" in found["hint"]
    assert found["hint"] in printed


def test_where_the_ceiling_is_a_lower_bound_it_is_invalid_by_what_was_late(
    calibrated: tuple[dict[str, Any], Sizewise], tmp_path: Path
) -> None:
    checks, printed = asked_for(200_000, calibrated, tmp_path, is_lower_bound=True)  # no worker sends so much
    assert checks["generator_capacity"]["verdict"] == "WARN"
    assert "the load generator can send at least" in checks["generator_capacity"]["hint"]
    assert checks["late_sends"]["verdict"] == "INVALID"
    assert checks["late_sends"]["hint"] in printed
