"""The requested provider is not the used provider: INVALID, or unavailable if this machine cannot have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.program import Sizewise, SizewiseInProcess

pytestmark = pytest.mark.process

PROFILE = """sizewise: 1
name: provider
target:
  protocol: oip
  serve: {model: digits, provider: cuda}
load:
  warmup: 0s
  stages: [{name: steady, rate: 50/s, duration: 1s}]
"""


@pytest.fixture
def cuda_profile(tmp_path: Path) -> str:
    path = tmp_path / "profile.yaml"
    path.write_text(PROFILE)
    return str(path)


def test_cuda_without_driver_exits_with_3(sizewise_in_process: SizewiseInProcess, cuda_profile: str) -> None:
    done = sizewise_in_process("run", cuda_profile)
    assert done.returncode == 3
    assert "cuda" in done.stderr.lower()


def test_silent_cuda_fallback_exits_with_4(
    sizewise: Sizewise, cuda_profile: str, tmp_path: Path, simulated_nvml: Path
) -> None:
    done = sizewise("run", cuda_profile, "--out", str(tmp_path / "run"), LD_LIBRARY_PATH=str(simulated_nvml))
    assert done.returncode == 4, done.stderr
    result = sizewise.result(tmp_path / "run")
    assert result["verdict"]["status"] == "INVALID"
    check = next(check for check in result["validity"] if check["id"] == "provider")
    assert check["verdict"] == "INVALID"
