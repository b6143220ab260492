"""A pytest plugin that gives every test one tier, and checks the guarantees of the tiers.

- `unit`: pure or in-process; a unit test that starts a process, or takes over MAX_UNIT_CPU_S of processor time, fails.
- `process`: starts processes.
- `ui`: a Qt window, a virtual screen or a browser.
- `timing`: asserts times, rates or lags. These run last: those that mostly wait (`WAITING` in the Makefile) beside each
  other, and the others alone. One that fails while other work disturbs the machine runs once more, and is skipped if
  it fails and was disturbed again.
- `soak`: takes long and guards what seldom breaks. These run in `make soak` and `make docs-check`, every night.

A unit test should take at most 2 s of processor time, including its share of fixtures. An experiment that repeats a
fit, a search or a plan many times, to show a coverage or that something is monotonic, runs with its first seeds in the
unit tier and with all others in the soak tier: `first_in_unit_tier`.

A test without a mark is `ui` or `process` if it uses a fixture of that tier, else `unit`.
"""

from __future__ import annotations

import functools
import multiprocessing.util
import os
import platform
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
from _pytest.mark import ParameterSet
from _pytest.runner import runtestprotocol

MAX_SKIPPED_SHARE = 0.2
"""The session fails if more than this share of its timing tests is skipped because of other work on the machine."""
MAX_CPU_PRESSURE = 0.5
"""Share of a test's time in which some process waited for a core (`some` in /proc/pressure/cpu)."""
MAX_OTHER_CORES = 0.25
"""Processor time used by other processes, in cores."""
MAX_STOLEN_SHARE = 0.05
"""Share of the machine's processor time that its host gave to other machines."""

MAX_UNIT_CPU_S = 20.0
"""Processor time of a unit test with the fixtures that it sets up: ten times what it should take, so that it fails for
what it does, not for what else the machine does."""

_SHARED = "reports.charts.renderer"
"""The only process that a unit test may start: the first chart of a session starts it, and all others use it."""
_WINDOWS = (Path(__file__).parent / "app" / "gui", Path(__file__).parent / "gui")
_OTHER_TIER = re.compile(rb"^pytestmark = (\[\s*)?pytest\.mark\.(process|ui|timing|soak)\b", re.MULTILINE)
"""The mark of a whole file that has no unit test."""
_KERNELS = "app.planning."
_DISTURBANCE = "disturbance"
"""Attribute of the report of a test that was skipped because of other work, in words: pytest-xdist sends it along."""
_SHOWN_DURATION_S = 0.005
"""`--durations` shows setups and teardowns that take at least as long."""
_TIER: pytest.StashKey[Tier | None] = pytest.StashKey()
_STARTS = (
    (subprocess.Popen, "_execute_child"), (multiprocessing.util, "spawnv_passfds"),
    (os, "fork"), (os, "forkpty"), (os, "posix_spawn"), (os, "posix_spawnp"),
)  # fmt: skip
"""What starts processes. An audit hook would see the same, but is called for every import, file and frame, too: that
takes several percent of a session."""


class Tier(StrEnum):
    """Tiers, in the order in which tests run one after another."""

    UNIT = "unit"
    PROCESS = "process"
    UI = "ui"
    TIMING = "timing"
    SOAK = "soak"


_PARALLEL_ORDER = [Tier.UI, Tier.PROCESS, Tier.UNIT, Tier.SOAK, Tier.TIMING]
"""Order under pytest-xdist: files that wait come first, so that files that compute fill their gaps."""
_LONG_FOLDERS = {"gui", "seams"}
"""Their files, whose tests run the whole program, start before others of their tier: the session must not end with one
worker in a long file."""
_LONG_FILES = {"test_planned_day.py", "test_service_fit.py", "test_definitions.py"}
"""Files whose few tests take many seconds start before others of their tier, too."""

_FIXTURES = {
    Tier.UI: {"qapp", "qtbot", "chromium"},
    Tier.PROCESS: {"calibrated_home", "measured_home", "simulated_nvml"},
}
"""A test that uses one of these, directly or through another fixture, belongs to the tier."""


_MEANINGS = {
    Tier.UNIT: "is pure or in-process (the default)",
    Tier.PROCESS: "starts processes",
    Tier.UI: "shows a Qt window, or opens a virtual screen or a browser",
    Tier.TIMING: "asserts times, rates or lags: runs last, alone or beside others that mostly wait",
    Tier.SOAK: "takes long: runs in `make soak` or `make docs-check`",
}


class MachineLoad(NamedTuple):
    """Counters since the machine started, in seconds, and the clock at which they were read."""

    clock_s: float
    pressure_s: float
    busy_s: float
    """Busy time of all cores together."""
    stolen_s: float
    own_s: float
    """Processor time of this process and its descendants."""


