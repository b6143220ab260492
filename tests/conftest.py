"""What tests in several folders stand on."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

FAKES = Path(__file__).parent / "fakes"


@pytest.fixture(scope="session")
def nvml_stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a stand-in NVML library: LD_LIBRARY_PATH for a process, which then sees simulated GPUs."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.fail("no C compiler (cc) for the stand-in NVML library: run tests/install-system-libraries")
    folder = tmp_path_factory.mktemp("nvml")
    library, source = folder / "libnvidia-ml.so.1", FAKES / "nvml" / "nvml_stand_in.c"
    subprocess.run([compiler, "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, source], check=True)
    return folder
