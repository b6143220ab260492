"""A profile with everything resolved: secrets, addresses, hardware, prices."""

from __future__ import annotations

import datetime
from urllib.parse import urlsplit

from app.errors import UsageError
from app.profiles.catalogue import find_offer, load_catalogue
from app.profiles.permission import needs_permission
from app.profiles.profile import HttpProfile, LoadSettings, OipProfile, Profile
from app.profiles.requests import request_bodies
from app.profiles.resolved import profile_hash
from app.profiles.secrets import resolve_secret
from app.profiles.traffic import plan_limits_of, traffic_of
from app.records.offers import Catalogue
from app.records.result import Target
from app.session.spec import LimitSpec, PlanSpec, RunSpec, SearchSpec, StageSpec
from app.wiring.address import resolve
from app.wiring.hardware import hardware_of
from loadgen.records import Endpoint, HttpWorkload, OipWorkload, OpenArrivals, Timeouts, Tls, Workload

_MOST_ARRIVALS = 50_000_000
"""A schedule is laid out before its stage: 400 MB of times."""


def build_spec(profile: Profile, run_id: str, *, today: datetime.date, recalibrate: bool) -> RunSpec:
    """Resolve a profile: secrets, addresses, hardware. Raises UsageError and UnavailableError; starts nothing."""
    catalogue = load_catalogue()
    hardware = hardware_of(profile, catalogue)
    target = Target(
        protocol=profile.target.protocol,
        url=profile.target.url,
        model=profile.target.model if isinstance(profile, OipProfile) else None,
        hardware=hardware,
    )
    return RunSpec(
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
        plan=plan_spec(profile, catalogue, today),
        recalibrate=recalibrate,
    )


def _endpoint(profile: Profile) -> Endpoint:
    target = profile.target
    if target.url is not None and not target.permitted and needs_permission(resolve(target.url)):
        host = urlsplit(target.url).hostname
        raise UsageError(
            f"{host} is neither this machine nor in a private network, and the profile does not say you may load it",
            hint="If you may, set target.permitted: true.",
        )
    return Endpoint(
        urls=(target.url,) if target.url is not None else (),
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
    for stage in load.stages:
        arrivals = stage.rate_per_s * stage.duration_s
        if arrivals > _MOST_ARRIVALS:
            hint = f"A stage may have {_MOST_ARRIVALS:,} of them: make it shorter, or several stages of it."
            raise UsageError(f"stage {stage.name} asks for {arrivals:.2g} requests", hint=hint)
    return tuple(
        StageSpec(
            stage.name,
            "steady",
            OpenArrivals(stage.arrivals, ((0.0, stage.rate_per_s),)),
            stage.duration_s,
            repeat=repeat,
        )
        for stage in load.stages
        for repeat in range(1, stage.repeats + 1)
    )


def _search(load: LoadSettings) -> SearchSpec | None:
    if load.search is None:
        return None
    return SearchSpec(
        OpenArrivals(load.search.arrivals, ((0.0, 1.0),)),
        load.search.start_per_s,
        load.search.hold_s,
        load.search.repeats,
    )


def _limits(profile: Profile, catalogue: Catalogue) -> LimitSpec:
    limits, hardware = profile.limits, profile.target.hardware
    usd_per_hour = None
    if limits.usd is not None:
        offer = find_offer(catalogue, hardware.offer) if hardware is not None and hardware.offer is not None else None
        usd_per_hour = offer.on_demand_usd_per_hour if offer is not None else None
        if usd_per_hour is None:
            raise UsageError("limits.usd needs a price for the target", hint="Name its offer in target.hardware.offer.")
    return LimitSpec(limits.duration_s, limits.requests, limits.usd, usd_per_hour)


def plan_spec(profile: Profile, catalogue: Catalogue, today: datetime.date) -> PlanSpec | None:
    if profile.traffic is None:
        return None
    return PlanSpec(traffic_of(profile.traffic), plan_limits_of(profile.plan), catalogue, today)
