"""Production dependencies of a session that measures an endpoint."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from functools import partial

from app.analysis.generator_checks import MachineLimits
from app.inference.process import VariantProcess
from app.profiles.endpoint_profile import EndpointProfile
from app.profiles.profile import OipProfile, find_serve_settings
from app.session.dependencies import LoadGenerator, SessionDependencies
from app.storage.calibrations import load_calibration, load_selftest, store_calibration
from app.storage.run_directory import RunWriter
from app.telemetry.clock import read_clock
from app.telemetry.host import count_local_ports
from app.telemetry.metrics_page import read_metrics
from app.telemetry.processes import read_core_use
from app.wiring.endpoint import require_permission
from app.wiring.machine import build_sampler, inspect_for_run
from app.wiring.reference_server import NullServerProcess, start_scripted
from app.wiring.server_process import ServerProcess, start_embedded_endpoint
from loadgen.machine import get_max_descriptors
from loadgen.process import LoadProcess
from loadgen.records import Gather, Joining


def build_dependencies(profile: EndpointProfile, store: RunWriter, gather: Gather | None) -> SessionDependencies:
    """Build the dependencies of a session. Nothing is started: the session starts each resource
    when needed.

    `gather` configures several load workers. If `gather` is `None`, a single worker sends the load.
    """
    has_embedded_endpoint = find_serve_settings(profile) is not None
    has_standalone_model = has_embedded_endpoint and isinstance(profile, OipProfile)
    mock_protocol = profile.target.build_mock()
    return SessionDependencies(
        inspect_machine=partial(inspect_for_run, store.directory),
        start_load_generator=_choose_load_generator(profile, gather),
        start_null_server=NullServerProcess,
        start_endpoint=(lambda: start_embedded_endpoint(profile)) if has_embedded_endpoint else None,
        start_standalone_model=(lambda job: VariantProcess("the model", job)) if has_standalone_model else None,
        telemetry=build_sampler(profile),
        store=store,
        load_calibration=load_calibration,
        store_calibration=store_calibration,
        read_clock=read_clock,
        read_core_use=read_core_use,
        now_ns=time.perf_counter_ns,
        wall_now=get_utc_now,
        start_scripted=None if mock_protocol is None else (lambda: start_scripted(mock_protocol)),
        start_server=ServerProcess,
        read_metrics=read_metrics,
        load_selftest=load_selftest,
        local_limits=MachineLimits(get_max_descriptors(), count_local_ports()),
        require_permission=(lambda _: None) if profile.target.permitted else require_permission,
    )


def get_utc_now() -> datetime.datetime:
    """Return the current time in UTC."""
    return datetime.datetime.now(datetime.UTC)


def _choose_load_generator(
    profile: EndpointProfile, gather: Gather | None
) -> Callable[[Callable[[Joining], None]], LoadGenerator]:
    match profile.protocol.load:
        case "users":
            return _start_locust
        case "job":
            return _start_batch
        case _:
            return partial(_start_workers, gather)


def _start_batch(_: Callable[[Joining], None]) -> LoadGenerator:
    from loadgen.protocols.openai_batch import BatchJob

    return BatchJob()


def _start_workers(gather: Gather | None, on_joining: Callable[[Joining], None]) -> LoadProcess:
    return LoadProcess(gather=gather, on_joining=on_joining)


def _start_locust(_: Callable[[Joining], None]) -> LoadProcess:
    return LoadProcess("loadgen.locustfile")
