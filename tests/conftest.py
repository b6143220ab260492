"""Fixtures and hooks that tests in several folders use."""

from __future__ import annotations

import datetime
import gc
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import msgspec
import pytest

# What only a fixture uses is imported in it: under pytest-xdist, the process that distributes the tests loads this file
# before it starts its workers, and runs no fixture.
if TYPE_CHECKING:
    from selenium import webdriver

    from app.planning.simulation.design import FleetDesign
    from app.planning.simulation.steady import SteadyOutcome

pytest_plugins = ["tests.tiers", "pytester"]

FAKES = Path(__file__).parent / "fakes"

# Use the same examples every time, and store none in files.
hypothesis.settings.register_profile("sizewise", deadline=None, derandomize=True, database=None, max_examples=100)
hypothesis.settings.load_profile("sizewise")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Exclude what is imported and collected from garbage collection: six hundred thousand objects that exist until the
    session ends. The little garbage among them stays, too: to find it would take a second."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def simulated_fleets() -> Iterator[dict[object, SteadyOutcome]]:
    """Outcomes by fleet and load. Equal simulations run once, because most plans of the tests use the same runs.

    A test that equal seeds give equal simulations clears the outcomes.
    """
    from app.planning.simulation.steady import simulate_steady
    from app.planning.sizing import fleet_rate

    outcomes: dict[object, SteadyOutcome] = {}

    def simulate_once(
        design: FleetDesign, rate_per_s: float, requests: int, seeds: tuple[int, ...], percentiles: list[float], *,
        max_replicas: int,
    ) -> SteadyOutcome:  # fmt: skip
        key = (design, rate_per_s, requests, seeds, tuple(percentiles), max_replicas)
        if key not in outcomes:
            outcomes[key] = simulate_steady(design, rate_per_s, requests, seeds, percentiles, max_replicas=max_replicas)
        return outcomes[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fleet_rate, "simulate_steady", simulate_once)
        yield outcomes


@pytest.fixture(scope="module")
def short_simulations() -> Iterator[None]:
    """For tests that need no precise plans: the search for the rate of a fleet simulates a quarter of the requests,
    except in soak tests."""
    from tests.fakes.small_plan import short_fleet_simulations

    with short_fleet_simulations():
        yield


@pytest.fixture(scope="session", autouse=True)
def equal_charts_are_drawn_once() -> Iterator[None]:
    """Draw equal charts once: most reports of the tests have the same charts."""
    from reports.charts.renderer import get_chart_renderer

    svgs: dict[bytes, str] = {}
    renderer = get_chart_renderer()
    draw = renderer.render_svg

    def draw_once(spec: dict[str, Any]) -> str:
        key = msgspec.json.encode(spec)
        if key not in svgs:
            svgs[key] = draw(spec)
        return svgs[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(renderer, "render_svg", draw_once)
        yield


@pytest.fixture(scope="session", autouse=True)
def files_stay_in_the_page_cache() -> Iterator[None]:
    """Runs are stored without the wait for the disk, which only a power cut would need, and which takes longer than
    most tests. Tests of the flushes record the calls."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture
def pages_without_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Omit charts in tests of the text of a page: drawing them takes most of the time."""
    from reports.charts.renderer import get_chart_renderer

    monkeypatch.setattr(get_chart_renderer(), "render_svg", lambda _: "<svg></svg>")


@pytest.fixture(scope="session", autouse=True)
def load_workers_are_forked() -> Iterator[None]:
    """Fork the load workers that tests start, but in long tests: the import of Locust takes longer than what most of
    them send. Those of tests/loadgen that assert times start real ones, too."""
    from loadgen import child
    from tests.fakes.forked import forking
    from tests.tiers import is_soak_session  # a plugin, which pytest must import first

    with pytest.MonkeyPatch.context() as patch:
        if not is_soak_session():
            patch.setattr("loadgen.child.subprocess", forking(child))
        yield


@pytest.fixture
def unforked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the test's load workers as the engine does, for a test of what a fork lacks: its own command line."""
    monkeypatch.setattr("loadgen.child.subprocess", subprocess)


@pytest.fixture(scope="session")
def calibrated_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which this machine counts as calibrated, so that runs start at once.

    The generator capacities are not measured, because that would take a quarter of a minute and fail beside other work.
    No test may depend on them.
    """
    from app.wiring.machine import read_machine_info
    from tests.fakes.session_dependencies import CALIBRATION

    home = tmp_path_factory.mktemp("home")
    now = datetime.datetime.now(datetime.UTC).isoformat()
    calibration = msgspec.structs.replace(
        CALIBRATION, measured_at=now, fingerprint=read_machine_info().environment.fingerprint
    )
    (home / "calibration.json").write_bytes(msgspec.json.encode(calibration))
    return home


@pytest.fixture(scope="session")
def measured_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with this machine's measured generator capacities, including disturbed ones, usually not stored."""
    from tests.fakes.program import Sizewise

    home = tmp_path_factory.mktemp("home")
    process = Sizewise(home, home)("calibrate", "--workers", "1", "--json")
    assert process.returncode == 0, process.stderr
    (home / "calibration.json").write_text(process.stdout)
    return home


@pytest.fixture(scope="session")
def simulated_nvml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a simulated NVML library: LD_LIBRARY_PATH for a process, which then detects simulated GPUs."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.fail("no C compiler (cc) for the simulated NVML library: run tests/install-system-libraries")
    folder = tmp_path_factory.mktemp("nvml")
    library, source = folder / "libnvidia-ml.so.1", FAKES / "nvml" / "simulated_nvml.c"
    subprocess.run([compiler, "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, source], check=True)
    return folder


@pytest.fixture(scope="session")
def chromium() -> Iterator[webdriver.Chrome]:
    from tests.fakes.chromium import offline_chromium

    with offline_chromium() as driver:
        yield driver


@pytest.fixture
def browser(chromium: webdriver.Chrome) -> Iterator[webdriver.Chrome]:
    """A tab of an offline chromium with its own profile that records its network requests and console messages."""
    from tests.fakes.chromium import open_tab

    with open_tab(chromium) as driver:
        yield driver
