"""Builds the real parts for a profile: the only place where adapters are chosen."""

from __future__ import annotations

import datetime
import os
import platform
import socket
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from app.analysis.curve import capacity_curve
from app.errors import UnavailableError, UsageError
from app.inference.measuring import measure_model
from app.inference.probe import probe_providers
from app.planning.fleets import plan_fleets
from app.profiles.catalogue import find_offer, load_catalogue
from app.profiles.loading import load_profile
from app.profiles.permission import is_this_machine, needs_permission
from app.profiles.profile import HttpProfile, LoadSettings, OipProfile, Profile
from app.profiles.requests import request_bodies
from app.profiles.resolved import profile_hash
from app.profiles.secrets import resolve_secret
from app.profiles.target import ServeSettings
from app.profiles.traffic import plan_limits_of, traffic_of
from app.records.calibration import Calibration
from app.records.offers import Catalogue
from app.records.result import Check, Environment, Hardware, Plan, Target
from app.serving.process import EndpointProcess
from app.session.calibration import calibrate
from app.session.interruption import Interruption
from app.session.parts import Load, Parts, ServedEndpoint
from app.session.spec import LimitSpec, PlanSpec, RunSpec, SearchSpec, StageSpec
from app.storage.calibrations import store_calibration, stored_calibration
from app.storage.run_directory import SPEC, RunWriter, StoredRun
from app.telemetry.clock import read_clock
from app.telemetry.environment import read_environment
from app.telemetry.gpu import open_gpus
from app.telemetry.machine_checks import machine_checks
from app.telemetry.sampler import Sampler
from loadgen.process import LoadProcess
from loadgen.records import Endpoint, HttpWorkload, OipWorkload, Timeouts, Tls, Workload
from loadgen.reference.process import start_null_server

_MODEL_SECONDS = 0.6
_MODEL_TIMEOUT_S = 60.0


def build(
    profile: Profile, store: RunWriter, run_id: str, *, today: datetime.date, recalibrate: bool
) -> tuple[RunSpec, Parts]:
    """Resolve a profile: secrets, addresses, hardware. Raises UsageError and UnavailableError; starts nothing."""
    catalogue = load_catalogue()
    serve = profile.target.serve if isinstance(profile, OipProfile) else None
    hardware = _hardware(profile, catalogue)
    target = Target(
        protocol=profile.target.protocol,
        url=None if serve is not None else profile.target.url,
        model=profile.target.model if isinstance(profile, OipProfile) else None,
        hardware=hardware,
    )
    spec = RunSpec(
        run_id=run_id,
        name=profile.name,
        profile_hash=profile_hash(profile),
        target=target,
        endpoint=_endpoint(profile),
        workload=_workload(profile),
        seed=profile.load.seed,
        warmup_s=profile.load.warmup_s,
        stages=_stages(profile.load),
        search=_search(profile.load),
        slo=profile.slo,
        gates=profile.gates,
        limits=_limits(profile, catalogue),
        plan=_plan(profile, catalogue, today),
        recalibrate=recalibrate,
    )
    return spec, _parts(profile, store, serve)


def inspect_machine() -> tuple[Environment, tuple[Check, ...]]:
    probe = probe_providers()
    environment = read_environment(probe.working, probe.runtime_version)
    return environment, machine_checks(environment)


def calibrate_machine(interruption: Interruption) -> Calibration:
    """Find the generator's ceiling and store it, unless interrupted."""
    environment, _ = inspect_machine()
    with LoadProcess() as load:
        interruption.attach(load.stop)
        found = calibrate(
            start_null_server(),
            load,
            fingerprint=environment.fingerprint,
            wall_now=wall_now,
            interruption=interruption,
        )
    if not interruption.is_requested:
        store_calibration(found)
    return found


def plan_stored_run(run: StoredRun, overrides: Sequence[str], today: datetime.date) -> Plan:
    """Plan from a stored run's curve, with its own profile's traffic or what `overrides` say instead."""
    result = run.result
    if result is None or result.max_rate is None or result.max_rate.per_s.value is None:
        raise UsageError(
            f"{run.directory} has no rate that held its SLO, so there is nothing to plan with",
            hint="Run a profile with an slo and load.search, or with a steady stage that holds it.",
        )
    profile = load_profile(run.directory / SPEC, overrides)
    catalogue = load_catalogue()
    hardware = _named_hardware(profile, catalogue) or result.target.hardware
    if hardware is None:
        raise UsageError(
            "this run does not say what hardware its target ran on",
            hint="Name it: --set target.hardware.offer=aws/g6.2xlarge, or target.hardware in the profile.",
        )
    wanted = _plan(profile, catalogue, today)
    if wanted is None:
        raise UsageError("there is no traffic to plan for", hint="Give it: --set traffic.peak=900/s.")
    return plan_fleets(
        capacity_curve(result.stages, profile.slo, result.max_rate),
        hardware,
        wanted.traffic,
        catalogue,
        wanted.limits,
        slo=result.max_rate.slo,
        today=today,
    )


def wall_now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _parts(profile: Profile, store: RunWriter, serve: ServeSettings | None) -> Parts:
    def start_endpoint() -> ServedEndpoint:
        assert serve is not None
        endpoint = EndpointProcess(_serving(profile, serve))
        endpoint.start()
        return endpoint

    def measure() -> object:
        assert serve is not None
        assert isinstance(profile, OipProfile)
        return measure_model(
            serve.model_path,
            provider=serve.provider,
            threads=serve.threads,
            batches=_batches(serve.max_batch),
            seconds=_MODEL_SECONDS,
            rows=profile.workload.tensors if profile.workload.labels else None,
            timeout_s=_MODEL_TIMEOUT_S,
        )

    return Parts(
        inspect_machine=inspect_machine,
        start_load=_started_load,
        start_null_server=start_null_server,
        start_endpoint=start_endpoint if serve else None,
        measure_model=measure if serve else None,
        telemetry=Sampler(),
        store=store,
        load_calibration=stored_calibration,
        store_calibration=store_calibration,
        read_clock=read_clock,
        now_ns=time.perf_counter_ns,
        wall_now=wall_now,
    )


