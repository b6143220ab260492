from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.program import Sizewise


@pytest.fixture(scope="session")
def calibrated_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with this machine's calibration in it, so that runs begin at once."""
    home = tmp_path_factory.mktemp("home")
    done = Sizewise(home, home)("calibrate")
    assert done.returncode == 0, done.stderr
    return home


@pytest.fixture
def sizewise(calibrated_home: Path, tmp_path: Path) -> Sizewise:
    return Sizewise(calibrated_home, tmp_path)


@pytest.fixture
def profile(tmp_path: Path) -> Callable[..., str]:
    """Writes a profile for a URL: `profile(url, rate=..., duration=..., extra=...)`."""

    def write(
        url: str, *, rate: str = "100/s", duration: str = "2s", arrivals: str = "constant", extra: str = ""
    ) -> str:
        path = tmp_path / "profile.yaml"
        path.write_text(
            f"""sizewise: 1
name: test
target:
  protocol: http
  url: {url}
  timeouts: {{connect: 1s, idle: 1s, total: 1s}}
workload: {{method: POST, body: {{a: 1}}}}
load:
  warmup: 0s
  stages: [{{name: steady, arrivals: constant, rate: {rate}, duration: {duration}}}]
slo: ["latency_ms.p95 < 500"]
{extra}
"""
        )
        return str(path)

    return write
