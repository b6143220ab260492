"""Inspect this machine: its capabilities, and conditions that would disturb a measurement.

The module also builds the telemetry sampler of a run, which reads this machine, GPUs of any vendor,
and the metrics endpoints in the profile.
"""

from __future__ import annotations

from pathlib import Path

from app.errors import UsageError
from app.inference.probe import probe_providers
from app.profiles.profile import Profile
from app.profiles.secrets import resolve_secret
from app.profiles.telemetry import ScrapeSettings
from app.records.machine import MachineInfo, UnavailableProvider
from app.records.result import Check, Environment
from app.storage.file_systems import MOUNTS, find_network_mount
from app.telemetry.environment import read_environment
from app.telemetry.gpu_vendors import create_gpu_pollers
from app.telemetry.machine_checks import check_machine
from app.telemetry.sampler import Sampler
from app.telemetry.scrape import Scraper
from app.wiring.endpoint import require_permission
from app.wiring.secret_consent import require_consent
from loadgen.transport.address import EndpointError


def read_machine_info() -> MachineInfo:
    """Return the environment and the validity checks of this machine, and its unavailable execution
    providers. The call takes one or two seconds, because execution providers are tried in a child
    process.

    Raises MeasurementError if the child process crashes.
    """
    probe = probe_providers()
    environment = read_environment(probe.working_providers, probe.runtime_version)
    unavailable_providers = tuple(
        UnavailableProvider(failed_provider.provider, failed_provider.reason)
        for failed_provider in probe.failed_providers
    )
    return MachineInfo(environment, check_machine(environment), unavailable_providers)


def inspect_machine() -> tuple[Environment, tuple[Check, ...]]:
    """Return the environment and the validity checks of this machine."""
    machine_info = read_machine_info()
    return machine_info.environment, machine_info.checks


def inspect_for_run(run_directory: Path) -> tuple[Environment, tuple[Check, ...]]:
    """Return the environment of this machine, and the validity checks of the machine and of the run
    directory."""
    environment, checks = inspect_machine()
    return environment, (*checks, *check_run_directory(run_directory))


def check_run_directory(run_directory: Path, mounts: Path = MOUNTS) -> tuple[Check, ...]:
    """Return a WARN check if the run directory is on a network file system; otherwise no checks."""
    mount = find_network_mount(run_directory, mounts)
    if mount is None:
        return ()
    hint = "A stalled network share delays the run and can lose rows. Set --out to a directory on a local disk."
    return (Check("run_directory", f"on {mount.kind} at {mount.mount_point}", None, None, "WARN", hint),)


def build_sampler(profile: Profile) -> Sampler:
    """Build the telemetry sampler of a profile, without starting it. Raises UsageError if a metrics
    endpoint cannot be scraped or a secret is missing, and UnavailableError if a host name cannot be
    resolved."""
    require_consent(profile)
    return Sampler(pollers=(*create_gpu_pollers(), *(_build_scraper(settings) for settings in profile.telemetry)))


def _build_scraper(settings: ScrapeSettings) -> Scraper:
    if not settings.permitted:
        require_permission((settings.scrape,), key=f"permitted of {settings.name} in telemetry")
    headers = tuple((name, resolve_secret(text)) for name, text in settings.headers.items())
    try:
        return Scraper(
            settings.scrape,
            source=settings.name,
            labels=settings.labels,
            interval_s=settings.interval_s,
            headers=headers,
        )
    except EndpointError as error:
        raise UsageError(f"telemetry: {settings.scrape} cannot be scraped: {error}") from error
