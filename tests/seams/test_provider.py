"""The provider asked for is not the provider used: INVALID, or unavailable when it cannot exist here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.program import Sizewise, SizewiseHere

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
def asks_for_cuda(tmp_path: Path) -> str:
    path = tmp_path / "profile.yaml"
    path.write_text(PROFILE)
    return str(path)


def test_cuda_without_a_driver_is_3(sizewise_here: SizewiseHere, asks_for_cuda: str) -> None:
    done = sizewise_here("run", asks_for_cuda)
    assert done.returncode == 3
    assert "cuda" in done.stderr.lower()


def test_cuda_that_falls_back_in_silence_is_4(
    sizewise: Sizewise, asks_for_cuda: str, tmp_path: Path, nvml_stand_in: Path
) -> None:
    done = sizewise("run", asks_for_cuda, "--out", str(tmp_path / "run"), LD_LIBRARY_PATH=str(nvml_stand_in))
    assert done.returncode == 4, done.stderr
    result = sizewise.result(tmp_path / "run")
    assert result["verdict"]["status"] == "INVALID"
    check = next(check for check in result["validity"] if check["id"] == "provider")
    assert check["verdict"] == "INVALID"
