"""Resolve a profile to a run specification: secrets, addresses, hardware and prices.

The module also builds the specifications for measuring a served model without its server, and for
starting a target's own server.
"""

from __future__ import annotations

import datetime
from urllib.parse import urlsplit

from app.analysis.gating import DEFAULT_GATING, Gating
from app.errors import UsageError
from app.inference.job import SessionSettings, VariantJob
from app.profiles.endpoint import EndpointSettings
from app.profiles.endpoint_profile import EndpointProfile
from app.profiles.pricing.catalog import find_offer, load_catalog
from app.profiles.profile import OipProfile
from app.profiles.resolved import compute_profile_hash, compute_workload_hash
from app.profiles.secrets import resolve_secret
from app.profiles.traffic import build_traffic
from app.records.offers import Catalog
from app.records.planning_inputs import PlanningInputs
from app.records.result import Hardware, Target
from app.session.spec import BaselineSpec, LimitSpec, PlanSpec, RunSpec, StandaloneModelSpec, StartSpec
from app.wiring.endpoint import build_endpoint
from app.wiring.hardware import find_hardware, is_local_target
from app.wiring.proxy import format_proxy
from app.wiring.reference_server import SCRIPTED_NOTE
from app.wiring.stages import build_stages
from app.wiring.workload import build_workload, compute_label_chance_accuracy
from loadgen.records import Endpoint

_SECONDS_PER_BATCH = 0.6


def build_standalone_spec(profile: EndpointProfile) -> StandaloneModelSpec | None:
    """Return the specification for measuring the served model without its server; `None` if the run
    does not serve a model."""
    if not isinstance(profile, OipProfile) or profile.target.serve is None:
        return None
    serve, workload = profile.target.serve, profile.workload
    is_labeled = workload.tensors is not None and workload.labels is not None
    batches = _list_batches(serve.max_batch)
    job = VariantJob(
        model=str(serve.model_path.absolute()),
        provider=serve.provider,
        batch=batches[0],
        settings=SessionSettings(threads=serve.threads),
        rows=str(workload.tensors) if is_labeled else None,
        label=workload.labels if is_labeled else None,
        output=workload.output if is_labeled else None,
    )
    return StandaloneModelSpec(job, serve.model_path.stem, batches, _SECONDS_PER_BATCH)


def _list_batches(max_batch: int) -> tuple[int, ...]:
    """Return the batch sizes to measure: the powers of two below the maximum batch size of the
    endpoint, and the maximum batch size."""
    powers = [2**exponent for exponent in range(max_batch.bit_length()) if 2**exponent < max_batch]
    return (*powers, max_batch)


_SCHEMES = {"grpc": "http", "grpcs": "https"}


def build_start_spec(profile: EndpointProfile) -> StartSpec | None:
    """Return the specification for starting the target's own server; `None` if the run does not
    start the server. Raises UsageError for a missing secret."""
    start = profile.target.start
    if start is None:
        return None
    url_parts = urlsplit(profile.target.all_urls[0])
    scheme = _SCHEMES.get(url_parts.scheme, url_parts.scheme)
    is_path = start.ready.startswith("/")
    return StartSpec(
        command=start.command,
        ready_url=f"{scheme}://{url_parts.netloc}{start.ready}" if is_path else start.ready,
        timeout_s=start.timeout_s,
        directory=str(start.directory),
        environment=tuple((name, resolve_secret(text)) for name, text in start.env.items()),
    )


def build_spec(
    profile: EndpointProfile,
    run_id: str,
    *,
    today: datetime.date,
    recalibrate: bool,
    gating: Gating = DEFAULT_GATING,
    baseline: BaselineSpec | None = None,
    is_demonstration: bool = False,
    shape_inputs: PlanningInputs | None = None,
) -> RunSpec:
    """Resolve a profile to a run specification: secrets, addresses, hardware and prices. Nothing is
    started. Raises the same errors as `build_endpoint`, and UsageError for an unknown offer or a
    missing price."""
    catalog = load_catalog()
    hardware = find_hardware(profile, catalog)
    endpoint = build_endpoint(profile, run_id)
    return RunSpec(
        run_id=run_id,
        name=profile.name,
        profile_hash=compute_profile_hash(profile),
        target=_build_target(profile, hardware),
        endpoint=endpoint,
        workload=build_workload(profile),
        seed=profile.load.seed,
        warmup_s=0.0 if profile.protocol.load == "job" else profile.load.warmup_s,
        stages=build_stages(profile.load),
        search=profile.load.search,
        slo=profile.complete_slo,
        gates=profile.gates,
        limits=_build_limits(profile, catalog),
        plan=build_plan_spec(profile, catalog, today),
        recalibrate=recalibrate,
        standalone_model=build_standalone_spec(profile),
        is_local_target=is_local_target(profile),
        start=build_start_spec(profile),
        may_be_scaled_to_zero=isinstance(profile.target, EndpointSettings) and profile.target.wake,
        gating=gating,
        baseline=baseline,
        notes=_build_notes(profile, endpoint),
        workload_hash=compute_workload_hash(profile),
        chance_accuracy=compute_label_chance_accuracy(profile),
        is_demonstration=is_demonstration,
        shape_inputs=shape_inputs,
    )


def _build_target(profile: EndpointProfile, hardware: Hardware | None) -> Target:
    target = profile.target
    return Target(
        protocol=target.protocol,
        urls=tuple(target.all_urls),
        model=target.model_name,
        hardware=hardware,
    )


def _build_notes(profile: EndpointProfile, endpoint: Endpoint) -> tuple[str, ...]:
    notes = []
    if profile.target.build_mock() is not None:
        notes.append(SCRIPTED_NOTE)
    if endpoint.proxy is not None:
        notes.append(f"Requests went through a proxy ({format_proxy(endpoint.proxy)}); latencies include the proxy.")
    if isinstance(profile.target, EndpointSettings) and endpoint.max_connections > profile.target.max_connections:
        notes.append(f"Up to {endpoint.max_connections:,} connections could be open, one per client.")
    if len(endpoint.urls) > 1:
        notes.append(f"Requests were balanced over {len(endpoint.urls)} replicas ({endpoint.balance}).")
    return tuple(notes)


def _build_limits(profile: EndpointProfile, catalog: Catalog) -> LimitSpec:
    limits, hardware = profile.limits, profile.target.hardware
    usd_per_hour = None
    if limits.usd is not None:
        offer = find_offer(catalog, hardware.offer) if hardware is not None and hardware.offer is not None else None
        usd_per_hour = offer.on_demand_usd_per_hour if offer is not None else None
        if usd_per_hour is None:
            raise UsageError("limits.usd requires a price of the target's hardware", hint="Set target.hardware.offer.")
    return LimitSpec(
        limits.duration_s, limits.requests, limits.usd, usd_per_hour, abort_when=profile.options.abort_when
    )


def build_plan_spec(profile: EndpointProfile, catalog: Catalog, today: datetime.date) -> PlanSpec | None:
    if profile.traffic is None:
        return None
    return PlanSpec(build_traffic(profile.traffic), profile.plan, catalog, today)
