"""Real dependencies of a session."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from functools import partial

from app.analysis.generator_checks import MachineLimits
from app.inference.process import VariantProcess
from app.profiles.profile import EndpointProfile, LocustProfile, OipProfile
from app.session.parts import Parts
from app.storage.calibrations import store_calibration, stored_calibration, stored_selftest
from app.storage.run_directory import RunWriter
from app.telemetry.clock import read_clock
from app.telemetry.host import local_ports
from app.telemetry.metrics_page import read_metrics
from app.telemetry.processes import read_core_use
from app.wiring.endpoint import require_permission
from app.wiring.machine import inspect_for_run, sampler_of
from app.wiring.reference_server import NullServerProcess, face_of, start_scripted
from app.wiring.server_process import ServerProcess, start_endpoint_of
from loadgen.machine import reachable_limit
from loadgen.process import LoadProcess
from loadgen.records import Gather, Joining


def build_parts(profile: EndpointProfile, store: RunWriter, gather: Gather | None) -> Parts:
    """Build the dependencies of a session. Starts nothing: the session starts each one when needed.

    `gather` configures the workers if several send the load.
    """
    serves = isinstance(profile, OipProfile) and profile.target.serve is not None
    protocol = face_of(profile)
    return Parts(
        inspect_machine=partial(inspect_for_run, store.directory),
        start_load=_start_locust if isinstance(profile, LocustProfile) else partial(_start_workers, gather),
        start_null_server=NullServerProcess,
        start_endpoint=(lambda: start_endpoint_of(profile)) if serves else None,
        start_alone=(lambda job: VariantProcess("the model", job)) if serves else None,
        telemetry=sampler_of(profile),
        store=store,
        load_calibration=stored_calibration,
        store_calibration=store_calibration,
        read_clock=read_clock,
        read_core_use=read_core_use,
        now_ns=time.perf_counter_ns,
        wall_now=wall_now,
        start_scripted=None if protocol is None else (lambda: start_scripted(protocol)),
        start_server=ServerProcess,
        read_metrics=read_metrics,
        load_selftest=stored_selftest,
        local_limits=MachineLimits(reachable_limit(), local_ports()),
        require_permission=(lambda _: None) if profile.target.permitted else require_permission,
    )


def wall_now() -> datetime.datetime:
    """Return the current time in UTC."""
    return datetime.datetime.now(datetime.UTC)


def _start_workers(gather: Gather | None, on_joining: Callable[[Joining], None]) -> LoadProcess:
    return LoadProcess(gather=gather, on_joining=on_joining)


def _start_locust(_: Callable[[Joining], None]) -> LoadProcess:
    return LoadProcess("loadgen.locustfile")
