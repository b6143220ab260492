"""Asked for more than it can send, the generator says so, and what it can vouch for."""

from __future__ import annotations

import json
from pathlib import Path

from app.wiring.null_server import NullServerProcess
from tests.fakes.program import Sizewise, write_profile


def test_twice_the_ceiling_is_invalid_with_the_rate_to_vouch_for(sizewise: Sizewise, tmp_path: Path) -> None:
    calibration = json.loads((sizewise.home / "calibration.json").read_text())
    (ceiling,) = (one["per_s"] for one in calibration["ceilings"] if one["kind"] == "plain" and one["workers"] == 1)
    server = NullServerProcess("plain")
    try:
        rate = f"{2 * ceiling:.0f}/s"
        path = write_profile(tmp_path, server.url, rate=rate, duration="1s")
        done = sizewise("run", path, "--set", "load.workers=1", "--out", str(tmp_path / "run"))
    finally:
        server.close()
    assert done.returncode == 4, done.stderr
    (stage,) = sizewise.result(tmp_path / "run")["stages"]
    (found,) = [one for one in stage["checks"] if one["check"] == "generator ceiling"]
    assert found["verdict"] == "INVALID"
    assert 1.9 < found["value"] < 2.1
    assert f"can vouch for up to {0.7 * ceiling:,.0f} requests a second" in found["hint"]
    assert found["hint"] in " ".join(done.stdout.split())