def _started_load() -> Load:
    return LoadProcess().__enter__()


def _resolve(url: str) -> list[str]:
    host = urlsplit(url).hostname or ""
    try:
        return [str(found[4][0]).partition("%")[0] for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    except OSError as error:
        raise UnavailableError(f"the host {host} of target.url is not known: {error.strerror}",
                               hint="Check the host name in target.url.") from None  # fmt: skip


def _endpoint(profile: Profile) -> Endpoint:
    target = profile.target
    if target.url is not None and not target.permitted and needs_permission(_resolve(target.url)):
        host = urlsplit(target.url).hostname
        raise UsageError(
            f"{host} is neither this machine nor in a private network, and the profile does not say you may load it",
            hint="If you may, set target.permitted: true.",
        )
    return Endpoint(
        url=target.url or "",
        headers=tuple((name, resolve_secret(text)) for name, text in target.headers.items()),
        tls=Tls(verify=target.tls.verify, ca_file=None if target.tls.ca_file is None else str(target.tls.ca_file)),
        timeouts=Timeouts(target.timeouts.connect_s, target.timeouts.idle_s, target.timeouts.total_s),
    )


def _workload(profile: Profile) -> Workload:
    if isinstance(profile, HttpProfile):
        wanted = profile.workload
        return HttpWorkload(
            method=wanted.method, path=wanted.path, bodies=request_bodies(wanted), content_type=wanted.content_type
        )
    rows = profile.workload
    return OipWorkload(
        model=profile.target.model,
        tensors=None if rows.tensors is None else str(rows.tensors),
        labels=rows.labels,
        rows_per_request=rows.rows_per_request,
        binary=rows.binary,
        seed=profile.load.seed,
    )


def _stages(load: LoadSettings) -> tuple[StageSpec, ...]:
    return tuple(
        StageSpec(stage.name, "steady", stage.arrivals, stage.rate_per_s, stage.duration_s, repeat)
        for stage in load.stages
        for repeat in range(1, stage.repeats + 1)
    )


def _search(load: LoadSettings) -> SearchSpec | None:
    if load.search is None:
        return None
    return SearchSpec(load.search.arrivals, load.search.start_per_s, load.search.hold_s, load.search.repeats)


def _limits(profile: Profile, catalogue: Catalogue) -> LimitSpec:
    limits, hardware = profile.limits, profile.target.hardware
    usd_per_hour = None
    if limits.usd is not None:
        offer = find_offer(catalogue, hardware.offer) if hardware is not None and hardware.offer is not None else None
        usd_per_hour = offer.on_demand_usd_per_hour if offer is not None else None
        if usd_per_hour is None:
            raise UsageError("limits.usd needs a price for the target", hint="Name its offer in target.hardware.offer.")
    return LimitSpec(limits.duration_s, limits.requests, limits.usd, usd_per_hour)


def _plan(profile: Profile, catalogue: Catalogue, today: datetime.date) -> PlanSpec | None:
    if profile.traffic is None:
        return None
    return PlanSpec(traffic_of(profile.traffic), plan_limits_of(profile.plan), catalogue, today)


def _hardware(profile: Profile, catalogue: Catalogue) -> Hardware | None:
    """What the profile names; else this machine for what runs here; else None."""
    named = _named_hardware(profile, catalogue)
    is_here = profile.target.url is None or is_this_machine(_resolve(profile.target.url))
    if named is not None or not is_here:
        return named
    with open_gpus() as gpus:
        if gpus.readers:
            return None  # which of its processors the endpoint uses cannot be told from outside
    cores, architecture = os.cpu_count() or 1, _architecture()
    return Hardware(
        f"this machine ({cores} vCPUs, {architecture})", vcpus=cores, architecture=architecture, is_this_machine=True
    )


def _named_hardware(profile: Profile, catalogue: Catalogue) -> Hardware | None:
    named = profile.target.hardware
    if named is None:
        return None
    if named.offer is not None:
        offer = find_offer(catalogue, named.offer)
        return Hardware(
            offer.key,
            offer=offer.key,
            accelerator=offer.accelerator,
            accelerator_count=offer.accelerator_count,
            vcpus=offer.vcpus,
            architecture=offer.cpu_architecture,
            replicas=named.replicas,
        )
    processor = "CPU" if named.accelerator is None else f"{named.count:g} × {named.accelerator}"
    return Hardware(
        processor if named.vcpus is None else f"{processor} with {named.vcpus:g} vCPUs",
        accelerator=named.accelerator,
        accelerator_count=0 if named.accelerator is None else named.count,
        vcpus=named.vcpus,
        architecture=named.architecture,
        replicas=named.replicas,
    )


def _architecture() -> str:
    machine = platform.machine().lower()
    return {"amd64": "x86_64", "aarch64": "arm64"}.get(machine, machine)


def _batches(max_batch: int) -> tuple[int, ...]:
    """Powers of two up to the largest batch the endpoint forms, and that one."""
    powers = [2**power for power in range(max_batch.bit_length()) if 2**power < max_batch]
    return (*powers, max_batch)
