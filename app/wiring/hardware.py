"""Find the hardware that a target runs on: the hardware declared in the profile, or this
machine."""

from __future__ import annotations

import platform

import msgspec

from app.errors import UnavailableError
from app.profiles.endpoint import EndpointSettings
from app.profiles.endpoint_profile import EndpointProfile
from app.profiles.permission import is_this_machine
from app.profiles.pricing.catalog import find_offer
from app.profiles.profile import find_serve_settings
from app.records.offers import Catalog
from app.records.result import DeclaredHardware, Hardware
from app.telemetry.cgroup import read_cgroup
from app.telemetry.gpu import open_gpus
from app.telemetry.host import count_usable_cores
from app.wiring.endpoint import resolve_addresses


def find_hardware(profile: EndpointProfile, catalog: Catalog) -> Hardware | None:
    """Return the hardware declared in the profile. Otherwise, return this machine if the target
    runs on it, or `None` if the hardware is unknown.

    The hardware of a scripted target is `None`, because its response times do not depend on
    hardware and must not be used for planning.
    """
    declared_hardware = find_declared_hardware(profile, catalog)
    if declared_hardware is not None or not is_local_target(profile):
        return declared_hardware
    with open_gpus() as gpus:
        if gpus.readers and not _is_served_on_cpu(profile):
            return None  # It is unknown which processor the target uses.
    return describe_this_machine()


def describe_this_machine() -> Hardware:
    cores, architecture = count_usable_cores(read_cgroup()), _read_architecture()
    return Hardware(
        f"this machine ({cores:g} vCPUs, {architecture})", vcpus=cores, architecture=architecture, is_this_machine=True
    )


def is_local_target(profile: EndpointProfile) -> bool:
    """Return whether the target is a single server on this machine.

    Return False for several replicas, because it is unknown how replicas share the resources of
    this machine.
    """
    target = profile.target
    if profile.protocol.load == "users" and target.url is None:
        return False
    if isinstance(target, EndpointSettings) and target.socket is not None:
        return True
    urls = target.all_urls
    if not urls:
        return find_serve_settings(profile) is not None
    return len(urls) == 1 and _resolves_to_this_machine(urls[0])


def _resolves_to_this_machine(url: str) -> bool:
    try:
        return is_this_machine(resolve_addresses(url))
    except UnavailableError:  # The name may only be resolvable by a proxy; permission is checked elsewhere.
        return False


def _is_served_on_cpu(profile: EndpointProfile) -> bool:
    serve = find_serve_settings(profile)
    return serve is not None and serve.provider == "cpu"


def find_declared_hardware(profile: EndpointProfile, catalog: Catalog) -> Hardware | None:
    declared_hardware = profile.target.hardware
    return None if declared_hardware is None else resolve_hardware(declared_hardware, catalog)


def resolve_hardware(declared_hardware: DeclaredHardware, catalog: Catalog) -> Hardware:
    if declared_hardware.offer is not None:
        offer = find_offer(catalog, declared_hardware.offer)
        return Hardware(
            offer.key,
            offer=offer.key,
            accelerator=offer.accelerator,
            accelerator_count=offer.accelerator_count,
            vcpus=offer.vcpus,
            architecture=offer.cpu_architecture,
            replicas=declared_hardware.replicas,
        )
    if declared_hardware.accelerator is None:
        declared_hardware, processor = msgspec.structs.replace(declared_hardware, accelerator_count=0), "CPU"
    else:
        processor = f"{declared_hardware.accelerator_count:g} × {declared_hardware.accelerator}"
    description = (
        processor if declared_hardware.vcpus is None else f"{processor} with {declared_hardware.vcpus:g} vCPUs"
    )
    return Hardware(description, **msgspec.structs.asdict(declared_hardware))


def _read_architecture() -> str:
    machine = platform.machine().lower()
    return {"amd64": "x86_64", "aarch64": "arm64"}.get(machine, machine)