class Disturbance(NamedTuple):
    """Resources that other work took from the machine between two readings."""

    pressure_share: float
    other_cores: float
    stolen_share: float

    @property
    def is_beyond_limits(self) -> bool:
        crowded = self.pressure_share > MAX_CPU_PRESSURE and self.other_cores > MAX_OTHER_CORES
        return crowded or self.stolen_share > MAX_STOLEN_SHARE

    def __str__(self) -> str:
        return (
            f"processes waited for a core {self.pressure_share:.0%} of the time, other work took "
            f"{self.other_cores:.2f} cores, and the host withheld {self.stolen_share:.0%}"
        )


def read_load(proc: Path = Path("/proc")) -> MachineLoad | None:
    """Return the counters; `None` if the kernel does not provide them."""
    try:
        pressure = (proc / "pressure" / "cpu").read_text()
        ticks = (proc / "stat").read_text().splitlines()[0].split()[1:]
    except OSError:
        return None
    some_us = int(pressure.splitlines()[0].rpartition("total=")[2])
    user, nice, system, _, _, irq, softirq, stolen = (int(tick) / os.sysconf("SC_CLK_TCK") for tick in ticks[:8])
    return MachineLoad(time.monotonic(), some_us / 1e6, user + nice + system + irq + softirq, stolen, _own_cpu_s())


def disturbance(before: MachineLoad, after: MachineLoad, cores: int) -> Disturbance:
    clock_s = max(after.clock_s - before.clock_s, 0.01)
    other_s = (after.busy_s - before.busy_s) - (after.own_s - before.own_s)
    return Disturbance(
        (after.pressure_s - before.pressure_s) / clock_s,
        max(other_s, 0.0) / clock_s,
        (after.stolen_s - before.stolen_s) / clock_s / cores,
    )


