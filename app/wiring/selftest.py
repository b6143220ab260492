"""Self-test of the load generator on this machine, with the same dependencies as in runs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from app.analysis.estimates import compute_distribution
from app.records.selftest import SelfTest
from app.session.interruption import Interruption
from app.session.selftest.bench import SelfTestDependencies
from app.session.selftest.checks import run_selftest
from app.storage.calibrations import store_selftest
from app.storage.run_directory import RunWriter, StoredRun
from app.telemetry.clock import read_clock
from app.telemetry.processes import read_core_use
from app.wiring.dependencies import get_utc_now
from app.wiring.machine import inspect_machine
from app.wiring.reference_server import NullServerProcess, ReferenceServer
from loadgen.process import LoadProcess
from loadgen.reference.script import Script


def run_machine_selftest(interruption: Interruption, on_check: Callable[[str], None]) -> SelfTest | None:
    """Run the self-test and store the result. Return `None` if the self-test was interrupted.
    Raises MeasurementError if a load worker or a server does not start."""
    on_check("this machine")
    environment, _ = inspect_machine()
    with tempfile.TemporaryDirectory(prefix="sizewise-") as folder:
        selftest = run_selftest(
            build_selftest_dependencies(environment.fingerprint, Path(folder)), interruption, on_check
        )
    if selftest is not None:
        store_selftest(selftest)
    return selftest


def build_selftest_dependencies(fingerprint: str, folder: Path) -> SelfTestDependencies:
    return SelfTestDependencies(
        fingerprint=fingerprint,
        start_load_generator=LoadProcess,
        start_scripted=start_script,
        start_null_server=NullServerProcess,
        read_core_use=read_core_use,
        estimate_percentiles=compute_distribution,
        open_store=lambda: RunWriter(folder / "run"),
        open_run=StoredRun,
        read_clock=read_clock,
        now_ns=time.perf_counter_ns,
        wall_now=get_utc_now,
    )


def start_script(script: Script) -> ReferenceServer:
    """Start a scripted server. Raises MeasurementError if the server does not start."""
    return ReferenceServer("loadgen.reference.scripted", "--script", msgspec.json.encode(script).decode())
