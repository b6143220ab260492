from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import pytest

from app.records.calibration import Calibration
from tests.fakes.forked import probe_once
from tests.fakes.program import TRIES, Sizewise, SizewiseInProcess, write_profile

_FINGERPRINT = """
import sys
from app.telemetry.environment import read_environment
print(read_environment(tuple(sys.argv[2:]), sys.argv[1]).fingerprint)
"""


@pytest.fixture(autouse=True, scope="module")
def freeze_objects_of_earlier_tests() -> None:
    """The servers run in this process. A garbage collection of everything that thousands of tests left would block them
    for tenths of a second during a measurement."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The directory and the terminal output of a quickstart with steps of one second, in a home of its own.

    A busy machine may invalidate steps of one second. If the search therefore finds no
    rate, the quickstart runs again.
    """
    home = tmp_path_factory.mktemp("quickstart")
    for attempt in range(TRIES):
        out = home / f"run-{attempt}"
        done = Sizewise(home, home)("quickstart", "--seconds", "1", "--no-retry", "--out", str(out))
        assert done.returncode == 0, done.stderr
        result = json.loads((out / "result.json").read_text())
        assert done.returncode == result["exit"]["code"]
        if result["max_rate"]["per_s"]["value"] is not None:
            break
    return out, done.stdout


@pytest.fixture
def sizewise(calibrated_home: Path, tmp_path: Path) -> Sizewise:
    return Sizewise(calibrated_home, tmp_path, draws=False)


@pytest.fixture
def sizewise_with_gpu(simulated_nvml: Path, calibrated_home: Path, tmp_path: Path) -> Sizewise:
    """Commands with the simulated GPUs of `simulated_nvml`, in a home with a calibration for that environment. Without
    it, each command would calibrate first, because GPUs change the fingerprint of the machine."""
    probe = probe_once()
    assert probe.runtime_version is not None
    done = subprocess.run(
        [sys.executable, "-c", _FINGERPRINT, probe.runtime_version, *probe.working_providers],
        env=os.environ | {"LD_LIBRARY_PATH": str(simulated_nvml)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    home = tmp_path / "home-with-gpu"
    home.mkdir()
    calibration = msgspec.json.decode((calibrated_home / "calibration.json").read_bytes(), type=Calibration)
    calibration = msgspec.structs.replace(calibration, fingerprint=done.stdout.strip())
    (home / "calibration.json").write_bytes(msgspec.json.encode(calibration))
    return Sizewise(home, tmp_path, draws=False)


@pytest.fixture
def sizewise_in_process(calibrated_home: Path, tmp_path: Path) -> SizewiseInProcess:
    return SizewiseInProcess(calibrated_home, tmp_path, draws=False)


@pytest.fixture
def profile(tmp_path: Path) -> Callable[..., str]:
    """Writes a profile for a URL: `profile(url, rate=..., duration=..., extra=...)`."""
    return partial(write_profile, tmp_path)
