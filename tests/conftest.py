"""What tests in several folders stand on."""

from __future__ import annotations

import gc
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from selenium import webdriver

from tests.fakes.browsing import offline_chromium
from tests.fakes.program import Sizewise

FAKES = Path(__file__).parent / "fakes"

# the same examples every time, and no file of them
hypothesis.settings.register_profile("sizewise", deadline=None, derandomize=True, database=None, max_examples=100)
hypothesis.settings.load_profile("sizewise")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is imported and collected lasts as long as the session: six hundred thousand objects that no collection of
    garbage need look at again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


@pytest.fixture(scope="session")
def calibrated_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with this machine's calibration in it, so that runs begin at once: also one that others disturbed, and
    that the program itself would not keep."""
    home = tmp_path_factory.mktemp("home")
    done = Sizewise(home, home)("calibrate", "--workers", "1", "--json")
    assert done.returncode == 0, done.stderr
    (home / "calibration.json").write_text(done.stdout)
    return home


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


@pytest.fixture
def browser() -> Iterator[webdriver.Chrome]:
    """A chromium of its own profile, offline, that records what it asks the network for and what its console says."""
    with offline_chromium() as driver:
        yield driver