def _own_cpu_s() -> float:
    own = psutil.Process()
    cpu_s = sum(own.cpu_times()[:4])
    for child in own.children(recursive=True):
        try:
            cpu_s += sum(child.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue
    return cpu_s


def tier_of(item: pytest.Item) -> Tier | None:
    """Return the last tier that the test is marked with: a test in a file marked `process` may be marked `soak`."""
    if _TIER not in item.stash:
        names = {mark.name for mark in item.iter_markers()}
        item.stash[_TIER] = next((tier for tier in reversed(Tier) if tier in names), None)
    return item.stash[_TIER]


def first_in_unit_tier(values: Iterable[object], count: int = 1) -> list[ParameterSet]:
    """Return parameters of which the first `count` run in the unit tier, and the others in the soak tier."""
    return [
        pytest.param(value, marks=[] if place < count else [pytest.mark.soak]) for place, value in enumerate(values)
    ]


_markexpr: list[str] = []


def is_soak_session() -> bool:
    """Return whether only the soak tier runs, in which no test need be short."""
    return _markexpr == [Tier.SOAK]


_started: list[str] = []
"""Processes that this process started."""


def _noted(start: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(start)
    def note_and_start(*arguments: Any, **options: Any) -> Any:
        if _SHARED not in str(arguments[:2]):
            _started.append(f"{start.__qualname__} {arguments[:2]}"[:200])
        return start(*arguments, **options)

    return note_and_start


# Otherwise each of the hundreds of processes that tests start would compile the program again, and each run the tests.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
for _owner, _name in _STARTS:
    if hasattr(_owner, _name):
        setattr(_owner, _name, _noted(getattr(_owner, _name)))


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Accept the settings of pytest-qt in pyproject.toml where it is not loaded."""
    if pluginmanager.is_blocked("pytest-qt"):
        for name in ("qt_api", "qt_log_level_fail", "qt_log_ignore"):
            parser.addini(name, "a setting of pytest-qt, which is not loaded")


def pytest_configure(config: pytest.Config) -> None:
    _markexpr[:] = [config.option.markexpr]
    for tier, means in _MEANINGS.items():
        config.addinivalue_line("markers", f"{tier}: {means}")
    platform.processor()  # Its first call in a process starts `uname`, which no unit test may do.
    config.pluginmanager.register(TimingTier(os.cpu_count() or 1), "timing-tier")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return one more worker than cores, because some tests of each tier wait: for deadlines, files, the chart renderer
    or their processes.

    With two more they are not faster: on two cores the processor is the limit.
    """
    return (os.cpu_count() or 1) + 1


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Ignore files without a test of the tier that runs alone: importing them all takes a sixth of a minute.

    These are files without the word `timing`, or the folders of windows, and files with a mark of another tier for all
    tests.
    """
    tier = config.option.markexpr
    if tier == Tier.UNIT and collection_path in _WINDOWS:
        return True
    if tier not in (Tier.TIMING, Tier.UNIT) or collection_path.suffix != ".py":
        return None
    content = collection_path.read_bytes()
    if tier == Tier.TIMING:
        return True if Tier.TIMING.encode() not in content else None
    return True if _OTHER_TIER.search(content) else None


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")  # Set by pytest-xdist.


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if tier_of(item) is None:
            names = set(getattr(item, "fixturenames", ()))
            tier = next((tier for tier, fixtures in _FIXTURES.items() if names & fixtures), Tier.UNIT)
            item.stash[_TIER] = tier
            item.add_marker(tier.value)  # A plain str: pytest-xdist cannot send anything else.
    if _is_worker(config):
        tests = Counter(item.path for item in items)
        items.sort(
            key=lambda item: (
                _PARALLEL_ORDER.index(tier_of(item) or Tier.UNIT),
                item.path.parent.name not in _LONG_FOLDERS and item.path.name not in _LONG_FILES,
                -tests[item.path],
            )
        )
    else:
        items.sort(key=lambda item: list(Tier).index(tier_of(item) or Tier.UNIT))


@pytest.hookimpl
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Send only the reports that somebody reads to the process that distributes the tests: ten thousand tests would
    otherwise send it fifty thousand messages, one by one."""
    if not _is_worker(item.config):
        return None
    for report in runtestprotocol(item, log=False, nextitem=nextitem):
        if report.when == "call" or not report.passed or report.duration >= _SHOWN_DURATION_S:
            item.ihook.pytest_runtest_logreport(report=report)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    yield from _failing_if_it_is_no_unit_test(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    yield from _failing_if_it_is_no_unit_test(item)


def _failing_if_it_is_no_unit_test(item: pytest.Item) -> Iterator[None]:
    started, start_s = len(_started), time.process_time()
    yield
    if tier_of(item) is not Tier.UNIT:
        return
    if len(_started) > started:
        pytest.fail(f"a unit test starts a process: mark it `process` ({_started[started:]})", pytrace=False)
    used_s = time.process_time() - start_s
    if used_s > MAX_UNIT_CPU_S and not _has_compiled_kernels():
        pytest.fail(f"a unit test takes {used_s:.1f} s of processor time: make it cheaper or `soak`", pytrace=False)


def _has_compiled_kernels() -> bool:
    """Return whether this process compiled a kernel of the simulation, which takes long, instead of loading it."""
    functions = [
        value for name in list(sys.modules) if name.startswith(_KERNELS) for value in vars(sys.modules[name]).values()
    ]
    return any(function.stats.cache_misses for function in functions if type(function).__name__ == "CPUDispatcher")


class TimingTier:
    """Runs a disturbed timing test once more, and counts the tests that were disturbed again."""

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self.run = 0
        self.skipped: dict[str, str] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        if tier_of(item) is not Tier.TIMING:
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        reports, other = self._attempt(item, nextitem)
        if other is not None:
            item.session._setupstate.teardown_exact(None)  # So that shared fixtures are measured again too.
            item._initrequest()  # type: ignore[attr-defined] # Every function item has it.
            reports, other = self._attempt(item, nextitem)
        if other is not None:
            reports = [_as_skipped(report, other) for report in reports]
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _attempt(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> tuple[list[pytest.TestReport], Disturbance | None]:
        """Return the reports of one run of the test and, if it failed while disturbed, the disturbance."""
        before = read_load()
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        after = read_load()
        if before is None or after is None or not any(report.failed for report in reports):
            return reports, None
        other = disturbance(before, after, self._cores)
        return reports, other if other.is_beyond_limits else None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count in the process that runs the test and, under pytest-xdist, in the one that informs the user."""
        if Tier.TIMING in report.keywords and Tier.SOAK not in report.keywords and report.when == "setup":
            self.run += 1
        if other := getattr(report, _DISTURBANCE, None):
            self.skipped[report.nodeid] = other

    @property
    def skipped_too_many(self) -> bool:
        return len(self.skipped) > MAX_SKIPPED_SHARE * self.run

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.skipped_too_many and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.run:
            return
        terminalreporter.section("timing tests")
        terminalreporter.line(f"{self.run} run, {len(self.skipped)} of them skipped for other work on the machine")
        for name, other in self.skipped.items():
            terminalreporter.line(f"{name}: {other}")
        if self.skipped_too_many:
            terminalreporter.line(
                f"FAILED: more than {MAX_SKIPPED_SHARE:.0%} were skipped; run them on a quieter machine"
            )


def _as_skipped(report: pytest.TestReport, other: Disturbance) -> pytest.TestReport:
    if report.failed:
        report.outcome = "skipped"
        setattr(report, _DISTURBANCE, str(other))
        report.longrepr = (str(report.fspath), report.location[1] or 0, f"Skipped: {other}")
    return report
